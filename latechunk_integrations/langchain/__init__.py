"""The LangChain pair."""

try:
    import langchain_core  # noqa: F401
    import langchain_text_splitters  # noqa: F401
except ImportError as error:
    from latechunk_integrations.errors import MissingExtraError

    raise MissingExtraError(error.name or "langchain_core", extra="langchain") from error

from latechunk_integrations.langchain.attach import attach
from latechunk_integrations.langchain.chunk_text import ChunkText
from latechunk_integrations.langchain.embeddings import LateChunkEmbeddings, PlainEmbeddings
from latechunk_integrations.langchain.multivectors import (
    MultivectorRetriever,
    add_multivectors,
    create_multivectors,
)
from latechunk_integrations.langchain.parent_store import BoundedStore
from latechunk_integrations.langchain.retrievers import (
    LinkRankingCompressor,
    SnippetCompressor,
    SnippetRetriever,
    SubSpanRetriever,
)
from latechunk_integrations.langchain.store_proxy import (
    LateChunkVectorStore,
    aadd_late_chunks,
    add_late_chunks,
)
from latechunk_integrations.langchain.sub_span_documents import split_sub_spans
from latechunk_integrations.langchain.text_splitter import (
    LateChunkPair,
    LateChunkTextSplitter,
    late_chunking,
)

__all__ = [
    "BoundedStore",
    "ChunkText",
    "LateChunkEmbeddings",
    "LateChunkPair",
    "LateChunkTextSplitter",
    "LateChunkVectorStore",
    "LinkRankingCompressor",
    "MultivectorRetriever",
    "PlainEmbeddings",
    "SnippetCompressor",
    "SnippetRetriever",
    "SubSpanRetriever",
    "aadd_late_chunks",
    "add_late_chunks",
    "add_multivectors",
    "attach",
    "create_multivectors",
    "late_chunking",
    "split_sub_spans",
]
