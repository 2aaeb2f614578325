"""Golden sets: documents, queries, and the character spans that answer them.

Three layouts are read:

- a folder of JSON lines: ``documents.jsonl`` (``doc_id``, ``title``, ``text``), ``queries.jsonl``
  (``query_id``, ``doc_id``, ``query``), ``qrels.jsonl`` (``query_id``, ``doc_id``, ``start``,
  ``end``, code points) and, where present, ``chunks.jsonl`` with the documents' own chunks;
- a folder in the layout of BEIR, whose relevance is that of whole documents;
- the user's own rows of query, document and quoted text, as CSV or JSON lines.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from latechunk_integrations.core.spans import LocatedBy, locate
from latechunk_integrations.errors import GoldenSetError
from latechunk_integrations.evaluation.quote_rows import (
    Row,
    check_span,
    json_rows,
    read_text,
    table_rows,
)
from latechunk_integrations.schema import Span

__all__ = ["GoldSpan", "GoldenDocument", "GoldenSet", "Query", "read_documents"]

# Signs that copying changes, each for one character, so that positions stay.
_LOOKALIKES = {
    **dict.fromkeys(map(ord, "\u2018\u2019\u201a"), "'"),
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e"), '"'),
    **dict.fromkeys(map(ord, "\u2013\u2014\u2212"), "-"),
    **dict.fromkeys(map(ord, "\u00a0\u2007\u2009\u202f"), " "),
}
_SHOWN_CHARS = 60
_TEXT_FILES = (".txt", ".md", ".rst")
_BEIR_SPLITS = ("test", "dev", "train")


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


@dataclass(frozen=True)
class Query:
    """A question.

    Args:
        query_id: Its name.
        doc_id: The document that holds the answer.
        text: The question itself.
    """

    query_id: str
    doc_id: str
    text: str


@dataclass(frozen=True)
class GoldSpan:
    """A place that answers a query: ``[start, end)`` in code points of the document."""

    query_id: str
    doc_id: str
    start: int
    end: int


@dataclass(frozen=True)
class GoldenSet:
    """Documents, queries and gold spans, checked when built.

    Args:
        name: What tables and reports call it.
        documents: The documents.
        queries: The queries; each has at least one span.
        spans: The gold spans.
        chunks: Chunks that the set brings, by document; empty where it brings none.
        notes: What was left out while reading, in plain words with line numbers.

    Raises:
        GoldenSetError: An id stands twice or is unknown, a text is empty, a span is outside its
            document, a query has no span in the document it names, or nothing is left.
    """

    name: str
    documents: tuple[GoldenDocument, ...]
    queries: tuple[Query, ...]
    spans: tuple[GoldSpan, ...]
    chunks: Mapping[str, tuple[Span, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check what does not come from one line of a file."""
        documents = _check_unique((d.doc_id for d in self.documents), "document", self.name)
        _check_unique((q.query_id for q in self.queries), "query", self.name)
        lengths = {document.doc_id: len(document.text) for document in self.documents}
        for document in self.documents:
            _check_text(document.text, f"{self.name}: the text of document {document.doc_id!r}")
        for query in self.queries:
            _check_text(query.text, f"{self.name}: query {query.query_id!r}")
            if query.doc_id not in documents:
                raise GoldenSetError(
                    f"{self.name}: query {query.query_id!r} names the unknown document "
                    f"{query.doc_id!r}"
                )
        for span in self.spans:
            check_span(span.doc_id, span.start, span.end, lengths, self.name)
        answered = {(span.query_id, span.doc_id) for span in self.spans}
        unanswered = [q.query_id for q in self.queries if (q.query_id, q.doc_id) not in answered]
        if unanswered or not self.queries:
            raise GoldenSetError(
                f"{self.name}: {len(unanswered)} of {len(self.queries)} queries have no gold span "
                f"in their document, such as {unanswered[:3]}; every query needs at least one"
            )

    @property
    def by_query(self) -> dict[str, list[GoldSpan]]:
        """The gold spans of each query."""
        grouped: dict[str, list[GoldSpan]] = {}
        for span in self.spans:
            grouped.setdefault(span.query_id, []).append(span)
        return grouped

    def subset(self, query_ids: Iterable[str], name: str = "") -> GoldenSet:
        """The same documents with some of the queries.

        Raises:
            GoldenSetError: No query is left.
        """
        kept = set(query_ids)
        return replace(
            self,
            name=name or self.name,
            queries=tuple(query for query in self.queries if query.query_id in kept),
            spans=tuple(span for span in self.spans if span.query_id in kept),
        )

    @classmethod
    def read(
        cls, path: str | Path, documents: str | Path | None = None, variant: str = ""
    ) -> GoldenSet:
        """Read whatever layout stands at a path.

        Args:
            path: A folder for `load`, or a file of rows for `from_quotes`.
            documents: Of the rows.
            variant: Of the folder.

        Raises:
            GoldenSetError: A file is missing or a line is wrong; names file and line.
        """
        if Path(path).is_dir():
            return cls.load(path, variant)
        if not Path(path).is_file():
            raise GoldenSetError(f"{path} is neither a folder nor a file of rows")
        return cls.from_quotes(path, documents)

    @classmethod
    def load(cls, path: str | Path, variant: str = "") -> GoldenSet:
        """Read a folder: JSON lines as described above, or the layout of BEIR.

        Args:
            path: The folder.
            variant: ``"small"`` reads ``documents.small.jsonl`` and its siblings.

        Raises:
            GoldenSetError: A file is missing or a line is wrong; names file and line.
        """
        folder = Path(path)
        if (folder / "corpus.jsonl").is_file():
            return _load_beir(folder)
        suffix = f".{variant}.jsonl" if variant else ".jsonl"
        return _load_spans(folder, suffix)

    @classmethod
    def from_quotes(
        cls, rows: str | Path, documents: str | Path | Sequence[GoldenDocument] | None = None
    ) -> GoldenSet:
        """Read rows of ``query``, ``document`` and ``quote`` from CSV or JSON lines.

        A quote is searched in its document; white space, typographic quotation marks and dashes
        may differ. Rows whose quote is not found are left out and reported in `notes`, and so
        are quotes that stand several times (the first place is taken) or only in part.

        Args:
            rows: A file whose name ends in ``.csv`` or ``.jsonl``.
            documents: Documents, a JSON-lines file of them (``doc_id``, ``title``, ``text``), or
                a folder of text files, which the column ``document`` names by file name.
                ``None``: the folder of the rows.

        Raises:
            GoldenSetError: A file is missing, a line is wrong, or no quote was found.
        """
        return _load_quotes(Path(rows), documents)


