"""Chunks that know their parent, and how they know it again once they were rebuilt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby, repeat
from typing import Any, Literal, TypeAlias

from langchain_core.documents import Document
from langchain_core.stores import BaseStore

from latechunk_integrations import marks
from latechunk_integrations.core.folding import says_the_same
from latechunk_integrations.errors import InputTypeError
from latechunk_integrations.langchain.parent_store import ALIVE, ParentStore
from latechunk_integrations.schema import Parent, Span, check_texts

__all__ = [
    "ChunkText",
    "Metadatas",
    "Parents",
    "StandaloneText",
    "attach",
    "batch_chunks",
    "make_documents",
    "with_ids",
    "with_text",
]

_BATCH_CHUNKS = 1_000

Reason: TypeAlias = Literal["unknown", "altered", "parent_not_held"]
"""Why a text has no parent: nothing names one, it was changed, the parent is not held here."""

Parents: TypeAlias = "Iterable[Parent] | BaseStore[str, bytes] | ParentStore | None"
"""Where parents come from: themselves, a store of them, or what this process holds."""

Metadatas: TypeAlias = "list[dict[Any, Any]] | None"


class ChunkText(str):
    """A chunk's text with its origin.

    Vector stores hand texts to ``embed_documents`` without metadata; this one brings its
    parent along. Anything that rebuilds the text leaves a plain str; `attach` makes it this one
    again. Pickled, it names its parent, which whoever reads it finds in the parent store.

    Args:
        text: What the splitter made of the span; most often the span itself.
        parent: The parent with all of its chunks' spans, or its fingerprint.
        row: Which of them this is.
        marks: Metadata that are told how the chunk was embedded.
        sub_span: The part of the chunk, in its parent, that the vector is of; None: all of it.
    """

    __slots__ = ("_parent", "fingerprint", "is_hashed", "marks", "row", "sub_span")

    _parent: Parent | None
    fingerprint: str
    is_hashed: bool
    row: int
    marks: dict[Any, Any] | None
    sub_span: Span | None

    def __new__(  # noqa: PYI034  # Self: 3.11
        cls,
        text: str,
        parent: Parent | str,
        row: int,
        marks: dict[Any, Any] | None = None,
        sub_span: Span | None = None,
    ) -> ChunkText:
        """Build the str, then attach where it comes from."""
        chunk = super().__new__(cls, text)
        chunk._parent = None if isinstance(parent, str) else parent
        chunk.fingerprint = parent if isinstance(parent, str) else parent.fingerprint
        chunk.row, chunk.marks, chunk.sub_span = row, marks, sub_span
        chunk.is_hashed = False
        return chunk

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """The text's bytes, as of any str; it is noted that somebody asked for them.

        A cache that makes its keys of texts asks before it embeds, and nothing else tells that
        it is there. The bytes must stay those of the text: database drivers store them.
        """
        self.is_hashed = True
        return super().encode(encoding, errors)

    @property
    def parent(self) -> Parent | None:
        """The parent, where this text or anything else in this process holds it."""
        return self._parent or ALIVE.get(self.fingerprint)

    @property
    def span(self) -> Span | None:
        """The chunk's range in its parent's text, where the parent is at hand."""
        parent = self.parent
        return None if parent is None else parent.chunk_span(self.row)

    @property
    def is_verbatim(self) -> bool:
        """Whether the text is exactly what is at its span."""
        parent = self.parent
        return parent is not None and parent.chunk_text(self.row) == self

    def __reduce__(self) -> tuple[object, ...]:
        if self._parent is not None:
            ALIVE.setdefault(self.fingerprint, self._parent)
        return ChunkText, (str(self), self.fingerprint, self.row, None, self.sub_span)

    def __deepcopy__(self, memo: dict[int, Any]) -> ChunkText:
        """The copy shares the parent; it belongs to other metadata, if to any."""
        return ChunkText(self, self._parent or self.fingerprint, self.row, sub_span=self.sub_span)


class StandaloneText(str):
    """A chunk's text whose metadata name a parent that it cannot be given, and why."""

    __slots__ = ("marks", "reason")

    marks: dict[Any, Any]
    reason: Reason

    def __new__(  # noqa: PYI034  # Self: 3.11
        cls, text: str, reason: Reason, marks: dict[Any, Any]
    ) -> StandaloneText:
        """Build the str, then attach the reason, and the metadata that are told of it."""
        chunk = super().__new__(cls, text)
        chunk.reason, chunk.marks = reason, marks
        return chunk

    def __reduce__(self) -> tuple[object, ...]:
        return str, (str(self),)


