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


@given(lengths=st.lists(st.integers(1, 600), min_size=1, max_size=80))
def test_no_batch_pads_more_than_a_further_pass_would_cost(lengths: list[int]) -> None:
    for batch in pack(np.array(lengths, dtype=np.int64), 2_048):
        own = [lengths[i] for i in batch]
        whole = max(own) * len(own)
        for at in range(1, len(own)):
            halves = max(own[:at]) * at + max(own[at:]) * (len(own) - at)
            assert whole - halves <= 2_048 / 16


def test_a_few_short_texts_are_not_padded_to_the_longest() -> None:
    lengths = np.array([90, 62, 55, 71, 84, 58, 66, 60, 77, 52, 69, 88, 57, 64, 73, 80])
    padded = sum(int(lengths[batch].max()) * len(batch) for batch in pack(lengths, 2_048))
    assert padded < 1.15 * lengths.sum()


def test_few_long_windows_of_about_one_length_stay_together() -> None:
    (batch,) = pack(np.array([256, 251, 256, 249, 254]), 2_048)
    assert batch.tolist() == [0, 2, 4, 1, 3]
