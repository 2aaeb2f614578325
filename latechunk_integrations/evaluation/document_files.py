"""Documents from text files and JSON lines, with the best title that each has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from latechunk_integrations.core.headings import find_title
from latechunk_integrations.errors import GoldenSetError
from latechunk_integrations.evaluation.labels import find_column
from latechunk_integrations.evaluation.quote_rows import Row, json_rows, read_text

_TEXT_FILES = (".txt", ".md", ".rst")


@dataclass(frozen=True)
class GoldenDocument:
    """A text to be chunked.

    Args:
        doc_id: Its name.
        text: Its text.
        title: Used as header; may be empty.
    """

    doc_id: str
    text: str
    title: str = ""


def read_documents(path: str | Path | Sequence[str | Path]) -> tuple[GoldenDocument, ...]:
    """Read documents without queries.

    The title of a text file is its front matter's, its first heading's, or its name made
    readable.

    Args:
        path: A text file, a folder of text files, a JSON-lines file (``doc_id``, ``title``,
            ``text``), or the folder of a golden set; or several of these.

    Raises:
        GoldenSetError: A file is missing, unreadable or empty, or a line is wrong.
    """
    if not isinstance(path, (str, Path)):
        return tuple(document for each in path for document in read_documents(each))
    found = Path(path)
    for name in ("documents.jsonl", "corpus.jsonl"):
        if (found / name).is_file():
            return read_objects(found / name, "doc_id" if name[0] == "d" else "_id")
    if found.suffix.lower() == ".jsonl":
        return read_objects(found)
    if not found.is_dir():
        return (_read_file(found, found.name),)
    return _text_files(found)


def _read_file(path: Path, doc_id: str) -> GoldenDocument:
    text = read_text(path)
    check_text(text, str(path))
    return GoldenDocument(doc_id, text, find_title({"file_name": path.name}, text))


def read_objects(path: Path, key: str = "doc_id") -> tuple[GoldenDocument, ...]:
    """The documents of a JSON-lines file."""
    seen: dict[str, str] = {}
    return tuple(
        GoldenDocument(row.new(key, seen), row.text("text"), row.text("title", optional=True))
        for row in json_rows(path)
        # Corpora in the layout of BEIR have empty texts; queries about them are reported.
        if key == "doc_id" or row.text("text", optional=True).strip()
    )


def read_named(path: Path, rows: Sequence[Row], names: Sequence[str]) -> tuple[GoldenDocument, ...]:
    """The documents that rows name, in the folder of the rows; nothing else there is read."""
    folder = path.parent
    if any((folder / name).is_file() for name in ("documents.jsonl", "corpus.jsonl")):
        return read_documents(folder)
    found: dict[str, GoldenDocument] = {}
    for row in rows:
        key = find_column(row.values, names)
        if key not in row.values:
            raise GoldenSetError(
                f"{row.where}: no column 'document' says where the answer is (the columns are "
                f"{list(row.values)}); name the documents to search with --documents"
            )
        doc_id = row.text(key)
        file = folder / doc_id
        if doc_id not in found:
            inside = file.resolve().is_relative_to(folder.resolve())
            if not inside or not file.is_file():
                raise GoldenSetError(
                    f"{row.where}: {key} {doc_id!r} is no file in the folder of {path.name}; name "
                    "the folder of the documents with --documents"
                )
            found[doc_id] = _read_file(file, doc_id)
    return tuple(found.values())


def add_titles(
    documents: Sequence[GoldenDocument], rows: Sequence[Row], names: Mapping[str, Sequence[str]]
) -> list[GoldenDocument]:
    """Documents with the titles that rows give them."""
    titles: dict[str, str] = {}
    for row in rows:
        doc_id = row.values.get(find_column(row.values, names["document"]))
        title = row.text(find_column(row.values, names["title"]), optional=True).strip()
        if title and isinstance(doc_id, str):
            titles.setdefault(doc_id, title)
    return [replace(each, title=titles.get(each.doc_id, each.title)) for each in documents]


def _text_files(path: Path) -> tuple[GoldenDocument, ...]:
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in _TEXT_FILES)
    if not files:
        raise GoldenSetError(f"{path} holds no documents.jsonl and no {', '.join(_TEXT_FILES)}")
    filled = [file for file in files if read_text(file).strip()]
    if not filled:
        raise GoldenSetError(f"every text file in {path} is empty")
    return tuple(_read_file(file, file.relative_to(path).as_posix()) for file in filled)


def check_text(text: str, what: str) -> None:
    """Refuse a text of white space.

    Raises:
        GoldenSetError: It is one.
    """
    if not text.strip():
        raise GoldenSetError(f"{what} is empty")
