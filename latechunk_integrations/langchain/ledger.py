"""The ledger: which parents a splitter cut lately, and the vectors not yet delivered."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.langchain.runs import RunIndex, Spot
from latechunk_integrations.schema import CharSpans, Parent
from latechunk_integrations.stats import EngineStats

__all__ = ["Bounds", "Ledger", "Place"]

Bounds: TypeAlias = tuple[int, int]
"""Start and end of a chunk in its parent, half-open."""

# Measured: what the index keeps for a chunk beside its text.
_CHUNK_BYTES = 600


@dataclass(frozen=True, eq=False)
class Place:
    """One chunk of one parent.

    Args:
        parent: The parent with the spans of its chunks.
        row: Which chunk.
    """

    parent: Parent
    row: int

    @property
    def bounds(self) -> Bounds:
        """The chunk's range in its parent's text."""
        start, end = self.parent.spans.array[self.row].tolist()
        return start, end

    @property
    def key(self) -> tuple[str, Bounds]:
        """All that the chunk's vector depends on, for a given engine."""
        return self.parent.fingerprint, self.bounds


class Held(NamedTuple):
    """What the ledger says of a plain text.

    Args:
        place: Where it was cut from; None: it is in no parent that is held.
        ambiguous: It stands at other places too, and its neighbours do not decide.
    """

    place: Place | None
    ambiguous: bool


@dataclass
class _Source:
    """A parent's text, every way it was split, and its vectors while some are owed.

    ``pending`` are chunks never delivered, ``owed`` those whose vectors are kept.
    """

    parent: Parent
    n_bytes: int
    splits: dict[Hashable, int] = field(default_factory=dict)
    pending: set[Bounds] = field(default_factory=set)
    owed: set[Bounds] = field(default_factory=set)
    rows: dict[Bounds, int] = field(default_factory=dict)
    vectors: NDArray[np.float32] | None = None


