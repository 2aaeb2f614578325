"""Texts that know the chunk that they are, or why they cannot."""

from __future__ import annotations

from typing import Any, Literal

from langchain_core.documents import Document

from latechunk_integrations.langchain.parent_store import ALIVE
from latechunk_integrations.schema import Parent, Span


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
        chunk.fingerprint = parent if isinstance(parent, str) else parent.fingerprint
        # One object for all chunks of a parent: a pickle finds it as long as any of them is there.
        chunk._parent = (
            None if isinstance(parent, str) else ALIVE.setdefault(chunk.fingerprint, parent)
        )
        chunk.row, chunk.marks, chunk.sub_span, chunk.is_hashed = row, marks, sub_span, False
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
        return ChunkText, (str(self), self.fingerprint, self.row, None, self.sub_span)

    def __deepcopy__(self, memo: dict[int, Any]) -> ChunkText:
        """The copy shares the parent; it belongs to other metadata, if to any."""
        return ChunkText(self, self._parent or self.fingerprint, self.row, sub_span=self.sub_span)


class StandaloneText(str):
    """A chunk's text whose metadata name a parent that it cannot be given, and why."""

    __slots__ = ("marks", "reason")

    marks: dict[Any, Any]
    reason: Literal["altered", "parent_not_held"]

    def __new__(  # noqa: PYI034  # Self: 3.11
        cls, text: str, reason: Literal["altered", "parent_not_held"], marks: dict[Any, Any]
    ) -> StandaloneText:
        """Build the str, then attach the reason, and the metadata that are told of it."""
        chunk = super().__new__(cls, text)
        chunk.reason, chunk.marks = reason, marks
        return chunk

    def __reduce__(self) -> tuple[object, ...]:
        return str, (str(self),)


def with_text(document: Document, text: str) -> Document:
    """The document, with a text that pydantic must not make a plain str of."""
    document.page_content = text
    return document
