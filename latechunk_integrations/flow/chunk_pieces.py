"""What a pass gives vectors of: the chunks of a block, or the sub-spans of each chunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.ranges import to_bounds
from latechunk_integrations.core.sub_spans import cut_words
from latechunk_integrations.errors import naming
from latechunk_integrations.flow.pooled_texts import group_texts
from latechunk_integrations.flow.text_pool import TextPool
from latechunk_integrations.schema import CharSpans, Parent


@dataclass(frozen=True)
class Pieces:
    """The pieces of a block of parents, chunk after chunk.

    Args:
        spans: Characters of each in its parent, int64, shape ``(n_pieces, 2)``.
        chunks: Chunk of the block that each is a part of, ascending, int64, ``(n_pieces,)``.
        chunk_bounds: First chunk of each parent, and the number of chunks, int64.
        divided: Whether they are sub-spans. Else each is a chunk.
    """

    spans: NDArray[np.int64]
    chunks: NDArray[np.int64]
    chunk_bounds: NDArray[np.int64]
    divided: bool

    def __len__(self) -> int:
        return len(self.spans)

    @property
    def chunk_owners(self) -> NDArray[np.int64]:
        """The parent of each chunk, int64, shape ``(n_chunks,)``."""
        counts = np.diff(self.chunk_bounds)
        return np.repeat(np.arange(len(counts), dtype=np.int64), counts)

    @property
    def owners(self) -> NDArray[np.int64]:
        """The parent of each piece, int64, shape ``(n_pieces,)``."""
        return self.chunk_owners[self.chunks]

    @property
    def of_chunks(self) -> NDArray[np.int64]:
        """First piece of each chunk, and the number of pieces, int64."""
        return to_bounds(np.bincount(self.chunks, minlength=int(self.chunk_bounds[-1])))

    @property
    def bounds(self) -> NDArray[np.int64]:
        """First piece of each parent, and the number of pieces, int64."""
        return self.of_chunks[self.chunk_bounds]

    def of_parents(self) -> list[CharSpans]:
        """The spans of each parent's pieces."""
        return [CharSpans(spans) for spans in np.split(self.spans, self.bounds[1:-1])]


def cut_pieces(parents: Sequence[Parent], pool: TextPool, size: int | None) -> Pieces:
    """The chunks of some parents, or their sub-spans.

    Args:
        parents: At least one parent.
        pool: What tokenizes.
        size: About how many tokens make a sub-span; None: chunks are not divided.
    """
    spans = np.concatenate([parent.spans.array for parent in parents])
    bounds = to_bounds(np.array([len(parent.spans) for parent in parents], np.int64))
    pieces = Pieces(spans, np.arange(len(spans), dtype=np.int64), bounds, divided=size is not None)
    if size is None:
        return pieces
    owners = pieces.chunk_owners.tolist()
    cuts: list[list[int]] = []
    for group in group_texts((spans[:, 1] - spans[:, 0]).tolist()):
        own = [parents[owner] for owner in owners[group]]
        texts = [p.text[a:b] for p, (a, b) in zip(own, spans[group].tolist(), strict=True)]
        with naming([parent.id for parent in own]):
            tokens = pool.tokenize(texts, "")
        cuts += [cut_words(texts[row], tokens[row].offsets, size) for row in range(len(texts))]
    counts = np.array([len(own) + 1 for own in cuts], np.int64)
    chunks = np.repeat(np.arange(len(spans), dtype=np.int64), counts)
    inner = np.array([cut for own in cuts for cut in own], np.int64)
    is_first = np.diff(chunks, prepend=-1) > 0
    is_last = np.diff(chunks, append=len(spans)) > 0
    cut = np.empty((len(chunks), 2), np.int64)
    cut[is_first, 0], cut[is_last, 1] = spans.T
    cut[~is_first, 0] = cut[~is_last, 1] = inner + spans[chunks[~is_first], 0]
    return Pieces(cut, chunks, bounds, divided=True)