def attach(documents: Iterable[Document], parents: Parents = None) -> list[Document]:
    """Copies of chunks whose texts know their parent, from their metadata.

    Chunks lose that knowledge where they are rebuilt from text and metadata: by the indexing
    API, in JSON, in a checkpoint, in a queue. The metadata name parent and place, and the text
    must still be there once case, white space and a prefix made of its own metadata or
    header are set aside. Other texts are never given a parent.

    Args:
        documents: Chunks of a `LateChunkTextSplitter`, as they were or rebuilt. Documents
            without our metadata are copied as they are.
        parents: The parents, of `LateChunkTextSplitter.parents`, or the store that holds them;
            None: those that this process still uses.

    Returns:
        Documents for a store's own ``add_documents``, in order. A chunk whose parent is not
        held, or whose text was changed, says so to the embeddings.

    Raises:
        InputTypeError: ``parents`` holds something else than parents.
    """
    documents = list(documents)
    names = list(map(_parent_name, documents))
    known = _known(parents, set(names) - {""})
    rows: dict[str, dict[tuple[int, int], int]] = {}
    return [
        _attached(document, name, known.get(name), rows)
        for document, name in zip(documents, names, strict=True)
    ]


def batch_chunks(chunks: Iterable[Document]) -> Iterator[list[Document]]:
    """Chunks, some at a time; those of one parent that follow each other stay together."""
    batch: list[Document] = []
    for _, group in groupby(chunks, lambda one: one.metadata.get(marks.PARENT_KEY) or id(one)):
        batch.extend(group)
        if len(batch) >= _BATCH_CHUNKS:
            yield batch
            batch = []
    if batch:
        yield batch


def with_text(document: Document, text: str) -> Document:
    """The document, with a text that pydantic must not make a plain str of."""
    document.page_content = text
    return document


def make_documents(
    texts: Iterable[str], metadatas: Metadatas, ids: Sequence[str] | None = None
) -> list[Document]:
    """Documents of texts; one that knows its parent keeps that knowledge."""
    texts = texts if isinstance(texts, str) else list(texts)
    check_texts(texts)
    n = len(texts)
    if metadatas and (len(metadatas) != n or not all(isinstance(one, dict) for one in metadatas)):
        raise InputTypeError("metadatas must be a list of dicts, one for each text")
    own_ids: Sequence[str | None] = ids or [None] * n
    columns = zip(texts, metadatas or [{}] * n, own_ids, strict=True)
    return [with_text(Document(one, metadata=own, id=name), one) for one, own, name in columns]


def with_ids(chunks: Iterable[Document], ids: Iterable[str]) -> Iterator[Document]:
    """Copies of chunks that have these ids; too few of them are an `InputTypeError`."""
    for chunk, one in zip(chunks, chain(ids, repeat(None)), strict=False):
        if one is None:
            raise InputTypeError("there are fewer ids than chunks")
        yield chunk.model_copy(update={"id": one})


def _parent_name(document: Document) -> str:
    """The fingerprint of the parent that a text or its metadata name; empty: they name none."""
    name = getattr(document.page_content, "fingerprint", document.metadata.get(marks.PARENT_KEY))
    return name if isinstance(name, str) else ""


def _bound(value: object) -> int:
    """A bound; some stores make floats or texts of integers. -1: none, which no parent holds."""
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) else -1


def _known(parents: Parents, fingerprints: set[str]) -> Mapping[str, Parent]:
    if parents is None or isinstance(parents, BaseStore):
        parents = ParentStore(parents)
    if isinstance(parents, ParentStore):
        return parents.find(fingerprints)
    given = list(parents)
    if not all(isinstance(parent, Parent) for parent in given):
        raise InputTypeError(
            "parents must hold Parent objects, or be a store: give splitter.parents(documents)"
        )
    return {parent.fingerprint: parent for parent in given}


def _attached(
    document: Document,
    name: str,
    parent: Parent | None,
    rows: dict[str, dict[tuple[int, int], int]],
) -> Document:
    text, metadata = document.page_content, dict(document.metadata)
    copied = document.model_copy(update={"metadata": metadata})
    if not name:
        return copied
    metadata[marks.ENGINE_KEY] = metadata[marks.MODE_KEY] = ""
    if isinstance(text, ChunkText):
        own = text.parent or parent or name
        return with_text(copied, ChunkText(text, own, text.row, metadata, text.sub_span))
    if parent is None:
        return with_text(copied, StandaloneText(text, "parent_not_held", metadata))
    if name not in rows:
        bounds = map(tuple, parent.spans.array.tolist())
        rows[name] = {span: row for row, span in enumerate(bounds)}
    start, end = (_bound(metadata.get(key)) for key in (marks.START_KEY, marks.END_KEY))
    row = rows[name].get((start, end))
    if row is None or not _stands(text, parent, row, metadata):
        return with_text(copied, StandaloneText(text, "altered", metadata))
    start, end = (_bound(metadata.get(key)) for key in (marks.SUB_START_KEY, marks.SUB_END_KEY))
    part = Span(start, end) if 0 <= start < end else None
    return with_text(copied, ChunkText(text, parent, row, metadata, part))


def _stands(text: str, parent: Parent, row: int, metadata: Mapping[Any, Any]) -> bool:
    """Whether the text is at its span, case, white space and a known prefix aside."""
    span_text = parent.chunk_text(row)
    if text == span_text:  # most often: what follows costs
        return True
    headers = [parent.header, parent.chunk_header(row)]
    parts = [part for header in headers for part in header.replace("\n", " > ").split(" > ")]
    own = marks.without_marks(metadata).items()
    return says_the_same(text, span_text, known=[*map(str, chain(*own)), *headers, *parts])
