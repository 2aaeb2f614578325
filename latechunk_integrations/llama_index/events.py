"""Instrumentation events that tell how the vectors of a call came about."""

from __future__ import annotations

from llama_index.core.instrumentation.events.embedding import (
    EmbeddingEndEvent,
    EmbeddingStartEvent,
)

__all__ = ["LateChunkEndEvent", "LateChunkStartEvent"]


class LateChunkStartEvent(EmbeddingStartEvent):
    """Parents are about to be embedded."""

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises this event."""
        return "LateChunkStartEvent"


class LateChunkEndEvent(EmbeddingEndEvent):
    """Parents were embedded.

    Args:
        n_parents: Parents of this call.
        n_windows: Forward passes that their late pass took.
        n_standalone: Chunks that were embedded without their parent.
        n_cached: Parents whose vectors came from the cache.
    """

    n_parents: int = 0
    n_windows: int = 0
    n_standalone: int = 0
    n_cached: int = 0

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises this event."""
        return "LateChunkEndEvent"
