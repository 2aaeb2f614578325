"""Vectors of parents in a LlamaIndex key-value store."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from llama_index.core.storage.kvstore.types import BaseKVStore

from latechunk_integrations.flow.kept_vectors import KeptVectors

_COLLECTION = "late_chunking"


class ParentCache(KeptVectors):
    """Keeps the vectors of parents under keys that name everything they depend on.

    LlamaIndex's own use of such a store keys a vector by its text alone; a chunk's vector also
    depends on its parent, on the model and its options.

    Args:
        store: Where vectors are kept; it has a memory of its own.
    """

    def __init__(self, store: BaseKVStore) -> None:
        super().__init__(_Bytes(store), 0, "embeddings_cache")

    def __deepcopy__(self, memo: dict[int, object]) -> ParentCache:
        """Copies of an embed model keep one store."""
        return self


class _Bytes:
    """Bytes as values that any key-value store of LlamaIndex takes: JSON."""

    def __init__(self, store: BaseKVStore) -> None:
        self._store = store

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        return [_decode(self._store.get(key, collection=_COLLECTION)) for key in keys]

    def mset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        for key, packed in key_value_pairs:
            value = {"packed": base64.b64encode(packed).decode()}
            self._store.put(key, value, collection=_COLLECTION)


def _decode(value: dict[str, str] | None) -> bytes | None:
    """What was packed; damaged values give what cannot be unpacked."""
    try:
        return None if value is None else base64.b64decode(value["packed"])
    except (KeyError, TypeError, ValueError):
        return b""