def read_documents(path: str | Path) -> tuple[GoldenDocument, ...]:
    """Read documents without queries.

    Args:
        path: A text file, a folder of text files, a JSON-lines file (``doc_id``, ``title``,
            ``text``), or the folder of a golden set.

    Raises:
        GoldenSetError: A file is missing, unreadable or empty, or a line is wrong.
    """
    found = Path(path)
    for name in ("documents.jsonl", "corpus.jsonl"):
        if (found / name).is_file():
            return _document_rows(found / name, "doc_id" if name[0] == "d" else "_id")
    if found.suffix.lower() == ".jsonl":
        return _document_rows(found)
    if not found.is_dir():
        text = read_text(found)
        _check_text(text, str(found))
        return (GoldenDocument(found.name, text, found.stem),)
    return _text_files(found)


def _document_rows(path: Path, key: str = "doc_id") -> tuple[GoldenDocument, ...]:
    seen: dict[str, str] = {}
    return tuple(
        GoldenDocument(row.new(key, seen), row.text("text"), row.text("title", optional=True))
        for row in json_rows(path)
        # Corpora in the layout of BEIR have empty texts; queries about them are reported.
        if key == "doc_id" or row.text("text", optional=True).strip()
    )


def _load_spans(folder: Path, suffix: str) -> GoldenSet:
    documents = _document_rows(folder / f"documents{suffix}")
    lengths = {document.doc_id: len(document.text) for document in documents}
    asked: dict[str, str] = {}
    queries = tuple(
        Query(row.new("query_id", asked), row.known("doc_id", lengths), row.text("query"))
        for row in json_rows(folder / f"queries{suffix}")
    )
    spans = [
        GoldSpan(row.known("query_id", asked), *row.span(lengths))
        for row in json_rows(folder / f"qrels{suffix}")
    ]
    chunks: dict[str, tuple[Span, ...]] = {}
    if (folder / f"chunks{suffix}").is_file():
        for row in json_rows(folder / f"chunks{suffix}"):
            doc_id, start, end = row.span(lengths)
            chunks[doc_id] = (*chunks.get(doc_id, ()), Span(start, end))
    return GoldenSet(folder.name, documents, queries, tuple(spans), chunks)


