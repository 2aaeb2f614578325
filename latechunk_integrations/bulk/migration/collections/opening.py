"""A collection as a user writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from latechunk_integrations.bulk.migration.migration_settings import MigrationSettings
from latechunk_integrations.bulk.migration.stored_chunks import StoredCollection
from latechunk_integrations.bulk.targets import holds_password
from latechunk_integrations.errors import OptionError

_HERE = "latechunk_integrations.bulk.migration.collections"
_KINDS: Mapping[str, str] = {
    "chroma": "chroma_collection:ChromaCollection",
    "milvus": "milvus_collection:MilvusCollection",
    "pgvector": "pgvector_table:PgvectorTable",
    "qdrant": "qdrant_collection:QdrantCollection",
}


@dataclass(frozen=True)
class CollectionAddress:
    """Where a collection is.

    Args:
        kind: The store.
        place: Path or URL.
        name: Name of the collection or table.
    """

    kind: str
    place: str
    name: str

    @property
    def identity(self) -> str:
        """Names the collection in a checkpoint."""
        return f"{self.kind}:{self.place}#{self.name}"


def parse_collection(collection: str) -> CollectionAddress:
    """Read ``STORE:PLACE#NAME``; a path becomes absolute.

    Raises:
        OptionError: It is not an address, or holds a password.
    """
    kind, _, rest = collection.partition(":")
    place, _, name = rest.rpartition("#")
    if kind not in _KINDS or not (place and name):
        raise OptionError(
            f"the collection {collection!r} is not one of qdrant:FOLDER#NAME, chroma:FOLDER#NAME, "
            "milvus:FILE.db#NAME, a server's URL in place of these, or "
            "pgvector:postgresql://USER@HOST/DATABASE#TABLE"
        )
    if "://" not in place:
        return CollectionAddress(kind, str(Path(place).expanduser().absolute()), name)
    if holds_password(place):
        raise OptionError(
            f"a password does not belong into the address of a {kind} collection, which is logged "
            "and kept in the checkpoint: give it in the environment"
        )
    return CollectionAddress(kind, place, name)


def open_collection(collection: str, settings: MigrationSettings) -> StoredCollection:
    """Connect to a collection that exists.

    Raises:
        OptionError: It cannot be migrated.
        WriterError: It does not answer, or is not there.
        MissingExtraError: The store's client is not installed.
    """
    address = parse_collection(collection)
    module, _, name = _KINDS[address.kind].partition(":")
    kind: Callable[[CollectionAddress, MigrationSettings], Any] = getattr(
        import_module(f"{_HERE}.{module}"), name
    )
    opened: StoredCollection = kind(address, settings)
    return opened
