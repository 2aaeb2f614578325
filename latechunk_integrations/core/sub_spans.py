"""Sub-spans: where a chunk is divided, and which of its parts are joined again."""

from __future__ import annotations

import heapq
import re

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.spans import UNSPACED

_WORD_BORDER = re.compile(rf"(?<=\s)|(?=\s)|(?<=[{UNSPACED}])|(?=[{UNSPACED}])")


def cut_words(text: str, offsets: NDArray[np.integer], size: int) -> list[int]:
    """Where to divide a text into parts of about as many tokens each, at words.

    There are as many parts as come closest to the size, of sizes as even as words allow. Only a
    word of more tokens than that is divided itself. No token is, and each part holds at least
    one that is not white space.

    Args:
        text: The text.
        offsets: Half-open character ranges of its tokens in order, shape ``(n, 2)``.
        size: Tokens of a part, at least 1.

    Returns:
        The characters before which it is divided, ascending; none for a short text.

    >>> cut_words("a bb c dd", np.array([[0, 1], [2, 4], [5, 6], [7, 9]]), 2)
    [5]
    """
    # Some tokenizers give a space no characters at all.
    offsets = offsets[[bool(text[a:b].strip()) for a, b in offsets.tolist()]]
    n_parts = round(len(offsets) / size)
    if n_parts < 2:  # noqa: PLR2004  # one part is not divided
        return []
    starts, ends = offsets[:, 0], np.maximum.accumulate(offsets[:, 1])
    is_free = (starts[1:] >= ends[:-1]) & (starts[1:] > 0) & (offsets[1:, 1] > starts[1:])
    free = 1 + np.flatnonzero(is_free)
    places = starts[free].tolist()
    at_words = free[[_WORD_BORDER.match(text, place) is not None for place in places]]
    targets = np.round(np.arange(1, n_parts) * len(offsets) / n_parts)
    found = _nearest(at_words, targets)
    in_words = _nearest(free, targets)
    chosen = np.where(np.abs(found - targets) <= size / 2, found, in_words)
    chosen = np.unique(chosen[np.isfinite(chosen)]).astype(np.int64)
    cuts: list[int] = starts[chosen].tolist()
    return cuts


def _nearest(values: NDArray[np.int64], targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """The value nearest to each target, the smaller of two; infinity where there is none."""
    padded = np.concatenate([[-np.inf], values, [np.inf]])
    above = np.searchsorted(padded, targets)
    low, high = padded[above - 1], padded[above]
    nearest: NDArray[np.float64] = np.where(targets - low <= high - targets, low, high)
    return np.where(np.isfinite(nearest), nearest, np.inf)


def join_alike(
    vectors: NDArray[np.floating], groups: NDArray[np.int64], most: int
) -> NDArray[np.int64]:
    """Join the most similar neighbours of a group until few enough are left.

    Args:
        vectors: Of what is joined, as sums, so that those of what is joined add up; shape
            ``(n, dim)``.
        groups: Only neighbours of one group are joined, ascending, int64, shape ``(n,)``.
        most: How many may be left; at least one of each group is.

    Returns:
        Number of the joined part that each belongs to, from 0, ascending, int64, shape ``(n,)``.

    >>> join_alike(np.array([[1.0, 0], [0, 1], [0, 2]]), np.array([0, 0, 0]), 2).tolist()
    [0, 1, 1]
    """
    n = len(vectors)
    excess = n - max(most, len(np.unique(groups)))
    starts_part = np.ones(n, dtype=bool)
    if excess <= 0:
        return np.arange(n, dtype=np.int64)
    sums = {at: vectors[at].astype(np.float64) for at in range(n)}
    after = [at + 1 if at + 1 < n and groups[at + 1] == groups[at] else -1 for at in range(n)]
    before = [at - 1 if at and groups[at - 1] == groups[at] else -1 for at in range(n)]
    # What was pushed for a pair that has changed since is known by its number.
    version = [0] * n
    heap: list[tuple[float, int, int]] = []

    def push(at: int) -> None:
        if at >= 0 and after[at] >= 0:
            version[at] += 1
            heapq.heappush(heap, (-_cosine(sums[at], sums[after[at]]), at, version[at]))

    for at in range(n):
        push(at)
    while excess:
        _, at, pushed = heapq.heappop(heap)
        if version[at] != pushed:
            continue
        gone = after[at]
        sums[at] = sums[at] + sums.pop(gone)
        starts_part[gone] = False
        version[gone] = -1
        after[at] = after[gone]
        if after[at] >= 0:
            before[after[at]] = at
        version[at] += 1
        push(at)
        push(before[at])
        excess -= 1
    return np.cumsum(starts_part) - 1


def _cosine(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    norms = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / norms if norms else 0.0
