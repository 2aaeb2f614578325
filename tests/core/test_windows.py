"""Windows: everything is covered, nothing is over budget."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latechunk_integrations.core.windows import divide_budget, plan_windows


@st.composite
def sizes(draw: st.DrawFn) -> dict[str, int | None]:
    max_tokens = draw(st.integers(8, 600))
    return {
        "max_tokens": max_tokens,
        "fixed": draw(st.integers(0, max_tokens // 2)),
        "header": draw(st.integers(0, 300)),
        "n_tokens": draw(st.integers(1, 3_000)),
        "preamble": draw(st.integers(0, 100)),
        "overlap": draw(st.one_of(st.none(), st.integers(0, 400))),
    }


@pytest.mark.rule(2)
@given(size=sizes())
def test_windows_cover_every_token_within_the_budget(size: dict[str, int]) -> None:
    n_tokens, max_tokens = size["n_tokens"], size["max_tokens"]
    budget = divide_budget(**size)
    plan = plan_windows(n_tokens, budget)
    runs = plan.runs.tolist()
    assert runs[0][0] == 0
    assert runs[-1][1] == n_tokens
    for (start, end), preamble in zip(runs, plan.preambles.tolist(), strict=True):
        assert start < end
        assert size["fixed"] + budget.header + preamble + end - start <= max_tokens
        # A preamble stands before the run and is never read twice.
        assert preamble == min(budget.preamble, start)
    for (_, end), (start, _) in itertools.pairwise(runs):
        assert end - start == budget.overlap
    lengths = [end - start for start, end in runs[1:]]
    assert not lengths or max(lengths) - min(lengths) <= 1


@pytest.mark.rule(3)
@given(size=sizes())
def test_a_parent_that_fits_is_one_window_and_no_other_is(size: dict[str, int]) -> None:
    budget = divide_budget(**size)
    plan = plan_windows(size["n_tokens"], budget)
    fits = size["fixed"] + budget.header + size["n_tokens"] <= size["max_tokens"]
    assert (len(plan) == 1) == fits


@given(size=sizes())
def test_half_of_a_window_is_left_to_the_text(size: dict[str, int]) -> None:
    budget = divide_budget(**size)
    kept = size["fixed"] + budget.header + budget.preamble
    assert kept <= size["max_tokens"] // 2
    assert ("header" in budget.cut) == (budget.header < size["header"])
    if "header" in budget.cut:
        assert budget.preamble == 0


@given(size=sizes())
def test_no_fewer_windows_would_do(size: dict[str, int]) -> None:
    budget = divide_budget(**size)
    n_windows = len(plan_windows(size["n_tokens"], budget))
    step = budget.room - budget.preamble - budget.overlap
    if n_windows > 1:
        assert budget.room + (n_windows - 2) * step < size["n_tokens"]


@pytest.mark.rule(2)
@given(size=sizes(), data=st.data())
def test_windows_at_edges_cover_every_token_within_the_budget(
    size: dict[str, int], data: st.DataObject
) -> None:
    n_tokens = size["n_tokens"]
    budget = divide_budget(**size)
    gaps = data.draw(st.lists(st.integers(1, 60), max_size=300))
    edges = [edge for edge in itertools.accumulate(gaps) if edge < n_tokens]
    plan = plan_windows(n_tokens, budget, np.array(edges, dtype=np.int64))
    runs, preambles = plan.runs.tolist(), plan.preambles.tolist()
    assert runs[0][0] == 0
    assert runs[-1][1] == n_tokens
    assert all(later[0] <= earlier[1] < later[1] for earlier, later in itertools.pairwise(runs))
    allowed, reached = {0, n_tokens, *edges}, 0
    for (start, end), preamble in zip(runs, preambles, strict=True):
        assert size["fixed"] + budget.header + preamble + end - start <= size["max_tokens"]
        assert preamble <= start
        assert preamble in allowed
        # Only where no further edge is in reach does a window end inside a word.
        assert end in allowed or not any(reached < edge <= end for edge in edges)
        reached = end


@given(size=sizes())
def test_edges_everywhere_change_no_window(size: dict[str, int]) -> None:
    budget = divide_budget(**size)
    plain = plan_windows(size["n_tokens"], budget)
    plan = plan_windows(size["n_tokens"], budget, np.arange(size["n_tokens"]))
    assert plan.runs.tolist() == plain.runs.tolist()
    assert plan.preambles.tolist() == plain.preambles.tolist()


def test_windows_begin_and_end_at_the_edges_in_reach() -> None:
    budget = divide_budget(16, fixed=0, header=0, n_tokens=40, preamble=3, overlap=4)
    plan = plan_windows(40, budget, np.array([2, 7, 11, 14, 19, 23, 27, 31, 36]))
    bounds = {bound for run in plan.runs.tolist() for bound in run}
    assert bounds <= {0, 2, 7, 11, 14, 19, 23, 27, 31, 36, 40}
    assert plan.preambles.tolist() == [0, *[2] * (len(plan) - 1)]
