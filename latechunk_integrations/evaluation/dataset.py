"""Golden sets: documents, queries, and the character spans that answer them.

Three layouts are read:

- a folder of JSON lines: ``documents.jsonl`` (``doc_id``, ``title``, ``text``), ``queries.jsonl``
  (``query_id``, ``doc_id``, ``query``), ``qrels.jsonl`` (``query_id``, ``doc_id``, ``start``,
  ``end``, code points) and, where present, ``chunks.jsonl`` with the documents' own chunks;
- a folder in the layout of BEIR, whose relevance is that of whole documents;
- the user's own rows of query, document and quoted text: CSV, Excel, JSON lines, and the test sets
  that ragas and LlamaIndex write; see `labels.COLUMNS` for the columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from latechunk_integrations.errors import GoldenSetError
from latechunk_integrations.evaluation.document_files import (
    GoldenDocument,
    add_titles,
    check_text,
    read_documents,
    read_named,
    read_objects,
)
from latechunk_integrations.evaluation.labels import (
    FROM_TEXT,
    ORIGIN,
    REJECTED,
    STATUS,
    Label,
    LabelReader,
    column_names,
)
from latechunk_integrations.evaluation.quote_rows import (
    Row,
    check_span,
    json_rows,
    question_rows,
    table_rows,
)
from latechunk_integrations.schema import Span

__all__ = ["GoldSpan", "GoldenDocument", "GoldenSet", "Query", "read_documents"]

_NAMED_LINES = 5
_BEIR_SPLITS = ("test", "dev", "train")


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
    """A place that answers a query: ``[start, end)`` in code points of the document.

    Args:
        query_id: The query.
        doc_id: The document.
        start: First code point.
        end: One past the last.
        alternatives: Other places with the same text; one of all these is meant, and whichever a
            ranking finds first counts.
        partial: Only a part of what was quoted occurs in the document.
    """

    query_id: str
    doc_id: str
    start: int
    end: int
    alternatives: tuple[Span, ...] = ()
    partial: bool = False

    @property
    def uncertain(self) -> bool:
        """Whether the label may be wrong: the quote occurs several times, or only in part."""
        return self.partial or bool(self.alternatives)

    @property
    def places(self) -> tuple[Span, ...]:
        """The place and its alternatives."""
        return (Span(self.start, self.end), *self.alternatives)


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
        GoldenSetError: An id occurs twice or is unknown, a text is empty, a span is outside its
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
            check_text(document.text, f"{self.name}: the text of document {document.doc_id!r}")
        for query in self.queries:
            check_text(query.text, f"{self.name}: query {query.query_id!r}")
            if query.doc_id not in documents:
                raise GoldenSetError(
                    f"{self.name}: query {query.query_id!r} names the unknown document "
                    f"{query.doc_id!r}"
                )
        for span in self.spans:
            for place in span.places:
                check_span(span.doc_id, place.start, place.end, lengths, self.name)
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

    @property
    def uncertain(self) -> tuple[str, ...]:
        """Ids of the queries with a label that may be wrong, in order."""
        return tuple(dict.fromkeys(span.query_id for span in self.spans if span.uncertain))

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
        cls,
        path: str | Path,
        documents: Documents = None,
        variant: str = "",
        *,
        columns: Mapping[str, str] | None = None,
    ) -> GoldenSet:
        """Read whatever layout a path holds.

        Args:
            path: A folder for `load`, or a file of rows for `from_quotes`.
            documents: Of the rows.
            variant: Of the folder.
            columns: Of the rows.

        Raises:
            GoldenSetError: A file is missing or a line is wrong; names file and line.
        """
        if Path(path).is_dir():
            return cls.load(path, variant)
        if not Path(path).is_file():
            raise GoldenSetError(f"there is no folder and no file {path}: give one with questions")
        return cls.from_quotes(path, documents, columns=columns)

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
        cls,
        rows: str | Path,
        documents: Documents = None,
        *,
        columns: Mapping[str, str] | None = None,
    ) -> GoldenSet:
        """Read rows of questions, documents and quotes.

        A quote is searched in its document; white space, typographic quotation marks and dashes
        may differ. Rows whose quote is not found are left out and reported in `notes`. A quote
        that occurs several times has alternatives; a column ``start`` or ``context`` says which
        is meant. Without a column ``document``, a context or quote is sought in all documents.

        Args:
            rows: A file whose name ends in ``.csv``, ``.tsv``, ``.xlsx``, ``.jsonl`` or ``.json``.
            documents: Documents, or one or several paths for `read_documents`. ``None``: the
                files that the rows name, in the folder of the rows.
            columns: Names of columns by what they mean, where they differ from
                `labels.COLUMNS`.

        Raises:
            GoldenSetError: A file is missing, a line is wrong, or no quote was found.
            OptionError: A column is named for a meaning that there is not.
        """
        return _load_quotes(Path(rows), documents, columns)


Documents: TypeAlias = "str | Path | Sequence[str | Path] | Sequence[GoldenDocument] | None"
"""What documents of rows are given as."""


def _load_spans(folder: Path, suffix: str) -> GoldenSet:
    documents = read_objects(folder / f"documents{suffix}")
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
    documents = read_objects(folder / "corpus.jsonl", "_id")
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


def _load_quotes(path: Path, given: Documents, columns: Mapping[str, str] | None) -> GoldenSet:
    names = column_names(columns)
    every = list(question_rows(path))
    rows = [row for row in every if row.values.get(STATUS) != REJECTED]
    if not rows:
        raise GoldenSetError(f"{path} holds no rows{' that were not rejected' if every else ''}")
    documents = add_titles(_read_given(path, given, rows, names["document"]), rows, names)
    reader = LabelReader({document.doc_id: document.text for document in documents}, columns)
    labels: list[Label] = []
    notes = _describe_rows(every, rows)
    for row in rows:
        found = reader.read(row)
        if isinstance(found, str):
            notes.append(f"{row.where}: {found}")
        else:
            labels += found
    if not labels:
        raise GoldenSetError(f"{path}: no quote was found in its document; {'; '.join(notes[:3])}")
    queries, spans = _collect_labels(labels)
    notes += _describe_labels(labels, queries)
    # Reports and records hold notes, and no path of a machine.
    named = tuple(note.replace(str(path), path.name) for note in notes)
    return GoldenSet(path.stem, tuple(documents), queries, spans, notes=named)


def _describe_rows(every: Sequence[Row], kept: Sequence[Row]) -> list[str]:
    """What is left out, and who made the questions."""
    notes = []
    if n_rejected := len(every) - len(kept):
        notes.append(f"{n_rejected} rejected rows are left out")
    if n_made := sum(row.values.get(ORIGIN) == FROM_TEXT for row in kept):
        notes.append(
            f"{n_made} questions were made of titles, headings and rare words, not asked by "
            "people: they favour whatever reads the title, and the order of the ways may differ"
        )
    return notes


def _collect_labels(labels: Sequence[Label]) -> tuple[tuple[Query, ...], tuple[GoldSpan, ...]]:
    queries: dict[tuple[str, str], Query] = {}
    spans = []
    for label in labels:
        new = Query(label.query_id or f"q{len(queries) + 1}", label.doc_id, label.query)
        query = queries.setdefault((label.doc_id, label.query), new)
        first, *others = label.places
        where = (query.query_id, label.doc_id, first.start, first.end)
        spans.append(GoldSpan(*where, tuple(others), label.partial))
    return tuple(queries.values()), tuple(spans)


def _describe_labels(labels: Sequence[Label], queries: Sequence[Query]) -> list[str]:
    """What is uncertain, in a line for each reason."""
    notes = []
    asked = Counter(query.text for query in queries)
    if several := sum(n > 1 for n in asked.values()):
        notes.append(
            f"{several} questions are asked of several documents: each time, only the answer in "
            "the document of its own row counts"
        )
    repeated = [label.where for label in labels if len(label.places) > 1]
    if repeated:
        notes.append(
            f"{len(repeated)} quotes occur several times in their document, and any of the places "
            f"counts ({_name_lines(repeated)}); a longer quote, or a column 'context' or 'start', "
            "says which is meant"
        )
    if partial := [label.where for label in labels if label.partial]:
        notes.append(f"{len(partial)} quotes occur only in part ({_name_lines(partial)})")
    return notes


def _name_lines(where: Sequence[str]) -> str:
    shown = "; ".join(where[:_NAMED_LINES])
    return shown if len(where) <= _NAMED_LINES else f"{shown}; and {len(where) - _NAMED_LINES} more"


def _read_given(
    path: Path, given: Documents, rows: Sequence[Row], names: Sequence[str]
) -> Sequence[GoldenDocument]:
    if given is None:
        return read_named(path, rows, names)
    if isinstance(given, (str, Path)):
        return read_documents(given)
    documents = [each for each in given if isinstance(each, GoldenDocument)]
    return documents or read_documents([each for each in given if isinstance(each, (str, Path))])


def _check_unique(ids: Iterable[str], what: str, name: str) -> set[str]:
    seen: set[str] = set()
    for given in ids:
        if given in seen:
            raise GoldenSetError(f"{name}: the {what} id {given!r} occurs twice")
        seen.add(given)
    return seen
