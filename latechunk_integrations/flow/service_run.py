"""Documents to requests: packed, several in flight, and answered in full or divided."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.encoders.base import ChunkEncoder, Reading
from latechunk_integrations.flow.service_jobs import ElementList
from latechunk_integrations.flow.service_plan import ServicePlanner

# Requests that wait for a slot, so that a slow answer at the front holds up nobody.
_AHEAD = 2
_NAMED_PARENTS = 3


@dataclass
class _Pack:
    """Documents of a request that may still grow."""

    documents: list[ElementList] = field(default_factory=list)
    n_elements: int = 0
    n_tokens: int = 0


class Requests:
    """Packs documents into requests and takes in the answers.

    Parents may share a request where the encoder takes several documents in one; a document
    holds the text of one parent only.

    Args:
        encoder: Sends requests.
        planner: Divides documents that turn out to be too long.
    """

    def __init__(self, encoder: ChunkEncoder, planner: ServicePlanner) -> None:
        self._encoder = encoder
        self._planner = planner
        self._packs: dict[Reading, _Pack] = {reading: _Pack() for reading in get_args(Reading)}
        self._in_flight: deque[tuple[Future[list[NDArray[np.float32]]], list[ElementList]]] = (
            deque()
        )

    def add(self, document: ElementList) -> None:
        """Pack a document; where many requests are in flight, wait for the oldest."""
        self._pack(document)
        while len(self._in_flight) >= _AHEAD * self._encoder.max_concurrency:
            self.collect()

    def collect(self) -> None:
        """Take in the oldest answer; where nothing is in flight, send what is packed.

        Raises:
            ServerError: The request failed.
            ParentTooLongError: A document is too long and may not be divided.
        """
        if not self._in_flight:
            for reading in self._packs:
                self._send_pack(reading)
        future, documents = self._in_flight[0]
        try:
            answers = future.result()
        except Exception as error:
            if not self._encoder.is_too_long(error):
                raise
            self._in_flight.popleft()
            self._shorten(documents, str(error))
            return
        self._in_flight.popleft()
        for document, vectors in zip(documents, answers, strict=True):
            document.add(vectors)
            document.source.job.n_open -= 1

    def cancel(self) -> None:
        """Give up everything that has not been answered."""
        for future, _ in self._in_flight:
            future.cancel()
        self._in_flight.clear()

    def _pack(self, document: ElementList) -> None:
        document.source.job.n_open += 1
        if not self._fits(document):
            self._send_pack(document.reading)
        pack = self._packs[document.reading]
        pack.documents.append(document)
        pack.n_elements += len(document.elements)
        pack.n_tokens += document.n_tokens

    def _fits(self, document: ElementList) -> bool:
        limits, pack = self._encoder.limits, self._packs[document.reading]
        most = limits.request_documents if document.reading == "chunks" else limits.request_texts
        return (
            len(pack.documents) < most
            and pack.n_elements + len(document.elements) <= limits.request_elements
            and pack.n_tokens + document.n_tokens <= limits.request_tokens
        )

    def _send_pack(self, reading: Reading) -> None:
        pack, self._packs[reading] = self._packs[reading], _Pack()
        if pack.documents:
            self._send(pack.documents)

    def _send(self, documents: list[ElementList]) -> None:
        future = self._encoder.submit(
            [document.elements for document in documents],
            documents[0].reading,
            parent_id=_join_names(document.source.job.parent.id for document in documents),
        )
        self._in_flight.append((future, documents))

    def _shorten(self, documents: list[ElementList], reason: str) -> None:
        if len(documents) > 1:
            middle = len(documents) // 2
            self._send(documents[:middle])
            self._send(documents[middle:])
            return
        (document,) = documents
        for shorter in self._planner.instead(document, reason):
            self._pack(shorter)
        document.source.job.n_open -= 1


def _join_names(parent_ids: Iterable[str]) -> str:
    names = list(dict.fromkeys(parent_ids))
    left = len(names) - _NAMED_PARENTS
    return ", ".join(names[:_NAMED_PARENTS]) + (f" and {left} more" if left > 0 else "")
