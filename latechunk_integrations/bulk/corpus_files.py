"""What a corpus on disk holds: text, PDF, HTML and DOCX files, JSON lines, CSV, Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

from latechunk_integrations.bulk.corpus_walk import SourceFiles, ending_of, find_files
from latechunk_integrations.bulk.document_formats import FORMATS, PAGED, read_format
from latechunk_integrations.bulk.rows import Columns, CorpusDocument, Failure, read_document
from latechunk_integrations.errors import InputError, OptionError
from latechunk_integrations.plugins import import_extra

MOST_DOCUMENT_BYTES = 1 << 28
"""Bytes of a text file or of a line; what is longer is a dead letter."""

# Rows of a Parquet file that are in memory at once.
_BATCH_ROWS = 256

# What pyarrow raises over a damaged file.
_UNREADABLE = (OSError, ValueError, NotImplementedError)

_Read: TypeAlias = Iterator[CorpusDocument | Failure]


class FileSource:
    """A file, or every file below a folder, in the order of their names.

    Text, PDF, HTML and DOCX files are documents, named by their path below the folder; the pages
    of a PDF are one. Each line of a ``.jsonl`` file and each row of a ``.csv`` or ``.parquet`` file
    is one. What cannot be read is a failure that keeps its rows, and the files after it are read.

    Args:
        path: The file or folder.
        columns: Where JSON lines and Parquet rows keep their document.
        exclude: Files and folders below it that are no part of the corpus.
        follow_links: Also links that lead out of the folder, and links to folders.
        most_bytes: Bytes of a text file or of a line, at most.

    Raises:
        OptionError: There is nothing to read, or a Parquet file lacks a column.
        SourceError: The folder cannot be looked at.
        MissingExtraError: There is a Parquet file, and pyarrow is not installed.
    """

    def __init__(
        self,
        path: Path,
        columns: Columns,
        *,
        exclude: Sequence[Path] = (),
        follow_links: bool = False,
        most_bytes: int = MOST_DOCUMENT_BYTES,
    ) -> None:
        self._columns = columns
        self._most_bytes = most_bytes
        self._readers: dict[str, Callable[[Path, str], _Read]] = {
            ".txt": self._read_text,
            ".md": self._read_text,
            **dict.fromkeys(FORMATS, self._read_text),
            ".jsonl": self._read_lines,
            ".csv": self._read_table,
            ".parquet": self._read_parquet,
        }
        self.found: SourceFiles = find_files(
            path, self._readers, exclude=exclude, follow_links=follow_links
        )
        self._root = path if path.is_dir() else path.parent
        if not (self.found.files or self.found.unreadable):
            kinds = ", ".join(self._readers)
            raise OptionError(
                f"{path} is no file or folder with documents ({kinds}); if it is on a share, see "
                "that it is mounted"
            )
        for file in self._tables():
            self._check_columns(file)

    def __iter__(self) -> Iterator[CorpusDocument | Failure]:
        yield from self.found.unreadable
        for file in self.found.files:
            yield from self._readers[ending_of(file)](file, file.relative_to(self._root).as_posix())

    def n_documents(self) -> int | None:
        """How many documents there are; ``None`` where counting means reading."""
        if any(ending_of(file) in (".jsonl", ".csv") for file in self.found.files):
            return None
        tables = self._tables()
        n_files = len(self.found.files) - len(tables)
        return sum(map(_count_rows, tables)) + n_files + len(self.found.unreadable)

    def _tables(self) -> list[Path]:
        return [file for file in self.found.files if ending_of(file) == ".parquet"]

    def _read_text(self, file: Path, name: str) -> _Read:
        try:
            with file.open("rb") as opened:
                content = opened.read(self._most_bytes + 1)
            if len(content) > self._most_bytes:
                raise self._too_long(name)
            kind = ending_of(file)
            if kind in FORMATS:
                text = read_format(kind, content, name, self._most_bytes)
            else:
                text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
            document = CorpusDocument(name, text, file=name, has_pages=kind in PAGED)
        except OSError as error:
            yield Failure.of(name, error, file=name, retry=True)
        except (UnicodeDecodeError, InputError) as error:
            yield Failure.of(name, error, file=name)
        else:
            yield document

    def _read_lines(self, file: Path, name: str) -> _Read:
        try:
            with file.open("rb") as opened:
                number = 0
                while line := opened.readline(self._most_bytes + 1):
                    number += 1
                    whole = len(line) <= self._most_bytes
                    while not whole and line and not line.endswith(b"\n"):
                        line = opened.readline(self._most_bytes)
                    if whole and line.isspace():
                        continue
                    yield self._read_line(line if whole else None, name, number)
        except OSError as error:
            yield self._damaged(name, name, error)

    def _read_line(self, line: bytes | None, name: str, number: int) -> CorpusDocument | Failure:
        """The document of a line; ``None``: it was too long."""
        place = f"{name}:{number}"
        try:
            if line is None:
                raise self._too_long(place)
            record: Any = json.loads(line)
            if not isinstance(record, Mapping):
                raise TypeError(f"{place} holds {type(record).__name__}, not an object")  # noqa: TRY301  # one document's error
        except (ValueError, TypeError, RecursionError) as error:
            return Failure.of(place, error, file=name, hides=True)
        return read_document(record, self._columns, place, name)

    def _read_table(self, file: Path, name: str) -> _Read:
        try:
            with file.open(encoding="utf-8-sig", newline="") as opened:
                rows = csv.DictReader(opened, strict=True)
                with _limit_fields(self._most_bytes):
                    present = list(rows.fieldnames or ())
                missing = [column for column in self._columns.names if column not in present]
                if missing:  # a table of something else, beside the documents
                    error = InputError(f"{name} has no column {missing}; it has {present}")
                    was_emptied = not present
                    yield Failure.of(name, error, file=name, retry=was_emptied, hides=was_emptied)
                    return
                for number in count(1):
                    with _limit_fields(self._most_bytes):
                        record = next(rows, None)
                    if record is None:
                        return
                    yield read_document(record, self._columns, f"{name}:{number}", name)
        # Beyond a field that is open at the end, or too long, nothing can be told.
        except (OSError, csv.Error, UnicodeDecodeError) as error:
            yield self._damaged(name, name, error)

    def _read_parquet(self, file: Path, name: str) -> _Read:
        number = 0
        try:
            # A text that many rows share is there once: some kilobytes may hold gigabytes.
            table = _open_parquet(file, read_dictionary=self._columns.names)
            n_groups = table.num_row_groups
        except _UNREADABLE as error:
            yield self._damaged(name, name, error)
            return
        for group in range(n_groups):
            end = number + table.metadata.row_group(group).num_rows
            try:
                for batch in table.iter_batches(
                    _BATCH_ROWS, row_groups=[group], columns=self._columns.names
                ):
                    for row in range(batch.num_rows):
                        number += 1
                        record = {key: batch[key][row].as_py() for key in batch.schema.names}
                        yield self._read_row(record, name, number)
            except _UNREADABLE as error:
                yield self._damaged(f"{name}:{number + 1}-{end}", name, error)
            number = end

    def _read_row(
        self, record: Mapping[str, Any], name: str, number: int
    ) -> CorpusDocument | Failure:
        document = read_document(record, self._columns, f"{name}:{number}", name)
        if isinstance(document, CorpusDocument) and len(document.text) > self._most_bytes:
            return Failure.of(document.id, self._too_long(f"{name}:{number}"), file=name)
        return document

    def _damaged(self, place: str, name: str, error: Exception) -> Failure:
        return Failure.of(place, error, file=name, retry=True, hides=True)

    def _too_long(self, place: str) -> InputError:
        return InputError(
            f"{place} has more than {self._most_bytes} bytes; divide it, or raise "
            "most_document_bytes (--most-document-bytes)"
        )

    def _check_columns(self, file: Path) -> None:
        try:
            present = _open_parquet(file).schema_arrow.names
        except _UNREADABLE:  # said when it is read
            return
        for option, name in vars(self._columns).items():
            if name is not None and name not in present:
                raise OptionError(
                    f"{file} has no column {name!r} for the {option}; it has {', '.join(present)}"
                )


@contextmanager
def _limit_fields(n_bytes: int) -> Iterator[None]:
    """The csv module has one limit for the whole process: it is put back at once."""
    before = csv.field_size_limit(n_bytes)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _open_parquet(path: Path, **options: Any) -> Any:
    return import_extra("pyarrow.parquet", extra="bulk").ParquetFile(path, **options)


def _count_rows(path: Path) -> int:
    try:
        return int(_open_parquet(path).metadata.num_rows)
    except _UNREADABLE:  # one failure, when it is read
        return 1
