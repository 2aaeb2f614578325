"""Token embeddings and token spans to chunk sums and counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from latechunk_integrations.core.transfer import to_device
from latechunk_integrations.schema import TokenSpans

__all__ = [
    "Bags",
    "PoolingMode",
    "WindowLayout",
    "chunk_bags",
    "join_bags",
    "row_starts",
    "sum_bags",
]

PoolingMode: TypeAlias = Literal["mean", "last", "cls", "weighted"]


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
    """Which token positions are pooled into which chunk.

    Args:
        chunks: Chunk index of each bag, int64, shape ``(n_bags,)``, without repeats inside
            one window.
        bounds: First position of each bag in ``positions``, int64, ``(n_bags + 1,)``.
        positions: Token positions, int64, shape ``(n_positions,)``.
        weights: Weight of each position, float32, shape ``(n_positions,)``.
    """

    chunks: NDArray[np.int64]
    bounds: NDArray[np.int64]
    positions: NDArray[np.int64]
    weights: NDArray[np.float32]


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
    inside = (spans.starts < run_end) & (spans.ends > run_start) & (spans.lengths > 0)
    # A text without any token still has special tokens, which is all that a model pools then.
    chunks = np.flatnonzero(inside | (n_tokens == 0))
    starts, ends = spans.starts[chunks], spans.ends[chunks]
    first = (starts == 0) & layout.is_first
    last = (ends == n_tokens) & layout.is_last & layout.tail_pooled
    lead = np.where(first, layout.lead - layout.lead_pooled, 0)
    inner = np.minimum(ends, run_end) - np.maximum(starts, run_start)
    tail = np.where(last, layout.tail, 0)
    # Three ranges for each chunk, of which the first and the last are mostly empty.
    range_starts = np.stack(
        [
            np.full_like(lead, layout.lead_pooled),
            layout.run_at + np.maximum(starts, run_start) - run_start,
            np.full_like(lead, layout.run_at + run_end - run_start),
        ],
        axis=1,
    )
    lengths = np.stack([lead, inner, tail], axis=1)
    positions = _ranges(range_starts.ravel(), lengths.ravel())
    bounds = np.concatenate([[0], np.cumsum(lengths.sum(axis=1))])
    if mode == "mean":
        return Bags(chunks, bounds, positions, np.ones(len(positions), np.float32))
    if mode == "weighted":
        # Counting goes on where an earlier window's part of the chunk ended.
        before = np.maximum(starts, run_start) - starts
        lead_before = np.where(starts == 0, layout.lead, 0) - lead
        weights = _weights(bounds, before + np.where(before > 0, lead_before, 0))
        skipped = np.where(first, layout.lead_pooled, 0)
        weights += np.repeat(skipped, np.diff(bounds)).astype(np.float32)
        return Bags(chunks, bounds, positions, weights)
    if mode == "last":
        kept = (ends <= run_end) & ((ends != n_tokens) | layout.is_last)
        return _one_each(chunks[kept], positions[bounds[1:][kept] - 1])
    return _one_each(chunks, np.full(len(chunks), layout.lead_pooled))


def join_bags(parts: Sequence[Bags], row_starts: NDArray[np.int64]) -> Bags:
    """The bags of a batch, positions counted through its rows.

    Args:
        parts: The bags of each row.
        row_starts: First position of each row, int64, shape ``(n_rows,)``.
    """
    counts = np.concatenate([[0], np.cumsum([len(part.positions) for part in parts])])
    return Bags(
        np.concatenate([part.chunks for part in parts]),
        np.concatenate(
            [part.bounds[:-1] + count for part, count in zip(parts, counts[:-1], strict=True)]
            + [counts[-1:]]
        ),
        np.concatenate(
            [part.positions + start for part, start in zip(parts, row_starts, strict=True)]
        ),
        np.concatenate([part.weights for part in parts]),
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
    flat = embeddings.reshape(-1, embeddings.shape[-1]).float()
    sums = torch.nn.functional.embedding_bag(
        to_device(bags.positions, device),
        flat,
        to_device(bags.bounds[:-1], device),
        mode="sum",
        per_sample_weights=to_device(bags.weights, device),
    )
    totals = np.add.reduceat(bags.weights, bags.bounds[:-1]) if len(bags.chunks) else bags.weights
    return sums, totals


def _ranges(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The ranges ``[start, start + length)`` one after the other."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()), dtype=np.int64)


def _weights(bounds: NDArray[np.int64], before: NDArray[np.int64]) -> NDArray[np.float32]:
    lengths = np.diff(bounds)
    return (_ranges(before, lengths) + 1).astype(np.float32)


def _one_each(chunks: NDArray[np.int64], positions: NDArray[np.int64]) -> Bags:
    return Bags(chunks, np.arange(len(chunks) + 1), positions, np.ones(len(positions), np.float32))
