"""Chunk rows into a LanceDB table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from latechunk_integrations.bulk.rows import COLUMNS, DocumentRows, to_table
from latechunk_integrations.bulk.writers.writer import StoreWriter, check_width, repeated
from latechunk_integrations.errors import MissingTargetError, WriterError
from latechunk_integrations.plugins import import_extra

_ROWS = 512
# Each write leaves a piece, and each merge looks at all pieces: so often they become one.
_WRITES_A_PIECE = 32
# What the client raises: it has no class of its own.
_FAILURES = (OSError, RuntimeError, ValueError)


class LanceWriter(StoreWriter):
    """Merges rows by ``chunk_id``; makes the table if need be.

    Args:
        place: A folder.
        collection: Name of the table.
        dimensions: Width of a vector; ``None``: the table is only read.

    Raises:
        MissingExtraError: lancedb or pyarrow is not installed.
        WriterError: The folder cannot be used, or the table is of another make.
    """

    def __init__(self, place: str, collection: str, dimensions: int | None) -> None:
        lance = import_extra("lancedb", extra="lancedb")
        self._name = collection
        self._dimensions = dimensions
        self._n_writes = 0
        if dimensions is None and not Path(place).is_dir():
            raise MissingTargetError(f"there is no folder {place}")
        self._database = self._repeat(lambda: lance.connect(place), "opening")
        if dimensions is None:
            self._table = self._repeat(lambda: self._open(place), "opening")
            return
        self._table = self._repeat(lambda: self._open_or_make(dimensions), "making")
        self._check_table(dimensions)

    def write(self, documents: Sequence[DocumentRows], number: int) -> str:
        """Merge the rows, then delete those of former versions."""
        if self._dimensions is None:
            raise WriterError(f"the table {self._name!r} was opened to read")
        if any(len(document) for document in documents):
            rows = to_table([each for each in documents if len(each)], self._dimensions)
            self._repeat(lambda: self._merge(rows), "writing to")
        if documents:
            ids = _format_list([document.document_id for document in documents])
            versions = _format_list([document.version for document in documents])
            former = f"document_id in {ids} and version not in {versions}"
            self._repeat(lambda: self._table.delete(former), "a deletion from")
        self._n_writes += 1
        if self._n_writes % _WRITES_A_PIECE == 0:
            with suppress(*_FAILURES):  # another writer is in the way: later, then
                self._table.optimize()
        return ""

    def count(self) -> int:
        """Rows of the table."""
        return int(self._repeat(self._table.count_rows, "counting"))

    def scan(self) -> Iterator[Mapping[str, Any]]:
        """Every row."""
        batches = iter(self._repeat(lambda: self._table.search().to_batches(_ROWS), "reading"))
        # Not again: a reader that has failed may say next that it is at its end.
        while (batch := self._call(lambda: next(batches, None))) is not None:
            for row in batch.to_pylist():
                yield {**row, "vector": np.asarray(row.get("vector") or (), np.float32)}

    def close(self) -> None:
        """There is no connection to close."""

    def _open(self, place: str) -> Any:
        try:
            return self._database.open_table(self._name)
        except (ValueError, FileNotFoundError) as error:
            raise MissingTargetError(f"there is no table {self._name!r} in {place}") from error

    def _open_or_make(self, dimensions: int) -> Any:
        try:
            return self._database.open_table(self._name)
        except (ValueError, FileNotFoundError):  # there is none
            schema = to_table([], dimensions).schema
            return self._database.create_table(self._name, schema=schema, exist_ok=True)

    def _merge(self, rows: Any) -> None:
        merging = self._table.merge_insert("chunk_id")
        merging.when_matched_update_all().when_not_matched_insert_all().execute(rows)

    def _check_table(self, dimensions: int) -> None:
        schema = self._table.schema
        missing = [name for name in COLUMNS if name not in schema.names]
        if missing:
            raise WriterError(
                f"the table {self._name!r} has no column {', '.join(missing)}; name another table"
            )
        width = getattr(schema.field("vector").type, "list_size", None)
        check_width(f"the table {self._name!r}", width, dimensions, "name another table")

    def _call(self, call: Any) -> Any:
        what = f"reading the table {self._name!r}"
        return repeated(call, what, errors=_FAILURES, is_transient=lambda _: False)

    def _repeat(self, call: Any, what: str) -> Any:
        return repeated(call, f"{what} the table {self._name!r}", errors=_FAILURES)


def _format_list(values: Sequence[str]) -> str:
    """A list as SQL writes it, quotation marks doubled."""
    quoted = ("'" + value.replace("'", "''") + "'" for value in values)
    return f"({', '.join(quoted)})"
