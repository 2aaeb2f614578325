"""Document compressors: snippets of long documents, and links ranked for a crawl."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import ConfigDict, Field

from latechunk_integrations.langchain.embeddings import LateChunkEmbeddings
from latechunk_integrations.marks import VECTOR_KEYS
from latechunk_integrations.retrieval.links import (
    LinkRankingOptions,
    Scorer,
    rank_documents,
)
from latechunk_integrations.retrieval.snippets import Snippet, SnippetOptions, select_snippets

__all__ = ["LinkRankingCompressor", "SnippetCompressor", "snippet_document"]


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
        """Snippets in the order of the documents; see `snippet_document`."""
        texts = [document.page_content for document in documents]
        snippets = select_snippets(self.embeddings.engine, query, texts, options=self.options)
        return [snippet_document(documents[one.index], one) for one in snippets]


class LinkRankingCompressor(BaseDocumentCompressor):
    """Ranks documents that are links, best first, a few for each host.

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
        given = [(document.page_content, document.metadata) for document in documents]
        ranked = rank_documents(
            query, given, self.url_key, scorer=self.scorer, options=self.options
        )
        return [
            documents[one.index].model_copy(
                update={"metadata": {**documents[one.index].metadata, "link_score": one.score}}
            )
            for one in ranked
        ]


def snippet_document(source: Document, snippet: Snippet) -> Document:
    """A snippet as a document with the metadata of the one that it is cut from.

    ``snippet_score`` is added. ``start_index`` counts in the text that the source's own
    ``start_index`` counts in, else in the source; -1, LangChain's "not found", stays. What names
    the source as a chunk of a parent goes: a snippet is not one.
    """
    metadata = {key: value for key, value in source.metadata.items() if key not in VECTOR_KEYS}
    shift = metadata.get("start_index", 0)
    metadata["snippet_score"] = snippet.score
    metadata["start_index"] = shift + snippet.span.start if shift >= 0 else -1
    return Document(page_content=snippet.text, metadata=metadata)