class Ledger:
    """Parents by fingerprint, bounded in bytes, with their vectors until these are delivered.

    Thread-safe.

    Args:
        max_bytes: Bound on texts and vectors together; the least recently used parents go
            first, the newest one always stays.
        stats: Counts parents that had to go before they were delivered.
    """

    def __init__(self, max_bytes: int, stats: EngineStats | None = None) -> None:
        self._max_bytes = max_bytes
        self._stats = stats or EngineStats()
        self._sources: OrderedDict[str, _Source] = OrderedDict()
        self._split_parents: dict[int, Parent] = {}
        self._runs = RunIndex(lambda spot: self._place(spot).key)
        # Evicted parents that the caller's own chunks still hold can be found for free.
        self._alive: WeakValueDictionary[str, Parent] = WeakValueDictionary()
        self._n_bytes = 0
        self._lock = threading.RLock()

    @property
    def n_bytes(self) -> int:
        """Bytes held now, by its own account."""
        return self._n_bytes

    def record(self, parent: Parent, texts: Sequence[str]) -> None:
        """Note a parent that was just split.

        Args:
            parent: With a span for each chunk.
            texts: What the splitter made of each span.
        """
        texts = [str(text) for text in texts]  # a str that knows its parent would keep it alive
        with self._lock:
            self._alive[parent.fingerprint] = parent
            source = self._source(parent)
            split = (parent.spans, hash(tuple(texts)))
            if split in source.splits:
                return
            number = source.splits[split] = self._runs.add(texts)
            self._split_parents[number] = parent
            source.pending.update(_bounds(parent.spans))
            self._grow(source, sum(sys.getsizeof(text) + _CHUNK_BYTES for text in texts))
            self._shrink()

    def resolve(self, texts: Sequence[str]) -> list[Held]:
        """The place of each text of a call, by the rule of `RunIndex`."""
        with self._lock:
            matches = self._runs.resolve(texts)
            held = [Held(self._place(spot) if spot else None, a) for spot, a in matches]
            for place in {id(h.place.parent): h.place for h in held if h.place}.values():
                self._sources.move_to_end(place.parent.fingerprint)
            return held

    def __contains__(self, text: str) -> bool:
        """Whether a text stands in a parent that is held; changes nothing."""
        with self._lock:
            return text in self._runs

    def find(self, fingerprint: str, start: int, end: int | None, text: str) -> Place | None:
        """The chunk that metadata name; None: its parent is no longer held.

        Args:
            fingerprint: The parent's.
            start: Where the chunk starts.
            end: Where it ends, if that is known.
            text: What the splitter made of it.
        """
        with self._lock:
            source = self._sources.get(fingerprint)
            numbers = source.splits.values() if source else ()
            for number in numbers:
                parent = self._split_parents[number]
                for row in np.flatnonzero(parent.spans.starts == start).tolist():
                    if self._runs.text(Spot(number, row)) == text:
                        return Place(parent, row)
            alive = self._alive.get(fingerprint)
        if alive is None:
            return None
        for row in np.flatnonzero(alive.spans.starts == start).tolist():
            if alive.spans.ends[row] == end or alive.chunk_text(row) == text:
                return Place(alive, row)
        return None

    def pending(self, parent: Parent) -> set[Bounds]:
        """Chunks of this parent, of any split, that were never delivered."""
        with self._lock:
            source = self._sources.get(parent.fingerprint)
            return set(source.pending) if source else set()

    def take(self, parent: Parent, chunks: Sequence[Bounds]) -> NDArray[np.float32] | None:
        """Deliver kept vectors, float32, shape ``(n, dim)``; None where one of them is missing."""
        with self._lock:
            source = self._sources.get(parent.fingerprint)
            if source is None or source.vectors is None:
                return None
            rows = [source.rows.get(chunk, -1) for chunk in chunks]
            if min(rows) < 0:
                return None
            self._sources.move_to_end(parent.fingerprint)
            vectors: NDArray[np.float32] = source.vectors[rows]
            source.pending.difference_update(chunks)
            source.owed.difference_update(chunks)
            if not source.owed:
                self._drop_vectors(source)
            return vectors

    def keep(
        self,
        parent: Parent,
        chunks: Sequence[Bounds],
        vectors: NDArray[np.float32],
        delivered: Iterable[Bounds],
    ) -> None:
        """Keep a parent's vectors until each was delivered; none, if all of them were.

        Args:
            parent: The parent.
            chunks: The chunk of each vector.
            vectors: Float32, shape ``(n, dim)``.
            delivered: The chunks delivered already.
        """
        delivered = set(delivered)
        owed = set(chunks) - delivered
        with self._lock:
            if not owed and parent.fingerprint not in self._sources:
                return
            source = self._source(parent)
            source.pending -= delivered
            self._drop_vectors(source)
            if owed:
                source.rows = {chunk: row for row, chunk in enumerate(chunks)}
                source.owed, source.vectors = owed, vectors
                self._grow(source, vectors.nbytes)
            self._shrink()

    def _place(self, spot: Spot) -> Place:
        return Place(self._split_parents[spot.sequence], spot.row)

    def _source(self, parent: Parent) -> _Source:
        key = parent.fingerprint
        source = self._sources.get(key)
        if source is None:
            source = self._sources[key] = _Source(parent, 0)
            self._grow(source, sys.getsizeof(parent.text) + sys.getsizeof(parent.header))
        self._sources.move_to_end(key)
        return source

    def _drop_vectors(self, source: _Source) -> None:
        if source.vectors is not None:
            self._grow(source, -source.vectors.nbytes)
            source.vectors, source.rows, source.owed = None, {}, set()

    def _grow(self, source: _Source, n_bytes: int) -> None:
        source.n_bytes += n_bytes
        self._n_bytes += n_bytes

    def _shrink(self) -> None:
        while self._n_bytes > self._max_bytes and len(self._sources) > 1:
            _, source = self._sources.popitem(last=False)
            self._n_bytes -= source.n_bytes
            for number in source.splits.values():
                self._runs.remove(number)
                del self._split_parents[number]
            if source.pending:
                self._stats.report(
                    "evicted",
                    f"the ledger is full ({self._max_bytes} bytes): parent {source.parent.id!r} "
                    f"goes with {len(source.pending)} of its chunks undelivered; texts that no "
                    "longer know their parent will be embedded standalone. Embed sooner after "
                    "splitting, or raise ledger_bytes",
                )


def _bounds(spans: CharSpans) -> list[Bounds]:
    return [(start, end) for start, end in spans.array.tolist()]
