"""The LlamaIndex pair.

`llama_index` inside these modules is the framework; this package is
`latechunk_integrations.llama_index`.
"""

try:
    import llama_index.core  # noqa: F401
except ImportError as error:
    from latechunk_integrations.errors import MissingExtraError

    raise MissingExtraError("llama_index.core", extra="llama-index") from error

from latechunk_integrations.llama_index.embedding import LateChunkEmbedding
from latechunk_integrations.llama_index.hierarchical import LateChunkHierarchicalNodeParser
from latechunk_integrations.llama_index.left_out import FailedParent
from latechunk_integrations.llama_index.node_parser import LateChunkNodeParser
from latechunk_integrations.llama_index.plain import PlainEmbedding
from latechunk_integrations.llama_index.postprocessors import (
    LinkRankingPostprocessor,
    SnippetNodeRetriever,
    SnippetPostprocessor,
)
from latechunk_integrations.llama_index.property_graph import LateChunkPropertyGraphIndex
from latechunk_integrations.llama_index.sources import JoinedDocument, stamp_parents
from latechunk_integrations.llama_index.sub_span_nodes import (
    SubSpanNodeParser,
    SubSpanNodeRetriever,
)
from latechunk_integrations.llama_index.wiring import LateChunkParts, late_chunking

__all__ = [
    "FailedParent",
    "JoinedDocument",
    "LateChunkEmbedding",
    "LateChunkHierarchicalNodeParser",
    "LateChunkNodeParser",
    "LateChunkParts",
    "LateChunkPropertyGraphIndex",
    "LinkRankingPostprocessor",
    "PlainEmbedding",
    "SnippetNodeRetriever",
    "SnippetPostprocessor",
    "SubSpanNodeParser",
    "SubSpanNodeRetriever",
    "late_chunking",
    "stamp_parents",
]
