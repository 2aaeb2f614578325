"""Windows to length-sorted batches under a token budget, and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["pack"]


def pack(lengths: NDArray[np.integer], batch_tokens: int) -> list[NDArray[np.int64]]:
    """Batches of similar lengths whose padded size keeps a budget.

    Args:
        lengths: Tokens of each window, shape ``(n_windows,)``.
        batch_tokens: Most tokens of a batch, padding included. A window that is longer
            alone makes a batch of its own.

    Returns:
        Indices into ``lengths``, longest windows first; each index stands in exactly one
        batch. Equal lengths keep their order.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    batches = []
    start = 0
    while start < len(order):
        longest = int(lengths[order[start]])
        size = max(1, batch_tokens // max(1, longest))
        batches.append(order[start : start + size])
        start += size
    return batches
