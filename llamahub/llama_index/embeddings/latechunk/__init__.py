"""Late chunking under the name that LlamaHub lists: see `latechunk_integrations.llama_index`."""

from latechunk_integrations.llama_index import LateChunkEmbedding, PlainEmbedding, late_chunking

__all__ = ["LateChunkEmbedding", "PlainEmbedding", "late_chunking"]
