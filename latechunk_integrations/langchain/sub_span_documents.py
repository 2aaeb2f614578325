"""Sub-spans in any vector store: a document for each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from langchain_core.documents import Document

from latechunk_integrations import marks
from latechunk_integrations.errors import OptionError
from latechunk_integrations.langchain.attach import Parents, batch_chunks
from latechunk_integrations.langchain.chunk_text import ChunkText, with_text
from latechunk_integrations.langchain.embeddings import LateChunkEmbeddings
from latechunk_integrations.schema import Parent, Span


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
    for _, parts in cut_sub_spans(chunks, embeddings, parents):
        yield from parts


def cut_sub_spans(
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
            text, parts = chunk.page_content, list[Document]()
            if isinstance(text, ChunkText) and text.fingerprint in held:
                own, parent = found[text.fingerprint].sub_spans_of(text.row), held[text.fingerprint]
                parts = [_part(chunk, text, parent, span) for span in own]
            yield chunk, parts or [chunk]  # of which no parent is known: it is one vector


def _part(chunk: Document, text: ChunkText, parent: Parent, span: Span) -> Document:
    metadata = dict(chunk.metadata)
    metadata[marks.SUB_START_KEY], metadata[marks.SUB_END_KEY] = span
    name = None
    if chunk.id is not None:
        metadata[marks.CHUNK_KEY] = chunk.id
        name = marks.name_sub_span(chunk.id, span.start - int(parent.spans.starts[text.row]))
    part = Document(page_content=text, metadata=metadata, id=name)
    return with_text(part, ChunkText(text, parent, text.row, part.metadata, span))
