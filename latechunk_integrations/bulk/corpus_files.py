"""What a corpus on disk holds: text files, JSON lines, Parquet."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from latechunk_integrations.bulk.rows import Columns, CorpusDocument, Failure, read_document
from latechunk_integrations.errors import InvalidCharacterError, OptionError
from latechunk_integrations.plugins import import_extra

__all__ = ["FileSource"]

# Rows of a Parquet file that are in memory at once.
_BATCH_ROWS = 256


class FileSource:
    """A file, or every file below a folder, in the order of their names.

    ``.txt`` and ``.md`` files are documents, named by their path below the folder. Each line of
    a ``.jsonl`` file and each row of a ``.parquet`` file is one.

    Args:
        path: The file or folder.
        columns: Where JSON lines and Parquet rows keep their document.

    Raises:
        OptionError: There is nothing to read, or a Parquet file lacks a column.
        MissingExtraError: There is a Parquet file, and pyarrow is not installed.
    """

    def __init__(self, path: Path, columns: Columns) -> None:
        self._columns = columns
        self._root = path if path.is_dir() else path.parent
        self._readers: dict[str, Callable[[Path, str], Iterator[CorpusDocument | Failure]]] = {
            ".txt": self._read_text,
            ".md": self._read_text,
            ".jsonl": self._read_lines,
            ".parquet": self._read_parquet,
        }
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        self._files = [file for file in found if file.suffix in self._readers and file.is_file()]
        if not self._files:
            kinds = ", ".join(self._readers)
            raise OptionError(f"{path} is no file or folder with documents ({kinds})")
        for file in self._files:
            if file.suffix == ".parquet":
                self._check_columns(file)

    def __iter__(self) -> Iterator[CorpusDocument | Failure]:
        for file in self._files:
            yield from self._readers[file.suffix](file, file.relative_to(self._root).as_posix())

    def n_documents(self) -> int | None:
        """How many documents there are; ``None`` where counting means reading."""
        if any(file.suffix == ".jsonl" for file in self._files):
            return None
        tables = [file for file in self._files if file.suffix == ".parquet"]
        n_rows: int = sum(_open_parquet(file).metadata.num_rows for file in tables)
        return n_rows + len(self._files) - len(tables)

    def _read_text(self, file: Path, name: str) -> Iterator[CorpusDocument | Failure]:
        try:
            document = CorpusDocument(name, file.read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError, InvalidCharacterError) as error:
            yield Failure.of(name, error)
        else:
            yield document

    def _read_lines(self, file: Path, name: str) -> Iterator[CorpusDocument | Failure]:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                place = f"{name}:{number}"
                if line.isspace():
                    continue
                try:
                    record: Any = json.loads(line)
                    if not isinstance(record, Mapping):
                        raise TypeError(f"{place} holds {type(record).__name__}, not an object")  # noqa: TRY301  # one document's error
                except (ValueError, TypeError, RecursionError) as error:
                    yield Failure.of(place, error)
                else:
                    yield read_document(record, self._columns, place)

    def _read_parquet(self, file: Path, name: str) -> Iterator[CorpusDocument | Failure]:
        number = 0
        batches = _open_parquet(file).iter_batches(_BATCH_ROWS, columns=self._columns.names)
        for batch in batches:
            for record in batch.to_pylist():
                number += 1
                yield read_document(record, self._columns, f"{name}:{number}")

    def _check_columns(self, file: Path) -> None:
        present = _open_parquet(file).schema_arrow.names
        for option, name in (
            ("text", self._columns.text),
            ("id", self._columns.id),
            ("header", self._columns.header),
        ):
            if name is not None and name not in present:
                raise OptionError(
                    f"{file} has no column {name!r} for the {option}; it has {', '.join(present)}"
                )


def _open_parquet(path: Path) -> Any:
    return import_extra("pyarrow.parquet", extra="bulk").ParquetFile(path)
