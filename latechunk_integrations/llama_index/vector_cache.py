"""Vectors in a LlamaIndex key-value store, under keys that name everything they depend on."""

from __future__ import annotations

import hashlib
from typing import Any, Literal, TypeAlias

import numpy as np
from llama_index.core.storage.kvstore.types import BaseKVStore

from latechunk_integrations.engine import LateChunkEngine
from latechunk_integrations.schema import ChunkVectors, Parent

__all__ = ["Role", "VectorCache"]

Role: TypeAlias = Literal["query", "text"]

_COLLECTION = "late_chunking"


class VectorCache:
    """Keeps vectors of parents, of plain texts and of queries.

    LlamaIndex's own use of such a store keys a vector by its text alone. A chunk's vector also
    depends on its parent, a query's on the query prompt, each on the model and its options.

    Args:
        store: Where vectors are kept.
    """

    def __init__(self, store: BaseKVStore) -> None:
        self._store = store

    def get_text(self, engine: LateChunkEngine, role: Role, text: str) -> list[float] | None:
        """The vector of a plain text or a query, or None."""
        found = self._store.get(_key(engine, role, text), collection=_COLLECTION)
        return None if found is None else found["vector"]

    def put_text(self, engine: LateChunkEngine, role: Role, text: str, vector: list[float]) -> None:
        """Keep the vector of a plain text or a query."""
        self._store.put(_key(engine, role, text), {"vector": vector}, collection=_COLLECTION)

    def get_parent(self, engine: LateChunkEngine, parent: Parent) -> ChunkVectors | None:
        """The vectors of a parent with these very chunks, or None."""
        found = self._store.get(_parent_key(engine, parent), collection=_COLLECTION)
        if found is None:
            return None
        vectors = np.array(found["vectors"], np.float32).reshape(-1, engine.dimensions)
        return ChunkVectors(parent.id, vectors, tuple(found["modes"]), found["n_windows"])

    def put_parent(self, engine: LateChunkEngine, parent: Parent, result: ChunkVectors) -> None:
        """Keep the vectors of a parent."""
        value: dict[str, Any] = {
            "vectors": result.vectors.tolist(),
            "modes": list(result.modes),
            "n_windows": result.n_windows,
        }
        self._store.put(_parent_key(engine, parent), value, collection=_COLLECTION)


def _parent_key(engine: LateChunkEngine, parent: Parent) -> str:
    spans = hashlib.sha256(parent.spans.array.tobytes()).hexdigest()
    return _key(engine, "parent", f"{parent.fingerprint} {spans}")


def _key(engine: LateChunkEngine, role: str, text: str) -> str:
    parts = "\0".join((engine.fingerprint, role, text)).encode("utf-8", "surrogatepass")
    return hashlib.sha256(parts).hexdigest()
