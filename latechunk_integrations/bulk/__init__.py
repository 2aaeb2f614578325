"""A whole corpus into a table or a vector store: with Ray, or in one process."""

from latechunk_integrations.bulk.ray_dataset import embed_dataset
from latechunk_integrations.bulk.ray_writer import write_chunks
from latechunk_integrations.bulk.run import IndexSettings, IndexSummary, index

__all__ = ["IndexSettings", "IndexSummary", "embed_dataset", "index", "write_chunks"]