def _load_beir(folder: Path) -> GoldenSet:
    documents = _document_rows(folder / "corpus.jsonl", "_id")
    lengths = {document.doc_id: len(document.text) for document in documents}
    seen: dict[str, str] = {}
    texts = {row.new("_id", seen): row.text("text") for row in json_rows(folder / "queries.jsonl")}
    spans: list[GoldSpan] = []
    left_out = 0
    asked: set[str] = set()
    for row in _beir_qrels(folder):
        query_id = row.known("query-id", texts)
        doc_id = row.text("corpus-id")
        if row.integer("score") > 0:
            asked.add(query_id)
            if doc_id in lengths:
                spans.append(GoldSpan(query_id, doc_id, 0, lengths[doc_id]))
            left_out += doc_id not in lengths
    first = {span.query_id: span.doc_id for span in reversed(spans)}
    queries = tuple(Query(key, first[key], text) for key, text in texts.items() if key in first)
    notes = ["relevance is that of whole documents, so every chunk of a gold document counts"]
    if left_out:
        notes.append(f"{left_out} judgements name documents that are absent or empty")
    if lost := len(asked) - len(queries):
        notes.append(f"{lost} queries have no other document and are left out")
    return GoldenSet(folder.name, documents, queries, tuple(spans), notes=tuple(notes))


def _beir_qrels(folder: Path) -> Iterator[Row]:
    for split in _BEIR_SPLITS:
        path = folder / "qrels" / f"{split}.tsv"
        if path.is_file():
            return table_rows(path, delimiter="\t")
    raise GoldenSetError(f"{folder}: no qrels/test.tsv, qrels/dev.tsv or qrels/train.tsv")


def _load_quotes(path: Path, given: str | Path | Sequence[GoldenDocument] | None) -> GoldenSet:
    documents = _read_given(path.parent if given is None else given)
    by_id = {document.doc_id: document for document in documents}
    rows = table_rows(path) if path.suffix.lower() == ".csv" else json_rows(path)
    queries: dict[tuple[str, str], Query] = {}
    spans: list[GoldSpan] = []
    notes: list[str] = []
    row = None
    for row in rows:
        doc_id, text = row.known("document", by_id), row.text("query")
        span, note = _find_quote(by_id[doc_id].text, row.text("quote"))
        if note:
            notes.append(f"{row.where}: {note}")
        if span is not None:
            new = Query(f"q{len(queries) + 1}", doc_id, text)
            query = queries.setdefault((doc_id, text), new)
            spans.append(GoldSpan(query.query_id, doc_id, *span))
    asked = Counter(text for _, text in queries)
    if several := sum(n > 1 for n in asked.values()):
        notes.append(
            f"{several} questions are asked of several documents: each time, only the answer in "
            "the document of its own row counts"
        )
    if row is None:
        raise GoldenSetError(f"{path} holds no rows")
    if not spans:
        raise GoldenSetError(f"{path}: no quote was found in its document; {'; '.join(notes[:3])}")
    return GoldenSet(
        path.stem, tuple(documents), tuple(queries.values()), tuple(spans), notes=tuple(notes)
    )


def _read_given(given: str | Path | Sequence[GoldenDocument]) -> Sequence[GoldenDocument]:
    if not isinstance(given, (str, Path)):
        return given
    return read_documents(given)


def _text_files(path: Path) -> tuple[GoldenDocument, ...]:
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in _TEXT_FILES)
    if not files:
        raise GoldenSetError(f"{path} holds no documents.jsonl and no {', '.join(_TEXT_FILES)}")
    texts = [(file, text) for file in files if (text := read_text(file)).strip()]
    if not texts:
        raise GoldenSetError(f"every text file in {path} is empty")
    return tuple(
        GoldenDocument(file.relative_to(path).as_posix(), text, file.stem) for file, text in texts
    )


def _find_quote(text: str, quote: str) -> tuple[tuple[int, int] | None, str]:
    """Span of a quote, and what should be said about it."""
    plain, sought = text.translate(_LOOKALIKES), quote.strip().translate(_LOOKALIKES)
    found = locate(plain, [sought])
    shown = repr(quote if len(quote) <= _SHOWN_CHARS else quote[:_SHOWN_CHARS] + "...")
    if found.missing:
        return None, f"the quote {shown} does not stand in its document; left out"
    start, end = (int(bound) for bound in found.spans[0])
    if found.how[0] is LocatedBy.PARTIAL:
        return (start, end), f"only part of the quote {shown} stands in its document"
    words = re.compile(r"\s+".join(map(re.escape, sought.split())))
    if (first := words.search(plain)) and first.start() < start:
        return (start, end), (
            f"the quote {shown} stands several times; the first with the same white space is taken"
        )
    if words.search(plain, start + 1):
        return (start, end), f"the quote {shown} stands several times; the first is taken"
    return (start, end), ""


def _check_unique(ids: Iterable[str], what: str, name: str) -> set[str]:
    seen: set[str] = set()
    for given in ids:
        if given in seen:
            raise GoldenSetError(f"{name}: the {what} id {given!r} stands twice")
        seen.add(given)
    return seen


def _check_text(text: str, what: str) -> None:
    if not text.strip():
        raise GoldenSetError(f"{what} is empty")
