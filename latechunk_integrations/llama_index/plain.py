"""An engine's plain vectors under LlamaIndex's interface: queries, and texts without a parent."""

from __future__ import annotations

import asyncio
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import Field, SerializeAsAny

from latechunk_integrations.engine import LateChunkEngine


class EngineEmbedding(BaseEmbedding):
    """What LlamaIndex asks of an embed model, by an engine: queries and standalone texts."""

    def _loaded_engine(self) -> LateChunkEngine:
        """The engine; loaded on first use."""
        raise NotImplementedError

    def _get_query_embedding(self, query: str) -> list[float]:
        vector: list[float] = self._loaded_engine().embed_query(query).tolist()
        return vector

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await asyncio.to_thread(self._get_text_embedding, text)

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = self._loaded_engine().embed_texts(texts).tolist()
        return vectors

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)


class PlainEmbedding(EngineEmbedding):
    """Embeds texts and nodes standalone, as LlamaIndex's own embeddings do.

    Made by `LateChunkEmbedding.plain`, with which it shares the engine: its vectors are in the
    same space. It counts and marks nothing.

    Args:
        late: The embed model whose engine is used.
    """

    late: SerializeAsAny[EngineEmbedding] = Field(description="Whose engine is used.")

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises this class."""
        return "PlainEmbedding"

    def _loaded_engine(self) -> LateChunkEngine:
        return self.late._loaded_engine()  # noqa: SLF001  # of our own class

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """What vectors depend on, for the keys of ingestion caches."""
        return {"class_name": self.class_name(), "late": self.late.to_dict(**kwargs)}
