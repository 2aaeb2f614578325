"""Vectors of parents in a LlamaIndex key-value store."""

from __future__ import annotations

from typing import Any

import numpy as np
from llama_index.core.storage.kvstore.types import BaseKVStore

from latechunk_integrations.marks import digest_text
from latechunk_integrations.schema import CharSpans, ChunkVectors, Parent, SubSpanVectors

__all__ = ["ParentCache"]

_COLLECTION = "late_chunking"


class ParentCache:
    """Keeps the vectors of parents under keys that name everything they depend on.

    LlamaIndex's own use of such a store keys a vector by its text alone; a chunk's vector also
    depends on its parent, on the model and its options.

    Args:
        store: Where vectors are kept.
    """

    def __init__(self, store: BaseKVStore) -> None:
        self._store = store

    def __deepcopy__(self, memo: dict[int, object]) -> ParentCache:
        """Copies of an embed model keep one store."""
        return self

    def get(self, engine_key: str, parent: Parent) -> ChunkVectors | None:
        """The vectors of a parent with these very chunks, or None."""
        found = self._store.get(_key(engine_key, parent), collection=_COLLECTION)
        if found is None:
            return None
        vectors = np.array(found["vectors"], np.float32).reshape(len(parent.spans), -1)
        parts = None
        if found.get("sub_spans") is not None:
            rows = np.array(found["sub_vectors"], np.float32).reshape(-1, vectors.shape[1])
            chunks = np.array(found["sub_chunks"], np.int64)
            parts = SubSpanVectors(rows, chunks, CharSpans(found["sub_spans"]))
        modes = tuple(found["modes"])
        return ChunkVectors(parent.id, vectors, modes, found["n_windows"], sub_spans=parts)

    def put(self, engine_key: str, parent: Parent, result: ChunkVectors) -> None:
        """Keep the vectors of a parent."""
        value: dict[str, Any] = {
            "vectors": result.vectors.tolist(),
            "modes": list(result.modes),
            "n_windows": result.n_windows,
        }
        if result.sub_spans is not None:
            value["sub_vectors"] = result.sub_spans.vectors.tolist()
            value["sub_chunks"] = result.sub_spans.chunks.tolist()
            value["sub_spans"] = result.sub_spans.spans.array.tolist()
        self._store.put(_key(engine_key, parent), value, collection=_COLLECTION)


def _key(engine_key: str, parent: Parent) -> str:
    return digest_text("parent", engine_key, parent.fingerprint)
