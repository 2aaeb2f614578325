"""Chunk rows into a PostgreSQL table with pgvector."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from latechunk_integrations.bulk.rows import COLUMNS, INTEGER_COLUMNS, DocumentRows
from latechunk_integrations.bulk.writers.postgres import PostgresAccess, format_vector
from latechunk_integrations.bulk.writers.writer import StoreWriter, check_width
from latechunk_integrations.errors import InputError, MissingTargetError, WriterError

_ROWS = 500
_TYPES = {"chunk_id": "text primary key", **dict.fromkeys(INTEGER_COLUMNS, "bigint")}


class PgvectorWriter(PostgresAccess, StoreWriter):
    """Inserts rows by ``chunk_id`` or replaces them; makes the table if need be.

    Each write is one transaction: a reader sees a document as it was, or as it is.

    Args:
        place: ``postgresql://USER@HOST/DATABASE``; the password comes from ``PGPASSWORD`` or
            libpq's own file.
        collection: Name of the table; ``schema.table`` will do.
        dimensions: Width of a vector; ``None``: the table is only read.

    Raises:
        MissingExtraError: psycopg is not installed.
        WriterError: PostgreSQL does not answer, has no pgvector, or the table is of another make.
    """

    def __init__(self, place: str, collection: str, dimensions: int | None) -> None:
        super().__init__(place, collection)
        self._table = self._sql.Identifier(*collection.split("."))
        try:
            if dimensions is not None:
                self._make_table(dimensions)
            self._check_table(dimensions)
        except BaseException:
            self._connection.close()
            raise

    def check(self, document: DocumentRows) -> None:
        """Refuse the one character that PostgreSQL's texts cannot hold."""
        if "\x00" in document.document_id or any("\x00" in text for text in document.texts):
            raise InputError("a text in PostgreSQL cannot hold the character U+0000; take it out")

    def write(self, documents: Sequence[DocumentRows], number: int) -> str:
        """Insert or replace the rows, and delete those of former versions."""
        columns = self._sql.SQL(", ").join(map(self._sql.Identifier, COLUMNS))
        changed = self._sql.SQL(", ").join(
            self._sql.SQL("{0} = excluded.{0}").format(self._sql.Identifier(name))
            for name in COLUMNS[:1] + COLUMNS[2:]
        )
        insert = self._sql.SQL(
            "insert into {} ({}) values ({}) on conflict (chunk_id) do update set {}"
        ).format(self._table, columns, self._sql.SQL(", ").join(self._holders()), changed)
        # What cannot be written was never there.
        named = [d for d in documents if "\x00" not in d.document_id]
        ids, versions = [d.document_id for d in named], [d.version for d in named]
        rows = (row for document in documents for row in document.rows())
        with self._failing("writing to"), self._connection.transaction():
            with self._connection.cursor() as cursor:
                while batch := list(islice(rows, _ROWS)):
                    cursor.executemany(insert, [_values(row) for row in batch])
            self._connection.execute(
                self._compose("delete from {} where document_id = any(%s) and version <> all(%s)"),
                [ids, versions],
            )
        return ""

    def count(self) -> int:
        """Rows of the table."""
        with self._failing("counting"):
            found = self._connection.execute(self._compose("select count(*) from {}")).fetchone()
            self._connection.commit()
        return int(found[0])

    def scan(self) -> Iterator[Mapping[str, Any]]:
        """Every row; what another program wrote has other columns."""
        with self._failing("reading"), self._connection.cursor(name="scan") as cursor:
            cursor.itersize = _ROWS
            cursor.execute(self._compose("select * from {}"))
            names: list[str] = []
            for values in cursor:
                names = names or [column.name for column in cursor.description]
                row = dict(zip(names, values, strict=True))
                vector = row.get("vector")
                numbers = json.loads(vector) if isinstance(vector, str) else ()
                yield {**row, "vector": np.asarray(numbers, np.float32)}
        self._connection.commit()

    def _make_table(self, dimensions: int) -> None:
        typed = [
            self._sql.SQL("{} {}").format(
                self._sql.Identifier(name),
                self._sql.SQL(
                    f"vector({dimensions})" if name == "vector" else _TYPES.get(name, "text")
                ),
            )
            for name in COLUMNS
        ]
        with self._failing("making"):
            self._connection.execute(
                self._sql.SQL("create table if not exists {} ({})").format(
                    self._table, self._sql.SQL(", ").join(typed)
                )
            )
            # Former versions are found by it.
            index = self._sql.Identifier(f"{self._name.rpartition('.')[2]}_document_id")
            self._connection.execute(
                self._sql.SQL("create index if not exists {} on {} (document_id)").format(
                    index, self._table
                )
            )
            self._connection.commit()

    def _check_table(self, dimensions: int | None) -> None:
        query = "select attname, atttypmod from pg_attribute where attrelid = to_regclass(%s)"
        with self._failing("describing"):
            name = self._table.as_string(self._connection)
            found = dict(self._connection.execute(query, [name]).fetchall())
            self._connection.commit()
        if not found:
            raise MissingTargetError(f"there is no table {self._name!r}")
        missing = [name for name in COLUMNS if name not in found]
        if dimensions is None:
            return
        if missing:
            raise WriterError(
                f"the table {self._name!r} has no column {', '.join(missing)}; name another table"
            )
        if found["vector"] != -1:
            place = f"the table {self._name!r}"
            check_width(place, found["vector"], dimensions, "name another table")

    def _holders(self) -> list[Any]:
        return [self._sql.SQL("%s::vector" if name == "vector" else "%s") for name in COLUMNS]

    def _compose(self, query: str) -> Any:
        return self._sql.SQL(query).format(self._table)


def _values(row: Mapping[str, Any]) -> list[Any]:
    return [format_vector(row[name]) if name == "vector" else row[name] for name in COLUMNS]
