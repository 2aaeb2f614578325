"""Sub-spans in vector stores: a document for each, or in Qdrant one point for all of a chunk."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document

from latechunk_integrations import marks
from latechunk_integrations.errors import OptionError
from latechunk_integrations.langchain.attach import (
    ChunkText,
    Parents,
    batch_chunks,
    with_ids,
    with_text,
)
from latechunk_integrations.langchain.embeddings import LateChunkEmbeddings
from latechunk_integrations.plugins import import_extra
from latechunk_integrations.schema import Parent, Span

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

__all__ = [
    "CONTENT_KEY",
    "METADATA_KEY",
    "add_multivectors",
    "create_multivectors",
    "split_sub_spans",
]

CONTENT_KEY, METADATA_KEY = "page_content", "metadata"
"""Where LangChain's Qdrant store has text and metadata in the payload of a point."""

# Points of one request, and chunks that are embedded at once: each may hold dozens of vectors.
_REQUEST_POINTS = 128


def split_sub_spans(
    chunks: Iterable[Document], embeddings: LateChunkEmbeddings, parents: Parents = None
) -> Iterator[Document]:
    """A document for each sub-span of some chunks, for any vector store.

    Each holds the text of its whole chunk, and in its metadata which part of it the vector is of:
    ``late_sub_start`` and ``late_sub_end``, in the parent. So a store gives chunks back whoever
    asks it; `SubSpanRetriever` gives each once. They may be rebuilt like chunks; see `attach`.

    Chunks are taken in batches that do not cut a parent. A batch is embedded here, and its vectors
    are kept until the store asks for them. Give a list of it to ``from_documents``, or, for a
    corpus that does not fit into memory, the iterator to `add_late_chunks`.

    Args:
        chunks: Documents of a `LateChunkTextSplitter`, as they were or rebuilt.
        embeddings: What will embed; with ``sub_span_tokens``.
        parents: See `attach`; None: those that the embeddings keep.

    Raises:
        OptionError: The embeddings cut no sub-spans.
    """
    for _, parts in _cut(chunks, embeddings, parents):
        yield from parts


def _cut(
    chunks: Iterable[Document], embeddings: LateChunkEmbeddings, parents: Parents
) -> Iterator[tuple[Document, list[Document]]]:
    """Each chunk, attached, with the documents of its sub-spans."""
    if embeddings.sub_span_tokens is None:
        raise OptionError(
            "these embeddings cut no sub-spans: LateChunkEmbeddings(..., sub_span_tokens=32)"
        )
    known = list(parents) if isinstance(parents, Iterator) else parents
    for batch in batch_chunks(chunks):
        attached = embeddings.attach(batch, known)
        texts = [one.page_content for one in attached if isinstance(one.page_content, ChunkText)]
        held = {text.fingerprint: text.parent for text in texts if text.parent is not None}
        found = dict(zip(held, embeddings.embed_parents(list(held.values())), strict=True))
        for chunk in attached:
            text = chunk.page_content
            result = found.get(text.fingerprint) if isinstance(text, ChunkText) else None
            if result is None or result.sub_spans is None or not isinstance(text, ChunkText):
                yield chunk, [chunk]  # no parent is known of it, so that it is one vector
                continue
            own = result.sub_spans.spans.array[result.sub_spans.of_chunk(text.row)].tolist()
            parent = held[text.fingerprint]
            yield chunk, [_part(chunk, text, parent, Span(*span)) for span in own]


def _part(chunk: Document, text: ChunkText, parent: Parent, span: Span) -> Document:
    metadata = dict(chunk.metadata)
    metadata[marks.SUB_START_KEY], metadata[marks.SUB_END_KEY] = span
    name = None
    if chunk.id is not None:
        metadata[marks.CHUNK_KEY] = chunk.id
        name = marks.name_sub_span(chunk.id, span.start - int(parent.spans.starts[text.row]))
    part = Document(page_content=text, metadata=metadata, id=name)
    return with_text(part, ChunkText(text, parent, text.row, part.metadata, span))


def create_multivectors(
    client: QdrantClient, collection_name: str, embeddings: LateChunkEmbeddings, **kwargs: Any
) -> None:
    """Create a Qdrant collection whose points have one vector for each sub-span of a chunk.

    ``kwargs`` are what else ``create_collection`` takes, such as ``quantization_config``.
    """
    models = import_extra("qdrant_client.models", extra="qdrant")
    distance = models.Distance.COSINE if embeddings.normalize else models.Distance.DOT
    best = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    size = embeddings.engine.dimensions
    vectors = models.VectorParams(size=size, distance=distance, multivector_config=best)
    client.create_collection(collection_name, vectors_config=vectors, **kwargs)


def add_multivectors(
    client: QdrantClient,
    collection_name: str,
    chunks: Iterable[Document],
    embeddings: LateChunkEmbeddings,
    *,
    parents: Parents = None,
    ids: Sequence[str] | None = None,
) -> list[str]:
    """Embed chunks and write a point for each, with the vectors of its sub-spans.

    The payload is that of LangChain's Qdrant store: ``page_content`` and ``metadata``, with the
    marks of how the vectors were made. A chunk of which no parent is known has one vector.

    Args:
        client: Of ``qdrant-client``.
        collection_name: A collection of `create_multivectors`.
        chunks: As for `split_sub_spans`; an iterator may be longer than memory.
        embeddings: What embeds, with ``sub_span_tokens``.
        parents: See `attach`; None: those that the embeddings keep.
        ids: A UUID or number for each chunk; None: made of parent and place, so that writing
            again replaces.

    Returns:
        The ids of the points.

    Raises:
        InputTypeError: There are not as many ids as chunks.
        OptionError: The embeddings cut no sub-spans.
    """
    models = import_extra("qdrant_client.models", extra="qdrant")
    cut = _cut(chunks if ids is None else with_ids(chunks, ids), embeddings, parents)
    written: list[str] = []
    while batch := list(islice(cut, _REQUEST_POINTS)):
        parts = [part for _, own in batch for part in own]
        vectors = iter(embeddings.embed_documents([part.page_content for part in parts]))
        points = []
        for chunk, own in batch:
            name = _point_id(chunk) if ids is None else chunk.id
            own_keys = (marks.SUB_START_KEY, marks.SUB_END_KEY, marks.CHUNK_KEY)  # of one part
            metadata = {key: v for key, v in own[0].metadata.items() if key not in own_keys}
            payload = {CONTENT_KEY: str(chunk.page_content), METADATA_KEY: metadata}
            some = list(islice(vectors, len(own)))
            points.append(models.PointStruct(id=name, vector=some, payload=payload))
        client.upsert(collection_name, points)
        written += [str(point.id) for point in points]
    return written


def _point_id(chunk: Document) -> str:
    place = [chunk.metadata.get(key) for key in marks.PLACE_KEYS]
    if None in place:
        return str(uuid.uuid4())
    name = [chunk.metadata.get("source"), *place]
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "/".join(map(str, name))))
