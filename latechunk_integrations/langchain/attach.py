"""Chunks rebuilt from text and metadata become chunks that know their parent again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, groupby
from typing import Any, NamedTuple, TypeAlias

from langchain_core.documents import Document
from langchain_core.stores import BaseStore

from latechunk_integrations import marks
from latechunk_integrations.core.folding import says_the_same
from latechunk_integrations.errors import InputTypeError
from latechunk_integrations.langchain.chunk_text import ChunkText, StandaloneText
from latechunk_integrations.langchain.parent_store import ParentStore
from latechunk_integrations.schema import Parent, Span

__all__ = ["Parents", "attach", "batch_chunks", "with_text"]

_BATCH_CHUNKS = 1_000

Parents: TypeAlias = "Iterable[Parent] | BaseStore[str, bytes] | ParentStore | None"
"""Where parents come from: themselves, a store of them, or what this process holds."""


class _Place(NamedTuple):
    """What the metadata of a chunk say of its origin."""

    fingerprint: str
    start: int
    end: int
    sub_span: Span | None = None


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
    places = [_place(document) for document in documents]
    known = _known(parents, {place.fingerprint for place in places if place})
    rows: dict[str, dict[tuple[int, int], int]] = {}
    return [
        document.model_copy(update={"metadata": dict(document.metadata)})
        if place is None
        else _attached(document, place, known.get(place.fingerprint), rows)
        for document, place in zip(documents, places, strict=True)
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


def _place(document: Document) -> _Place | None:
    if isinstance(document.page_content, ChunkText):
        return _Place(document.page_content.fingerprint, -1, -1)
    keys = marks.PARENT_KEY, marks.START_KEY, marks.END_KEY
    fingerprint, start, end = (document.metadata.get(key) for key in keys)
    if not isinstance(fingerprint, str) or not fingerprint:
        return None
    return _Place(fingerprint, _bound(start), _bound(end), _sub_span(document.metadata))


def _sub_span(metadata: Mapping[Any, Any]) -> Span | None:
    start, end = (_bound(metadata.get(key)) for key in (marks.SUB_START_KEY, marks.SUB_END_KEY))
    return Span(start, end) if 0 <= start < end else None


def _bound(value: object) -> int:
    """A bound; some stores make floats or texts of integers. -1: none, which no parent holds."""
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) else -1


def _known(parents: Parents, fingerprints: set[str]) -> Mapping[str, Parent]:
    if isinstance(parents, BaseStore):
        parents = ParentStore(parents)
    if isinstance(parents, ParentStore) or parents is None:
        return (parents or ParentStore()).find(fingerprints)
    given = list(parents)
    if not all(isinstance(parent, Parent) for parent in given):
        raise InputTypeError(
            "parents must hold Parent objects, or be a store: give splitter.parents(documents)"
        )
    return {parent.fingerprint: parent for parent in given}


def _attached(
    document: Document,
    place: _Place,
    parent: Parent | None,
    rows: dict[str, dict[tuple[int, int], int]],
) -> Document:
    text = document.page_content
    metadata = {**document.metadata, marks.ENGINE_KEY: "", marks.MODE_KEY: ""}
    copied = document.model_copy(update={"metadata": metadata})
    if isinstance(text, ChunkText):
        own = text.parent or parent or text.fingerprint
        return with_text(copied, ChunkText(text, own, text.row, metadata, text.sub_span))
    if parent is None:
        return with_text(copied, StandaloneText(text, "parent_not_held", metadata))
    if place.fingerprint not in rows:
        bounds = map(tuple, parent.spans.array.tolist())
        rows[place.fingerprint] = {span: row for row, span in enumerate(bounds)}
    row = rows[place.fingerprint].get((place.start, place.end))
    if row is None or not _stands(text, parent, row, document.metadata):
        return with_text(copied, StandaloneText(text, "altered", metadata))
    return with_text(copied, ChunkText(text, parent, row, metadata, place.sub_span))


def _stands(text: str, parent: Parent, row: int, metadata: Mapping[Any, Any]) -> bool:
    """Whether the text is at its span, case, white space and a known prefix aside."""
    span_text = parent.chunk_text(row)
    if text == span_text:  # most often: what follows costs
        return True
    headers = [parent.header, parent.chunk_header(row)]
    parts = [part for header in headers for part in header.replace("\n", " > ").split(" > ")]
    own = [item for item in metadata.items() if item[0] not in marks.VECTOR_KEYS]
    return says_the_same(text, span_text, known=[*map(str, chain(*own)), *headers, *parts])
