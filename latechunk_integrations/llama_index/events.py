"""Instrumentation events that tell how the vectors of a parent came about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.callbacks import CallbackManager
from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.instrumentation.events.embedding import EmbeddingEndEvent, EmbeddingStartEvent
from llama_index.core.instrumentation.events.exception import ExceptionEvent
from llama_index.core.schema import BaseNode, MetadataMode
from llama_index_instrumentation import get_dispatcher

from latechunk_integrations.schema import ChunkVectors

dispatcher = get_dispatcher(__name__)


class LateChunkEndEvent(EmbeddingEndEvent):
    """A parent was embedded; handlers know it by LlamaIndex's own name.

    Args:
        parent_id: The parent; empty where nodes were embedded without one.
        n_windows: Forward passes that its late pass took.
        n_standalone: Chunks that were embedded without it.
        cached: Whether its vectors came from the cache.
    """

    parent_id: str = ""
    n_windows: int = 0
    n_standalone: int = 0
    cached: bool = False


class ParentEvents:
    """Sends a start and an end for each parent, to both of LlamaIndex's systems.

    Args:
        payload: What is shown of the embed model.
        callbacks: The embed model's callback manager.
    """

    def __init__(self, payload: dict[str, Any], callbacks: CallbackManager) -> None:
        self._payload = payload
        self._callbacks = callbacks

    def start(self) -> str:
        """A parent goes to the engine; the id belongs into `end`."""
        dispatcher.event(EmbeddingStartEvent(model_dict=self._payload))
        return self._callbacks.on_event_start(
            CBEventType.EMBEDDING, payload={EventPayload.SERIALIZED: self._payload}
        )

    def end(
        self, event_id: str, nodes: Sequence[BaseNode], result: ChunkVectors, *, cached: bool
    ) -> None:
        """The parent came back.

        Args:
            event_id: What `start` gave.
            nodes: Its chunks.
            result: Their vectors; no rows where it was skipped.
            cached: Whether they came from the cache.
        """
        chunks = [node.get_content(metadata_mode=MetadataMode.EMBED) for node in nodes]
        embeddings = result.vectors.tolist()
        event = LateChunkEndEvent(
            chunks=chunks[: len(embeddings)],
            embeddings=embeddings,
            parent_id=result.parent_id,
            n_windows=result.n_windows,
            n_standalone=result.modes.count("standalone"),
            cached=cached,
        )
        self._callbacks.on_event_end(
            CBEventType.EMBEDDING,
            payload={EventPayload.CHUNKS: event.chunks, EventPayload.EMBEDDINGS: embeddings},
            event_id=event_id,
        )
        dispatcher.event(event)

    def fail(self, event_id: str, error: BaseException) -> None:
        """The parent failed.

        Args:
            event_id: What `start` gave.
            error: Why.
        """
        self._callbacks.on_event_end(
            CBEventType.EMBEDDING, payload={EventPayload.EXCEPTION: error}, event_id=event_id
        )
        dispatcher.event(ExceptionEvent(exception=error))
