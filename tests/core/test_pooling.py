"""What each chunk pools, and its sums, against plain loops, for every pooling mode."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from latechunk_integrations.core.frames import Frames
from latechunk_integrations.core.host_sums import sum_on_host
from latechunk_integrations.core.pooling import Bags, chunk_bags
from latechunk_integrations.core.sums import sum_bags
from latechunk_integrations.schema import PoolingMode

N_TOKENS = 12


class Case(NamedTuple):
    """Chunks of one text and one frame of it."""

    spans: list[tuple[int, int]]
    lead: int
    prompt: int
    header: int
    back: int
    run: tuple[int, int]
    tail: int
    front_pooled: bool
    tail_pooled: bool
    header_weight: float

    @property
    def run_at(self) -> int:
        return self.lead + self.prompt + self.header + self.back

    @property
    def length(self) -> int:
        return self.run_at + self.run[1] - self.run[0] + self.tail

    def frames(self) -> Frames:
        sizes = [self.lead, self.prompt, self.header, self.back]
        sizes += [self.run[1] - self.run[0], self.tail]
        one = np.zeros(1, np.int64)
        return Frames(
            one,
            np.array([self.run]),
            np.zeros((1, 6), np.int64),
            np.array([sizes]),
            np.array([N_TOKENS]),
            np.array([self.front_pooled]),
            np.array([self.tail_pooled]),
            self.header_weight,
        )

    def bags(self, mode: PoolingMode) -> Bags:
        spans = np.array(self.spans, np.int64).reshape(-1, 2)
        rows = np.arange(len(spans), dtype=np.int64)
        return chunk_bags(self.frames(), spans, np.zeros_like(rows), rows, mode)


@st.composite
def cases(draw: st.DrawFn, *, header_weight: bool = True) -> Case:
    bounds = st.tuples(st.integers(0, N_TOKENS), st.integers(0, N_TOKENS))
    spans = [(min(p), max(p)) for p in draw(st.lists(bounds, min_size=1, max_size=6))]
    start = draw(st.integers(0, N_TOKENS - 1))
    end = draw(st.integers(start + 1, N_TOKENS))
    small = st.integers(0, 3)
    weights = st.sampled_from([0.0, 0.5, 1.0] if header_weight else [0.0])
    return Case(
        spans=spans,
        lead=draw(small),
        prompt=draw(small),
        header=draw(small),
        back=draw(small),
        run=(start, end),
        tail=draw(st.integers(0, 2)),
        front_pooled=draw(st.booleans()),
        tail_pooled=draw(st.booleans()),
        header_weight=draw(weights),
    )


def pooled(span: tuple[int, int], case: Case) -> list[tuple[int, float]]:
    """Positions in the frame that one chunk pools, with their weights, by loops."""
    start, end = case.run
    rows = [(case.run_at + t - start, 1.0) for t in range(*span) if start <= t < end]
    if not rows:
        return []
    front: list[tuple[int, float]] = []
    if span[0] == 0 and start == 0:
        first = case.lead + case.prompt
        if case.front_pooled:
            front += [(at, 1.0) for at in range(first)]
        if case.header_weight:
            front += [(first + n, case.header_weight) for n in range(case.header)]
        if case.front_pooled:
            front += [(first + case.header + n, 1.0) for n in range(case.back)]
    back: list[tuple[int, float]] = []
    if span[1] == N_TOKENS and end == N_TOKENS and case.tail_pooled:
        back = [(at, 1.0) for at in range(case.length - case.tail, case.length)]
    return front + rows + back


def written_out(bags: Bags) -> dict[int, list[tuple[int, float]]]:
    """Positions and weights of each bag, by its row."""
    found = {}
    for row, starts, lengths, weights, step in zip(
        bags.rows.tolist(), bags.starts, bags.lengths, bags.weights, bags.steps, strict=True
    ):
        found[row] = [
            (int(s + n), float(w + n * step))
            for s, size, w in zip(starts, lengths, weights, strict=True)
            for n in range(size)
        ]
    return found


@pytest.mark.rule(1)
@given(case=cases())
def test_mean_pools_each_chunks_tokens_and_no_other(case: Case) -> None:
    found = written_out(case.bags("mean"))
    for chunk, span in enumerate(case.spans):
        assert found.get(chunk, []) == pooled(span, case)


@given(case=cases())
def test_last_takes_the_last_pooled_token_of_a_chunk_that_ends_here(case: Case) -> None:
    found = written_out(case.bags("last"))
    for chunk, (start, end) in enumerate(case.spans):
        rows = pooled((start, end), case)
        ends_here = rows and end <= case.run[1]
        assert found.get(chunk) == ([(rows[-1][0], 1.0)] if ends_here else None)


@given(case=cases(), mode=st.sampled_from(["mean", "weighted", "last", "cls"]))
def test_sums_are_those_of_plain_loops_on_the_device_and_on_the_host(
    case: Case, mode: PoolingMode
) -> None:
    bags = case.bags(mode)
    if not len(bags):
        return
    row_length = case.length + 3
    embeddings = torch.randn(2, row_length, 4, generator=torch.Generator().manual_seed(0))
    starts = np.full(len(bags), row_length)  # in the second row
    on_device = sum_bags(embeddings, bags, starts).numpy()
    on_host = sum_on_host(embeddings.numpy(), bags, starts)
    for at, members in enumerate(written_out(bags).values()):
        positions, weights = zip(*members, strict=True)
        expected = np.array(weights) @ embeddings[1, list(positions)].numpy()
        np.testing.assert_allclose(on_device[at], expected, atol=1e-4)
        np.testing.assert_allclose(on_host[at], expected, atol=1e-4)
        assert bags.totals()[at] == pytest.approx(sum(weights))


def test_weights_go_on_counting_in_the_next_window() -> None:
    """SGPT's position weights: 1, 2, 3, ... over the chunk, wherever a window cuts it."""
    weights: list[float] = []
    for run in ((0, 5), (5, N_TOKENS)):
        case = Case([(0, N_TOKENS)], 2, 0, 0, 0, run, 1, True, True, 0.0)
        (counted,) = written_out(case.bags("weighted")).values()
        weights += [weight for _, weight in counted]
    assert weights == list(range(1, 2 + N_TOKENS + 1 + 1))
