"""A retriever over a few long documents, without any vector store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import BaseNode, NodeWithScore, QueryBundle

from latechunk_integrations.llama_index.embedding import LateChunkEmbedding
from latechunk_integrations.llama_index.postprocessors import snippet_nodes
from latechunk_integrations.retrieval.snippets import SnippetOptions

__all__ = ["SnippetRetriever"]


class SnippetRetriever(BaseRetriever):
    """Returns the snippets of long documents that answer a question best.

    Args:
        embed_model: Whose engine scores the chunks.
        documents: What is searched, anew for each question.
        options: Lengths and number of snippets.
    """

    def __init__(
        self,
        embed_model: LateChunkEmbedding,
        documents: Sequence[BaseNode],
        options: SnippetOptions | None = None,
    ) -> None:
        super().__init__()
        self._embed_model = embed_model
        self._documents = list(documents)
        self._options = options or SnippetOptions()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return snippet_nodes(
            self._embed_model, self._documents, query_bundle.query_str, self._options
        )

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)
