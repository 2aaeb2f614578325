"""The slopes, and that both layouts of a batch give the textbook's attention."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from latechunk_integrations.encoders.local.jina_v2.jina_attention import (
    AlibiRows,
    PackedRows,
    PaddedRows,
    alibi_slopes,
)
from tests.encoders.local.jina_v2.reference import SLOPES

LENGTHS = [5, 9, 9, 23]
WIDTH = 24
SINGLE_BLOCK = 23


def packed(mask: torch.Tensor, n_heads: int) -> AlibiRows:
    return PackedRows(mask, n_heads)


def padded(mask: torch.Tensor, n_heads: int) -> AlibiRows:
    return PaddedRows(mask, n_heads)


def padded_in_blocks(mask: torch.Tensor, n_heads: int) -> AlibiRows:
    return PaddedRows(mask, n_heads, block=4)


def textbook(tokens: Any, n_heads: int) -> Any:
    """Attention of one row to itself in float64, with all biases in memory."""
    query, key, value = (part.astype(np.float64) for part in tokens)
    at = np.arange(len(query))
    context = np.zeros_like(query)
    for head, slope in enumerate(SLOPES[n_heads]):
        part = slice(head * WIDTH // n_heads, (head + 1) * WIDTH // n_heads)
        scores = query[:, part] @ key[:, part].T / np.sqrt(WIDTH / n_heads)
        scores -= slope * np.abs(at[:, None] - at)
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        context[:, part] = powers / powers.sum(axis=1, keepdims=True) @ value[:, part]
    return context


@pytest.mark.parametrize("n_heads", SLOPES)
def test_slopes_are_those_of_the_paper_also_for_counts_that_are_no_power_of_two(
    n_heads: int,
) -> None:
    assert alibi_slopes(n_heads) == pytest.approx(SLOPES[n_heads], rel=1e-12)


@pytest.mark.parametrize("n_heads", [4, 6, 8, 12])
@pytest.mark.parametrize("layout", [packed, padded, padded_in_blocks])
def test_each_layout_gives_the_attention_of_the_textbook(layout: Any, n_heads: int) -> None:
    torch.manual_seed(n_heads)
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    tokens = torch.randn(3, *mask.shape, WIDTH)
    rows = layout(mask, n_heads)

    def lay_out(values: torch.Tensor) -> torch.Tensor:
        return torch.stack([rows.pack(column) for column in values.unbind(-1)], dim=-1)

    context = rows.unpack(rows.attend(*(lay_out(part) for part in tokens)))
    for row, length in enumerate(LENGTHS):
        expected = textbook(tokens[:, row, :length].numpy(), n_heads)
        np.testing.assert_allclose(context[row, :length].numpy(), expected, atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("norm", "tolerance"), [(1, 2e-6), (8, 5e-6), (40, 1e-3)], ids=["flat", "usual", "peaked"]
)
def test_heads_that_read_their_neighbourhood_only_give_the_same_attention(
    norm: float, tolerance: float
) -> None:
    """Also where scores are so peaked that a far key outweighs the near ones."""
    n_rows, length = 2, 1_100
    torch.manual_seed(0)
    tokens = torch.randn(3, n_rows, length, WIDTH)
    tokens[:2] *= norm / tokens[:2].norm(dim=-1, keepdim=True)
    tokens[1, :, 3] = norm * tokens[0, :, 1_050] / 2
    rows = packed(torch.ones(n_rows, length, dtype=torch.bool), 12)
    context = rows.unpack(rows.attend(*tokens.flatten(1, 2)))
    for row in range(n_rows):
        expected = textbook(tokens[:, row].numpy(), 12)
        np.testing.assert_allclose(context[row].numpy(), expected, atol=tolerance)


def test_bfloat16_tells_far_distances_apart() -> None:
    """Distances as bfloat16 would be equal in groups of eight beyond 1,024."""
    n_tokens, slope = 1_600, 2.0**-8
    same = torch.zeros(n_tokens, 8, dtype=torch.bfloat16)
    value = torch.zeros_like(same)
    value[1_400:, 7] = torch.arange(200) % 8 - 3.5  # sums to nothing over eight neighbours
    context = packed(torch.ones(1, n_tokens, dtype=torch.bool), 8).attend(same, same, value)
    powers = np.exp(-slope * np.arange(n_tokens))
    expected = (powers * value[:, 7].float().numpy()).sum() / powers.sum()
    assert float(context[0, 7]) == pytest.approx(expected, rel=0.05)


@pytest.mark.slow
def test_the_biases_of_a_long_window_are_never_in_memory() -> None:
    """4,096 tokens of 12 heads would be 805 MB."""
    rows = packed(torch.ones(1, 4_096, dtype=torch.bool), 12)
    tokens = torch.randn(4_096, WIDTH)
    with torch.profiler.profile(profile_memory=True) as profile:
        rows.attend(tokens, tokens, tokens)
    largest = max(event.self_cpu_memory_usage for event in profile.key_averages())
    assert 0 < largest < 50 << 20
