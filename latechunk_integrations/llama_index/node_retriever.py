"""A retriever over a few long documents, without any vector store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cached_property

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import BaseNode, NodeWithScore, QueryBundle

from latechunk_integrations.llama_index.embedding import LateChunkEmbedding
from latechunk_integrations.llama_index.postprocessors import snippet_node
from latechunk_integrations.retrieval.snippets import SnippetIndex, SnippetOptions


class SnippetNodeRetriever(BaseRetriever):
    """Returns the snippets of long documents that answer a question best.

    The documents are embedded with the first question; their chunk vectors are kept.

    Args:
        embed_model: Whose engine scores the chunks.
        documents: What is searched.
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

    @cached_property
    def _index(self) -> SnippetIndex:
        texts = [document.get_content() for document in self._documents]
        return SnippetIndex(self._embed_model.engine, texts, self._options)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        snippets = self._index.select(query_bundle.query_str)
        return [snippet_node(self._documents[one.index], one) for one in snippets]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)
