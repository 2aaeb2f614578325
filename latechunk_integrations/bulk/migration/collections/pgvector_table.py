"""A PostgreSQL table with pgvector, whose late vectors are a second column of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.bulk.migration.chunk_fields import find_fields
from latechunk_integrations.bulk.migration.collections.opening import CollectionAddress
from latechunk_integrations.bulk.migration.migration_settings import MigrationSettings
from latechunk_integrations.bulk.migration.stored_chunks import LateRow, Record, choose_vector
from latechunk_integrations.bulk.writers.postgres import PostgresAccess, format_vector
from latechunk_integrations.bulk.writers.writer import check_width
from latechunk_integrations.errors import OptionError, WriterError
from latechunk_integrations.marks import VECTOR_KEYS

_ROWS = 500
_LANGCHAIN_TABLE = "langchain_pg_embedding"
# pg_attribute says of a vector(n) column n, of a vector column -1.
_COLUMNS = """
    select a.attname, format_type(a.atttypid, null), a.atttypmod,
           coalesce(i.indisprimary and i.indnatts = 1, false)
    from pg_attribute a left join pg_index i
        on i.indrelid = a.attrelid and i.indisprimary and a.attnum = any(i.indkey)
    where a.attrelid = to_regclass(%s) and a.attnum > 0 and not a.attisdropped
