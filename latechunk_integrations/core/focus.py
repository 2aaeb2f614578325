"""The focus: how much more a chunk's tokens attend to their own unit than to its neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Nats by which the focus grows with the logarithm of the units in a window. Chosen with two models
# on half of the queries of four sets, and checked on the other half; see docs/focus.md.
_SLOPE = 1.6
# Nats for each part of a window that a chunk of a unit takes beyond a third of it: such a chunk
# says enough itself, and lost to early chunking with less; see docs/quality.md.
_CROWDED_SLOPE, _ROOMY = 24.0, 1 / 3
SUB_SPAN_SLOPE = 2.0
"""The same where units are sub-spans, which say less and give more of their attention away."""
HEADER_STEP = 0.5
"""Nats that the header focus lies below the focus: a header that no question names costs less so,
and one that questions name keeps its worth."""


def choose_focus(
    n_units: NDArray[np.float64],
    shares: NDArray[np.float64] | float = 0.0,
    slope: float = _SLOPE,
) -> NDArray[np.float64]:
    """The focus where nothing else was asked for, in nats.

    The more units a window holds besides its own, the more of its attention a token would
    give away. The more of a window a chunk takes, the less it needs its neighbours. With one
    unit there is nothing to focus on.

    Args:
        n_units: Units of each window, at least 1, shape ``(n_windows,)``.
        shares: The mean chunk of its units as a part of the window, from 0 to 1, same shape.
        slope: Nats by which it grows with the logarithm of the number of units.

    >>> choose_focus(np.array([1.0, 2.0, 16.0])).round(1).tolist()
    [0.0, 1.1, 4.4]
    >>> choose_focus(np.array([1.0, 2.0, 2.0]), np.array([0.5, 0.5, 0.3])).round(1).tolist()
    [0.0, 5.1, 1.1]
    """
    crowded = _CROWDED_SLOPE * np.maximum(np.asarray(shares) - _ROOMY, 0.0)
    return np.where(n_units > 1, slope * np.log(np.maximum(n_units, 1.0)) + crowded, 0.0)


def nest_spans(spans: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The order of chunks in windows, and the level of each.

    Chunks that lie inside others, as those of a hierarchy do, are on a level of their own, so
    that no chunk attends to its own text again. Chunks that overlap are neighbours.

    Args:
        spans: Character ranges, int64, shape ``(n, 2)``.

    Returns:
        The chunks level after level, each in text order, and the level of each, ascending; int64,
        shape ``(n,)`` each.
    """
    order = np.lexsort((-spans[:, 1], spans[:, 0]))
    levels = np.zeros(len(spans), np.int64)
    reached: list[tuple[int, int]] = []
    for chunk in order.tolist():
        start, end = spans[chunk].tolist()
        fits = (level for level, last in enumerate(reached) if last[0] < start and last[1] < end)
        level = next(fits, len(reached))
        levels[chunk] = level
        reached[level : level + 1] = [(start, end)]
    order = order[np.argsort(levels[order], kind="stable")]
    return order, levels[order]


def paint_chunks(
    spans: NDArray[np.int64], places: NDArray[np.int64], n_places: int
) -> NDArray[np.int32]:
    """The chunk that each token belongs to, for the focus in a running text.

    Args:
        spans: Token ranges of the chunks in their texts, int64, shape ``(n_chunks, 2)``.
        places: Place of the first token of each chunk's text, int64, shape ``(n_chunks,)``.
        n_places: Places of all tokens.

    Returns:
        Int32, shape ``(n_places,)``: the shortest chunk that holds the token, -1 where none does.
    """
    painted = np.full(n_places, -1, np.int32)
    lengths = spans[:, 1] - spans[:, 0]
    for chunk in np.argsort(-lengths, kind="stable").tolist():
        start = int(places[chunk] + spans[chunk, 0])
        painted[start : start + int(lengths[chunk])] = chunk
    return painted
