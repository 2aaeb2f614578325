"""Tokens and a budget to windows, many texts at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.ranges import number_in_groups, to_bounds

UNIT_WINDOW = 384
"""Tokens of a window of units, for models whose own window holds hardly two of them."""

COMMON_WINDOW = 2_048
"""Tokens of a window of units, for models that can read more."""

_LEAST_LENGTHENED, _LEAST_UNITS = 256, 3
_DEFAULT_MAX_OVERLAP = 512
_STABLE_TOKENS = 1_024
"""Least tokens between two borders that units decide, unless a window is longer."""


@dataclass(frozen=True)
class WindowBudgets:
    """How the tokens of a window are shared out, for each of several texts.

    Args:
        room: Tokens that a window leaves to the text, int64, shape ``(n_texts,)``.
        header: Header tokens that are kept, same shape.
        overlap: Tokens that neighbouring windows share, same shape.
        header_cut: Whether the header was shortened, bool, same shape.
        overlap_cut: The same of the overlap.
    """

    room: NDArray[np.int64]
    header: NDArray[np.int64]
    overlap: NDArray[np.int64]
    header_cut: NDArray[np.bool_]
    overlap_cut: NDArray[np.bool_]


@dataclass(frozen=True)
class Runs:
    """Runs of the tokens of several texts, each of which one window holds.

    Args:
        texts: The text of each run, ascending, int64, shape ``(n_runs,)``.
        bounds: The run in the tokens of its text, half-open, int64, shape ``(n_runs, 2)``.
    """

    texts: NDArray[np.int64]
    bounds: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.texts)


def limit_overlap(asked: int | None, room: NDArray[np.int64]) -> NDArray[np.int64]:
    """The tokens that neighbouring windows share.

    Args:
        asked: What was asked for; ``None``: half of the room, at most 512.
        room: Tokens that a window leaves to its text, int64.

    Returns:
        Int64: at most three quarters of the room, so that each window brings something new.
    """
    if asked is None:
        return np.minimum(room // 2, _DEFAULT_MAX_OVERLAP)
    return np.minimum(asked, room * 3 // 4)


def divide_budgets(  # a budget has that many claims on it
    max_tokens: int,
    *,
    fixed: NDArray[np.int64],
    header: NDArray[np.int64],
    n_tokens: NDArray[np.int64],
    overlap: int | None,
) -> WindowBudgets:
    """Share windows out between what is attended and the text, for each of several texts.

    At least half of the window belongs to the text. A header that does not fit into the other
    half is cut.

    Args:
        max_tokens: Window length, special tokens included.
        fixed: Special and prompt tokens of each window, int64, shape ``(n_texts,)``.
        header: Tokens of the header, same shape.
        n_tokens: Tokens of the text, same shape.
        overlap: Tokens that neighbours should share; see `limit_overlap`.

    Returns:
        The budgets, and what was cut. A text that fits has no overlap.
    """
    # Joined to its text, a prompt can take a token more than the model's window was checked for.
    spare = np.maximum(0, max_tokens // 2 - fixed)
    kept_header = np.minimum(header, spare)
    room = max_tokens - fixed - kept_header
    is_long = n_tokens > room
    kept_overlap = np.where(is_long, limit_overlap(overlap, room), 0)
    return WindowBudgets(
        room,
        kept_header,
        kept_overlap,
        kept_header < header,
        is_long & (kept_overlap < (overlap or 0)),
    )


def plan_runs(
    n_tokens: NDArray[np.int64],
    budgets: WindowBudgets,
    edges: Sequence[NDArray[np.int64] | None] | None = None,
) -> Runs:
    """Cover the tokens of each text with as few windows as its budget allows.

    Neighbouring runs share exactly ``overlap`` tokens, and the new tokens are spread evenly, so
    that the last window has as much context as the others and a batch of windows has next to no
    padding.

    Args:
        n_tokens: Tokens of each text, int64, shape ``(n_texts,)``.
        budgets: As `divide_budgets` gives them.
        edges: For each text the tokens, ascending, before which a window may begin or end; None:
            any. Where none is in reach, a window ends elsewhere.

    Returns:
        The runs, in text order; one for a text that fits.
    """
    step = np.maximum(1, budgets.room - budgets.overlap)
    beyond = np.maximum(0, n_tokens - budgets.room)
    n_runs = 1 + -(-beyond // step)
    texts = np.repeat(np.arange(len(n_tokens), dtype=np.int64), n_runs)
    index = number_in_groups(texts)
    slack = np.where(n_runs > 1, budgets.room + (n_runs - 1) * step - n_tokens, 0)[texts]
    ends = budgets.room[texts] + index * step[texts] - slack * (index + 1) // n_runs[texts]
    ends = np.minimum(ends, n_tokens[texts])
    starts = np.zeros_like(ends)
    starts[1:] = np.where(index[1:] > 0, ends[:-1] - budgets.overlap[texts[1:]], 0)
    runs = Runs(texts, np.stack([starts, ends], axis=1))
    return runs if edges is None else _snap_runs(runs, n_tokens, budgets, edges)


def bound_unit_window(max_tokens: int) -> int:
    """Most tokens of a window of units: 384 where a model's own window has 256 to 383.

    Positions start anew in each unit, so that no position exceeds ``max_tokens`` in a longer window
    either. In one of 256 tokens a chunk of 128 with its header has no neighbour, and gains nothing.
    Windows of 512 did not gain more, and their attention costs a tenth of the time
    (docs/quality.md). A window under 256 is somebody's choice.

    Args:
        max_tokens: The model's window, which bounds a unit.
    """
    return max(max_tokens, UNIT_WINDOW) if max_tokens >= _LEAST_LENGTHENED else max_tokens


def choose_unit_windows(
    lengths: NDArray[np.int64], groups: NDArray[np.int64], max_tokens: int
) -> NDArray[np.int64]:
    """Tokens of a window for the units of each group.

    A model with a long window does not need all of it. In 8,192 tokens the attention alone can
    take the time of early chunking, and the focus leaves little to so many neighbours. So windows
    have 2,048 tokens, doubled until they hold three units of mean length. They are doubled, so
    that an edit seldom changes it. `bound_unit_window` gives the most.

    Args:
        lengths: Tokens of each unit, special tokens included, int64, shape ``(n_units,)``.
        groups: What each unit may share a window with, ascending, int64, same shape.
        max_tokens: The model's window, which bounds a unit.

    Returns:
        For each unit the window of its group, int64, same shape.

    >>> choose_unit_windows(np.array([100, 150, 1_000]), np.array([0, 0, 1]), 8_192).tolist()
    [2048, 2048, 4096]
    """
    first = np.flatnonzero(np.diff(groups, prepend=groups[:1] - 1))
    counts = np.diff(first, append=len(groups))
    wanted = _LEAST_UNITS * np.add.reduceat(lengths, first)
    windows = np.full(len(first), COMMON_WINDOW, np.int64)
    while (small := windows * counts < wanted).any():
        windows[small] *= 2
    return np.repeat(np.minimum(windows, bound_unit_window(max_tokens)), counts)


def divide_groups(
    lengths: NDArray[np.int64],
    groups: NDArray[np.int64],
    keys: Sequence[bytes],
    windows: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Divide long groups where the units near a border decide it.

    `pack_units` spreads a whole group, so that one unit more moves every window of it. A unit
    begins a group of its own where its key is the least among those that begin within 1,024
    tokens, or a window if that is longer, on either side. That depends on no other unit, as long
    as the mean of all leaves `choose_unit_windows` at its value: an edit changes the windows around
    it. On the average two such distances lie between borders.

    Args:
        lengths: Tokens of each unit, special tokens included, int64, shape ``(n_units,)``.
        groups: As for `pack_units`.
        keys: A hash of each unit's content.
        windows: As for `pack_units`.

    Returns:
        Groups, ascending, int64, same shape. One that is shorter than two distances stays whole.
    """
    bounds = np.flatnonzero(np.diff(groups, prepend=groups[:1] - 1, append=groups[-1:] + 1))
    before = to_bounds(lengths)
    begins = np.zeros(len(lengths), dtype=bool)
    begins[bounds[:-1]] = True
    for first, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        reach = max(int(windows[first]), _STABLE_TOKENS)
        if before[end] - before[first] >= 2 * reach:
            places = before[first : end + 1].tolist()
            begins[first:end] |= _find_least(keys[first:end], places, reach)
    return np.cumsum(begins)


