"""Weighted sums of chunks, as they come in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ChunkSums"]


@dataclass(frozen=True)
class ChunkSums:
    """Weighted sums that chunk vectors are the means of.

    Args:
        sums: Float32, shape ``(n_rows, dim)``.
        weights: What each sum weighs, float32, shape ``(n_rows,)``; 0: nothing was pooled.
    """

    sums: NDArray[np.float32]
    weights: NDArray[np.float32]

    @classmethod
    def of(cls, n_rows: int, dim: int) -> ChunkSums:
        """Empty sums."""
        # np.zeros maps pages lazily: rows of a huge parent cost memory once they are filled.
        return cls(np.zeros((n_rows, dim), np.float32), np.zeros(n_rows, np.float32))

    def add(
        self, rows: NDArray[np.int64], sums: NDArray[np.float32], weights: NDArray[np.float32]
    ) -> None:
        """Add sums; a row may come several times."""
        if len(np.unique(rows)) == len(rows):
            self.sums[rows] += sums
            self.weights[rows] += weights
        else:
            np.add.at(self.sums, rows, sums)
            np.add.at(self.weights, rows, weights)

    def means(self) -> NDArray[np.float32]:
        """The weighted means, in place: the sums are gone afterwards."""
        np.divide(self.sums, np.maximum(self.weights, 1e-9)[:, None], out=self.sums)
        return self.sums
