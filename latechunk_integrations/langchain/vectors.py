"""`add_late_chunks`: vectors computed here, written by whatever method the store offers."""

from __future__ import annotations

import asyncio
import inspect
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore

from latechunk_integrations.errors import InputTypeError, UnsupportedStoreError
from latechunk_integrations.langchain.binding import PARENT_KEY
from latechunk_integrations.langchain.embeddings import LateChunkEmbeddings
from latechunk_integrations.langchain.split_documents import Parents, as_parents
from latechunk_integrations.langchain.store_proxy import LateChunkVectorStore

__all__ = ["aadd_late_chunks", "add_late_chunks"]

_BATCH_CHUNKS = 1_000


class _Rows(NamedTuple):
    """What is written: one entry for each chunk in each of them."""

    ids: list[str] | None
    texts: list[str]
    vectors: list[list[float]]
    metadatas: list[dict[Any, Any]]

    @property
    def made_ids(self) -> list[str]:
        """The given ids, or new ones."""
        return self.ids or [str(uuid.uuid4()) for _ in self.texts]


_Writer: TypeAlias = "Callable[[Any, _Rows], list[str]]"


def add_late_chunks(
    vector_store: VectorStore,
    chunks: Iterable[Document],
    *,
    embeddings: LateChunkEmbeddings | None = None,
    parents: Parents = None,
    header_from: Iterable[str] = (),
    ids: Sequence[str] | None = None,
) -> list[str]:
    """Embed chunks and write them with their vectors, without any ledger.

    Works where chunks were split in another process. Chunks are taken, embedded and written
    in batches that do not cut a parent, so an iterator may be longer than memory.

    Args:
        vector_store: Milvus, FAISS, PGVector, PGVectorStore, Chroma, Qdrant, InMemory, or any
            other with a like method ``add_embeddings``.
        chunks: Documents of a `LateChunkTextSplitter`, as they were or rebuilt.
        embeddings: What embeds; None: the store's own.
        parents: See `LateChunkEmbeddings.embed_split_documents`.
        header_from: See `LateChunkEmbeddings.embed_split_documents`.
        ids: An id for each chunk; None: the documents' own, else made by the store or here.

    Returns:
        The ids.

    Raises:
        UnsupportedStoreError: The store offers no way to write vectors.
        UnknownChunkError: ``strict`` and a chunk's parent is not known.
    """
    if isinstance(vector_store, LateChunkVectorStore):
        vector_store = vector_store.store
    embeddings = vector_store.embeddings if embeddings is None else embeddings  # type: ignore[assignment]  # checked below
    if not isinstance(embeddings, LateChunkEmbeddings):
        raise InputTypeError(
            f"{type(vector_store).__name__} embeds with {type(embeddings).__name__}; "
            "pass embeddings=LateChunkEmbeddings(...)"
        )
    write = _writer(vector_store)
    known = None if parents is None else list(as_parents(parents, tuple(header_from)))
    written: list[str] = []
    for batch in _batches(chunks):
        rows = _Rows(
            ids=_ids(batch, ids, len(written)),
            texts=[str(chunk.page_content) for chunk in batch],
            vectors=embeddings.embed_split_documents(batch, known),
            metadatas=[chunk.metadata for chunk in batch],
        )
        written.extend(str(id_) for id_ in write(vector_store, rows))
    return written


async def aadd_late_chunks(
    vector_store: VectorStore, chunks: Iterable[Document], **kwargs: Any
) -> list[str]:
    """The same as `add_late_chunks` in a thread, so that the event loop goes on."""
    return await asyncio.to_thread(add_late_chunks, vector_store, chunks, **kwargs)


def _batches(chunks: Iterable[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    for chunk in chunks:
        full = len(batch) >= _BATCH_CHUNKS
        if full and chunk.metadata.get(PARENT_KEY) != batch[-1].metadata.get(PARENT_KEY):
            yield batch
            batch = []
        batch.append(chunk)
    if batch:
        yield batch


def _ids(batch: Sequence[Document], ids: Sequence[str] | None, start: int) -> list[str] | None:
    if ids is not None:
        given = list(ids[start : start + len(batch)])
        if len(given) < len(batch):
            raise InputTypeError(f"{len(ids)} ids are fewer than the chunks")
        return given
    own = [chunk.id for chunk in batch if chunk.id]
    return own if len(own) == len(batch) else None


def _writer(store: VectorStore) -> _Writer:
    """How this store takes vectors."""
    for kind in type(store).__mro__:
        if kind.__name__ in _BY_CLASS:
            return _BY_CLASS[kind.__name__]
    method = getattr(store, "add_embeddings", None)
    names = set(inspect.signature(method).parameters) if callable(method) else set()
    if {"texts", "embeddings"} <= names:
        return _write_columns
    if "text_embeddings" in names:
        return _write_pairs
    raise UnsupportedStoreError(
        f"{type(store).__name__} offers no method that takes vectors; give its add_documents "
        "the splitter's own documents, or wrap it in LateChunkVectorStore"
    )


def _write_columns(store: Any, rows: _Rows) -> list[str]:
    """Milvus, PGVector, PGVectorStore and those that look alike."""
    ids = {} if rows.ids is None else {"ids": rows.ids}
    written: list[str] = store.add_embeddings(rows.texts, rows.vectors, rows.metadatas, **ids)
    return written


def _write_pairs(store: Any, rows: _Rows) -> list[str]:
    """FAISS and those that look alike."""
    pairs = list(zip(rows.texts, rows.vectors, strict=True))
    written: list[str] = store.add_embeddings(pairs, rows.metadatas, ids=rows.ids)
    return written


def _write_in_memory(store: Any, rows: _Rows) -> list[str]:
    ids = rows.made_ids
    columns = zip(ids, rows.texts, rows.vectors, rows.metadatas, strict=True)
    for id_, text, vector, metadata in columns:
        store.store[id_] = {"id": id_, "vector": vector, "text": text, "metadata": metadata}
    return ids


def _write_chroma(store: Any, rows: _Rows) -> list[str]:
    ids = rows.made_ids
    store._collection.upsert(  # noqa: SLF001  # the wrapper has no public way to its collection
        ids=ids,
        embeddings=rows.vectors,
        documents=rows.texts,
        metadatas=[metadata or None for metadata in rows.metadatas],
    )
    return ids


def _write_qdrant(store: Any, rows: _Rows) -> list[str]:
    from qdrant_client.models import PointStruct  # noqa: PLC0415  # there when the store is

    if store.retrieval_mode.value != "dense":
        raise UnsupportedStoreError(
            f"QdrantVectorStore in {store.retrieval_mode.value} mode wants sparse vectors too; "
            "give its add_documents the splitter's own documents"
        )
    ids = rows.made_ids
    columns = zip(ids, rows.texts, rows.vectors, rows.metadatas, strict=True)
    points = [
        PointStruct(
            id=id_,
            vector={store.vector_name: vector},
            payload={store.content_payload_key: text, store.metadata_payload_key: metadata},
        )
        for id_, text, vector, metadata in columns
    ]
    store.client.upsert(collection_name=store.collection_name, points=points)
    return ids


# By name: importing a store's package to compare its class would make it a dependency.
_BY_CLASS: dict[str, _Writer] = {
    "InMemoryVectorStore": _write_in_memory,
    "Chroma": _write_chroma,
    "QdrantVectorStore": _write_qdrant,
}
