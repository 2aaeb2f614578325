"""Weighted sums of chunks, as they come in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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

    def take(self, rows: slice) -> ChunkSums:
        """Some of the sums, as a view."""
        return ChunkSums(self.sums[rows], self.weights[rows])

    def join(self, groups: NDArray[np.int64]) -> tuple[NDArray[np.int64], ChunkSums]:
        """The sums of groups of rows.

        Args:
            groups: Group of each row, ascending, int64, shape ``(n_rows,)``.

        Returns:
            The groups that have rows, int64, and their sums.
        """
        found, first = np.unique(groups, return_index=True)
        if not len(found):
            return found, self
        weights = np.add.reduceat(self.weights, first)
        return found, ChunkSums(np.add.reduceat(self.sums, first, axis=0), weights)

    @classmethod
    def stack(cls, tables: Sequence[ChunkSums]) -> ChunkSums:
        """Several tables, one below the other."""
        return cls(
            np.concatenate([table.sums for table in tables]),
            np.concatenate([table.weights for table in tables]),
        )

    def means(self) -> NDArray[np.float32]:
        """The weighted means, in place: the sums are gone afterwards."""
        np.divide(self.sums, np.maximum(self.weights, 1e-9)[:, None], out=self.sums)
        return self.sums
