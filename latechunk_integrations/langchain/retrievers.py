"""A retriever over a few long documents, without any vector store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import Field

from latechunk_integrations.langchain.compressors import snippet_documents
from latechunk_integrations.langchain.embeddings import LateChunkEmbeddings
from latechunk_integrations.retrieval.snippets import SnippetOptions

__all__ = ["SnippetRetriever"]


class SnippetRetriever(BaseRetriever):
    """Returns the snippets of long documents that answer a question best.

    Args:
        embeddings: Whose engine scores the chunks.
        documents: What is searched, anew for each question.
        options: Lengths and number of snippets.
    """

    embeddings: LateChunkEmbeddings
    documents: Sequence[Document]
    options: SnippetOptions = Field(default_factory=SnippetOptions)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **_: Any
    ) -> list[Document]:
        del run_manager
        return snippet_documents(self.embeddings, self.documents, query, self.options)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **_: Any
    ) -> list[Document]:
        del run_manager
        return await asyncio.to_thread(
            snippet_documents, self.embeddings, self.documents, query, self.options
        )
