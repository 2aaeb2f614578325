"""Texts that say the same, and pieces found in spite of a splitter's small letters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latechunk_integrations.core.folding import find_spans, fold, says_the_same
from latechunk_integrations.core.spans import locate

_WORDS = st.lists(st.sampled_from(["a", "b", "ab", "the", "None.", "ß", "É"]), min_size=1)


@pytest.mark.parametrize(
    ("text", "other", "same"),
    [
        ("The  Mill", "the mill", True),
        ("Ödön", "odon", True),
        ("Mill: the mill stands.", "The mill stands.", True),
        ("- mill >\n the mill stands.", "The mill stands.", True),
        ("Not the mill stands.", "The mill stands.", False),
        ("The mill stands. No.", "The mill stands.", False),
        ("The mill stand", "The mill stands.", False),
        ("", "The mill stands.", False),
        ("Mill", "", False),
    ],
)
def test_case_accents_space_and_a_known_prefix_are_set_aside(
    text: str, other: str, same: bool
) -> None:
    assert says_the_same(text, other, known=["Mill"]) is same


@pytest.mark.slow
@given(st.text())
def test_folding_keeps_every_place(text: str) -> None:
    assert len(fold(text)) == len(text)


@given(words=_WORDS, size=st.integers(1, 4), overlap=st.integers(0, 3), data=st.data())
def test_spans_are_those_that_locate_finds(
    words: list[str], size: int, overlap: int, data: st.DataObject
) -> None:
    """Repeated words, overlaps, pieces left out: the short cut is taken only where it is right."""
    space = data.draw(st.sampled_from([" ", "  ", "\n"]))
    step = max(1, size - overlap)
    pieces = [space.join(words[start : start + size]) for start in range(0, len(words), step)]
    if data.draw(st.booleans()):
        pieces.pop(data.draw(st.integers(0, len(pieces) - 1)))
    text = data.draw(st.sampled_from(["", " ", "\n"])) + space.join(words)
    expected = locate(text, pieces).spans
    if (expected >= 0).all():
        np.testing.assert_array_equal(find_spans(text, pieces), expected)


def test_pieces_in_small_letters_stand_where_they_were_cut() -> None:
    text = "Its owner's name was Ödön. It was CLOSED in 1958."
    pieces = ["its owner ' s name was odon.", "it was closed in 1958.", "an invented one"]
    assert find_spans(text, pieces).tolist() == [[0, 26], [27, 49], [-1, -1]]
