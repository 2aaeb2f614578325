"""`LateChunkTextSplitter`: any splitter, with chunks that know their parent."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias

from langchain_core.documents import Document
from langchain_text_splitters import (
    CharacterTextSplitter,
    RecursiveCharacterTextSplitter,
    TextSplitter,
)

from latechunk_integrations.core.spans import locate
from latechunk_integrations.errors import ChunkNotFoundError, InputTypeError
from latechunk_integrations.langchain.binding import END_KEY, MODE_KEY, PARENT_KEY, START_KEY
from latechunk_integrations.langchain.chunk_text import ChunkText
from latechunk_integrations.langchain.embeddings import LateChunkEmbeddings
from latechunk_integrations.langchain.split_documents import header_of
from latechunk_integrations.schema import Parent
from latechunk_integrations.stats import EngineStats

__all__ = ["LateChunkTextSplitter", "Splitter"]


class _SplitsText(Protocol):
    def split_text(self, text: str) -> Any: ...


Splitter: TypeAlias = "_SplitsText | Callable[[str], Sequence[str | Document]]"
"""Anything with ``split_text``, or a function; it gives texts, or documents as sections."""


class LateChunkTextSplitter(TextSplitter):
    """Splits with any splitter and tells the embeddings where each chunk stands.

    The parent of a chunk is the whole document. Where a splitter gives documents, as those for
    Markdown and HTML headers do, each of them is a section: a parent of its own, whose headings
    are attended and not pooled. Cutting a chunk of another `LateChunkTextSplitter` keeps the
    parent of that chunk.

    Chunks have in their metadata ``start_index``, the position in their parent, and
    ``late_parent``, the parent's fingerprint.

    Args:
        embeddings: What will embed the chunks.
        splitter: A LangChain text splitter, or a function from a text to its chunks;
            default: ``RecursiveCharacterTextSplitter()``.
        section_splitter: Cuts documents into sections first; `splitter` then cuts each section.
        header_from: Metadata that the chunks attend to without pooling it.
        add_end_index: Put ``end_index`` into the metadata too.
        add_mode: Put ``late_mode`` into the metadata too. Parents are then embedded when they
            are split, and their vectors kept until a store asks for them.
    """

    def __init__(
        self,
        *,
        embeddings: LateChunkEmbeddings,
        splitter: Splitter | None = None,
        section_splitter: Splitter | None = None,
        header_from: Iterable[str] = (),
        add_end_index: bool = False,
        add_mode: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(embeddings, LateChunkEmbeddings):
            raise InputTypeError(
                f"embeddings must be LateChunkEmbeddings, not {type(embeddings).__name__}"
            )
        if isinstance(header_from, str):
            raise InputTypeError(f"header_from must be a list of keys: [{header_from!r}]")
        self._embeddings = embeddings
        self._splitter = RecursiveCharacterTextSplitter() if splitter is None else splitter
        self._section_splitter = section_splitter
        self._header_from = tuple(header_from)
        self._add_end_index = add_end_index
        self._add_mode = add_mode
        self._stats = EngineStats()

    @property
    def stats(self) -> dict[str, int]:
        """``missing``: chunks that do not stand in their document, so that no parent is known."""
        return {"missing": 0, **self._stats.to_dict()}

    def split_text(self, text: str) -> list[str]:
        """The chunks of one parent."""
        return [document.page_content for document in self.create_documents([text])]

    def create_documents(
        self, texts: list[str], metadatas: list[dict[Any, Any]] | None = None
    ) -> list[Document]:
        """Chunks as documents; see the class for their metadata.

        Raises:
            ChunkNotFoundError: ``strict`` and a chunk does not stand in its document.
        """
        if isinstance(texts, str):  # type: ignore[unreachable]  # users pass what they like
            raise InputTypeError("create_documents wants a list of texts, not one str")
        all_metadata = metadatas or [{}] * len(texts)
        return [
            chunk
            for text, metadata in zip(texts, all_metadata, strict=True)
            for chunk in self._split_one(text, metadata)
        ]

    def lazy_split_documents(self, documents: Iterable[Document]) -> Iterator[Document]:
        """The chunks of each document as it comes, for a corpus that does not fit into memory."""
        for document in documents:
            yield from self._split_one(document.page_content, document.metadata)

    def parents(self, documents: Iterable[Document]) -> Iterator[Parent]:
        """The parents of these documents' chunks, for `embed_split_documents` elsewhere."""
        for document in documents:
            for parent, *_ in self._split_parents(document.page_content, document.metadata):
                if parent is not None:
                    yield parent

    def _split_one(self, text: str, metadata: dict[Any, Any]) -> Iterator[Document]:
        for parent, pieces, rows, own_metadata in self._split_parents(text, metadata):
            modes: Sequence[str] = ()
            if parent is not None:
                placed = [piece for piece, row in zip(pieces, rows, strict=True) if row is not None]
                self._embeddings.record(parent, placed)
                modes = self._embeddings.prepare(parent) if self._add_mode else ()
            for piece, row in zip(pieces, rows, strict=True):
                chunk = Document(page_content=piece, metadata=copy.deepcopy(own_metadata))
                if parent is not None and row is not None:
                    self._mark(chunk, parent, row)
                    if modes:
                        chunk.metadata[MODE_KEY] = modes[row]
                yield chunk

    def _mark(self, chunk: Document, parent: Parent, row: int) -> None:
        """Let the text know its parent, and the metadata name it."""
        text = ChunkText(chunk.page_content, parent, row, self._embeddings.pair_key)
        chunk.page_content = text  # after construction: pydantic makes a plain str of it
        start, end = text.span
        chunk.metadata[START_KEY] = start
        chunk.metadata[PARENT_KEY] = parent.fingerprint
        if self._add_end_index:
            chunk.metadata[END_KEY] = end

    def _split_parents(
        self, text: str, metadata: dict[Any, Any]
    ) -> Iterator[tuple[Parent | None, Sequence[str], Sequence[int | None], dict[Any, Any]]]:
        """Each parent, its pieces, the row of each piece in it, and their metadata."""
        name = str(metadata.get("source", ""))
        for section, headings, pieces in self._sections(text):
            path = " > ".join(str(heading) for heading in headings.values())
            header = header_of(metadata, self._header_from, path)
            parent, rows = self._parent(section, pieces, header, name)
            yield parent, pieces, rows, {**metadata, **headings}

    def _sections(self, text: str) -> Iterator[tuple[str, dict[Any, Any], list[str]]]:
        """Each section with text: the text, its headings by level, the pieces it is cut into."""
        cut = self._section_splitter
        # Uncut, the text itself goes on: it may be a chunk that knows its parent.
        for section in [text] if cut is None else _split(cut, str(text)):
            headings = section.metadata if isinstance(section, Document) else {}
            content = section.page_content if isinstance(section, Document) else section
            if not content.strip():
                continue
            pieces = _split(self._splitter, str(content))
            texts = [piece for piece in pieces if isinstance(piece, str) and piece.strip()]
            if texts:
                yield content, headings, texts
            for piece in pieces:
                if isinstance(piece, Document) and piece.page_content.strip():
                    both = {**headings, **piece.metadata}
                    yield piece.page_content, both, [piece.page_content]

    def _parent(
        self, text: str, pieces: Sequence[str], header: str, name: str
    ) -> tuple[Parent | None, list[int | None]]:
        """The parent of the pieces, and each piece's row in it."""
        located = locate(text, pieces, overlap=_overlap(self._splitter)).spans
        found = [index for index in range(len(pieces)) if located[index, 0] >= 0]
        rows: list[int | None] = [None] * len(pieces)
        for row, index in enumerate(found):
            rows[index] = row
        if len(found) < len(pieces):
            self._report_missing(len(pieces) - len(found), len(pieces), name)
        if not found:
            return None, rows
        if isinstance(text, ChunkText) and text.is_verbatim:
            root = text.parent
            spans = located[found] + text.span.start
            return Parent(root.text, spans, root.header, root.id), rows
        return Parent(str(text), located[found], header, name), rows

    def _report_missing(self, n_missing: int, n_pieces: int, name: str) -> None:
        reason = (
            f"{n_missing} of {n_pieces} chunks do not stand in their document {name!r}: the "
            "splitter rewrote them"
        )
        if self._embeddings.strict:
            raise ChunkNotFoundError(reason, parent_id=name)
        self._stats.report("missing", f"{reason}; they will be embedded standalone", n_missing)


def _split(splitter: Splitter, text: str) -> Sequence[str | Document]:
    pieces = splitter(text) if callable(splitter) else splitter.split_text(text)
    if isinstance(pieces, str):
        raise InputTypeError("a splitter must give a list of texts, not one str")
    return list(pieces)


def _overlap(splitter: Splitter) -> int | None:
    """What neighbouring chunks share, where the splitter counts it in characters."""
    if not isinstance(splitter, (CharacterTextSplitter, RecursiveCharacterTextSplitter)):
        return None
    counts_chars = splitter._length_function is len  # noqa: SLF001  # LangChain has no public way
    return splitter._chunk_overlap if counts_chars else None  # noqa: SLF001  # as above
