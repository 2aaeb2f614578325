"""`LateChunkEmbedding`: an embed model that reads the whole source of the nodes it is given."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.instrumentation.events.embedding import (
    EmbeddingEndEvent,
    EmbeddingStartEvent,
)
from llama_index.core.schema import BaseNode, MetadataMode
from llama_index_instrumentation import get_dispatcher

from latechunk_integrations.engine import LateChunkEngine, shared_engine
from latechunk_integrations.llama_index.parents import embed_nodes
from latechunk_integrations.options import LateChunkOptions

__all__ = ["LateChunkEmbedding"]

logger = logging.getLogger(__name__)
dispatcher = get_dispatcher(__name__)

_OPTION_NAMES = {field.name for field in fields(LateChunkOptions)} - {"model"}


class LateChunkEmbedding(BaseEmbedding):
    """Embeds nodes with the context of their source, queries with the model's query prompt.

    In ``transformations`` behind any node parser it groups nodes by source and embeds each
    group as one parent; nodes that carry an embedding are left as they are. Asked for plain
    texts, which have no parent, it embeds them standalone and says so once.

    Args:
        model_name: A hub name or a local path.
        engine: A loaded engine instead of a model name.
        metadata_as_header: Let nodes attend to their metadata without pooling it.
        **options: Fields of `LateChunkOptions`, and of LlamaIndex's ``BaseEmbedding``.
    """

    options: dict[str, Any] = Field(description="Every option of the engine.")
    metadata_as_header: bool = Field(
        default=True, description="Attend to metadata instead of pooling it with each chunk."
    )
    _engine: LateChunkEngine | None = PrivateAttr(default=None)
    _warned: bool = PrivateAttr(default=False)

    def __init__(
        self,
        model_name: str = "",
        *,
        engine: LateChunkEngine | None = None,
        options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        flat = {name: kwargs.pop(name) for name in list(kwargs) if name in _OPTION_NAMES}
        if engine is not None:
            checked = engine.options
        else:
            merged = {**(options or {}), **flat}
            checked = LateChunkOptions.from_mapping({**merged, "model": model_name})
        super().__init__(model_name=checked.model, options=checked.to_dict(), **kwargs)  # type: ignore[call-arg]  # the plugin does not see our own fields
        self._engine = engine

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises this class."""
        return "LateChunkEmbedding"

    @property
    def engine(self) -> LateChunkEngine:
        """The engine; loaded on first use, once for a process and its options."""
        if self._engine is None:
            self._engine = shared_engine(LateChunkOptions.from_mapping(self.options))
        return self._engine

    def __getstate__(self) -> dict[str, Any]:
        """Leave the model behind: a worker loads its own."""
        engine, self._engine = self._engine, None
        try:
            return super().__getstate__()
        finally:
            self._engine = engine

    def __call__(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        """Set the embedding of every node that has none; the nodes come back in order."""
        missing = [node for node in nodes if node.embedding is None]
        if not missing:
            return nodes
        dispatcher.event(EmbeddingStartEvent(model_dict=self.to_dict()))
        with self.callback_manager.event(
            CBEventType.EMBEDDING, payload={EventPayload.SERIALIZED: self.to_dict()}
        ) as event:
            embed_nodes(
                self.engine,
                missing,
                metadata_as_header=self.metadata_as_header,
                show_progress=bool(kwargs.get("show_progress")),
            )
            embedded = [node for node in missing if node.embedding is not None]
            chunks = [node.get_content(metadata_mode=MetadataMode.EMBED) for node in embedded]
            vectors = [node.get_embedding() for node in embedded]
            event.on_end({EventPayload.CHUNKS: chunks, EventPayload.EMBEDDINGS: vectors})
        dispatcher.event(EmbeddingEndEvent(chunks=chunks, embeddings=vectors))
        return nodes

    async def acall(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        """The same in a thread, so that the event loop goes on."""
        return await asyncio.to_thread(self.__call__, nodes, **kwargs)

    def _get_query_embedding(self, query: str) -> list[float]:
        vector: list[float] = self.engine.embed_query(query).tolist()
        return vector

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await asyncio.to_thread(self._get_text_embedding, text)

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        if not self._warned:
            self._warned = True
            logger.warning(
                "texts without nodes have no parent and are embedded standalone; put "
                "LateChunkNodeParser or this embed model into `transformations`"
            )
        vectors: list[list[float]] = self.engine.embed_texts(texts).tolist()
        return vectors

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)
