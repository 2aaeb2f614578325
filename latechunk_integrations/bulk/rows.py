"""Documents, what becomes of each, and the rows of the chunks."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.errors import InputError, InputTypeError
from latechunk_integrations.plugins import import_extra
from latechunk_integrations.schema import check_characters

COLUMNS = (
    "document_id",
    "chunk_id",
    "start",
    "end",
    "first_page",
    "last_page",
    "text",
    "vector",
    "mode",
    "late_parent",
    "late_engine",
    "version",
)
"""The columns of a chunk row."""

INTEGER_COLUMNS = ("start", "end", "first_page", "last_page")
"""Those of them that hold an integer."""

PAGE_BREAK = "\f"
"""Between the pages of a document that has pages."""

# Names the space of our chunk ids; it must never change.
_CHUNK_NAMESPACE = uuid.UUID("6f1d9c1e-3f57-5a0e-9d1b-7a4c5f1c2b90")


@dataclass(frozen=True)
class Columns:
    """Where a record keeps its document.

    Args:
        text: Column of the text.
        id: Column of the document's id: a string or an integer.
        header: Column of the header; ``None``: no header.
    """

    text: str = "text"
    id: str = "id"
    header: str | None = None

    @property
    def names(self) -> list[str]:
        """The columns that are read."""
        return [self.text, self.id] + ([self.header] if self.header else [])


@dataclass(frozen=True)
class CorpusDocument:
    """A document of the corpus.

    Args:
        id: Its id, unique in the corpus.
        text: Its text.
        header: What its tokens attend to, such as a title; ``""``: nothing.
        file: The file that it comes from, for reports; no part of its version.
        has_pages: Each `PAGE_BREAK` in the text ends a page.

    Raises:
        InvalidCharacterError: The id holds a lone surrogate, which no target can store.
    """

    id: str
    text: str
    header: str = ""
    file: str = field(default="", compare=False)
    has_pages: bool = False

    def __post_init__(self) -> None:
        """Check the id; the text is its own document's error."""
        check_characters(self.id, "the id of a document")

    def version(self, key: str) -> str:
        """Hash of id, text, header and of what is done with them: equal hash, equal rows.

        Args:
            key: Fingerprint of engine and splitter.
        """
        return digest(key, self.id, self.header, self.text)

    def find_pages(self, spans: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers of the first and the last page of chunks, from 1; 0 where it has no pages.

        White space at the ends of a chunk is on no page: a page break may be there.

        Args:
            spans: Code points of the text, half-open, int64, shape ``(n_chunks, 2)``.

        Returns:
            Int64, shape ``(n_chunks, 2)``.
        """
        if not self.has_pages:
            return np.zeros_like(spans)
        breaks = [found.start() for found in re.finditer(PAGE_BREAK, self.text)]
        seen = []
        for start, end in spans.tolist():
            chunk = self.text[start:end]
            stripped = chunk.strip()
            first = start + len(chunk) - len(chunk.lstrip()) if stripped else start
            seen.append((first, first + max(len(stripped), 1) - 1))
        return 1 + np.searchsorted(breaks, np.array(seen, np.int64).reshape(-1, 2))


@dataclass(frozen=True)
class Failure:
    """A document that could not be read or embedded, and why.

    Args:
        document_id: Its id; where it has none, its place, such as ``corpus.jsonl:17``.
        error: Name of the error's type.
        reason: The error's message.
        version: As in `DocumentRows`.
        file: The file that it comes from, for reports.
        retry: Not for certain the document's fault: a file that cannot be read now, a device
            that failed. Its rows stay, and every run tries it again.
        hides: Documents that nobody can name may be in what could not be read. While there is
            such a place, no document counts as gone.
    """

    document_id: str
    error: str
    reason: str
    version: str = ""
    file: str = field(default="", compare=False)
    retry: bool = False
    hides: bool = False

    @classmethod
    def of(
        cls,
        document_id: str,
        error: Exception,
        version: str = "",
        *,
        file: str = "",
        retry: bool = False,
        hides: bool = False,
    ) -> Failure:
        r"""What an exception says; in the id, ``\udce9`` marks a byte that is no character."""
        document_id = _write_text(document_id)
        name, reason = type(error).__name__, _write_text(str(error))
        version = version or digest(document_id, name, reason)
        return cls(document_id, name, reason, version, _write_text(file), retry, hides)


@dataclass(frozen=True, eq=False)
class DocumentRows:
    """The chunk rows of one document; none where it was left out or removed.

    Args:
        document_id: The document's id.
        version: See `CorpusDocument.version`.
        parent: Fingerprint of text, spans and header, `Parent.fingerprint`.
        spans: Code points of the text, half-open, int64, shape ``(n_chunks, 2)``.
        texts: The chunks.
        vectors: Float32, shape ``(n_chunks, dim)``.
        modes: ``late``, ``windowed`` or ``standalone`` for each chunk.
        skipped: The document was left out under ``fallback="skip"``.
        engine: Fingerprint of model and options, `LateChunkEngine.fingerprint`.
        file: The file that the document comes from, for reports.
        pages: See `CorpusDocument.find_pages`; ``None``: there are no pages.
    """

    document_id: str
    version: str
    parent: str = ""
    spans: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    texts: tuple[str, ...] = ()
    vectors: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    modes: tuple[str, ...] = ()
    skipped: bool = False
    engine: str = ""
    file: str = ""
    pages: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def digest(self) -> str:
        """Hash of all rows, vectors included, in any order."""
        hashed = RowsDigest()
        for row in self.rows():
            hashed.add(row)
        return hashed.value

    def rows(self) -> Iterator[dict[str, Any]]:
        """Each chunk as a mapping of `COLUMNS`; the vector stays an array."""
        places = self.spans.tolist()
        pages = np.zeros_like(self.spans) if self.pages is None else self.pages
        chunks = zip(places, pages.tolist(), self.texts, self.vectors, self.modes, strict=True)
        for span, shown, text, vector, mode in chunks:
            identity = chunk_id(self.document_id, *span)
            values = (self.document_id, identity, *span, *shown, text, vector, mode)
            yield dict(zip(COLUMNS, (*values, self.parent, self.engine, self.version), strict=True))


class RowsDigest:
    """Hash of rows as they come, whatever their order; a row that comes twice counts twice.

    Args:
        columns: The columns that count.
    """

    def __init__(self, columns: Sequence[str] = COLUMNS) -> None:
        self._columns = columns
        self._sum = 0
        self.n_rows = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Take in a row of `COLUMNS`; a value of another kind is hashed as it prints."""
        joined = hashlib.sha256()
        for name in self._columns:
            value = row.get(name)
            if name == "vector":
                encoded = np.asarray(value, "<f4").tobytes()
            else:
                encoded = str(value).encode("utf-8", "surrogatepass")
            joined.update(len(encoded).to_bytes(8, "big") + encoded)
        self._sum += int.from_bytes(joined.digest()[:12], "big")
        self.n_rows += 1

    @property
    def value(self) -> str:
        """The hash so far, hex, 24 digits."""
        return f"{self._sum % (1 << 96):024x}"


def chunk_id(document_id: str, start: int, end: int) -> str:
    """A UUID that names a place: the same document id and span always have the same one.

    The text is left out on purpose: a chunk whose text changed keeps its id, so that writing it
    replaces the former row.
    """
    return str(uuid.uuid5(_CHUNK_NAMESPACE, f"{start}:{end}:{document_id}"))


def digest(*parts: str) -> str:
    """Hash of strings (hex, 32 digits); their borders count."""
    joined = hashlib.sha256()
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        joined.update(len(encoded).to_bytes(8, "big") + encoded)
    return joined.hexdigest()[:32]


def _write_text(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def read_document(
    record: Mapping[str, Any], columns: Columns, place: str, file: str = ""
) -> CorpusDocument | Failure:
    """The document of a record, or why there is none.

    Args:
        record: Values by column.
        columns: Which of them hold the document.
        place: Names the record where its id cannot.
        file: The file that holds it, for reports.
    """
    given = record.get(columns.id)
    named = isinstance(given, (str, int)) and not isinstance(given, bool) and given != ""
    document_id = str(given) if named else place
    try:
        if not named:
            raise InputTypeError(
                f"{place} has no string or integer in {columns.id!r}, the column of the id"
            )
        check_characters(document_id, f"the id of {place}")
        text = record.get(columns.text)
        header = record.get(columns.header) if columns.header else None
        for name, value in ((columns.text, text), (columns.header, header or "")):
            if not isinstance(value, str):
                raise InputTypeError(f"{place} has {type(value).__name__} in {name!r}, not a str")
    except InputError as error:
        return Failure.of(document_id, error, file=file, hides=not named)
    return CorpusDocument(document_id, str(text), str(header or ""), file)


def to_table(documents: Sequence[DocumentRows], dimensions: int) -> Any:
    """The rows of documents as one Arrow table.

    Returns:
        ``pyarrow.Table`` of `COLUMNS`; ``vector`` is a fixed-size list of float32.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    arrow = import_extra("pyarrow", extra="bulk")
    flat = [d.vectors.ravel() for d in documents] or [np.zeros(0, np.float32)]
    vectors = arrow.FixedSizeListArray.from_arrays(
        arrow.array(np.concatenate(flat), arrow.float32()), dimensions
    )
    rows = [row for document in documents for row in document.rows()]
    arrays = {
        name: vectors
        if name == "vector"
        else arrow.array(
            [row[name] for row in rows],
            arrow.int64() if name in INTEGER_COLUMNS else arrow.string(),
        )
        for name in COLUMNS
    }
    return arrow.table(arrays)
