"""Tokens and a budget to windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["WindowBudget", "WindowPlan", "divide_budget", "plan_windows"]

_DEFAULT_MAX_OVERLAP = 512


@dataclass(frozen=True)
class WindowBudget:
    """How the tokens of a window are shared out for one parent.

    Args:
        room: Tokens that a window leaves to the parent's text, without a preamble.
        header: Header tokens that are kept.
        preamble: Preamble tokens of the windows after the first.
        overlap: Tokens that neighbouring windows share.
        cut: What did not fit and was shortened: any of ``header``, ``preamble``, ``overlap``.
    """

    room: int
    header: int
    preamble: int
    overlap: int
    cut: tuple[str, ...] = ()


@dataclass(frozen=True)
class WindowPlan:
    """The windows of one parent.

    Args:
        runs: The run of the parent's tokens in each window, half-open, int64, shape
            ``(n_windows, 2)``.
        preambles: Preamble tokens in front of each run, int64, shape ``(n_windows,)``.
    """

    runs: NDArray[np.int64]
    preambles: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.runs)


def divide_budget(  # a budget has that many claims on it
    max_tokens: int,
    *,
    fixed: int,
    header: int,
    n_tokens: int,
    preamble: int,
    overlap: int | None,
) -> WindowBudget:
    """Share a window out between what is attended and the parent's text.

    At least half of the window belongs to the text. What does not fit into the other half
    is cut: first the preamble, then the header.

    Args:
        max_tokens: Window length, special tokens included.
        fixed: Special and prompt tokens of each window; at most half of ``max_tokens``.
        header: Tokens of the header.
        n_tokens: Tokens of the parent's text.
        preamble: Preamble tokens wanted in the windows after the first.
        overlap: Tokens that neighbours should share; ``None``: half of the room that is
            left to the text, at most 512.

    Returns:
        The budget, and what was cut. A parent that fits has no preamble and no overlap.
    """
    # Joined to its text, a prompt can take a token more than the model's window was checked for.
    spare = max(0, max_tokens // 2 - fixed)
    kept_header = min(header, spare)
    cut = ["header"] if kept_header < header else []
    room = max_tokens - fixed - kept_header
    if n_tokens <= room:
        return WindowBudget(room, kept_header, 0, 0, tuple(cut))
    kept_preamble = min(preamble, spare - kept_header)
    if kept_preamble < preamble:
        cut.append("preamble")
    later_room = room - kept_preamble
    if overlap is None:
        kept_overlap = min(later_room // 2, _DEFAULT_MAX_OVERLAP)
    else:
        # Each window must bring something new; a quarter of its room bounds the cost.
        kept_overlap = min(overlap, later_room * 3 // 4)
        if kept_overlap < overlap:
            cut.append("overlap")
    return WindowBudget(room, kept_header, kept_preamble, kept_overlap, tuple(cut))


def plan_windows(
    n_tokens: int, budget: WindowBudget, edges: NDArray[np.int64] | None = None
) -> WindowPlan:
    """Cover a parent's tokens with as few windows as the budget allows.

    Neighbouring runs share exactly ``budget.overlap`` tokens, and the new tokens are spread
    evenly, so that the last window has as much context as the others and a batch of windows
    has next to no padding.

    Args:
        n_tokens: Tokens of the parent's text, at least 1.
        budget: As `divide_budget` gives it.
        edges: Tokens, ascending, before which a window may begin or end; None: any. Where there
            is none in reach, a window ends elsewhere.

    Returns:
        One window if the parent fits, else windows of nearly equal length. A preamble never
        repeats tokens that stand in its window's own run.
    """
    if n_tokens <= budget.room:
        return WindowPlan(np.array([[0, n_tokens]]), np.zeros(1, np.int64))
    step = budget.room - budget.preamble - budget.overlap
    n_windows = 1 + -(-(n_tokens - budget.room) // step)
    slack = budget.room + (n_windows - 1) * step - n_tokens
    index = np.arange(n_windows, dtype=np.int64)
    ends = budget.room + index * step - slack * (index + 1) // n_windows
    starts = np.concatenate([[0], ends[:-1] - budget.overlap])
    if edges is not None:
        return _move_to_edges(ends.tolist(), budget, np.append(edges[edges < n_tokens], n_tokens))
    preambles = np.minimum(budget.preamble, starts)
    return WindowPlan(np.stack([starts, ends], axis=1), preambles)


def _move_to_edges(ends: list[int], budget: WindowBudget, edges: NDArray[np.int64]) -> WindowPlan:
    """Windows near the planned ones that begin and end at edges."""
    room = budget.room - budget.preamble
    runs: list[tuple[int, int]] = []
    last = 0
    for planned in ends:
        while last < planned:
            reach = last + room if runs else budget.room
            end = _edge_in(edges, last + 1, min(planned, reach))
            runs.append((_start(edges, last, end, budget) if runs else 0, end))
            last = end
            if reach >= planned:
                break
    preamble = _edge_in(edges, 0, budget.preamble, otherwise=0)
    starts = np.array([start for start, _ in runs], dtype=np.int64)
    return WindowPlan(np.array(runs, dtype=np.int64), np.minimum(preamble, starts))


def _start(edges: NDArray[np.int64], last: int, end: int, budget: WindowBudget) -> int:
    """Where a window begins that goes on behind ``last``: with the overlap, if there is room."""
    first = max(0, end - (budget.room - budget.preamble))
    wanted = max(first, last - budget.overlap)
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
