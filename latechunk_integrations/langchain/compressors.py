"""Document compressors: snippets of long documents, and links ranked for a crawl."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import ConfigDict, Field

from latechunk_integrations.langchain.embeddings import LateChunkEmbeddings
from latechunk_integrations.retrieval.links import (
    LinkRankingOptions,
    Scorer,
    rank_links,
    read_link,
)
from latechunk_integrations.retrieval.snippets import SnippetOptions, select_snippets

__all__ = ["LinkRankingCompressor", "SnippetCompressor", "snippet_documents"]


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
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks = None,  # LangChain's signature
    ) -> Sequence[Document]:
        """Snippets in the order of the documents; metadata gain place and score."""
        return snippet_documents(self.embeddings, documents, query, self.options)

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks = None
    ) -> Sequence[Document]:
        """The same in a thread."""
        return await asyncio.to_thread(self.compress_documents, documents, query, callbacks)


class LinkRankingCompressor(BaseDocumentCompressor):
    """Ranks documents that stand for links, best first, a few for each host.

    Args:
        scorer: Relevance of texts to the query; ``None``: a cross-encoder.
        options: Weights and limits.
        url_key: Metadata key of the URL; ``n_seen``, ``last_modified`` (ISO 8601 or a
            datetime) and ``date_confidence`` are read beside it.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    scorer: Scorer | None = None
    options: LinkRankingOptions = Field(default_factory=LinkRankingOptions)
    url_key: str = "url"

    def compress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks = None,  # LangChain's signature
    ) -> Sequence[Document]:
        """The kept documents with ``link_score`` in their metadata."""
        links = [read_link(d.page_content, d.metadata, self.url_key) for d in documents]
        ranked = rank_links(query, links, scorer=self.scorer, options=self.options)
        return [
            documents[one.index].model_copy(
                update={"metadata": {**documents[one.index].metadata, "link_score": one.score}}
            )
            for one in ranked
        ]

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks = None
    ) -> Sequence[Document]:
        """The same in a thread."""
        return await asyncio.to_thread(self.compress_documents, documents, query, callbacks)


def snippet_documents(
    embeddings: LateChunkEmbeddings,
    documents: Sequence[Document],
    query: str,
    options: SnippetOptions,
) -> list[Document]:
    """The snippets of documents, as documents with the metadata of where they come from."""
    texts = [document.page_content for document in documents]
    return [
        Document(
            page_content=snippet.text,
            metadata={
                **documents[snippet.index].metadata,
                "start_index": snippet.span.start,
                "snippet_score": snippet.score,
            },
        )
        for snippet in select_snippets(embeddings.engine, query, texts, options=options)
    ]