"""


class _Column(NamedTuple):
    """A column as the catalogue describes it."""

    type: str
    width: int
    is_key: bool


class PgvectorTable(PostgresAccess):
    """Records are rows as JSON, vectors aside.

    LangChain's PGVector keeps all collections in one table, with ``document`` and ``cmetadata``;
    rows of its PGVectorStore are given these names too. LlamaIndex has a table for each index,
    with ``text``, ``metadata_`` and ``node_id``.

    Args:
        address: ``postgresql://USER@HOST/DATABASE``, and the table, or LangChain's collection.
        settings: ``vector``: the column of the old vector, needed where there are several;
            ``late_name``: that of the new one; ``fields["id"]``: that of the id, if it is not the
            primary key.

    Raises:
        MissingExtraError: psycopg is not installed.
        OptionError: Which column is the id or the old vector is not clear.
        WriterError: PostgreSQL does not answer, or has no such table.
    """

    def __init__(self, address: CollectionAddress, settings: MigrationSettings) -> None:
        self._fields = find_fields("pgvector", settings.framework, settings.fields)
        super().__init__(address.place, address.name)
        self._late = settings.late_name
        self._before = f"{self._late}_before"
        self._other_marks = f"{self._late}_marks"
        self.identity = address.identity
        try:
            self._open(address.name, settings)
        except BaseException:
            self._connection.close()
            raise
        self.place_of_late = f"the column {self._late!r} of the table {self._name!r}"

    def _open(self, name: str, settings: MigrationSettings) -> None:
        self._collection = self._find_collection(name, settings)
        if self._collection is not None:
            self._name = _LANGCHAIN_TABLE
        columns = self._columns()
        if not columns:
            raise WriterError(f"there is no table {self._name!r}")
        self._key = self._choose_key(columns)
        self._old = self._choose_old(columns, settings.vector)
        self._json = self._fields.marks.partition(".")[0]
        if self._json == "cmetadata" and "langchain_metadata" in columns:
            self._json = "langchain_metadata"
        if self._json and self._json not in columns:
            raise OptionError(
                f"the table {self._name!r} has no column {self._json!r} for metadata: check "
                "--from-framework, or name another with --field marks=COLUMN"
            )

    def dimensions(self) -> int:
        """Width of the old vectors."""
        query = "select vector_dims({old}) from {table} where {old} is not null and {own} limit 1"
        found = self._fetch(query)
        return int(found[0][0]) if found else 0

    def scan(self) -> Iterator[Record]:
        """Every row."""
        with self._failing("reading"), self._connection.cursor(name="scan") as cursor:
            cursor.itersize = _ROWS
            cursor.execute(self._compose("select {key}::text, {row} from {table} where {own}"))
            for key, values in cursor:
                yield self._record(key, values)
        self._connection.commit()

    def fetch(self, keys: Sequence[Any]) -> list[Record]:
        """Rows by their ids."""
        query = "select {key}::text, {row} from {table} where {key} = any({keys}) and {own}"
        return [self._record(key, values) for key, values in self._fetch(query, [list(keys)])]

    def prepare(self, dimensions: int) -> None:
        """Add the column, and one for marks where no metadata are."""
        late = self._columns().get(self._late)
        if late is not None and late.width != -1:
            advice = "choose another name for the late vectors"
            check_width(self.place_of_late, late.width, dimensions, advice)
        add = "alter table {table} add column if not exists {late} vector({width})"
        self._execute(add, width=self._sql.Literal(dimensions))
        if not self._json:
            self._execute("alter table {table} add column if not exists {marks} jsonb")

    def write(self, rows: Sequence[LateRow]) -> None:
        """Set the late vector and the metadata of each row, all of them or none."""
        kept = [row.record.key for row in rows if row.vector is None]
        column = self._json or self._other_marks
        kind = self._columns()[column].type
        set_both = "update {table} set {late} = %s::vector, {json} = %s::{kind} where {key} = {one}"
        query = self._compose(set_both, json=self._sql.Identifier(column), kind=self._sql.SQL(kind))
        values = [
            (format_vector(row.vector), self._metadata(row.record), row.record.key)
            for row in rows
            if row.vector is not None
        ]
        with self._failing("writing to"), self._connection.transaction():
            with self._connection.cursor() as cursor:
                cursor.executemany(query, values)
            if kept:
                copy = "update {table} set {late} = {old} where {key} = any({keys}) and {own}"
                self._connection.execute(self._compose(copy), [kept])
        self._connection.commit()

    def count(self) -> int:
        """Rows with an old vector."""
        return int(self._fetch("select count({old}) from {table} where {own}")[0][0])

    def count_late(self) -> int:
        """Rows with an old and a late vector."""
        if self._late not in self._columns():
            return 0
        query = "select count({late}) from {table} where {own} and {old} is not null"
        return int(self._fetch(query)[0][0])

    def search(self, vector: NDArray[np.float32], limit: int, *, late: bool) -> list[Any]:
        """Nearest rows by the cosine."""
        column = self._sql.Identifier(self._late if late else self._old)
        query = (
            "select {key}::text from {table} where {own} and {column} is not null "
            "order by {column} <=> %s::vector limit %s"
        )
        return [row[0] for row in self._fetch(query, [format_vector(vector), limit], column=column)]

    def switch(self) -> str:
        """Copy the old vectors to another column, then the late ones over them: all or nothing."""
        columns = self._columns()
        old, late = columns[self._old], columns[self._late]
        if old.width not in (-1, late.width):
            raise WriterError(
                f"the column {self._old!r} is for {old.width} numbers, late vectors have "
                f"{late.width}: let the application read the column {self._late!r}"
            )
        with self._failing("switching"), self._connection.transaction():
            for statement in (
                "alter table {table} add column if not exists {before} vector",
                "update {table} set {before} = {old} where {before} is null and {own}",
                "update {table} set {old} = {late} where {late} is not null and {own}",
            ):
                self._connection.execute(self._compose(statement))
        self._connection.commit()
        return f"the column {self._old!r} holds late vectors; the old ones are in {self._before!r}"

    def _record(self, key: str, values: dict[str, Any]) -> Record:
        if "langchain_metadata" in values:
            values["document"] = values.get("content")
            values["cmetadata"] = values["langchain_metadata"] or {}
        return Record(key, values)

    def _metadata(self, record: Record) -> str:
        name = "cmetadata" if self._json == "langchain_metadata" else self._json
        own = {key: record.values[key] for key in VECTOR_KEYS if key in record.values}
        value = record.values[name] if name else own
        return value if isinstance(value, str) else json.dumps(value)

    def _find_collection(self, name: str, settings: MigrationSettings) -> Any:
        """LangChain's id of a collection; None where it is a table of its own."""
        if settings.framework != "langchain":
            return None
        if not self._fetch_plain("select to_regclass('langchain_pg_collection')")[0][0]:
            return None
        found = self._fetch_plain(
            "select uuid from langchain_pg_collection where name = %s", [name]
        )
        return found[0][0] if found else None

    def _choose_key(self, columns: dict[str, _Column]) -> str:
        keys = [self._fields.id] if self._fields.id else [n for n, c in columns.items() if c.is_key]
        if len(keys) != 1 or keys[0] not in columns:
            raise OptionError(
                f"the table {self._name!r} has no primary key of one column: name the id's column "
                f"with --field id=COLUMN; there are {', '.join(columns)}"
            )
        self._key_type = columns[keys[0]].type
        return keys[0]

    def _choose_old(self, columns: dict[str, _Column], wanted: str | None) -> str:
        ours = (self._late, self._before)
        own = [n for n, c in columns.items() if c.type == "vector" and n not in ours]
        return choose_vector(f"the table {self._name!r}", own, wanted)

    def _columns(self) -> dict[str, _Column]:
        name = self._sql.Identifier(*self._name.split(".")).as_string(self._connection)
        found = self._fetch_plain(_COLUMNS, [name])
        columns = {name: _Column(*described) for name, *described in found}
        self._unread = [n for n, c in columns.items() if c.type in ("vector", "tsvector")]
        return columns

    def _compose(self, query: str, **more: Any) -> Any:
        sql = self._sql
        own = sql.SQL("true")
        if self._collection is not None:
            own = sql.SQL("collection_id = {}").format(sql.Literal(self._collection))
        without = sql.SQL("to_jsonb(t) - {}::text[]").format(sql.Literal(self._unread))
        kind = sql.SQL(self._key_type)
        named = {
            "table": sql.SQL("{} t").format(sql.Identifier(*self._name.split(".")))
            if query.startswith("select")
            else sql.Identifier(*self._name.split(".")),
            "key": sql.Identifier(self._key),
            "keys": sql.SQL("%s::{}[]").format(kind),
            "one": sql.SQL("%s::{}").format(kind),
            "old": sql.Identifier(self._old),
            "late": sql.Identifier(self._late),
            "before": sql.Identifier(self._before),
            "marks": sql.Identifier(self._other_marks),
            "row": without,
            "own": own,
        }
        return sql.SQL(query).format(**named, **more)

    def _fetch(self, query: str, values: Sequence[Any] = (), **more: Any) -> list[Any]:
        return self._fetch_plain(self._compose(query, **more), values)

    def _fetch_plain(self, query: Any, values: Sequence[Any] = ()) -> list[Any]:
        with self._failing("reading"):
            found: list[Any] = self._connection.execute(query, values or None).fetchall()
            self._connection.commit()
        return found

    def _execute(self, query: str, **more: Any) -> None:
        with self._failing("preparing"):
            self._connection.execute(self._compose(query, **more))
            self._connection.commit()
