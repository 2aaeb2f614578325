"""Many ranges at once, as flat arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def count_ranges(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers of the ranges ``[start, start + length)``, one range after the other.

    Args:
        starts: First number of each range, int64, shape ``(n,)``.
        lengths: How many numbers each has, int64, same shape.

    Returns:
        Int64, shape ``(lengths.sum(),)``.

    >>> count_ranges(np.array([5, 0]), np.array([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    counted = np.arange(total, dtype=np.int64)
    counted += np.repeat(starts - ends + lengths, lengths)
    return counted


def to_bounds(lengths: NDArray[np.integer]) -> NDArray[np.int64]:
    """Where each of several runs begins and the last one ends, int64, shape ``(n + 1,)``."""
    bounds = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=bounds[1:])
    return bounds


def number_in_groups(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each item its number inside its group, from 0; items of a group are neighbours.

    >>> number_in_groups(np.array([3, 3, 7, 7, 7])).tolist()
    [0, 1, 0, 1, 2]
    """
    first = np.flatnonzero(np.diff(groups, prepend=groups[:1] - 1))
    counted = np.arange(len(groups), dtype=np.int64)
    return counted - np.repeat(first, np.diff(first, append=len(groups)))
