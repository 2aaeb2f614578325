"""Chunk rows into a folder of Parquet or JSON lines parts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Literal, TypeAlias

from latechunk_integrations.bulk.checkpoint import replace_file
from latechunk_integrations.bulk.rows import COLUMNS, DocumentRows, to_table
from latechunk_integrations.errors import CheckpointError, WriterError
from latechunk_integrations.plugins import import_extra

__all__ = ["FileKind", "FileWriter"]

FileKind: TypeAlias = Literal["parquet", "jsonl"]


class FileWriter:
    """A part for each batch of documents, put in place whole.

    Args:
        folder: Where the parts stand; made if need be.
        kind: ``"parquet"`` or ``"jsonl"``.
        run_id: Names the parts of this run.
        dimensions: Width of a vector.

    Raises:
        MissingExtraError: ``parquet`` and pyarrow is not installed.
        WriterError: The folder is a file.
    """

    def __init__(self, folder: Path, kind: FileKind, run_id: str, dimensions: int) -> None:
        self._folder = folder
        self._kind = kind
        self._prefix = f"part-{run_id}-"
        self._dimensions = dimensions
        if kind == "parquet":
            import_extra("pyarrow.parquet", extra="bulk")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise WriterError(f"{folder} is a file; rows go into a folder of parts") from error

    def recover(self, parts: AbstractSet[str]) -> None:
        """Drop parts that are not in the checkpoint; refuse those of another run.

        Raises:
            CheckpointError: The folder holds parts of another run, or lacks some of this one.
        """
        present = {path.name for path in self._folder.glob(f"part-*.{self._kind}")}
        strangers = sorted(name for name in present if not name.startswith(self._prefix))
        if strangers:
            raise CheckpointError(
                f"{self._folder} holds parts that the checkpoint does not know, such as "
                f"{strangers[0]}; name another folder, or the checkpoint they were made with, or "
                "delete them if that is lost"
            )
        missing = sorted(parts - present)
        if missing:
            raise CheckpointError(
                f"{self._folder} lacks {missing[0]}, which the checkpoint counts as written; "
                "restart to do every document again"
            )
        for name in present - parts:
            (self._folder / name).unlink()
        for temporary in self._folder.glob(".part-*.tmp"):
            temporary.unlink()

    def check(self, document: DocumentRows) -> None:
        """A file holds everything."""

    def write(self, documents: Sequence[DocumentRows], number: int) -> str:
        """Write one part, if there are rows; former versions stay in theirs until `purge`."""
        if not any(len(document) for document in documents):
            return ""
        name = f"{self._prefix}{number:08d}.{self._kind}"
        if self._kind == "parquet":
            self._save(name, self._write_parquet(to_table(documents, self._dimensions)))
        else:
            rows = (row for document in documents for row in document.rows())
            self._save(
                name, _write_lines({**row, "vector": row["vector"].tolist()} for row in rows)
            )
        return name

    def purge(self, part: str, versions: Mapping[str, str]) -> None:
        """Write a part anew with only the rows of these versions; it may be left empty."""
        path = self._folder / part
        if self._kind == "parquet":
            arrow = import_extra("pyarrow", extra="bulk")
            table = import_extra("pyarrow.parquet", extra="bulk").read_table(
                path, partitioning=None
            )
            pairs = zip(
                *(table[name].to_pylist() for name in ("document_id", "version")), strict=True
            )
            kept = [versions.get(document) == version for document, version in pairs]
            self._save(part, self._write_parquet(table.filter(arrow.array(kept, arrow.bool_()))))
        else:
            with path.open("rb") as lines:
                rows = [json.loads(line) for line in lines]
            kept_rows = (row for row in rows if versions.get(row["document_id"]) == row["version"])
            self._save(part, _write_lines(kept_rows))

    def count(self) -> int:
        """Rows of all parts."""
        paths = self._folder.glob(f"{self._prefix}*.{self._kind}")
        if self._kind == "parquet":
            read = import_extra("pyarrow.parquet", extra="bulk").read_metadata
            return sum(read(path).num_rows for path in paths)
        return sum(path.read_bytes().count(b"\n") for path in paths)

    def close(self) -> None:
        """Nothing is held open."""

    def _write_parquet(self, table: Any) -> Callable[[Any], None]:
        parquet = import_extra("pyarrow.parquet", extra="bulk")
        return lambda file: parquet.write_table(table.select(COLUMNS), file)

    def _save(self, name: str, fill: Callable[[Any], None]) -> None:
        try:
            replace_file(self._folder / name, fill)
        except OSError as error:
            raise WriterError(
                f"{self._folder / name} cannot be written ({error}); start the same command again "
                "when it can"
            ) from error


def _write_lines(rows: Iterable[Mapping[str, Any]]) -> Callable[[Any], None]:
    def fill(file: Any) -> None:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")

    return fill
