"""Windows to length-sorted batches under a token budget, and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# A further forward pass costs about as much as this part of a full batch: padding below it stays.
_PASS_COST = 1 / 16


def pack(lengths: NDArray[np.integer], batch_tokens: int) -> list[NDArray[np.int64]]:
    """Batches of similar lengths whose padded size keeps a budget.

    A batch is cut in two where that spares more padding than a further pass costs.

    Args:
        lengths: Tokens of each window, shape ``(n_windows,)``.
        batch_tokens: Most tokens of a batch, padding included. A window that is longer
            alone makes a batch of its own.

    Returns:
        Indices into ``lengths``, longest windows first; each index is in exactly one
        batch. Equal lengths keep their order.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    batches: list[NDArray[np.int64]] = []
    start = 0
    while start < len(order):
        longest = int(lengths[order[start]])
        size = max(1, batch_tokens // max(1, longest))
        batch = order[start : start + size]
        batches += _cut(batch, np.asarray(lengths)[batch], batch_tokens * _PASS_COST)
        start += size
    return batches


def _cut(
    batch: NDArray[np.int64], lengths: NDArray[np.integer], pass_cost: float
) -> list[NDArray[np.int64]]:
    """A batch in as many parts as are worth their passes; lengths descend."""
    spared = (lengths[0] - lengths) * np.arange(len(batch), 0, -1)
    at = int(spared.argmax())
    if spared[at] <= pass_cost:
        return [batch]
    first, second = slice(None, at), slice(at, None)
    return [
        *_cut(batch[first], lengths[first], pass_cost),
        *_cut(batch[second], lengths[second], pass_cost),
    ]
