"""Chunk sums against plain loops, for every pooling mode."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from latechunk_integrations.core.pooling import (
    Bags,
    WindowLayout,
    chunk_bags,
    join_bags,
    row_starts,
    sum_bags,
)
from latechunk_integrations.schema import PoolingMode, TokenSpans

N_TOKENS = 12


@st.composite
def cases(draw: st.DrawFn) -> tuple[TokenSpans, WindowLayout]:
    bounds = st.tuples(st.integers(0, N_TOKENS), st.integers(0, N_TOKENS))
    spans = [(min(p), max(p)) for p in draw(st.lists(bounds, min_size=1, max_size=6))]
    start = draw(st.integers(0, N_TOKENS - 1))
    end = draw(st.integers(start + 1, N_TOKENS))
    lead, header = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    layout = WindowLayout(
        lead=lead,
        lead_pooled=draw(st.sampled_from([0, lead])),
        run_at=lead + header,
        run=(start, end),
        tail=draw(st.integers(0, 2)),
        is_first=start == 0,
        is_last=end == N_TOKENS,
        tail_pooled=draw(st.booleans()),
    )
    return TokenSpans(spans), layout


def positions(span: tuple[int, int], layout: WindowLayout) -> list[int]:
    """Where one chunk's pooled tokens stand in the window, by loops."""
    start, end = layout.run
    rows = [layout.run_at + t - start for t in range(*span) if start <= t < end]
    if not rows:
        return []
    if span[0] == 0 and layout.is_first:
        rows = list(range(layout.lead_pooled, layout.lead)) + rows
    if span[1] == N_TOKENS and layout.is_last and layout.tail_pooled:
        rows += range(layout.length - layout.tail, layout.length)
    return rows


def written_out(bags: Bags) -> list[tuple[list[int], list[int]]]:
    """Positions and weights of each bag."""
    found = []
    for starts, lengths, weight, step in zip(
        bags.starts, bags.lengths, bags.weights.tolist(), bags.steps.tolist(), strict=True
    ):
        rows = [s + n for s, size in zip(starts, lengths, strict=True) for n in range(size)]
        found.append((rows, [weight + n * step for n in range(len(rows))]))
    return found


@pytest.mark.rule(1)
@given(case=cases())
def test_mean_pools_each_chunks_tokens_and_no_other(case: tuple[TokenSpans, WindowLayout]) -> None:
    spans, layout = case
    bags = chunk_bags(spans, N_TOKENS, layout, "mean")
    found: dict[int, list[int]] = {chunk: [] for chunk in range(len(spans))}
    for chunk, (rows, weights) in zip(bags.chunks.tolist(), written_out(bags), strict=True):
        found[chunk] = rows
        assert weights == [1] * len(rows)
    for chunk, (start, end) in enumerate(spans.array.tolist()):
        assert found[chunk] == positions((start, end), layout)


@given(case=cases())
def test_last_takes_the_last_pooled_token_of_a_chunk_that_ends_here(
    case: tuple[TokenSpans, WindowLayout],
) -> None:
    spans, layout = case
    bags = chunk_bags(spans, N_TOKENS, layout, "last")
    found = dict(zip(bags.chunks.tolist(), written_out(bags), strict=True))
    for chunk, (start, end) in enumerate(spans.array.tolist()):
        rows = positions((start, end), layout)
        ends_here = rows and end <= layout.run[1]
        assert found.get(chunk) == (([rows[-1]], [1]) if ends_here else None)


@given(case=cases(), mode=st.sampled_from(["mean", "weighted", "last", "cls"]))
def test_sums_of_a_padded_batch_are_those_of_plain_loops(
    case: tuple[TokenSpans, WindowLayout], mode: PoolingMode
) -> None:
    spans, layout = case
    parts = [chunk_bags(spans, N_TOKENS, layout, mode)] * 2
    row_length = layout.length + 3
    embeddings = torch.randn(2, row_length, 4, generator=torch.Generator().manual_seed(0))
    bags = join_bags(parts, np.arange(2) * row_length)
    if not len(bags.chunks):
        return
    sums, weights = sum_bags(embeddings, bags)
    at = 0
    for row, part in enumerate(parts):
        for members, member_weights in written_out(part):
            expected = np.array(member_weights) @ embeddings[row, members].numpy()
            np.testing.assert_allclose(sums[at], expected, atol=1e-4)
            assert weights[at] == sum(member_weights)
            at += 1


def test_weights_go_on_counting_in_the_next_window() -> None:
    """SGPT's position weights: 1, 2, 3, ... over the chunk, wherever a window cuts it."""
    spans = TokenSpans([(0, N_TOKENS)])
    weights: list[int] = []
    for start, end in ((0, 5), (5, N_TOKENS)):
        layout = WindowLayout(
            lead=2,
            lead_pooled=0,
            run_at=2,
            run=(start, end),
            tail=1,
            is_first=start == 0,
            is_last=end == N_TOKENS,
        )
        ((_, counted),) = written_out(chunk_bags(spans, N_TOKENS, layout, "weighted"))
        weights += counted
    assert weights == list(range(1, 2 + N_TOKENS + 1 + 1))


@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=8), spare=st.integers(0, 5))
def test_rows_start_where_a_batch_with_or_without_padding_has_them(
    lengths: list[int], spare: int
) -> None:
    longest = max(lengths) + spare
    padded = row_starts(np.array(lengths), (len(lengths), longest, 4))
    assert padded.tolist() == [row * longest for row in range(len(lengths))]
    flat = row_starts(np.array(lengths), (1, sum(lengths), 4))
    assert flat.tolist() == [sum(lengths[:row]) for row in range(len(lengths))]
