"""`ChunkText`: a str that knows the parent and the span it was cut from."""

from __future__ import annotations

import weakref
from typing import Any, Literal, TypeAlias

from latechunk_integrations.schema import Parent, Span

__all__ = ["ChunkText", "Reason", "StandaloneText", "find_alive", "remember"]

Reason: TypeAlias = Literal["unknown", "altered", "parent_not_held"]
"""Why a text has no parent: nothing names one, it was changed, the parent is not held here."""

# Parents that anything in this process still uses. Keyed by fingerprint, which covers text,
# spans and headers, so that whoever finds one finds the right one.
_ALIVE: weakref.WeakValueDictionary[str, Parent] = weakref.WeakValueDictionary()


def remember(parent: Parent) -> Parent:
    """The parent of this fingerprint that is in use already, else this one."""
    return _ALIVE.setdefault(parent.fingerprint, parent)


def find_alive(fingerprint: str) -> Parent | None:
    """The parent of this fingerprint, where anything in this process still uses it."""
    return _ALIVE.get(fingerprint)


class ChunkText(str):
    """A chunk's text with its origin.

    Vector stores hand texts to ``embed_documents`` without metadata; this one brings its
    parent along. Anything that rebuilds the text leaves a plain str, which
    `LateChunkEmbeddings.attach` turns into this one again.

    Pickled, it names its parent and does not carry it: whoever reads it finds the parent in the
    parent store of the embeddings.

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
        if isinstance(parent, str):
            chunk._parent, chunk.fingerprint = None, parent
        else:
            chunk._parent, chunk.fingerprint = parent, parent.fingerprint
        chunk.is_hashed = False
        chunk.row = row
        chunk.marks = marks
        chunk.sub_span = sub_span
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
        return self._parent or find_alive(self.fingerprint)

    @property
    def span(self) -> Span | None:
        """The chunk's range in its parent's text, where the parent is at hand."""
        parent = self.parent
        if parent is None:
            return None
        start, end = parent.spans.array[self.row].tolist()
        return Span(start, end)

    @property
    def is_verbatim(self) -> bool:
        """Whether the text is exactly what is at its span."""
        parent = self.parent
        return parent is not None and parent.chunk_text(self.row) == self

    def __reduce__(self) -> tuple[object, ...]:
        if self._parent is not None:
            remember(self._parent)
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
