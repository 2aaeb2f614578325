"""Lines of tables and JSON files; what is wrong with one is said with file and line."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latechunk_integrations.errors import GoldenSetError, LateChunkError, MissingExtraError
from latechunk_integrations.schema import check_characters


@dataclass(frozen=True)
class Row:
    """One line of a file.

    Every access raises `GoldenSetError`, with file and line, where the value is not what it must
    be.

    Args:
        where: File and line.
        values: Its fields.
    """

    where: str
    values: Mapping[str, Any]

    def text(self, key: str, *, optional: bool = False) -> str:
        """A text; missing or empty only if optional."""
        value = self.values.get(key)
        if value is None and optional:
            return ""
        if key not in self.values:
            raise GoldenSetError(f"{self.where}: no {key!r}; there are {list(self.values)}")
        if not isinstance(value, str) or not (value.strip() or optional):
            raise GoldenSetError(f"{self.where}: {key!r} must be a text, not {value!r}")
        try:
            check_characters(value, key)
        except LateChunkError as error:
            raise GoldenSetError(f"{self.where}: {error}") from error
        return value

    def new(self, key: str, seen: dict[str, str]) -> str:
        """An id that no line before had; ``seen`` keeps where each is."""
        value = self.text(key)
        if value in seen:
            raise GoldenSetError(f"{self.where}: {key} {value!r} is already in {seen[value]}")
        seen[value] = self.where
        return value

    def integer(self, key: str) -> int:
        """A whole number, or a text of its digits."""
        value = self.values.get(key)
        try:
            if isinstance(value, bool) or not isinstance(value, (int, str)):
                raise ValueError(value)  # noqa: TRY301, TRY004  # one message for both
            return int(value)
        except ValueError:
            raise GoldenSetError(
                f"{self.where}: {key!r} must be an integer, not {value!r}"
            ) from None

    def known(self, key: str, ids: Mapping[str, object]) -> str:
        """An id that is among these."""
        value = self.text(key)
        if value not in ids:
            raise GoldenSetError(
                f"{self.where}: {key} {value!r} is unknown; known are {sorted(ids)[:3]}, ..."
            )
        return value

    def span(self, lengths: Mapping[str, int]) -> tuple[str, int, int]:
        """Document, start and end, inside a document of these lengths in code points."""
        doc_id = self.known("doc_id", lengths)
        start, end = self.integer("start"), self.integer("end")
        check_span(doc_id, start, end, lengths, self.where)
        return doc_id, start, end


def question_rows(path: Path) -> Iterator[Row]:
    """The rows of a file of questions, by the end of its name.

    ``.csv`` and ``.tsv``, ``.xlsx``, ``.jsonl``, and ``.json``: a list of objects, or the test sets
    that LlamaIndex writes (``LabelledRagDataset``, ``EmbeddingQAFinetuneDataset``).

    Raises:
        GoldenSetError: The file cannot be read, or is not one of these.
        MissingExtraError: pandas or openpyxl is missing, for Excel.
    """
    kind = path.suffix.lower()
    if kind in (".csv", ".tsv"):
        return table_rows(path, "\t" if kind == ".tsv" else ",")
    if kind in (".xlsx", ".xls"):
        return _sheet_rows(path)
    return _test_set_rows(path) if kind == ".json" else json_rows(path)


def _sheet_rows(path: Path) -> Iterator[Row]:
    try:
        import pandas as pd  # noqa: PLC0415  # optional

        frame = pd.read_excel(path, dtype=object)
    except ImportError as error:
        raise MissingExtraError(error.name or "openpyxl", extra="evaluation") from error
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise GoldenSetError(f"cannot read {path}: {error}") from error
    for number, values in enumerate(frame.where(frame.notna(), None).to_dict("records"), 2):
        yield Row(f"{path}, line {number}", {str(key): value for key, value in values.items()})


def _test_set_rows(path: Path) -> Iterator[Row]:
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise GoldenSetError(f"{path}: no JSON: {error}") from error
    rows: Any = content
    if isinstance(content, dict) and {"queries", "corpus", "relevant_docs"} <= set(content):
        rows = [
            {"id": key, "query": text, "context": [content["corpus"][doc] for doc in found]}
            for key, text in content["queries"].items()
            if (found := content["relevant_docs"].get(key))
        ]
    elif isinstance(content, dict):
        rows = content.get("examples")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise GoldenSetError(
            f"{path} is no list of rows, and no test set of LlamaIndex (examples, or queries with "
            "corpus and relevant_docs)"
        )
    for number, values in enumerate(rows, 1):
        yield Row(f"{path}, row {number}", values)


def json_rows(path: Path) -> Iterator[Row]:
    """The objects of a JSON-lines file; empty lines are passed over.

    Raises:
        GoldenSetError: The file cannot be read, or a line is no JSON object.
    """
    # Split at "\n" only: JSON may hold other line separators unescaped.
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise GoldenSetError(f"{where}: no JSON: {error}") from error
        if not isinstance(values, dict):
            raise GoldenSetError(f"{where}: must be a JSON object, not {type(values).__name__}")
        yield Row(where, values)


def table_rows(path: Path, delimiter: str = ",") -> Iterator[Row]:
    """The rows of a CSV file with a header; a record of several lines is named by its last.

    Raises:
        GoldenSetError: The file cannot be read, or a row has more fields than the header.
    """
    lines = io.StringIO(read_text(path), newline="")
    head = lines.readline()
    lines.seek(0)
    if ";" in head and delimiter not in head:
        delimiter = ";"  # what spreadsheets write where the comma is the decimal sign
    reader = csv.DictReader(lines, delimiter=delimiter)
    try:
        for values in reader:
            where = f"{path}, line {reader.line_num}"
            if None in values:
                raise GoldenSetError(
                    f"{where}: more fields than the header has; put quotation marks around a text "
                    f"that holds {delimiter!r}"
                )
            yield Row(where, values)
    except csv.Error as error:
        raise GoldenSetError(f"{path}, line {reader.line_num}: {error}") from error


def read_text(path: Path) -> str:
    """The text of a UTF-8 file.

    Raises:
        GoldenSetError: It cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")  # some editors put a mark in front
    except OSError as error:
        raise GoldenSetError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise GoldenSetError(f"cannot read {path}, which is not UTF-8: {error}") from error


def check_span(doc_id: str, start: int, end: int, lengths: Mapping[str, int], where: str) -> None:
    """Refuse a span that is empty or outside its document.

    Raises:
        GoldenSetError: It is.
    """
    if doc_id not in lengths:
        raise GoldenSetError(f"{where}: document {doc_id!r} is unknown")
    if not 0 <= start < end <= lengths[doc_id]:
        raise GoldenSetError(
            f"{where}: the span [{start}, {end}) is empty or outside document {doc_id!r} of "
            f"{lengths[doc_id]} code points"
        )
