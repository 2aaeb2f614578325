"""Sub-spans in any vector store: a document for each, and a retriever that gives the chunks."""

from __future__ import annotations

import uuid
from collections.abc import Hashable, Iterable, Iterator
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStore
from pydantic import ConfigDict, Field

from latechunk_integrations import marks
from latechunk_integrations.errors import OptionError
from latechunk_integrations.langchain.attach import Parents, batch_chunks, with_text
from latechunk_integrations.langchain.chunk_text import ChunkText
from latechunk_integrations.langchain.embeddings import LateChunkEmbeddings
from latechunk_integrations.retrieval.best_of import afetch_best, fetch_best
from latechunk_integrations.schema import Parent, Span

__all__ = ["SubSpanRetriever", "chunk_of", "cut_sub_spans", "split_sub_spans"]


def split_sub_spans(
    chunks: Iterable[Document], embeddings: LateChunkEmbeddings, parents: Parents = None
) -> Iterator[Document]:
    """A document for each sub-span of some chunks, for any vector store.

    Each holds the text of its whole chunk, and in its metadata, besides the chunk's own, which
    part of it the vector is of: ``late_sub_start`` and ``late_sub_end``, in the parent. So a store
    gives chunks back whoever asks it; `SubSpanRetriever` gives each chunk once. Metadata tell
    everything, so that sub-spans may be rebuilt from text and metadata like chunks; see `attach`.

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
    for _, parts in cut_sub_spans(chunks, embeddings, parents):
        yield from parts


def cut_sub_spans(
    chunks: Iterable[Document], embeddings: LateChunkEmbeddings, parents: Parents = None
) -> Iterator[tuple[Document, list[Document]]]:
    """Each chunk, attached, with the documents of its sub-spans; see `split_sub_spans`."""
    if embeddings.sub_span_tokens is None:
        raise OptionError(
            "these embeddings cut no sub-spans: LateChunkEmbeddings(..., sub_span_tokens=32)"
        )
    known = list(parents) if isinstance(parents, Iterator) else parents
    for batch in batch_chunks(chunks):
        attached = embeddings.attach(batch, known)
        held: dict[str, Parent] = {}
        for chunk in attached:
            text = chunk.page_content
            if isinstance(text, ChunkText) and text.parent is not None:
                held.setdefault(text.fingerprint, text.parent)
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
        name = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{chunk.id}/{span.start - _text_start(text)}"))
    part = Document(page_content=text, metadata=metadata, id=name)
    return with_text(part, ChunkText(text, parent, text.row, part.metadata, span))


def _text_start(text: ChunkText) -> int:
    """Where a chunk begins in its parent; 0 where that is not at hand."""
    return 0 if text.span is None else text.span.start


def chunk_of(found: Document) -> Document:
    """The chunk that a sub-span was found of; any other document comes back as it is.

    It has the chunk's own id, if it had one: that of the sub-span would name a part of it.
    ``late_sub_start`` and ``late_sub_end`` stay: the part of the chunk that was found.
    """
    if found.metadata.get(marks.SUB_END_KEY) is None:
        return found
    metadata = {key: value for key, value in found.metadata.items() if key != marks.CHUNK_KEY}
    return Document(
        page_content=found.page_content, metadata=metadata, id=found.metadata.get(marks.CHUNK_KEY)
    )


def _key(found: Document) -> Hashable:
    """What sub-spans of one chunk share; another document is a chunk of its own."""
    keys = (marks.PARENT_KEY, marks.START_KEY, marks.END_KEY)
    place = tuple(found.metadata.get(key) for key in keys)
    if found.metadata.get(marks.SUB_END_KEY) is None or None in place:
        return id(found)
    # Equal documents under two names are two chunks, as they would be without sub-spans.
    return (*place, found.metadata.get(marks.CHUNK_KEY), found.metadata.get("source"))


class SubSpanRetriever(BaseRetriever):
    """Finds sub-spans in a vector store and gives the chunks that they are parts of.

    A chunk scores as its best sub-span and comes once. There are ``k`` chunks where the store
    has as many: more sub-spans are fetched until then.

    Args:
        vectorstore: Any vector store, of documents of `split_sub_spans`.
        k: Number of chunks; also a keyword of ``invoke``.
        search_kwargs: What else the store's search takes, such as ``filter``.
        sub_spans_per_chunk: Of a typical chunk: how many are fetched first for each.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    vectorstore: VectorStore
    k: int = Field(default=4, ge=1)
    search_kwargs: dict[str, Any] = Field(default_factory=dict)
    sub_spans_per_chunk: float = Field(default=3.0, ge=1)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        del run_manager

        def search(n: int) -> list[Document]:
            return self.vectorstore.similarity_search(query, k=n, **self.search_kwargs)

        wanted = self.k if k is None else k
        found = fetch_best(search, _key, wanted, per_chunk=self.sub_spans_per_chunk)
        return [chunk_of(one) for one in found]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        del run_manager

        async def search(n: int) -> list[Document]:
            return await self.vectorstore.asimilarity_search(query, k=n, **self.search_kwargs)

        wanted = self.k if k is None else k
        found = await afetch_best(search, _key, wanted, per_chunk=self.sub_spans_per_chunk)
        return [chunk_of(one) for one in found]
