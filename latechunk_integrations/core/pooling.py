"""What each window pools into which chunk, and the sums of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.ranges import count_ranges
from latechunk_integrations.schema import PoolingMode

if TYPE_CHECKING:
    from latechunk_integrations.core.frames import Frames

_FRONT, _HEADER, _BACK, _RUN, _TAIL = range(5)


@dataclass(frozen=True)
class Bags:
    """Which token positions are pooled into which row, and with what weight.

    A bag's positions are up to five ranges of one frame. In order: special tokens and prompt in
    front of the header, the header, the prompt after it, the run, the special tokens at the
    end. Weights count up over the positions of a bag, or stay what they are.

    Args:
        rows: Row of sums that each bag is added to, int64, shape ``(n_bags,)``.
        frames: The frame of each bag, int64, same shape, ascending.
        starts: First position of each range in its frame, int64, shape ``(n_bags, 5)``.
        lengths: Positions in each range, int64, same shape; at least one in each bag.
        weights: Weight of the first position of each range, float32, same shape.
        steps: How much heavier each next position is, int64, shape ``(n_bags,)``.
    """

    rows: NDArray[np.int64]
    frames: NDArray[np.int64]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    weights: NDArray[np.float32]
    steps: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def weighted(self) -> bool:
        """Whether any position weighs something else than 1."""
        return bool(self.steps.any() or (self.weights[self.lengths > 0] != 1).any())

    def take(self, bags: NDArray[np.int64]) -> Bags:
        """Some of the bags."""
        return Bags(
            self.rows[bags],
            self.frames[bags],
            self.starts[bags],
            self.lengths[bags],
            self.weights[bags],
            self.steps[bags],
        )

    def at_frames(self, frames: NDArray[np.int64]) -> Bags:
        """The same bags where their frames have got other numbers."""
        return replace(self, frames=frames)

    def totals(self) -> NDArray[np.float32]:
        """The weight of each bag, float32, shape ``(n_bags,)``."""
        sizes = self.lengths
        counted = (sizes * self.weights).sum(axis=1)
        counted += self.steps * (sizes * (sizes - 1) // 2).sum(axis=1)
        totals: NDArray[np.float32] = counted.astype(np.float32)
        return totals


def chunk_bags(
    frames: Frames,
    spans: NDArray[np.int64],
    texts: NDArray[np.int64],
    rows: NDArray[np.int64],
    mode: PoolingMode,
) -> Bags:
    """The positions that each chunk pools, in every frame that holds a token of it.

    The edge rule (Guenther et al. 2024, arXiv 2409.04701): a chunk that holds its text's first
    token also pools special tokens and prompt in front, one that holds the last token those at
    the end, as the model's own pooling would. A header is pooled with its own weight.

    Args:
        frames: The frames of all texts.
        spans: Token ranges of the chunks in their texts, int64, shape ``(n_chunks, 2)``.
        texts: The text of each chunk, int64, shape ``(n_chunks,)``.
        rows: The row of sums of each chunk, int64, same shape.
        mode: ``mean``; ``last``, the chunk's last token; ``cls``, the frame's first pooled token;
            ``weighted``, position-weighted as in SGPT (Muennighoff 2022, eq. 2).

    Returns:
        The bags, in the order of the frames, and of the chunks in each.
    """
    chunks, of_frames = _find_pairs(frames, spans, texts)
    run_starts, run_ends = frames.runs[of_frames, 0], frames.runs[of_frames, 1]
    first, last = spans[chunks, 0], spans[chunks, 1]
    n_tokens = frames.n_tokens[of_frames]
    starts, lengths = frames.ranges(of_frames)
    starts[:, _RUN] += np.maximum(first - run_starts, 0)
    lengths[:, _RUN] = np.minimum(last, run_ends) - np.maximum(first, run_starts)
    pools_front = (run_starts == 0) & (first == 0) & frames.front_pooled[of_frames]
    at_start = (run_starts == 0) & (first == 0)
    lengths[~pools_front, _FRONT] = 0
    lengths[~pools_front, _BACK] = 0
    lengths[~at_start | (frames.header_weight == 0), _HEADER] = 0
    pools_tail = (run_ends == n_tokens) & (last == n_tokens) & frames.tail_pooled[of_frames]
    lengths[~pools_tail, _TAIL] = 0
    weights = np.ones(starts.shape, np.float32)
    weights[:, _HEADER] = frames.header_weight
    steps = np.zeros(len(chunks), np.int64)
    kept = np.ones(len(chunks), dtype=bool)
    if mode == "weighted":
        steps[:] = 1
        begin = _count_before(first, run_starts, frames, of_frames)
        before = np.cumsum(lengths, axis=1) - lengths
        weights = (begin[:, None] + before).astype(np.float32)
    elif mode == "last":
        kept = (last <= run_ends) & ((last != n_tokens) | (run_ends == n_tokens))
        _keep_one(starts, lengths, _last_positions(starts, lengths))
    elif mode == "cls":
        # What a model skips in its own pooling it skips here: the first token after that.
        _keep_one(starts, lengths, np.where(frames.front_pooled, 0, frames.front)[of_frames])
    bags = Bags(rows[chunks], of_frames, starts, lengths, weights, steps)
    return bags.take(np.flatnonzero(kept & (lengths.sum(axis=1) > 0)))


def _find_pairs(
    frames: Frames, spans: NDArray[np.int64], texts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each chunk with each frame that holds a token of it, by frame."""
    # On one line, a place apart: a text without tokens takes its chunks into its one frame.
    bases, n_tokens = frames.text_bases, frames.n_text_tokens
    empty = n_tokens[texts] == 0
    chunk_starts = bases[texts] + spans[:, 0]
    chunk_ends = bases[texts] + np.where(empty, 1, spans[:, 1])
    frame_bases = bases[frames.texts]
    frame_ends = frame_bases + np.maximum(frames.runs[:, 1], 1)
    first = np.searchsorted(frame_ends, chunk_starts, side="right")
    behind = np.searchsorted(frame_bases + frames.runs[:, 0], chunk_ends, side="left")
    n_frames = np.where(empty | (spans[:, 1] > spans[:, 0]), np.maximum(behind - first, 0), 0)
    chunks = np.repeat(np.arange(len(spans), dtype=np.int64), n_frames)
    of_frames = count_ranges(first.astype(np.int64), n_frames)
    order = np.argsort(of_frames, kind="stable")
    return chunks[order], of_frames[order]


def _count_before(
    first: NDArray[np.int64],
    run_starts: NDArray[np.int64],
    frames: Frames,
    of_frames: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Positions are counted from 1 through the windows of a chunk, pooled or not in front."""
    before = np.maximum(run_starts - first, 0)
    front = np.where(first == 0, frames.front[of_frames], 0)
    unpooled = (first == 0) & (run_starts == 0) & ~frames.front_pooled[of_frames]
    skipped = np.where(unpooled, frames.front[of_frames], 0)
    counted: NDArray[np.int64] = 1 + before + np.where(before > 0, front, skipped)
    return counted


def _last_positions(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The last position of each bag; a bag may be empty."""
    n_ranges = lengths.shape[1]
    last = n_ranges - 1 - np.argmax(lengths[:, ::-1] > 0, axis=1)
    rows = np.arange(len(last))
    positions: NDArray[np.int64] = starts[rows, last] + lengths[rows, last] - 1
    return positions


def _keep_one(
    starts: NDArray[np.int64], lengths: NDArray[np.int64], positions: NDArray[np.int64]
) -> None:
    """Make each bag one position."""
    starts[:] = 0
    lengths[:] = 0
    starts[:, 0] = positions
    lengths[:, 0] = 1
