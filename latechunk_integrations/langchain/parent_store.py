"""Where parents and their vectors are kept: bounded memory, with any `BaseStore` behind it."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias, TypeVar, get_args

import numpy as np
from langchain_core.stores import BaseStore
from numpy.typing import NDArray

from latechunk_integrations.errors import LateChunkError
from latechunk_integrations.langchain.chunk_text import find_alive, remember
from latechunk_integrations.schema import (
    CharSpans,
    ChunkVectors,
    Mode,
    Parent,
    SubSpanVectors,
)

__all__ = ["MEMORY_BYTES", "BoundedStore", "ParentStore"]

logger = logging.getLogger(__name__)

MEMORY_BYTES = 256 * 1024 * 1024
"""What is kept in memory at most, unless asked otherwise."""
_PARENT_PREFIX = "late_parent-"
_VECTORS_PREFIX = "late_vectors-"
_MODES: tuple[Mode, ...] = get_args(Mode)
# Measured: what an entry takes beside its text and arrays.
_ENTRY_BYTES = 600
# What NumPy raises where bytes are not what they should be.
_DAMAGED = (ValueError, KeyError, IndexError, EOFError, OSError, zipfile.BadZipFile, LateChunkError)

Held: TypeAlias = "Parent | ChunkVectors"
_Kind = TypeVar("_Kind", bound=Held)
_Of = TypeVar("_Of")


class BoundedStore(BaseStore[str, Any]):
    """Parents and vectors in memory, within a bound; the least recently used go first.

    Thread-safe.

    Args:
        max_bytes: Bound on texts and vectors together; the newest entry always stays.
    """

    def __init__(self, max_bytes: int = MEMORY_BYTES) -> None:
        self._max_bytes = max_bytes
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
            while self._n_bytes > self._max_bytes and len(self._entries) > 1:
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


class ParentStore:
    """Parents by fingerprint, and their vectors by engine and parent.

    A parent's fingerprint covers its spans, so that a key of engine and parent is one of engine,
    parent and span. Thread-safe where the outer store is.

    Args:
        outer: A store of bytes, such as a ``LocalFileStore`` or a ``RedisStore``, that other
            processes read too; None: what is kept stays in this process.
        max_bytes: Bound on what is kept in memory.
    """

    def __init__(
        self, outer: BaseStore[str, bytes] | None = None, max_bytes: int = MEMORY_BYTES
    ) -> None:
        self.outer = outer
        self.memory = BoundedStore(max_bytes)

    def hold(self, parents: Sequence[Parent]) -> None:
        """Keep parents, so that chunks rebuilt from their metadata find them."""
        self._write([(_PARENT_PREFIX + one.fingerprint, one) for one in parents])

    def find(self, fingerprints: Iterable[str]) -> dict[str, Parent]:
        """The parents that are held, by fingerprint."""
        asked = list(dict.fromkeys(fingerprints))
        alive = {one: parent for one in asked if (parent := find_alive(one))}
        missing = [one for one in asked if one not in alive]
        found = self._read([_PARENT_PREFIX + one for one in missing], missing, _parent_from_bytes)
        named = dict(zip(missing, found, strict=True))
        return alive | {one: remember(parent) for one, parent in named.items() if parent}

    def keep_vectors(self, engine: str, parent: Parent, vectors: ChunkVectors) -> None:
        """Keep a parent's vectors for this engine's fingerprint."""
        self._write([(f"{_VECTORS_PREFIX}{engine}-{parent.fingerprint}", vectors)])

    def find_vectors(self, engine: str, parents: Sequence[Parent]) -> list[ChunkVectors | None]:
        """The vectors of each parent, None where they are not kept."""
        keys = [f"{_VECTORS_PREFIX}{engine}-{parent.fingerprint}" for parent in parents]
        return self._read(keys, parents, _vectors_from_bytes)

    def _write(self, entries: Sequence[tuple[str, Held]]) -> None:
        self.memory.mset(entries)
        if self.outer is not None:
            self.outer.mset([(key, _to_bytes(value)) for key, value in entries])

    def _read(
        self, keys: Sequence[str], of: Sequence[_Of], decode: Callable[[bytes, _Of], _Kind | None]
    ) -> list[_Kind | None]:
        """What is held under each key; what only the outer store holds is kept in memory too."""
        found: list[_Kind | None] = self.memory.mget(keys)  # type: ignore[assignment]  # by the prefix
        missing = [row for row, value in enumerate(found) if value is None]
        if self.outer is None or not missing:
            return found
        stored = self.outer.mget([keys[row] for row in missing])
        for row, content in zip(missing, stored, strict=True):
            if content is not None:
                found[row] = value = decode(content, of[row])
                if value is not None:
                    self.memory.mset([(keys[row], value)])
        return found


def _size(value: Held) -> int:
    if isinstance(value, ChunkVectors):
        parts = value.sub_spans
        extra = 0 if parts is None else parts.vectors.nbytes + 3 * parts.chunks.nbytes
        return value.vectors.nbytes + extra + _ENTRY_BYTES
    headers = sum(map(sys.getsizeof, set(value.headers or ())))
    texts = sys.getsizeof(value.text) + sys.getsizeof(value.header) + headers
    return texts + value.spans.array.nbytes + _ENTRY_BYTES


def _to_bytes(value: Held) -> bytes:
    """JSON and plain arrays, which run no code where they are read, as a pickle would."""
    if isinstance(value, ChunkVectors):
        content = io.BytesIO()
        modes = np.array([_MODES.index(mode) for mode in value.modes], np.uint8)
        arrays: dict[str, NDArray[Any]] = {"vectors": value.vectors, "modes": modes}
        if value.sub_spans is not None:
            parts = value.sub_spans
            arrays |= {"sub_vectors": parts.vectors, "sub_chunks": parts.chunks}
            arrays |= {"sub_spans": parts.spans.array}
        np.savez(content, allow_pickle=False, **arrays)
        return content.getvalue()
    fields = {name: getattr(value, name) for name in ("text", "header", "id", "headers")}
    return json.dumps({**fields, "spans": value.spans.array.tolist()}, ensure_ascii=False).encode()


def _parent_from_bytes(content: bytes, fingerprint: str) -> Parent | None:
    """The parent; None where the content is not that of this fingerprint."""
    try:
        parent = Parent(**json.loads(content))
    except (ValueError, TypeError, LateChunkError) as error:
        logger.warning("the parent store holds no parent under %s: %s", fingerprint, error)
        return None
    if parent.fingerprint != fingerprint:
        logger.warning("the parent store holds another parent under %s", fingerprint)
        return None
    return parent


def _vectors_from_bytes(content: bytes, parent: Parent) -> ChunkVectors | None:
    """The vectors; None where the content is damaged, so that they are computed again."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            rows, modes = arrays["vectors"], arrays["modes"]
            parts = None
            if "sub_vectors" in arrays:
                own = CharSpans(arrays["sub_spans"])
                parts = SubSpanVectors(arrays["sub_vectors"], arrays["sub_chunks"], own)
        if rows.dtype != np.float32 or rows.shape[:1] != (len(parent.spans),) or rows.ndim != 2:  # noqa: PLR2004  # a matrix
            raise ValueError(f"{rows.dtype} {rows.shape} for {len(parent.spans)} chunks")
        if parts is not None and parts.vectors.shape[1:] != rows.shape[1:]:
            raise ValueError(f"sub-spans of width {parts.vectors.shape} for {rows.shape}")
        every = [rows] if parts is None else [rows, parts.vectors]
        if not all(np.isfinite(some).all() for some in every):
            raise ValueError("not all of them are finite")
        found = tuple(_MODES[mode] for mode in modes)
        return ChunkVectors(parent.id, rows, found, sub_spans=parts)
    except _DAMAGED as error:
        logger.warning("the parent store holds damaged vectors of %s: %s", parent.id, error)
        return None
