"""Every parent of a collection, in bounded memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from latechunk_integrations.bulk.migration.chunk_fields import ChunkFields, find_fields
from latechunk_integrations.bulk.migration.collections.opening import parse_collection
from latechunk_integrations.bulk.migration.migration_settings import MigrationSettings
from latechunk_integrations.bulk.migration.rebuilding import RebuiltParent, Unplaced, rebuild_parent
from latechunk_integrations.bulk.migration.source_folder import SourceFolder
from latechunk_integrations.bulk.migration.stored_chunks import (
    Record,
    StoredChunk,
    StoredCollection,
    read_chunk,
)

# Names chunks without a source, a batch of them at a time.
_NO_SOURCE = "\x00no source"


class ParentStream:
    """Every parent of a collection, in bounded memory: ids first, then parent after parent."""

    def __init__(
        self, collection: StoredCollection, spec: str, settings: MigrationSettings
    ) -> None:
        kind = parse_collection(spec).kind
        self.fields: ChunkFields = find_fields(kind, settings.framework, settings.fields)
        self._collection = collection
        self._settings = settings
        self._by_file = settings.source_folder is not None
        self._keys: dict[str | None, list[Any]] = defaultdict(list)
        for record in collection.scan():
            chunk = self._read(record)
            self._keys[chunk.source].append(record.key)
        self._files: SourceFolder | None = None
        if settings.source_folder is not None:
            names = [name for name in self._keys if name is not None]
            self._files = SourceFolder(settings.source_folder, names, settings.max_file_bytes)

    @property
    def n_parents(self) -> int:
        """How many sources there are."""
        return len(self._keys)

    def run(self) -> Iterator[RebuiltParent]:
        """Rebuild one after the other."""
        for source in sorted(self._keys, key=lambda name: (name is None, name or "")):
            if source is None:
                yield from self._without_source()
                continue
            chunks = [self._read(each) for each in self._collection.fetch(self._keys[source])]
            yield self._rebuild(source, chunks)

    def _rebuild(self, source: str, chunks: Sequence[StoredChunk]) -> RebuiltParent:
        if self._files is None:
            return rebuild_parent(source, chunks)
        found = self._files.read(source)
        if found.text is None:
            lost = tuple(Unplaced(chunk, found.reason) for chunk in chunks)
            return RebuiltParent(source, "nothing", unplaced=lost)
        return rebuild_parent(source, chunks, found.text)

    def _without_source(self) -> Iterator[RebuiltParent]:
        keys, size = self._keys[None], self._settings.batch_chunks
        for at in range(0, len(keys), size):
            records = self._collection.fetch(keys[at : at + size])
            lost = tuple(Unplaced(self._read(record), "no_source") for record in records)
            yield RebuiltParent(f"{_NO_SOURCE} {at}", "nothing", unplaced=lost)

    def _read(self, record: Record) -> StoredChunk:
        return read_chunk(record, self.fields, by_file=self._by_file)
