"""Estimated token counts against real tokenizers."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from latechunk_integrations.core.token_estimate import estimate_tokens

_TEXTS = {
    "prose": (
        "The supplier delivers every part within thirty days of the order. Where a part is late "
        "by more than a week, the buyer may withdraw from the contract without further notice. "
    ),
    "code": "def test(value: int) -> bool:\n    return value % 2 == 0 and self._rows[value] > 3\n",
    "numbers": "Invoice 2024-11-25: 3.85, 12.00, 1,204.17 (total 1,220.02 EUR), due 2025-01-31. ",
    "spaces": "a word" + " " * 500 + "and another",
}


@pytest.mark.parametrize("name", sorted(_TEXTS))
def test_a_real_vocabulary_keeps_within_the_bounds(name: str, minilm_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(minilm_path)
    text = _TEXTS[name] * 5
    n_tokens = len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    least, most = estimate_tokens(text)
    assert least <= n_tokens <= most
    assert most <= 3 * n_tokens


def test_the_bounds_grow_with_text_and_are_ordered() -> None:
    before = (0, 0)
    for n in range(1, 30):
        least, most = estimate_tokens("日本語 🎉 naïve text, 12! " * n)
        assert before < (least, most)
        assert least <= most
        before = least, most


@pytest.mark.parametrize("text", ["", "  ", "\n\t"])
def test_white_space_is_nothing(text: str) -> None:
    assert estimate_tokens(text) == (0, 0)


def test_any_text_is_at_least_one_token() -> None:
    assert estimate_tokens("x")[0] == 1
    assert estimate_tokens("🎉")[1] >= 2
