"""Vectors of parents that were embedded before: in memory within a bound, in a store of bytes."""

from __future__ import annotations

import logging
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeAlias

from latechunk_integrations.core.packing import PACKED_FORM, pack_vectors, unpack_vectors
from latechunk_integrations.errors import InputError
from latechunk_integrations.schema import ChunkVectors, Parent

logger = logging.getLogger(__name__)

MEMORY_BYTES = 256 * 1024 * 1024
"""What is kept in memory at most, unless asked otherwise."""
# Measured: what an entry takes beside its text and arrays.
_ENTRY_BYTES = 600

Held: TypeAlias = "Parent | ChunkVectors | bytes"


class ByteStore(Protocol):
    """What keeps bytes by key; LangChain's ``BaseStore`` is one."""

    def mget(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """What is kept under each key."""

    def mset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """Keep each value under its key."""


class BoundedMemory:
    """Parents and vectors in memory, or their bytes, within a bound. Thread-safe.

    The least recently used go first.

    Args:
        max_bytes: Bound on texts and vectors together. The newest entry always stays; 0 keeps none.
    """

    def __init__(self, max_bytes: int = MEMORY_BYTES) -> None:
        self._max_bytes = max_bytes
        self._n_kept = 1 if max_bytes else 0
        self._entries: OrderedDict[str, tuple[Held, int]] = OrderedDict()
        self._n_bytes = 0
        self._lock = threading.Lock()

    def mget(self, keys: Sequence[str]) -> list[Held | None]:
        """What is held under each key, None where nothing is."""
        with self._lock:
            for key in keys:
                if key in self._entries:
                    self._entries.move_to_end(key)
            return [self._entries[key][0] if key in self._entries else None for key in keys]

    def mset(self, key_value_pairs: Sequence[tuple[str, Held]]) -> None:
        """Hold each value; others go where there is no room."""
        with self._lock:
            for key, value in key_value_pairs:
                self._drop(key)
                size = _size(value)
                self._entries[key] = value, size
                self._n_bytes += size
            while self._n_bytes > self._max_bytes and len(self._entries) > self._n_kept:
                self._drop(next(iter(self._entries)))

    def mdelete(self, keys: Sequence[str]) -> None:
        """Forget these keys."""
        with self._lock:
            for key in keys:
                self._drop(key)

    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        """The keys held, the least recently used first."""
        with self._lock:
            keys = list(self._entries)
        yield from (key for key in keys if key.startswith(prefix or ""))

    def _drop(self, key: str) -> None:
        _, size = self._entries.pop(key, (None, 0))
        self._n_bytes -= size


class KeptVectors:
    """Vectors of parents, under keys that name all that they depend on: engine and parent.

    A parent's fingerprint covers its spans, so that a key of engine and parent is one of engine,
    parent and span. Thread-safe where the outer store is. What lies in that and should not is
    reported, and taken for not there.

    Args:
        outer: A store that other processes read too; None: what is kept stays in this process.
        max_bytes: Bound on what is kept in memory; 0: nothing is.
        name: Of the store, for the log.
    """

    def __init__(self, outer: ByteStore | None, max_bytes: int, name: str) -> None:
        self.outer, self._name = outer, name
        self.memory = BoundedMemory(max_bytes)

    def keep_vectors(self, engine: str, parent: Parent, vectors: ChunkVectors) -> None:
        """Keep a parent's vectors for this engine's fingerprint."""
        key = _key(engine, parent)
        self._write({key: vectors}, lambda one: pack_vectors(one, key))

    def find_vectors(self, engine: str, parents: Sequence[Parent]) -> list[ChunkVectors | None]:
        """The vectors of each parent, None where they are not kept."""
        keys = [_key(engine, parent) for parent in parents]
        found: list[ChunkVectors | None] = self._read(
            keys, lambda row, packed: unpack_vectors(packed, keys[row], parents[row])
        )
        # Equal parents share an entry, under whichever id it was kept.
        return [one and replace(one, parent_id=parents[row].id) for row, one in enumerate(found)]

    def _write(self, values: dict[str, Any], pack: Callable[[Any], bytes]) -> None:
        self.memory.mset(list(values.items()))
        if self.outer is not None:
            self.outer.mset([(key, pack(value)) for key, value in values.items()])

    def _read(self, keys: Sequence[str], unpack: Callable[[int, bytes], Held]) -> list[Any]:
        """What is held under each key; what only the outer store holds is kept in memory too."""
        found = self.memory.mget(keys)
        missing = [row for row, value in enumerate(found) if value is None]
        if self.outer is None or not missing:
            return found
        stored = self.outer.mget([keys[row] for row in missing])
        for row, content in zip(missing, stored, strict=True):
            if content is None:
                continue
            try:
                found[row] = value = unpack(row, content)
                self.memory.mset([(keys[row], value)])
            except InputError as error:  # vectors are computed again
                logger.warning(
                    "%s holds what it should not, which is not used: %s", self._name, error
                )
        return found


def _key(engine: str, parent: Parent) -> str:
    return f"late_vectors-{PACKED_FORM}-{engine}-{parent.fingerprint}"


def _size(value: Held) -> int:
    if isinstance(value, bytes):
        return sys.getsizeof(value) + _ENTRY_BYTES
    if isinstance(value, ChunkVectors):
        parts = value.sub_spans
        extra = 0 if parts is None else parts.vectors.nbytes + 3 * parts.chunks.nbytes
        return value.vectors.nbytes + extra + _ENTRY_BYTES
    headers = sum(map(sys.getsizeof, set(value.headers or ())))
    texts = sys.getsizeof(value.text) + sys.getsizeof(value.header) + headers
    return texts + value.spans.array.nbytes + _ENTRY_BYTES
