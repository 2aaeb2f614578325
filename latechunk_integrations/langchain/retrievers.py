"""What finds, cuts out and ranks: retrievers of snippets and sub-spans, document compressors."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Hashable, Sequence
from functools import cached_property, partial
from typing import Any

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStore
from pydantic import ConfigDict, Field

from latechunk_integrations import marks
from latechunk_integrations.langchain.embeddings import LateChunkEmbeddings
from latechunk_integrations.retrieval.best_of import afetch_best, fetch_best
from latechunk_integrations.retrieval.links import LinkRanker
from latechunk_integrations.retrieval.snippets import (
    Snippet,
    SnippetIndex,
    SnippetOptions,
    select_snippets,
)


class SnippetCompressor(BaseDocumentCompressor):
    """Keeps the snippets of long documents that answer the query best.

    Args:
        embeddings: Whose engine scores the chunks.
        options: Lengths and number of snippets.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    embeddings: LateChunkEmbeddings
    options: SnippetOptions = Field(default_factory=SnippetOptions)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks = None
    ) -> Sequence[Document]:
        """Snippets in the order of the documents, with their metadata and ``snippet_score``.

        ``start_index`` counts in the text that a document's own ``start_index`` counts in, else
        in the document; -1, LangChain's "not found", stays.
        """
        texts = [document.page_content for document in documents]
        snippets = select_snippets(self.embeddings.engine, query, texts, options=self.options)
        return [_snippet_document(documents[one.index], one) for one in snippets]


class LinkRankingCompressor(LinkRanker, BaseDocumentCompressor):
    """Ranks documents that are links, best first, a few for each host.

    Args:
        scorer: Relevance of texts to the query; None: a cross-encoder.
        options: Weights and limits.
        url_key: Metadata key of the URL; for what is read beside it see `LinkRanker`.
    """

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks = None
    ) -> Sequence[Document]:
        """The kept documents with ``link_score`` in their metadata."""
        ranked = self.rank(query, [(one.page_content, one.metadata) for one in documents])
        kept = [(documents[one.index], {"link_score": one.score}) for one in ranked]
        return [one.model_copy(update={"metadata": one.metadata | score}) for one, score in kept]


def _snippet_document(source: Document, snippet: Snippet) -> Document:
    # What names the source as a chunk of a parent goes: a snippet is not one.
    metadata = marks.without_marks(source.metadata)
    shift = marks.read_bound(metadata.get("start_index", 0))
    metadata["snippet_score"] = snippet.score
    metadata["start_index"] = shift + snippet.span.start if shift >= 0 else -1
    return Document(page_content=snippet.text, metadata=metadata)


class SearchingRetriever(BaseRetriever):
    """A retriever with one search, also asked from async code, and ``k`` as a keyword."""

    k: int | None

    @abstractmethod
    def _search(self, query: str, k: Any) -> list[Document]: ...

    async def _asearch(self, query: str, k: Any) -> list[Document]:
        return await asyncio.to_thread(self._search, query, k)

    def _get_relevant_documents(
        self, query: str, *, run_manager: Any, k: int | None = None
    ) -> list[Document]:
        return self._search(query, self.k if k is None else k)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: Any, k: int | None = None
    ) -> list[Document]:
        return await self._asearch(query, self.k if k is None else k)


class SnippetRetriever(SearchingRetriever):
    """Returns the snippets of long documents that answer a question best, without any store.

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
    k: int | None = Field(default=None, ge=1)

    @cached_property
    def _index(self) -> SnippetIndex:
        texts = [document.page_content for document in self.documents]
        return SnippetIndex(self.embeddings.engine, texts, self.options)

    def _search(self, query: str, k: int | None) -> list[Document]:
        snippets = self._index.select(query, k)
        return [_snippet_document(self.documents[one.index], one) for one in snippets]


class SubSpanRetriever(SearchingRetriever):
    """Finds sub-spans in a vector store and gives the chunks that they are parts of.

    A chunk scores as its best sub-span and comes once, with its own id, if it had one;
    ``late_sub_start`` and ``late_sub_end`` say which part of it was found. There are ``k`` chunks
    where the store has as many: more sub-spans are fetched until then.

    Args:
        vectorstore: Any vector store, of documents of `split_sub_spans`.
        k: Number of chunks; also a keyword of ``invoke``.
        search_kwargs: What else the store's search takes, such as ``filter``.
        sub_spans_per_chunk: How many sub-spans are fetched at first for each chunk wanted.
    """

    vectorstore: VectorStore
    k: int = Field(default=4, ge=1)
    search_kwargs: dict[str, Any] = Field(default_factory=dict)
    sub_spans_per_chunk: float = Field(default=3.0, ge=1)

    def _search(self, query: str, k: int) -> list[Document]:
        search = partial(self.vectorstore.similarity_search, query, **self.search_kwargs)
        found = fetch_best(lambda n: search(k=n), _chunk_key, k, per_chunk=self.sub_spans_per_chunk)
        return list(map(_chunk_of, found))

    async def _asearch(self, query: str, k: int) -> list[Document]:
        search = partial(self.vectorstore.asimilarity_search, query, **self.search_kwargs)
        n_parts = self.sub_spans_per_chunk
        found = await afetch_best(lambda n: search(k=n), _chunk_key, k, per_chunk=n_parts)
        return list(map(_chunk_of, found))


def _chunk_key(found: Document) -> Hashable:
    """What sub-spans of one chunk share; another document is a chunk of its own."""
    place = tuple(map(found.metadata.get, marks.PLACE_KEYS))
    if found.metadata.get(marks.SUB_END_KEY) is None or None in place:
        return id(found)
    # Equal documents under two names are two chunks, as they would be without sub-spans.
    return (*place, found.metadata.get(marks.CHUNK_KEY), found.metadata.get("source"))


def _chunk_of(found: Document) -> Document:
    """The chunk that a sub-span was found of; any other document comes back as it is."""
    if found.metadata.get(marks.SUB_END_KEY) is None:
        return found
    metadata = dict(found.metadata)
    name = metadata.pop(marks.CHUNK_KEY, None)  # the sub-span's own id would name a part
    return Document(page_content=found.page_content, metadata=metadata, id=name)
