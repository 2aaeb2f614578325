"""Token embeddings and token spans to chunk sums and counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from latechunk_integrations.core.transfer import to_device
from latechunk_integrations.schema import PoolingMode, TokenSpans

__all__ = [
    "Bags",
    "WindowLayout",
    "chunk_bags",
    "join_bags",
    "row_starts",
    "sum_bags",
]


@dataclass(frozen=True)
class WindowLayout:
    """Where things stand in one window, in tokens.

    The order is: ``lead`` (special tokens and prompt), header and preamble, the run of the
    parent's tokens, ``tail`` (special tokens).

    Args:
        lead: Special and prompt tokens in front.
        lead_pooled: First of the lead tokens that the model's own pooling would pool.
        run_at: Position of the run's first token.
        run: The run in the parent's tokens, half-open.
        tail: Special tokens behind the run.
        is_first: The run holds the parent's first token.
        is_last: The run holds the parent's last token.
        tail_pooled: The chunk that holds the parent's last token pools the tail too.
    """

    lead: int
    lead_pooled: int
    run_at: int
    run: tuple[int, int]
    tail: int
    is_first: bool
    is_last: bool
    tail_pooled: bool = True

    @property
    def length(self) -> int:
        """Tokens of the whole window."""
        return self.run_at + self.run[1] - self.run[0] + self.tail


@dataclass(frozen=True)
class Bags:
    """Which token positions are pooled into which chunk, and with what weight.

    A bag's positions are up to three ranges, in this order: what it pools of the lead, of the
    run and of the tail. Its weights count up over them, or stay what they are.

    Args:
        chunks: Chunk index of each bag, int64, shape ``(n_bags,)``, without repeats inside
            one window.
        starts: First position of each range, int64, shape ``(n_bags, 3)``.
        lengths: Positions in each range, int64, same shape; at least one in each bag.
        weights: Weight of each bag's first position, int64, shape ``(n_bags,)``.
        steps: How much heavier each next position is, int64, same shape.
    """

    chunks: NDArray[np.int64]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    weights: NDArray[np.int64]
    steps: NDArray[np.int64]


def chunk_bags(spans: TokenSpans, n_tokens: int, layout: WindowLayout, mode: PoolingMode) -> Bags:
    """The positions of one window that each chunk pools.

    The edge rule (Guenther et al. 2024, arXiv 2409.04701): a chunk that holds the parent's
    first token also pools the lead, one that holds the last token the tail, as the model's
    own pooling would. Header and preamble are never pooled.

    Args:
        spans: Token ranges of the parent's chunks, shape ``(n_chunks, 2)``.
        n_tokens: Tokens of the parent.
        layout: The window.
        mode: ``mean``; ``last``, the chunk's last token; ``cls``, the window's first pooled token;
            ``weighted``, position-weighted as in SGPT (Muennighoff 2022, eq. 2).

    Returns:
        A bag for each chunk with a token to pool in this window, in chunk order.
    """
    run_start, run_end = layout.run
    starts = np.maximum(spans.array[:, 0], run_start)
    lengths = np.minimum(spans.array[:, 1], run_end) - starts
    # A text without any token still has special tokens, which is all that a model pools then.
    chunks = np.flatnonzero(lengths > 0) if n_tokens else np.arange(len(lengths))
    of_chunks = spans.array[chunks]
    range_starts = np.empty((len(chunks), 3), np.int64)
    range_starts[:, 0] = layout.lead_pooled
    range_starts[:, 1] = starts[chunks] + (layout.run_at - run_start)
    range_starts[:, 2] = layout.run_at + run_end - run_start
    range_lengths = np.zeros((len(chunks), 3), np.int64)
    range_lengths[:, 1] = lengths[chunks]
    if layout.is_first and layout.lead > layout.lead_pooled:
        range_lengths[of_chunks[:, 0] == 0, 0] = layout.lead - layout.lead_pooled
    if layout.is_last and layout.tail_pooled:
        range_lengths[of_chunks[:, 1] == n_tokens, 2] = layout.tail
    if mode == "weighted":
        weights = _first_weights(of_chunks[:, 0], layout)
        return Bags(chunks, range_starts, range_lengths, weights, np.ones_like(chunks))
    if mode == "mean":
        pooled = chunks, range_starts, range_lengths
    elif mode == "last":
        ends = of_chunks[:, 1]
        kept = (ends <= run_end) & ((ends != n_tokens) | layout.is_last)
        pooled = _one_each(chunks[kept], _last_positions(range_starts, range_lengths)[kept])
    else:
        pooled = _one_each(chunks, np.full_like(chunks, layout.lead_pooled))
    return Bags(*pooled, np.ones_like(pooled[0]), np.zeros_like(pooled[0]))


def join_bags(parts: Sequence[Bags], row_starts: NDArray[np.int64]) -> Bags:
    """The bags of a batch, positions counted through its rows.

    Args:
        parts: The bags of each row.
        row_starts: First position of each row, int64, shape ``(n_rows,)``.
    """
    moved = np.repeat(row_starts, [len(part.chunks) for part in parts])
    return Bags(
        np.concatenate([part.chunks for part in parts]),
        np.concatenate([part.starts for part in parts]) + moved[:, None],
        np.concatenate([part.lengths for part in parts]),
        np.concatenate([part.weights for part in parts]),
        np.concatenate([part.steps for part in parts]),
    )


def row_starts(lengths: NDArray[np.int64], shape: Sequence[int]) -> NDArray[np.int64]:
    """Where each row of a batch begins in its token embeddings, all rows counted as one.

    Args:
        lengths: Tokens of each row, int64, shape ``(n_rows,)``.
        shape: Of the embeddings: ``(n_rows, row_length, dim)``, or ``(1, n_tokens, dim)`` where
            the rows stand one behind the other without padding.

    Returns:
        Int64, shape ``(n_rows,)``.
    """
    if shape[0] == len(lengths):
        return np.arange(len(lengths), dtype=np.int64) * shape[1]
    ends: NDArray[np.int64] = np.cumsum(lengths)
    return ends - lengths


def sum_bags(embeddings: torch.Tensor, bags: Bags) -> tuple[torch.Tensor, NDArray[np.float32]]:
    """Weighted sums of token embeddings, one kernel on the embeddings' device.

    Args:
        embeddings: Token embeddings, shape ``(n_rows, row_length, dim)``, any float dtype.
        bags: As `join_bags` gives them.

    Returns:
        The sums, float32 on the device, shape ``(n_bags, dim)``, and the weight of each,
        float32, shape ``(n_bags,)``.
    """
    device = embeddings.device
    sizes = bags.lengths.sum(axis=1)
    firsts = np.cumsum(sizes) - sizes
    # Ranges travel, positions are counted where they are needed.
    positions = _ranges(bags.starts.ravel(), bags.lengths.ravel(), device)
    sums = torch.nn.functional.embedding_bag(
        positions,
        embeddings.reshape(-1, embeddings.shape[-1]).float(),
        to_device(firsts, device),
        mode="sum",
        per_sample_weights=_weights(bags, sizes, device) if bags.steps.any() else None,
    )
    totals = sizes * bags.weights + bags.steps * (sizes * (sizes - 1) // 2)
    return sums, totals.astype(np.float32)


def _weights(bags: Bags, sizes: NDArray[np.int64], device: torch.device) -> torch.Tensor:
    nth = _ranges(np.zeros_like(sizes), sizes, device)
    of_bags = to_device(np.stack([bags.weights, bags.steps]), device)
    repeated = torch.repeat_interleave(
        of_bags, to_device(sizes, device), dim=1, output_size=len(nth)
    )
    return (repeated[0] + repeated[1] * nth).float()


def _ranges(
    starts: NDArray[np.int64], lengths: NDArray[np.int64], device: torch.device
) -> torch.Tensor:
    """The ranges ``[start, start + length)`` one after the other, int64, on the device."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    moved = to_device(np.stack([starts - ends + lengths, lengths]), device)
    repeated = torch.repeat_interleave(moved[0], moved[1], output_size=total)
    return repeated + torch.arange(total, device=device)


def _first_weights(starts: NDArray[np.int64], layout: WindowLayout) -> NDArray[np.int64]:
    """Positions are counted from 1 through the windows of a chunk, pooled or not in the lead."""
    before = np.maximum(layout.run[0] - starts, 0)
    lead = np.where(starts == 0, layout.lead, 0)
    skipped = layout.lead_pooled if layout.is_first else 0
    return 1 + before + np.where(before > 0, lead, np.where(starts == 0, skipped, 0))


def _last_positions(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    last = np.where(lengths[:, 2] > 0, 2, np.where(lengths[:, 1] > 0, 1, 0))
    rows = np.arange(len(last))
    return starts[rows, last] + lengths[rows, last] - 1


def _one_each(
    chunks: NDArray[np.int64], positions: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Bags of one position."""
    starts = np.zeros((len(chunks), 3), np.int64)
    starts[:, 0] = positions
    lengths = np.zeros_like(starts)
    lengths[:, 0] = 1
    return chunks, starts, lengths
