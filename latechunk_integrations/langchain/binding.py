"""The chunks of one call, bound while a store embeds them: metadata tell parent and span."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from enum import Enum
from typing import NamedTuple

from langchain_core.documents import Document

from latechunk_integrations.langchain.chunk_text import ChunkText
from latechunk_integrations.langchain.ledger import Ledger, Place
from latechunk_integrations.langchain.runs import RunIndex

__all__ = ["BOUND", "END_KEY", "MODE_KEY", "PARENT_KEY", "START_KEY", "Binding", "Bound", "Origin"]

PARENT_KEY = "late_parent"
"""Metadata key of the parent's fingerprint, on which a chunk's vector depends."""
START_KEY = "start_index"
"""Metadata key of the first code point in the parent; LangChain's own word."""
END_KEY = "end_index"
"""Metadata key of the code point behind the last, on request."""
MODE_KEY = "late_mode"
"""Metadata key of how the vector came about, on request."""


class Origin(Enum):
    """What a bound document says of where it was cut from."""

    PLACED = "placed"
    """Its parent is at hand."""
    LOST = "lost"
    """It names a parent that is not held any more, or by another splitter."""
    UNSAID = "unsaid"
    """Nothing: the text was not among the documents, or has no metadata of ours."""


class Bound(NamedTuple):
    """What a binding says of a text.

    Args:
        origin: Whether it says anything.
        place: Where the text was cut from, when placed.
        ambiguous: Other documents of the call have the same text and are not the same.
    """

    origin: Origin
    place: Place | None
    ambiguous: bool


_UNSAID = Bound(Origin.UNSAID, None, ambiguous=False)


class Binding:
    """Documents in the order in which a store was given them.

    Stores pass on the texts in that order, in one call or in batches. Thread-safe.

    Args:
        documents: Chunks, which may have been rebuilt from text and metadata.
        ledger: Knows the parents that the metadata name.
    """

    def __init__(self, documents: Iterable[Document], ledger: Ledger) -> None:
        documents = list(documents)
        self.ledger = ledger
        self._said = [_origin(document, ledger) for document in documents]
        self._runs = RunIndex(lambda spot: _kind(self._said[spot.row]))
        self._runs.expect(self._runs.add([str(d.page_content) for d in documents]), 0)
        self._lock = threading.Lock()

    def resolve(self, texts: Sequence[str]) -> list[Bound]:
        """What the bound documents say of each text, by the rule of `RunIndex`."""
        with self._lock:
            matches = self._runs.resolve(texts)
        return [
            self._said[match.spot.row]._replace(ambiguous=match.ambiguous)
            if match.spot
            else _UNSAID
            for match in matches
        ]


BOUND: ContextVar[Binding | None] = ContextVar("latechunk_bound", default=None)
"""The binding of the call at work; threads that copy the context see it too."""


def _origin(document: Document, ledger: Ledger) -> Bound:
    text = document.page_content
    if isinstance(text, ChunkText):
        return Bound(Origin.PLACED, Place(text.parent, text.row), ambiguous=False)
    fingerprint = document.metadata.get(PARENT_KEY)
    start = document.metadata.get(START_KEY)
    if not isinstance(fingerprint, str) or not isinstance(start, int):
        return _UNSAID
    place = ledger.find(fingerprint, start, document.metadata.get(END_KEY), text)
    return Bound(Origin.PLACED if place else Origin.LOST, place, ambiguous=False)


def _kind(said: Bound) -> object:
    return said.place.key if said.place else said.origin
