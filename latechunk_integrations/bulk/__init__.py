"""A whole corpus into a table or a vector store: with Ray, or in one process."""

from latechunk_integrations.bulk.auditing import StoreAudit, audit
from latechunk_integrations.bulk.chunking import Chunking
from latechunk_integrations.bulk.index_settings import IndexSettings
from latechunk_integrations.bulk.index_summary import IndexSummary
from latechunk_integrations.bulk.indexing import index
from latechunk_integrations.bulk.planning import IndexPlan, plan_index
from latechunk_integrations.bulk.ray_dataset import embed_dataset
from latechunk_integrations.bulk.ray_writer import write_chunks
from latechunk_integrations.bulk.repairing import RepairSummary, repair
from latechunk_integrations.bulk.rows import Columns, CorpusDocument
from latechunk_integrations.bulk.verification import Damage, Verification, verify

__all__ = [
    "Chunking",
    "Columns",
    "CorpusDocument",
    "Damage",
    "IndexPlan",
    "IndexSettings",
    "IndexSummary",
    "RepairSummary",
    "StoreAudit",
    "Verification",
    "audit",
    "embed_dataset",
    "index",
    "plan_index",
    "repair",
    "verify",
    "write_chunks",
]
