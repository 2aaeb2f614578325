"""Vectors to unit length."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["make_unit"]

# Rows that are scaled at once: no second array of their size.
_BLOCK_ROWS = 1_024


def make_unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give rows unit length, in place; rows of zeros stay as they are.

    Args:
        vectors: Float32, shape ``(n, dim)``.

    Returns:
        The same array.
    """
    for start in range(0, len(vectors), _BLOCK_ROWS):
        rows = vectors[start : start + _BLOCK_ROWS]
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        rows /= np.maximum(norms, np.float32(1e-12))
    return vectors
