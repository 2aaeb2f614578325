"""`attach`: chunks know their parent again, from their metadata."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby, repeat
from typing import Any, TypeAlias

from langchain_core.documents import Document
from langchain_core.stores import BaseStore

from latechunk_integrations import marks
from latechunk_integrations.core.folding import says_the_same
from latechunk_integrations.errors import InputTypeError
from latechunk_integrations.langchain.chunk_text import ChunkText, StandaloneText, with_text
from latechunk_integrations.langchain.parent_store import ParentStore
from latechunk_integrations.schema import Parent, Span, check_texts

_BATCH_CHUNKS = 1_000

Parents: TypeAlias = "Iterable[Parent] | BaseStore[str, bytes] | ParentStore | None"
"""Where parents come from: themselves, a store of them, or what this process holds."""

Metadatas: TypeAlias = "list[dict[Any, Any]] | None"


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
    row = rows[name].get(marks.read_span(metadata, marks.START_KEY, marks.END_KEY))
    if row is None or not _stands(text, parent, row, metadata):
        return with_text(copied, StandaloneText(text, "altered", metadata))
    start, end = marks.read_span(metadata, marks.SUB_START_KEY, marks.SUB_END_KEY)
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
