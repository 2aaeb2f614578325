"""`ChunkText`: a str that knows the parent and the span it was cut from."""

from __future__ import annotations

import threading
import weakref

from latechunk_integrations.schema import Parent, Span

__all__ = ["ChunkText"]

_PARENTS: weakref.WeakValueDictionary[tuple[str, int], Parent] = weakref.WeakValueDictionary()
_PARENTS_LOCK = threading.Lock()


class ChunkText(str):
    """A chunk's text with its origin.

    Vector stores hand texts to ``embed_documents`` without metadata; this one brings its
    parent along. Anything that rebuilds the text leaves a plain str.

    Pickled, it carries its parent; chunks of one parent that are pickled one by one share a
    parent again where they are read.

    Args:
        text: What the splitter made of the span; most often the span itself.
        parent: The parent with all of its chunks' spans.
        row: Which of them this is.
        pair: Names the pair that cut it; see `LateChunkEmbeddings.pair_key`.
    """

    __slots__ = ("pair", "parent", "row")

    parent: Parent
    row: int
    pair: str

    def __new__(cls, text: str, parent: Parent, row: int, pair: str = "") -> ChunkText:  # noqa: PYI034  # Self: 3.11
        """Build the str, then attach where it comes from."""
        chunk = super().__new__(cls, text)
        chunk.parent = parent
        chunk.row = row
        chunk.pair = pair
        return chunk

    @property
    def span(self) -> Span:
        """The chunk's range in its parent's text."""
        start, end = self.parent.spans.array[self.row].tolist()
        return Span(start, end)

    @property
    def is_verbatim(self) -> bool:
        """Whether the text is exactly what stands at its span."""
        return self.parent.chunk_text(self.row) == self

    def __reduce__(self) -> tuple[object, ...]:
        return _restore, (str(self), self.parent, self.row, self.pair)


def _restore(text: str, parent: Parent, row: int, pair: str) -> ChunkText:
    return ChunkText(text, _interned(parent), row, pair)


def _interned(parent: Parent) -> Parent:
    """The first equal parent that was read in this process and is still in use."""
    key = (parent.fingerprint, hash(parent.spans))
    with _PARENTS_LOCK:
        known = _PARENTS.get(key)
        if known is None or known != parent:
            _PARENTS[key] = known = parent
        return known
