"""`ChunkText`: a str that knows the parent and the span it was cut from."""

from __future__ import annotations

from latechunk_integrations.schema import Parent

__all__ = ["ChunkText"]


class ChunkText(str):
    """A chunk's text with its origin.

    Vector stores hand texts to ``embed_documents`` without metadata; this one brings its
    parent along. Anything that rebuilds the text leaves a plain str.

    Args:
        parent: The parent with all of its chunks' spans.
        row: Which of them this is.
    """

    __slots__ = ("parent", "row")

    parent: Parent
    row: int

    def __new__(cls, parent: Parent, row: int) -> ChunkText:  # noqa: PYI034  # Self: 3.11
        """Cut the chunk out of its parent."""
        chunk = super().__new__(cls, parent.chunk_text(row))
        chunk.parent = parent
        chunk.row = row
        return chunk

    def __reduce__(self) -> tuple[type[ChunkText], tuple[Parent, int]]:
        return ChunkText, (self.parent, self.row)
