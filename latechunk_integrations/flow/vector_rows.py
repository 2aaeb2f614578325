"""Sums of pieces to the rows that vectors are made of: those of chunks, and of their sub-spans."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.blending import make_unit
from latechunk_integrations.core.ranges import to_bounds
from latechunk_integrations.core.sub_spans import join_alike
from latechunk_integrations.flow.chunk_sums import ChunkSums
from latechunk_integrations.flow.finish import Sides
from latechunk_integrations.flow.passages import BlockPassages
from latechunk_integrations.options import LateChunkOptions


@dataclass(frozen=True)
class VectorRows:
    """Where the sides of some vectors are in a table: one vector for each chunk, or sub-span.

    Args:
        bounds: First vector of each parent, and the number of vectors, int64.
        is_late: Whether each has a late side, bool, shape ``(n,)``.
        first_late: Row of the first one's late side; the others follow.
        first_alone: Row of the first standalone side; the others follow.
        alone: The vectors that have one, ascending, int64, shape ``(n_alone,)``.
        headers: Row of each one's header, int64, shape ``(n,)``; -1: it has none.
    """

    bounds: NDArray[np.int64]
    is_late: NDArray[np.bool_]
    first_late: int
    first_alone: int
    alone: NDArray[np.int64]
    headers: NDArray[np.int64]

    def sides(self, vectors: NDArray[np.float32], *, with_headers: bool) -> Sides:
        """What the passes gave for all of them.

        Args:
            vectors: The rows of the table, after the model's heads.
            with_headers: Whether headers have vectors of their own.
        """
        first, n = self.first_alone, len(self.is_late)
        return Sides(
            late=vectors[self.first_late : self.first_late + n],
            is_late=self.is_late,
            alone=vectors[first : first + len(self.alone)],
            alone_rows=self.alone,
            headers=_pick(vectors, self.headers) if with_headers else None,
        )

    def of_parent(self, parent: int) -> slice:
        """The vectors of one parent, by its number in the block."""
        return slice(*self.bounds[parent : parent + 2].tolist())


@dataclass(frozen=True)
class SubSpanRows:
    """The rows of sub-spans, and where these are.

    Args:
        rows: Where their sides are.
        spans: Characters of each in its parent, int64, shape ``(n, 2)``.
        chunks: Chunk of the block that each is a part of, ascending, int64, shape ``(n,)``.
    """

    rows: VectorRows
    spans: NDArray[np.int64]
    chunks: NDArray[np.int64]


def chunk_rows(passages: BlockPassages, sums: ChunkSums) -> VectorRows:
    """The rows of chunks that were pooled each by itself: those of the sums as they are."""
    n_pieces = len(passages.pieces)
    return VectorRows(
        passages.pieces.chunk_bounds,
        sums.weights[:n_pieces] > 0,
        0,
        n_pieces,
        passages.alone,
        passages.header_rows,
    )


def sub_span_rows(
    passages: BlockPassages, sums: ChunkSums, options: LateChunkOptions
) -> tuple[ChunkSums, VectorRows, SubSpanRows]:
    """The rows of sub-spans and of the chunks that they make up.

    A chunk pools all that its sub-spans pool. So does what the budget joins.

    Args:
        passages: The block.
        sums: Its sums.
        options: The budget, and whether everything has a standalone side.

    Returns:
        A table; the rows of the chunks in it; and those of the sub-spans.
    """
    pieces = passages.pieces
    n_pieces, n_alone = len(pieces), len(passages.alone)
    late, alone = sums.take(slice(0, n_pieces)), sums.take(slice(n_pieces, n_pieces + n_alone))
    parts = _join_pieces(passages, late, alone, options.sub_spans_per_chunk)
    first_piece = np.flatnonzero(np.diff(parts, prepend=-1))
    last_piece = np.flatnonzero(np.diff(parts, append=parts[-1:] + 1))
    of_parts = pieces.chunks[first_piece]
    first_header = n_pieces + n_alone
    headers = passages.header_rows
    n_headers = len(np.unique(headers[headers >= 0]))
    table = _Table()
    header_at = table.add(sums.take(slice(first_header, first_header + n_headers)))
    headers = np.where(headers >= 0, headers - first_header + header_at, -1)
    _, part_late = late.join(parts)
    chunk_late = late.join(pieces.chunks)[1]
    if passages.first_chunk_row is not None:
        chunk_late = sums.take(slice(passages.first_chunk_row, None))
    both = options.standalone
    of_alone = passages.alone
    chunks = table.lay(
        chunk_late, alone, pieces.chunks[of_alone], pieces.chunk_bounds, headers, both=both
    )
    counts = np.bincount(pieces.chunk_owners[of_parts], minlength=len(pieces.chunk_bounds) - 1)
    rows = table.lay(
        part_late, alone, parts[of_alone], to_bounds(counts), headers[of_parts], both=both
    )
    spans = np.stack([pieces.spans[first_piece, 0], pieces.spans[last_piece, 1]], axis=1)
    return table.stack(), chunks, SubSpanRows(rows, spans, of_parts)


class _Table:
    """Sums that are laid one below the other."""

    def __init__(self) -> None:
        self._parts: list[ChunkSums] = []
        self._n_rows = 0

    def add(self, sums: ChunkSums) -> int:
        """Lay sums below; returns their first row."""
        first = self._n_rows
        self._parts.append(sums)
        self._n_rows += len(sums.weights)
        return first

    def lay(
        self,
        late: ChunkSums,
        alone: ChunkSums,
        of_alone: NDArray[np.int64],
        bounds: NDArray[np.int64],
        headers: NDArray[np.int64],
        *,
        both: bool,
    ) -> VectorRows:
        """Lay both sides of some vectors below.

        Args:
            late: The late side of each.
            alone: Standalone sides of pieces.
            of_alone: The vector that each of these belongs to, ascending.
            bounds: First vector of each parent.
            headers: Row of each vector's header.
            both: Whether what has a late side keeps its standalone side.
        """
        is_late = late.weights > 0
        found, joined = alone.join(of_alone)
        kept = np.flatnonzero(both | ~is_late[found])
        joined = ChunkSums(joined.sums[kept], joined.weights[kept])
        return VectorRows(bounds, is_late, self.add(late), self.add(joined), found[kept], headers)

    def stack(self) -> ChunkSums:
        """All of them as one."""
        return ChunkSums.stack(self._parts)


def _join_pieces(
    passages: BlockPassages, late: ChunkSums, alone: ChunkSums, per_chunk: float | None
) -> NDArray[np.int64]:
    """The part that each piece belongs to once the budget of each parent is met."""
    pieces = passages.pieces
    if per_chunk is None:
        return np.arange(len(pieces), dtype=np.int64)
    # Similar by what they pool: sums point where their means do.
    sums = late.sums.copy()
    only_alone = late.weights[passages.alone] == 0
    sums[passages.alone[only_alone]] = alone.sums[only_alone]
    parts: list[NDArray[np.int64]] = []
    n_parts = 0
    bounds = pieces.bounds
    for parent, n_chunks in enumerate(np.diff(pieces.chunk_bounds).tolist()):
        own = slice(bounds[parent], bounds[parent + 1])
        joined = join_alike(sums[own], pieces.chunks[own], int(per_chunk * n_chunks + 1e-9))
        parts.append(joined + n_parts)
        n_parts += int(joined[-1]) + 1 if len(joined) else 0
    return np.concatenate(parts)


def _pick(vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Unit vectors of the headers of some chunks; zeros for a chunk without one."""
    picked = np.where(rows[:, None] >= 0, vectors[rows], np.float32(0))
    return make_unit(picked)
