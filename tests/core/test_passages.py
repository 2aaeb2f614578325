"""Token buffers and running sums."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from latechunk_integrations.core.passages import SumTable, TokenBuffer


@given(
    pieces=st.lists(st.lists(st.integers(0, 99) | st.integers(0, 300_000), max_size=6), max_size=8),
    steps=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 9)), max_size=8),
)
def test_a_buffer_gives_the_tokens_of_rising_windows(
    pieces: list[list[int]], steps: list[tuple[int, int]]
) -> None:
    whole = [token for piece in pieces for token in piece]
    buffer = TokenBuffer(np.array(piece, np.int32) for piece in pieces)
    assert buffer.n_tokens == len(whole)
    start = 0
    for forward, length in steps:
        start += forward
        assert buffer.take(start, start + length).tolist() == whole[start : start + length]


def test_means_are_sums_over_weights_and_rows_without_any_are_zero() -> None:
    table = SumTable(3, 2)
    table.expect()
    table.expect()
    rows = np.array([0, 2])
    table.add(rows, np.array([[2, 4], [1, 1]], np.float32), np.array([2, 1], np.float32))
    table.add(np.array([2]), np.array([[3, 5]], np.float32), np.array([1], np.float32))
    assert table.n_open == 0
    assert table.means().tolist() == [[1, 2], [0, 0], [2, 3]]
