"""A Milvus collection, whose late vectors are in a second collection of the same ids."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.bulk.migration.chunk_fields import find_fields
from latechunk_integrations.bulk.migration.collections.opening import CollectionAddress
from latechunk_integrations.bulk.migration.migration_settings import MigrationSettings
from latechunk_integrations.bulk.migration.stored_chunks import LateRow, Record, choose_vector
from latechunk_integrations.bulk.writers.milvus import MilvusAccess
from latechunk_integrations.bulk.writers.writer import check_width
from latechunk_integrations.errors import WriterError
from latechunk_integrations.marks import END_KEY, ENGINE_KEY, MODE_KEY, PARENT_KEY, START_KEY

_ROWS = 256
_MARK_BYTES = 64
# What a field of the schema holds where a chunk has no such mark.
_NO_MARK: dict[str, Any] = {
    **dict.fromkeys((ENGINE_KEY, MODE_KEY, PARENT_KEY), ""),
    **dict.fromkeys((START_KEY, END_KEY), -1),
}


class MilvusCollection(MilvusAccess):
    """Records are rows, the old vector aside; dynamic fields are among the others.

    Args:
        address: A file (Milvus Lite) or a server's URL, and the name.
        settings: ``vector``: the field of the old vector, needed where there are several.
            ``late_name``: the suffix of the second collection's name.

    Raises:
        MissingExtraError: pymilvus is not installed.
        OptionError: Which field is the old vector is not clear.
        WriterError: Milvus does not answer, or has no such collection.
    """

    def __init__(self, address: CollectionAddress, settings: MigrationSettings) -> None:
        if "://" not in address.place and not Path(address.place).exists():
            raise WriterError(f"there is no file {address.place} of Milvus Lite")  # or one is made
        marks_path = find_fields("milvus", settings.framework, settings.fields).marks
        super().__init__(address.place, address.name)
        self._late_name = f"{address.name}_{settings.late_name}"
        self._before_name = f"{self._late_name}_before"
        self.identity = address.identity
        self.place_of_late = f"the collection {self._late_name!r}"
        try:
            self._old_name = self._find_old(address)
            self._schema = self._call("describing", "describe_collection", self._old_name)
            self._fields = {field["name"]: field for field in self._schema["fields"]}
            self._key = next(n for n, f in self._fields.items() if f.get("is_primary"))
            self._vector = self._choose_vector(settings.vector)
            self._call("loading", "load_collection", self._old_name)
        except BaseException:
            self._client.close()
            raise
        self._has_mark_fields = not (self._schema.get("enable_dynamic_field") or marks_path)

    def dimensions(self) -> int:
        """Width of the old vectors."""
        return int(self._fields[self._vector]["params"]["dim"])

    def scan(self) -> Iterator[Record]:
        """Every row."""
        rows = self._call(
            "reading", "query_iterator", self._old_name, batch_size=_ROWS, output_fields=["*"]
        )
        try:
            while batch := rows.next():
                yield from map(self._record, batch)
        finally:
            rows.close()

    def fetch(self, keys: Sequence[Any]) -> list[Record]:
        """Rows by their ids."""
        return [self._record(row) for row in self._query(keys, ["*"])]

    def prepare(self, dimensions: int) -> None:
        """Make the second collection: the same fields, and some for marks."""
        if self._exists(self._late_name):
            described = self._call("describing", "describe_collection", self._late_name)
            own = {field["name"]: field for field in described["fields"]}
            width = int(own[self._vector]["params"]["dim"])
            advice = "choose another name for the late vectors"
            check_width(self.place_of_late, width, dimensions, advice)
        else:
            self._make_late(dimensions)
        self._call("loading", "load_collection", self._late_name)

    def write(self, rows: Sequence[LateRow]) -> None:
        """Upsert rows of the same ids and values, and the marks."""
        for at in range(0, len(rows), _ROWS):
            batch = rows[at : at + _ROWS]
            keys = [row.record.key for row in batch]
            others = [n for n, f in self._fields.items() if self._is_vector(f)]
            old = {row[self._key]: row for row in self._query(keys, others)}
            given = [self._make_row(row, old.get(row.record.key, {}), others) for row in batch]
            self._call("writing to", "upsert", self._late_name, given)

    def count(self) -> int:
        """Rows."""
        return self._count(self._old_name)

    def count_late(self) -> int:
        """Rows of the second collection."""
        if not self._exists(self._late_name):
            return 0
        self._call("loading", "load_collection", self._late_name)
        return self._count(self._late_name)

    def search(self, vector: NDArray[np.float32], limit: int, *, late: bool) -> list[Any]:
        """Nearest rows."""
        name = self._late_name if late else self._old_name
        which = {"data": [vector.tolist()], "anns_field": self._vector, "limit": limit}
        found = self._call("a search in", "search", name, **which)
        return [hit["id"] if "id" in hit else hit[self._key] for hit in found[0]]

    def switch(self) -> str:
        """Give the second collection the name of the first."""
        try:
            if self._old_name == self._name:
                self._call("renaming", "rename_collection", self._name, self._before_name)
            self._call("renaming", "rename_collection", self._late_name, self._name)
        except WriterError as error:
            raise WriterError(
                f"Milvus does not rename: let the application open {self._late_name!r} ({error})"
            ) from error
        return f"{self._name!r} holds the late vectors; the old collection is {self._before_name!r}"

    def _find_old(self, address: CollectionAddress) -> str:
        # Where a switch was stopped in the middle, the old one has its new name already.
        for name in (self._name, self._before_name):
            if self._exists(name):
                return name
        raise WriterError(f"there is no collection {self._name!r} in {address.place}")

    def _record(self, row: Any) -> Record:
        values = {name: value for name, value in dict(row).items() if not self._names_vector(name)}
        return Record(values[self._key], values)

    def _make_row(self, row: LateRow, old: dict[str, Any], others: list[str]) -> dict[str, Any]:
        values = dict(row.record.values)
        values |= {name: old[name] for name in others if name in old}
        if row.vector is not None:
            values[self._vector] = row.vector.tolist()
        return {**_NO_MARK, **values} if self._has_mark_fields else values

    def _make_late(self, dimensions: int) -> None:
        if self._schema.get("functions"):
            raise WriterError(
                f"the collection {self._name!r} has functions (such as BM25), which a copy would "
                "lose: make the second collection yourself and index into it"
            )
        schema = self._milvus.MilvusClient.create_schema(
            auto_id=False, enable_dynamic_field=bool(self._schema.get("enable_dynamic_field"))
        )
        for name, field in self._fields.items():
            given = dict(field.get("params") or {})
            if name == self._vector:
                given["dim"] = dimensions
            for key in ("is_primary", "nullable", "element_type", "is_partition_key"):
                if field.get(key):
                    given[key] = field[key]
            schema.add_field(name, field["type"], **given)
        if self._has_mark_fields:
            kinds = self._milvus.DataType
            for name, empty in _NO_MARK.items():
                if name not in self._fields and isinstance(empty, str):
                    schema.add_field(name, kinds.VARCHAR, max_length=_MARK_BYTES)
                elif name not in self._fields:
                    schema.add_field(name, kinds.INT64)
        how = {
            "schema": schema,
            "index_params": self._copy_indexes(),
            "consistency_level": "Strong",
        }
        self._call("making", "create_collection", self._late_name, **how)

    def _copy_indexes(self) -> Any:
        """An index for each vector, compared as in the old collection."""
        indexes = self._client.prepare_index_params()
        for name in self._call("describing", "list_indexes", self._old_name):
            described = self._call("describing", "describe_index", self._old_name, name) or {}
            field, metric = described.get("field_name"), described.get("metric_type")
            if metric and self._names_vector(field):
                indexes.add_index(field, index_type="AUTOINDEX", metric_type=metric)
        return indexes

    def _query(self, keys: Sequence[Any], fields: list[str]) -> list[Any]:
        found: list[Any] = []
        for at in range(0, len(keys), _ROWS):
            ids = json.dumps(list(keys[at : at + _ROWS]), ensure_ascii=False)
            which = {"filter": f"{self._key} in {ids}", "output_fields": fields}
            found += self._call("reading", "query", self._old_name, **which)
        return found

    def _choose_vector(self, wanted: str | None) -> str:
        dense = self._milvus.DataType.FLOAT_VECTOR
        own = [name for name, field in self._fields.items() if field["type"] == dense]
        return choose_vector(f"the collection {self._name!r}", own, wanted)

    def _names_vector(self, name: Any) -> bool:
        return name in self._fields and self._is_vector(self._fields[name])

    def _is_vector(self, field: dict[str, Any]) -> bool:
        return "VECTOR" in self._milvus.DataType(field["type"]).name
