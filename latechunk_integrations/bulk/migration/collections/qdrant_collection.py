"""A Qdrant collection: late vectors are a second vector of each point, or a second collection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.bulk.migration.collections.opening import CollectionAddress
from latechunk_integrations.bulk.migration.migration_settings import MigrationSettings
from latechunk_integrations.bulk.migration.stored_chunks import LateRow, Record, choose_vector
from latechunk_integrations.bulk.writers.qdrant_access import QdrantAccess, may_pass
from latechunk_integrations.bulk.writers.writer import check_width
from latechunk_integrations.errors import WriterError

_POINTS = 256


class QdrantCollection(QdrantAccess):
    """Records are payloads: LangChain's has ``page_content`` and ``metadata``, LlamaIndex' is flat.

    Late vectors are a named vector of each point. An older server cannot add one to a collection:
    there they are in a second collection of the same ids, payloads and other vectors.

    Args:
        address: A folder (local mode) or a server's URL, and the name.
        settings: ``vector``: name of the old vector, needed where there are several.
            ``late_name``: name of the new one.

    Raises:
        MissingExtraError: qdrant-client is not installed.
        OptionError: Which vector is the old one is not clear.
        WriterError: Qdrant does not answer, or has no such collection.
    """

    def __init__(self, address: CollectionAddress, settings: MigrationSettings) -> None:
        super().__init__(address.place, address.name, make_folder=False)
        self._late = settings.late_name
        self._before = f"{self._late}_before"
        self.identity = address.identity
        self._copy_name = f"{address.name}-{settings.late_name}"
        try:
            self._old = self._choose_old(settings.vector)
            self._has_copy = self._exists(self._copy_name)
        except BaseException:
            self._client.close()
            raise

    @property
    def place_of_late(self) -> str:
        """Where late vectors are, in words."""
        if self._has_copy:
            return f"the collection {self._copy_name!r}"
        return f"the vector {self._late!r} of the collection {self._name!r}"

    def dimensions(self) -> int:
        """Width of the old vectors."""
        return int(self._params()[self._old].size)

    def scan(self) -> Iterator[Record]:
        """Every point."""
        offset: Any = None
        while True:
            points, offset = self._call(
                "reading", "scroll", self._name, limit=_POINTS, offset=offset, with_payload=True
            )
            yield from (Record(point.id, point.payload or {}) for point in points)
            if offset is None:
                return

    def fetch(self, keys: Sequence[Any]) -> list[Record]:
        """Points by their ids."""
        found: list[Record] = []
        for points in self._retrieve(keys, with_payload=True, with_vectors=False):
            found += [Record(point.id, point.payload or {}) for point in points]
        return found

    def prepare(self, dimensions: int) -> None:
        """Add the named vector, compared as the old one is, or make the second collection."""
        distance = self._params()[self._old].distance
        if not self._has_copy and not self._add_vector(self._late, dimensions, distance):
            self._make_copy(dimensions)
        if self._has_copy:
            self._check_width(self._params(self._copy_name)[self._old], dimensions)

    def write(self, rows: Sequence[LateRow]) -> None:
        """Set vectors, and those parts of the payloads that changed."""
        for at in range(0, len(rows), _POINTS):
            batch = rows[at : at + _POINTS]
            if self._has_copy:
                self._write_copy(batch)
                continue
            vectors = self._old_vectors([r.record.key for r in batch if r.vector is None])
            given = {r.record.key: r.vector.tolist() for r in batch if r.vector is not None}
            vectors |= given
            self._update(self._late, vectors)
            self._set_payloads([row.record for row in batch if row.vector is not None])

    def count(self) -> int:
        """Points."""
        return self._count(self._name)

    def count_late(self) -> int:
        """Points that have the named vector, or those of the second collection."""
        if self._has_copy:
            return self._count(self._copy_name)
        if self._late not in self._params():
            return 0
        has = self._models.Filter(must=[self._models.HasVectorCondition(has_vector=self._late)])
        return self._count(self._name, count_filter=has)

    def search(self, vector: NDArray[np.float32], limit: int, *, late: bool) -> list[Any]:
        """Nearest points."""
        using = self._late if late and not self._has_copy else self._old
        name = self._copy_name if late and self._has_copy else self._name
        which = {"query": vector.tolist(), "using": using or None, "limit": limit}
        found = self._call("a search in", "query_points", name, **which)
        return [point.id for point in found.points]

    def switch(self) -> str:
        """Copy the old vectors to another name, then the late ones over them."""
        if self._has_copy:
            raise WriterError(
                f"this Qdrant cannot keep two vectors in {self._name!r}: let the application open "
                f"the collection {self._copy_name!r}"
            )
        params = self._params()
        late, old = params[self._late], params[self._old]
        shown = f"the vector {self._old!r}" if self._old else "the unnamed vector"
        if late.size != old.size:
            raise WriterError(
                f"{shown} has {old.size} numbers, the late one {late.size}: it cannot take its "
                f"place. Let the application search {self._late!r} (LangChain: vector_name="
                f"{self._late!r}), or index into a new collection"
            )
        if self._before not in params:
            self._add_vector(self._before, int(old.size), old.distance)
        self._copy(self._old, self._before, only_missing=True)
        self._copy(self._late, self._old, only_missing=False)
        return f"{shown} of {self._name!r} is the late one; the old one is {self._before!r}"

    def _copy(self, source: str, target: str, *, only_missing: bool) -> None:
        """Copy one vector of every point to another name.

        What was copied aside is never copied again: after a stop in the middle it would be late
        vectors that are put aside.
        """
        keys = [record.key for record in self.scan()]
        for points in self._retrieve(keys, with_payload=False, with_vectors=True):
            vectors = {
                point.id: point.vector[source]
                for point in points
                if source in point.vector and not (only_missing and target in point.vector)
            }
            self._update(target, vectors)

    def _update(self, name: str, vectors: dict[Any, Any]) -> None:
        points = [
            self._models.PointVectors(id=key, vector={name: vector})
            for key, vector in vectors.items()
        ]
        if points:
            self._call("writing to", "update_vectors", self._name, points, wait=True)

    def _set_payloads(self, records: Sequence[Record]) -> None:
        stored = {each.key: each.values for each in self.fetch([r.key for r in records])}
        operations = []
        for record in records:
            old = stored.get(record.key, {})
            changed = {k: v for k, v in record.values.items() if k not in old or old[k] != v}
            if changed:
                payload = self._models.SetPayload(payload=changed, points=[record.key])
                operations.append(self._models.SetPayloadOperation(set_payload=payload))
        if operations:
            self._call("writing to", "batch_update_points", self._name, operations, wait=True)

    def _old_vectors(self, keys: Sequence[Any]) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for points in self._retrieve(keys, with_payload=False, with_vectors=True):
            found |= {point.id: point.vector[self._old] for point in points}
        return found

    def _retrieve(self, keys: Sequence[Any], **what: bool) -> Iterator[list[Any]]:
        for at in range(0, len(keys), _POINTS):
            ids = list(keys[at : at + _POINTS])
            yield self._call("reading", "retrieve", self._name, ids, **what)

    def _add_vector(self, name: str, size: int, distance: Any) -> bool:
        """Make room for a named vector; False where the client or the server cannot."""
        existing = self._params().get(name)
        if existing is not None:
            self._check_width(existing, size)
            return True
        if not hasattr(self._client, "create_vector_name"):
            return False
        config = self._models.DenseVectorNameConfig(
            dense=self._models.DenseVectorConfig(size=size, distance=distance)
        )
        try:
            self._call("adding a vector to", "create_vector_name", self._name, name, config)
        except WriterError as error:
            if error.__cause__ is None or may_pass(error.__cause__):
                raise
            return False
        return True

    def _check_width(self, params: Any, size: int) -> None:
        advice = "choose another name for the late vectors"
        check_width(self.place_of_late, params.size, size, advice)

    def _make_copy(self, dimensions: int) -> None:
        """A collection like the old one, but for the width of the vector that is searched."""
        given = self._call("describing", "get_collection", self._name).config.params
        late = self._params()[self._old].model_copy(update={"size": dimensions})
        dense = {**self._params(), self._old: late} if isinstance(given.vectors, dict) else late
        kinds = {"vectors_config": dense, "sparse_vectors_config": given.sparse_vectors}
        self._call("making a copy of", "create_collection", self._copy_name, **kinds)
        self._has_copy = True

    def _write_copy(self, rows: Sequence[LateRow]) -> None:
        keys = [row.record.key for row in rows]
        held: dict[Any, Any] = {}
        for points in self._retrieve(keys, with_payload=False, with_vectors=True):
            held |= {point.id: point.vector for point in points}
        made = []
        for row in rows:
            old = held.get(row.record.key, {})
            vectors = dict(old) if isinstance(old, dict) else {self._old: old}
            if row.vector is not None:
                vectors[self._old] = row.vector.tolist()
            # An unnamed vector comes as it is, where there is no other.
            given = vectors[""] if list(vectors) == [""] else vectors
            made.append(
                self._models.PointStruct(
                    id=row.record.key, vector=given, payload=dict(row.record.values)
                )
            )
        self._call("writing to", "upsert", self._copy_name, made, wait=True)

    def _choose_old(self, wanted: str | None) -> str:
        own = [name for name in self._params() if name not in (self._late, self._before)]
        return choose_vector(f"the collection {self._name!r}", own, wanted)

    def _params(self, collection: str = "") -> dict[str, Any]:
        """Parameters of the dense vectors by name; an unnamed one is called ``""``."""
        name = collection or self._name
        if not self._exists(name):
            raise WriterError(f"there is no collection {name!r}")
        vectors = self._call("describing", "get_collection", name).config.params.vectors
        return dict(vectors) if isinstance(vectors, dict) else {"": vectors} if vectors else {}
