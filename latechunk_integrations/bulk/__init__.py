"""A whole corpus into a table or a vector store: with Ray, or in one process."""

from latechunk_integrations.bulk.chunking import Chunking
from latechunk_integrations.bulk.index_settings import IndexSettings
from latechunk_integrations.bulk.index_summary import IndexSummary
from latechunk_integrations.bulk.indexing import index
from latechunk_integrations.bulk.ray_dataset import embed_dataset
from latechunk_integrations.bulk.ray_writer import write_chunks
from latechunk_integrations.bulk.rows import Columns, CorpusDocument

__all__ = [
    "Chunking",
    "Columns",
    "CorpusDocument",
    "IndexSettings",
    "IndexSummary",
    "embed_dataset",
    "index",
    "write_chunks",
]
