"""A Chroma collection, whose late vectors are in a second collection of the same ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.bulk.migration.collections.opening import CollectionAddress
from latechunk_integrations.bulk.migration.migration_settings import MigrationSettings
from latechunk_integrations.bulk.migration.stored_chunks import LateRow, Record
from latechunk_integrations.bulk.writers.chroma import ChromaAccess
from latechunk_integrations.bulk.writers.writer import check_width
from latechunk_integrations.errors import WriterError

_ROWS = 256


class ChromaCollection(ChromaAccess):
    """Records have ``document``, the text, and ``metadata``.

    Args:
        address: A folder or a server's URL, and the name.
        settings: ``late_name``: the suffix of the second collection's name.

    Raises:
        MissingExtraError: chromadb is not installed.
        WriterError: Chroma does not answer, or has no such collection.
    """

    def __init__(self, address: CollectionAddress, settings: MigrationSettings) -> None:
        super().__init__(address.place, address.name, must_exist=True)
        self._late_name = f"{address.name}-{settings.late_name}"
        self._before_name = f"{self._late_name}-before"
        self.identity = address.identity
        self.place_of_late = f"the collection {self._late_name!r}"
        self._old = self._find(self._name)
        self._late = self._find(self._late_name)
        if self._old is None and self._late is not None:
            self._old = self._find(self._before_name)  # a switch was stopped in the middle
        if self._old is None:
            raise WriterError(f"there is no collection {self._name!r} in {address.place}")

    def dimensions(self) -> int:
        """Width of the old vectors."""
        return self._find_width(self._old)

    def scan(self) -> Iterator[Record]:
        """Every row."""
        offset = 0
        while records := self._get(limit=_ROWS, offset=offset):
            yield from records
            offset += len(records)

    def fetch(self, keys: Sequence[Any]) -> list[Record]:
        """Rows by their ids."""
        found: list[Record] = []
        for at in range(0, len(keys), _ROWS):
            found += self._get(ids=list(keys[at : at + _ROWS]))
        return found

    def prepare(self, dimensions: int) -> None:
        """Make the second collection as the first one is, distance and metadata alike."""
        if self._late is not None:
            if width := self._find_width(self._late):
                advice = "choose another name for the late vectors"
                check_width(self.place_of_late, width, dimensions, advice)
            return
        space = self._old.configuration_json.get("hnsw") or {}
        self._late = self._repeat(
            lambda: self._client.create_collection(
                self._late_name,
                metadata=self._old.metadata,
                configuration={"hnsw": {"space": space.get("space") or "l2"}},
                embedding_function=None,
            ),
            "making",
        )

    def write(self, rows: Sequence[LateRow]) -> None:
        """Upsert rows of the same ids, documents and metadata, and the marks."""
        for at in range(0, len(rows), _ROWS):
            batch = rows[at : at + _ROWS]
            old = self._old_vectors([row.record.key for row in batch if row.vector is None])
            vectors = [old[r.record.key] if r.vector is None else r.vector for r in batch]
            self._repeat(
                lambda batch=batch, vectors=vectors: self._late.upsert(
                    ids=[row.record.key for row in batch],
                    embeddings=[np.asarray(vector, np.float32) for vector in vectors],
                    documents=[row.record.values["document"] for row in batch],
                    metadatas=[row.record.values["metadata"] or None for row in batch],
                ),
                "writing to",
            )

    def count(self) -> int:
        """Rows."""
        return int(self._repeat(self._old.count, "counting"))

    def count_late(self) -> int:
        """Rows of the second collection."""
        return 0 if self._late is None else int(self._repeat(self._late.count, "counting"))

    def search(self, vector: NDArray[np.float32], limit: int, *, late: bool) -> list[Any]:
        """Nearest rows."""
        where = self._late if late else self._old
        found = self._repeat(
            lambda: where.query(query_embeddings=[vector], n_results=limit, include=[]),
            "a search in",
        )
        return list(found["ids"][0])

    def switch(self) -> str:
        """Give the second collection the name of the first."""
        if self._find(self._name) is not None:
            self._repeat(lambda: self._old.modify(name=self._before_name), "renaming")
        self._repeat(lambda: self._late.modify(name=self._name), "renaming")
        return f"{self._name!r} holds the late vectors; the old collection is {self._before_name!r}"

    def _get(self, **what: Any) -> list[Record]:
        found = self._repeat(
            lambda: self._old.get(include=["documents", "metadatas"], **what), "reading"
        )
        rows = zip(found["ids"], found["documents"], found["metadatas"], strict=True)
        return [
            Record(key, {"document": document, "metadata": dict(metadata or {})})
            for key, document, metadata in rows
        ]

    def _old_vectors(self, keys: list[Any]) -> dict[Any, Any]:
        if not keys:
            return {}
        found = self._repeat(lambda: self._old.get(ids=keys, include=["embeddings"]), "reading")
        return dict(zip(found["ids"], found["embeddings"], strict=True))

    def _find(self, name: str) -> Any:
        names = self._repeat(
            lambda: [each.name for each in self._client.list_collections()], "looking for"
        )
        if name not in names:
            return None
        return self._repeat(
            lambda: self._client.get_collection(name, embedding_function=None), "opening"
        )
