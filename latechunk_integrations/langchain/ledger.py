"""The ledger: which parents a splitter cut lately, and where a plain text stands in them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.schema import Parent

__all__ = ["Ledger", "Place"]


@dataclass(frozen=True)
class Place:
    """One chunk of one parent.

    Args:
        parent: The parent with the spans of its chunks.
        index: Which chunk.
    """

    parent: Parent
    index: int


class Ledger:
    """Parents by fingerprint, bounded in bytes, with their vectors once they are embedded.

    Args:
        max_bytes: Bound on texts and vectors together; the least recently used go first.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._parents: OrderedDict[str, Parent] = OrderedDict()
        self._vectors: dict[str, NDArray[np.float32]] = {}
        self._places: dict[str, list[Place]] = {}
        self._n_bytes = 0
        self._lock = threading.RLock()

    def record(self, parent: Parent) -> None:
        """Note a parent that was just split."""
        with self._lock:
            key = parent_key(parent)
            if key in self._parents:
                self._parents.move_to_end(key)
                return
            self._parents[key] = parent
            self._n_bytes += _text_bytes(parent)
            for index in range(len(parent.spans)):
                place = Place(parent, index)
                self._places.setdefault(parent.chunk_text(index), []).append(place)
            self._shrink()

    def resolve(self, texts: Sequence[str]) -> list[tuple[Place | None, bool]]:
        """The place of each text, and whether it was ambiguous.

        A text that stands more than once is told apart by its run: the chunk behind the one
        resolved before it in the same parent. Where that does not decide, it is ambiguous.
        """
        with self._lock:
            found: list[tuple[Place | None, bool]] = []
            before: Place | None = None
            for position, text in enumerate(texts):
                candidates = self._places.get(text, [])
                place, ambiguous = self._choose(candidates, before, texts, position)
                found.append((place, ambiguous))
                before = place
            return found

    def _choose(
        self, candidates: list[Place], before: Place | None, texts: Sequence[str], position: int
    ) -> tuple[Place | None, bool]:
        if len(candidates) <= 1:
            return (candidates[0] if candidates else None), False
        following = [c for c in candidates if before is not None and _follows(before, c)]
        if len(following) == 1:
            return following[0], False
        # The longest run of chunks that the texts ahead agree with decides.
        runs = [_run_length(c, texts, position) for c in following or candidates]
        best = max(runs)
        longest = [c for c, n in zip(following or candidates, runs, strict=True) if n == best]
        return longest[0], len(longest) > 1

    def vectors(self, parent: Parent) -> NDArray[np.float32] | None:
        """The parent's chunk vectors, if they are still kept."""
        with self._lock:
            key = parent_key(parent)
            if key in self._parents:
                self._parents.move_to_end(key)
            return self._vectors.get(key)

    def keep(self, parent: Parent, vectors: NDArray[np.float32]) -> None:
        """Keep a parent's vectors until they are delivered or too much is held."""
        with self._lock:
            self.record(parent)
            key = parent_key(parent)
            if key in self._parents and key not in self._vectors:
                self._vectors[key] = vectors
                self._n_bytes += vectors.nbytes
                self._shrink()

    def _shrink(self) -> None:
        while self._n_bytes > self._max_bytes and len(self._parents) > 1:
            key, parent = self._parents.popitem(last=False)
            self._n_bytes -= _text_bytes(parent)
            vectors = self._vectors.pop(key, None)
            self._n_bytes -= vectors.nbytes if vectors is not None else 0
            for text in {parent.chunk_text(index) for index in range(len(parent.spans))}:
                left = [p for p in self._places[text] if parent_key(p.parent) != key]
                if left:
                    self._places[text] = left
                else:
                    del self._places[text]


def parent_key(parent: Parent) -> str:
    """What tells parents apart: text, header and chunks."""
    return f"{parent.fingerprint}:{hash(parent.spans)}"


def _text_bytes(parent: Parent) -> int:
    # Chunk texts are kept as keys beside the parent's own text.
    return 2 * len(parent.text.encode("utf-8", "surrogatepass")) + 200 * len(parent.spans)


def _follows(before: Place, place: Place) -> bool:
    return before.parent is place.parent and place.index == before.index + 1


def _run_length(place: Place, texts: Sequence[str], position: int) -> int:
    n = 0
    ahead = range(place.index, len(place.parent.spans))
    for index, text in zip(ahead, texts[position:], strict=False):
        if place.parent.chunk_text(index) != text:
            break
        n += 1
    return n
