"""Retrievers that search by themselves: a few long documents, without any vector store."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import Field

from latechunk_integrations.langchain.compressors import snippet_document
from latechunk_integrations.langchain.embeddings import LateChunkEmbeddings
from latechunk_integrations.retrieval.snippets import SnippetIndex, SnippetOptions

__all__ = ["SearchingRetriever", "SnippetRetriever"]


class SearchingRetriever(BaseRetriever):
    """A retriever with one blocking search, also asked from async code, and ``k`` as a keyword."""

    @abstractmethod
    def _search(self, query: str, k: int | None) -> list[Document]:
        """The documents of a question; ``k`` is None where none was given."""

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        del run_manager
        return self._search(query, k)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        del run_manager
        return await asyncio.to_thread(self._search, query, k)


class SnippetRetriever(SearchingRetriever):
    """Returns the snippets of long documents that answer a question best.

    The documents are embedded with the first question; their chunk vectors are kept.

    Args:
        embeddings: Whose engine scores the chunks.
        documents: What is searched; not to be changed after the first question.
        options: Lengths and number of snippets.
        k: Number of snippets, exactly, where the documents have as many; also a keyword of
            ``invoke``. None: that of the options, less where chosen neighbours are merged.
    """

    embeddings: LateChunkEmbeddings
    documents: Sequence[Document]
    options: SnippetOptions = Field(default_factory=SnippetOptions)
    k: int | None = None

    @cached_property
    def _index(self) -> SnippetIndex:
        texts = [document.page_content for document in self.documents]
        return SnippetIndex(self.embeddings.engine, texts, self.options)

    def _search(self, query: str, k: int | None) -> list[Document]:
        snippets = self._index.select(query, k or self.k)
        return [snippet_document(self.documents[one.index], one) for one in snippets]
