"""Weighted sums of token embeddings that are on the host already: no torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.pooling import Bags
from latechunk_integrations.core.ranges import count_ranges


def sum_on_host(
    embeddings: NDArray[np.float32], bags: Bags, frame_starts: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Weighted sums of token embeddings; see `latechunk_integrations.core.sums.sum_bags`.

    Args:
        embeddings: Token embeddings, shape ``(n_rows, row_length, dim)``.
        bags: What is pooled, positions counted in frames.
        frame_starts: Where the frame of each bag begins, all rows counted as one, int64.

    Returns:
        The sums, float32, shape ``(n_bags, dim)``.
    """
    rows = embeddings.reshape(-1, embeddings.shape[-1])
    if not len(bags):
        return np.zeros((0, rows.shape[1]), np.float32)
    starts = (bags.starts + frame_starts[:, None]).ravel()
    lengths = bags.lengths.ravel()
    taken = rows[count_ranges(starts, lengths)].astype(np.float32, copy=False)
    if bags.weighted:
        nth = count_ranges(np.zeros_like(lengths), lengths)
        steps = np.repeat(np.repeat(bags.steps, bags.lengths.shape[1]), lengths)
        weights = np.repeat(bags.weights.ravel(), lengths) + steps * nth
        taken = taken * weights[:, None].astype(np.float32)
    sizes = bags.lengths.sum(axis=1)
    sums: NDArray[np.float32] = np.add.reduceat(taken, np.cumsum(sizes) - sizes, axis=0)
    return sums