def _find_least(keys: Sequence[bytes], places: list[int], reach: int) -> NDArray[np.bool_]:
    """Units whose key is the least within a distance; the first of equal ones.

    Args:
        keys: Of the units of one group.
        places: Where each begins, and where the last one ends.
        reach: The distance. Both ends of the group are farther away.
    """
    least = np.zeros(len(keys), dtype=bool)
    rising: list[int] = []  # units with rising keys: those that may still be the least of theirs

    def close(unit: int, place: int) -> None:
        lower = places[rising[-1]] if rising else places[0]
        least[unit] = min(places[unit] - lower, place - places[unit]) >= reach

    for unit, key in enumerate(keys):
        while rising and keys[rising[-1]] > key:
            close(rising.pop(), places[unit])
        rising.append(unit)
    while rising:
        close(rising.pop(), places[-1])
    return least


def pack_units(
    lengths: NDArray[np.int64], groups: NDArray[np.int64], windows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Windows of whole units: as few as possible, in order, spread evenly.

    Args:
        lengths: Tokens of each unit, special tokens included, int64, shape ``(n_units,)``.
        groups: What each unit may share a window with, ascending, int64, same shape.
        windows: Tokens of a window for each unit, the same in a group, int64, same shape. A unit
            that is longer gets a window of its own.

    Returns:
        The window of each unit, counted from 0 and ascending, int64, shape ``(n_units,)``.
    """
    bounds = np.flatnonzero(np.diff(groups, prepend=groups[:1] - 1, append=groups[-1:] + 1))
    before = to_bounds(lengths)
    new_window = np.zeros(len(lengths), dtype=bool)
    new_window[bounds[:-1]] = True
    totals = before[bounds[1:]] - before[bounds[:-1]]
    for group in np.flatnonzero(totals > windows[bounds[:-1]]).tolist():
        start, end = int(bounds[group]), int(bounds[group + 1])
        starts = _even_starts(before[start : end + 1], int(windows[start]))
        new_window[starts + start] = True
    return np.cumsum(new_window) - 1


def _even_starts(before: NDArray[np.int64], max_tokens: int) -> NDArray[np.int64]:
    """First unit of each window, for the smallest window size that needs no more windows."""
    starts = _greedy_starts(before, max_tokens)
    low, high = -(-int(before[-1] - before[0]) // len(starts)), max_tokens
    while low < high:
        size = (low + high) // 2
        tried = _greedy_starts(before, size)
        if len(tried) > len(starts):
            low = size + 1
        else:
            starts, high = tried, size
    return np.array(starts, np.int64)


def _greedy_starts(before: NDArray[np.int64], size: int) -> list[int]:
    starts, at = [], 0
    while at < len(before) - 1:
        starts.append(at)
        at = max(at + 1, int(np.searchsorted(before, before[at] + size, side="right")) - 1)
    return starts


def _snap_runs(
    runs: Runs,
    n_tokens: NDArray[np.int64],
    budgets: WindowBudgets,
    edges: Sequence[NDArray[np.int64] | None],
) -> Runs:
    """The same runs, moved to edges where their text has some."""
    first = np.searchsorted(runs.texts, np.arange(len(n_tokens) + 1))
    parts: list[NDArray[np.int64]] = []
    for text in range(len(n_tokens)):
        bounds = runs.bounds[first[text] : first[text + 1]]
        own, total = edges[text], int(n_tokens[text])
        if own is not None and len(bounds) > 1:
            room, overlap = int(budgets.room[text]), int(budgets.overlap[text])
            ends = bounds[:, 1].tolist()
            bounds = _move_to_edges(ends, room, overlap, np.append(own[own < total], total))
        parts.append(bounds)
    texts = np.repeat(np.arange(len(n_tokens), dtype=np.int64), [len(part) for part in parts])
    return Runs(texts, np.concatenate(parts))


def _move_to_edges(
    ends: list[int], room: int, overlap: int, edges: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Windows near the planned ones that begin and end at edges."""
    runs: list[tuple[int, int]] = []
    last = 0
    for planned in ends:
        while last < planned:
            reach = last + room
            end = _edge_in(edges, last + 1, min(planned, reach))
            runs.append((_find_start(edges, last, end, room, overlap) if runs else 0, end))
            last = end
            if reach >= planned:
                break
    return np.array(runs, dtype=np.int64)


def _find_start(edges: NDArray[np.int64], last: int, end: int, room: int, overlap: int) -> int:
    """Where a window begins that goes on from ``last``: with the overlap, if there is room."""
    first = max(0, end - room)
    wanted = max(first, last - overlap)
    start = _edge_in(edges, first, wanted, otherwise=-1)
    if start < 0:
        at = int(np.searchsorted(edges, wanted))
        start = int(edges[at]) if edges[at] <= last else wanted
    return start


def _edge_in(
    edges: NDArray[np.int64], first: int, last: int, *, otherwise: int | None = None
) -> int:
    """The last edge in ``[first, last]``, else ``otherwise`` or ``last``."""
    at = int(np.searchsorted(edges, last, side="right")) - 1
    if at >= 0 and edges[at] >= first:
        return int(edges[at])
    return last if otherwise is None else otherwise
