"""A whole corpus into a table or a vector store: with Ray, or in one process."""

from latechunk_integrations.bulk.auditing import StoreAudit, audit
from latechunk_integrations.bulk.chunking import Chunking
from latechunk_integrations.bulk.index_settings import IndexSettings
from latechunk_integrations.bulk.index_summary import IndexSummary
from latechunk_integrations.bulk.indexing import index
from latechunk_integrations.bulk.migration.migrating import migrate, plan_migration, switch_vectors
from latechunk_integrations.bulk.migration.migration_settings import (
    MigrationPlan,
    MigrationSettings,
    MigrationSummary,
)
from latechunk_integrations.bulk.migration.stored_search import (
    AskedQuestion,
    StoreQuestion,
    ask_both,
)
from latechunk_integrations.bulk.planning import IndexPlan, plan_index
from latechunk_integrations.bulk.ray_dataset import embed_dataset
from latechunk_integrations.bulk.ray_writer import write_chunks
from latechunk_integrations.bulk.repairing import RepairSummary, repair
from latechunk_integrations.bulk.rows import Columns, CorpusDocument
from latechunk_integrations.bulk.verification import Damage, Verification, verify

__all__ = [
    "AskedQuestion",
    "Chunking",
    "Columns",
    "CorpusDocument",
    "Damage",
    "IndexPlan",
    "IndexSettings",
    "IndexSummary",
    "MigrationPlan",
    "MigrationSettings",
    "MigrationSummary",
    "RepairSummary",
    "StoreAudit",
    "StoreQuestion",
    "Verification",
    "ask_both",
    "audit",
    "embed_dataset",
    "index",
    "migrate",
    "plan_index",
    "plan_migration",
    "repair",
    "switch_vectors",
    "verify",
    "write_chunks",
]
