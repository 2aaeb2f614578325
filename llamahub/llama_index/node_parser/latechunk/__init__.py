"""Late chunking under the name that LlamaHub lists: see `latechunk_integrations.llama_index`."""

from latechunk_integrations.llama_index import (
    LateChunkHierarchicalNodeParser,
    LateChunkNodeParser,
    late_chunking,
    stamp_parents,
)

__all__ = [
    "LateChunkHierarchicalNodeParser",
    "LateChunkNodeParser",
    "late_chunking",
    "stamp_parents",
]
