"""Windows: everything is covered, nothing is over budget, whole units share a window."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from latechunk_integrations.core.windows import (
    Runs,
    WindowBudgets,
    choose_unit_windows,
    divide_budgets,
    divide_groups,
    pack_units,
    plan_runs,
)


@st.composite
def sizes(draw: st.DrawFn, n_texts: int = 1) -> dict[str, Any]:
    max_tokens = draw(st.integers(8, 600))

    def column(least: int, most: int) -> Any:
        values = st.lists(st.integers(least, most), min_size=n_texts, max_size=n_texts)
        return np.array(draw(values), np.int64)

    return {
        "max_tokens": max_tokens,
        "fixed": column(0, max_tokens // 2),
        "header": column(0, 300),
        "n_tokens": column(1, 3_000),
        "overlap": draw(st.one_of(st.none(), st.integers(0, 400))),
    }


def plan(size: dict[str, Any], edges: list[int] | None = None) -> tuple[WindowBudgets, Runs]:
    budgets = divide_budgets(**size)
    at_edges = None if edges is None else [np.array(edges, np.int64)]
    return budgets, plan_runs(size["n_tokens"], budgets, at_edges)


@pytest.mark.rule(2)
@given(size=sizes())
def test_windows_cover_every_token_within_the_budget(size: dict[str, Any]) -> None:
    budgets, runs = plan(size)
    bounds = runs.bounds.tolist()
    (header,), (shared,) = budgets.header, budgets.overlap
    assert bounds[0][0] == 0
    assert bounds[-1][1] == size["n_tokens"][0]
    for start, end in bounds:
        assert start < end
        assert size["fixed"][0] + header + end - start <= size["max_tokens"]
    for (_, end), (start, _) in itertools.pairwise(bounds):
        assert end - start == shared
    lengths = [end - start for start, end in bounds[1:]]
    assert not lengths or max(lengths) - min(lengths) <= 1


@pytest.mark.rule(6)
@given(size=sizes(n_texts=3))
def test_many_texts_are_planned_as_each_alone(size: dict[str, Any]) -> None:
    _, together = plan(size)
    found = list(zip(together.texts, together.bounds.tolist(), strict=True))
    alone = []
    for text in range(3):
        columns = {
            name: value[text : text + 1] if isinstance(value, np.ndarray) else value
            for name, value in size.items()
        }
        _, runs = plan(columns)
        alone += [(text, run) for run in runs.bounds.tolist()]
    assert found == alone


@pytest.mark.rule(3)
@given(size=sizes())
def test_a_parent_that_fits_is_one_window_and_no_other_is(size: dict[str, Any]) -> None:
    budgets, runs = plan(size)
    taken = size["fixed"][0] + budgets.header[0] + size["n_tokens"][0]
    assert (len(runs) == 1) == (taken <= size["max_tokens"])


@given(size=sizes())
def test_half_of_a_window_is_left_to_the_text(size: dict[str, Any]) -> None:
    budgets, _ = plan(size)
    kept = size["fixed"][0] + budgets.header[0]
    assert kept <= size["max_tokens"] // 2
    assert budgets.header_cut[0] == (budgets.header[0] < size["header"][0])


@given(size=sizes())
def test_no_fewer_windows_would_do(size: dict[str, Any]) -> None:
    budgets, runs = plan(size)
    step = budgets.room[0] - budgets.overlap[0]
    if len(runs) > 1:
        assert budgets.room[0] + (len(runs) - 2) * step < size["n_tokens"][0]


@pytest.mark.rule(2)
@given(size=sizes(), data=st.data())
def test_windows_at_edges_cover_every_token_within_the_budget(
    size: dict[str, Any], data: st.DataObject
) -> None:
    n_tokens = int(size["n_tokens"][0])
    gaps = data.draw(st.lists(st.integers(1, 60), max_size=300))
    edges = [edge for edge in itertools.accumulate(gaps) if edge < n_tokens]
    budgets, found = plan(size, edges)
    runs = found.bounds.tolist()
    assert runs[0][0] == 0
    assert runs[-1][1] == n_tokens
    assert all(later[0] <= earlier[1] < later[1] for earlier, later in itertools.pairwise(runs))
    allowed, reached = {0, n_tokens, *edges}, 0
    for start, end in runs:
        fixed = size["fixed"][0] + budgets.header[0]
        assert fixed + end - start <= size["max_tokens"]
        # Only where no further edge is in reach does a window end inside a word.
        assert end in allowed or not any(reached < edge <= end for edge in edges)
        reached = end


@given(size=sizes())
def test_edges_everywhere_change_no_window(size: dict[str, Any]) -> None:
    _, plain = plan(size)
    _, moved = plan(size, list(range(int(size["n_tokens"][0]))))
    assert moved.bounds.tolist() == plain.bounds.tolist()


def test_windows_begin_and_end_at_the_edges_in_reach() -> None:
    one = np.ones(1, np.int64)
    size = {"max_tokens": 16, "fixed": 0 * one, "header": 0 * one, "n_tokens": 40 * one}
    _, runs = plan({**size, "overlap": 4}, [2, 7, 11, 14, 19, 23, 27, 31, 36])
    bounds = {bound for run in runs.bounds.tolist() for bound in run}
    assert bounds <= {0, 2, 7, 11, 14, 19, 23, 27, 31, 36, 40}


def fewest_windows(lengths: list[int], size: int) -> int:
    """By trying: the fewest windows of whole units in order."""
    windows, filled = 0, size
    for length in lengths:
        if filled + length > size or not windows:
            windows, filled = windows + 1, 0
        filled += length
    return windows


groups = st.lists(st.lists(st.integers(1, 90), min_size=1, max_size=12), min_size=1, max_size=4)


@pytest.mark.rule(2)
@given(lengths=groups, max_tokens=st.integers(40, 120))
def test_units_share_the_fewest_windows_in_order_and_never_with_another_group(
    lengths: list[list[int]], max_tokens: int
) -> None:
    numbers = np.repeat(np.arange(len(lengths)), [len(group) for group in lengths])
    flat = np.array([length for group in lengths for length in group], np.int64)
    rooms = max_tokens + numbers % 2 * 25
    windows = pack_units(flat, numbers, rooms)
    assert (np.diff(windows) >= 0).all()
    for window in np.unique(windows):
        members = windows == window
        assert len(set(numbers[members].tolist())) == 1
        assert flat[members].sum() <= rooms[members][0] or members.sum() == 1
    for number, group in enumerate(lengths):
        used = windows[numbers == number]
        assert len(np.unique(used)) == fewest_windows(group, max_tokens + number % 2 * 25)


def common_window(lengths: list[int], max_tokens: int) -> int:
    """By trying: 2,048 tokens, doubled until they hold three mean units."""
    tried = [2_048, 4_096, 8_192, 16_384]
    enough = [size for size in tried if size >= Fraction(3 * sum(lengths), len(lengths))]
    return min(enough[0], max_tokens)


@pytest.mark.rule(2)
@given(
    lengths=st.lists(st.lists(st.integers(1, 4_000), min_size=1, max_size=5), min_size=1),
    max_tokens=st.sampled_from([384, 512, 2_048, 3_000, 4_096, 8_192]),
)
@example(lengths=[[1_365, 1_366], [683, 683, 682]], max_tokens=8_192)
def test_long_windows_hold_what_is_common_or_three_units_of_a_group(
    lengths: list[list[int]], max_tokens: int
) -> None:
    numbers = np.repeat(np.arange(len(lengths)) * 7, [len(group) for group in lengths])
    flat = np.array([length for group in lengths for length in group], np.int64)
    chosen = choose_unit_windows(flat, numbers, max_tokens).tolist()
    assert chosen == [common_window(group, max_tokens) for group in lengths for _ in group]


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=40))
def test_units_are_spread_evenly(lengths: list[int]) -> None:
    """No smaller window size needs as few windows."""
    sizes = np.array(lengths, np.int64)
    windows = pack_units(sizes, np.zeros_like(sizes), np.full_like(sizes, 64))
    sums = np.bincount(windows, weights=lengths)
    largest = int(sums.max())
    if len(sums) > 1 and largest > max(lengths):
        assert fewest_windows(lengths, largest - 1) > len(sums)


REACH = 1_024
units = st.lists(st.tuples(st.integers(20, 400), st.binary(max_size=1)), min_size=1, max_size=40)


def begins_a_group(group: list[tuple[int, bytes]], unit: int, reach: int) -> bool:
    """By the rule itself: the least key of all units that begin within reach, the first of them."""
    places = np.cumsum([0, *(length for length, _ in group)]).tolist()
    place, key = places[unit], group[unit][1]
    if min(place, places[-1] - place) < reach:
        return False
    others = [at for at in range(len(group)) if at != unit and abs(places[at] - place) < reach]
    return all(group[at][1] > key if at < unit else group[at][1] >= key for at in others)


def divide(groups: list[list[tuple[int, bytes]]], max_tokens: int) -> list[list[int]]:
    """The units of each group that begin one."""
    numbers = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    flat = [unit for group in groups for unit in group]
    lengths = np.array([length for length, _ in flat], np.int64)
    windows = max_tokens + numbers % 2 * 800
    divided = divide_groups(lengths, numbers, [key for _, key in flat], windows)
    firsts = np.flatnonzero(np.diff(divided, prepend=-1) > 0).tolist()
    bounds = np.flatnonzero(np.diff(numbers, prepend=-1)).tolist()
    assert set(bounds) <= set(firsts), "no group is joined with another"
    ends = [*bounds[1:], len(flat)]
    return [
        [first - start for first in firsts if start < first < end]
        for start, end in zip(bounds, ends, strict=True)
    ]


@given(groups=st.lists(units, min_size=1, max_size=3), max_tokens=st.sampled_from([384, 2_000]))
@example(groups=[[(200, bytes([i * 24 % 251])) for i in range(60)]] * 2, max_tokens=2_000)
def test_stable_borders_are_where_the_rule_says(
    groups: list[list[tuple[int, bytes]]], max_tokens: int
) -> None:
    for number, (group, found) in enumerate(zip(groups, divide(groups, max_tokens), strict=True)):
        reach = max(REACH, max_tokens + number % 2 * 800)
        assert found == [at for at in range(len(group)) if begins_a_group(group, at, reach)]


@pytest.mark.slow
@given(
    group=st.lists(st.tuples(st.integers(20, 400), st.binary(min_size=4, max_size=4)), min_size=60),
    edit=st.lists(st.tuples(st.integers(20, 400), st.binary(min_size=4, max_size=4)), max_size=2),
    data=st.data(),
)
def test_an_edit_moves_no_stable_border_out_of_its_reach(
    group: list[tuple[int, bytes]], edit: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(group) - 1))
    edited = [*group[:at], *edit, *group[at + 1 :]]
    (before,), (after,) = divide([group], 384), divide([edited], 384)
    places = np.cumsum([0, *(length for length, _ in group)])
    far_in_front = {unit for unit in range(at) if places[at] - places[unit] >= REACH}
    far_behind = {
        unit for unit in range(at + 1, len(group)) if places[unit] - places[at + 1] >= REACH
    }
    assert far_in_front & set(before) == far_in_front & set(after)
    shift = len(edit) - 1
    assert {unit + shift for unit in far_behind & set(before)} == {
        unit + shift for unit in far_behind
    } & set(after)
