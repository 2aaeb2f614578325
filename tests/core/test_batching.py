"""Batches: each window once, budget kept."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from latechunk_integrations.core.batching import pack


@given(lengths=st.lists(st.integers(1, 600), max_size=80), budget=st.integers(1, 3_000))
def test_every_window_is_in_one_batch_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = pack(np.array(lengths, dtype=np.int64), budget)
    assert sorted(np.concatenate([[], *batches]).tolist()) == list(range(len(lengths)))
    for batch in batches:
        padded = max(lengths[i] for i in batch) * len(batch)
        assert padded <= budget or len(batch) == 1


@given(lengths=st.lists(st.integers(1, 600), min_size=1, max_size=80))
def test_longest_windows_come_first_so_that_padding_is_small(lengths: list[int]) -> None:
    batches = pack(np.array(lengths, dtype=np.int64), 1_000)
    order = [lengths[i] for batch in batches for i in batch]
    assert order == sorted(lengths, reverse=True)
