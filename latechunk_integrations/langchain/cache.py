"""Caches keyed by text, which are wrong for late vectors: found out, and given a right key."""

from __future__ import annotations

import sys
from typing import Any

from latechunk_integrations.errors import TextKeyedCacheError

__all__ = ["refuse_text_cache"]

_CACHE_CLASS = "CacheBackedEmbeddings"


def refuse_text_cache(embeddings: Any) -> None:
    """Refuse to be called by a cache that knows a chunk by nothing but its text.

    Nothing tells the wrapped embeddings that they are wrapped, so the caller's frame has to.
    To be called from the method that the cache calls.

    Args:
        embeddings: Whose `cache_key` the cache may use.

    Raises:
        TextKeyedCacheError: LangChain's cache calls with keys made of texts.
    """
    caller: Any = sys._getframe(2).f_locals.get("self")  # noqa: SLF001  # the documented way to a frame
    if type(caller).__name__ != _CACHE_CLASS:
        return
    key_encoder = getattr(caller.document_embedding_store, "key_encoder", None)
    if getattr(key_encoder, "__self__", None) is not embeddings:
        raise TextKeyedCacheError(
            f"{_CACHE_CLASS} would give a chunk the vector of an equal text in another parent; "
            "pass key_encoder=embeddings.cache_key to from_bytes_store"
        )
    if caller.query_embedding_store is caller.document_embedding_store:
        raise TextKeyedCacheError(
            "queries and documents would share vectors; give query_embedding_cache a store of "
            "its own, or leave it out"
        )
