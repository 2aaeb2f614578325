"""Where a text is divided, and which parts are joined again."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latechunk_integrations.core.sub_spans import cut_words, join_alike


def words(text: str) -> np.ndarray:
    offsets, at = [], 0
    for word in text.split():
        start = text.index(word, at)
        at = start + len(word)
        offsets.append((start, at))
    return np.array(offsets, np.int64).reshape(-1, 2)


@pytest.mark.parametrize(
    ("text", "size", "parts"),
    [
        ("a b c d e f", 3, ["a b c ", "d e f"]),
        ("a b c d e f g", 3, ["a b c d ", "e f g"]),  # 7 / 3 is nearer to 2 parts
        ("a b c d", 3, ["a b c d"]),
        ("", 3, [""]),
        ("a", 1, ["a"]),
        ("  a  b  ", 1, ["  a  ", "b  "]),
    ],
)
def test_parts_are_even_and_hold_white_space_before_the_next(
    text: str, size: int, parts: list[str]
) -> None:
    borders = [0, *cut_words(text, words(text), size), len(text)]
    assert [text[a:b] for a, b in pairwise(borders)] == parts


def test_a_word_is_divided_only_where_it_is_longer_than_a_part() -> None:
    letters = np.array([(i, i + 1) for i in range(12)])
    assert cut_words("a" * 12, letters, 4) == [4, 8]
    text = "aaa aaaaa aaa"
    spaced = np.array([(i, i + 1) for i in range(len(text)) if text[i] != " "])
    assert cut_words(text, spaced, 5) == [10]  # the middle is in a word of 5
    assert cut_words("東京タワーは高い", np.array([(i, i + 1) for i in range(8)]), 4) == [4]


def test_tokens_without_characters_do_not_count() -> None:
    """As byte-level tokenizers give them for one space of several."""
    words = [(0, 4), (5, 6), (6, 7), (7, 8), (8, 9)]
    spaces = [(9, 9), (10, 10), (11, 11)]
    text, after = "long (all   query more", [(12, 17), (18, 22)]
    found = cut_words(text, np.array([*words, *spaces, *after]), 4)
    assert found == cut_words(text, np.array([*words, *after]), 4) == [12]


def test_tokens_of_one_character_stay_together() -> None:
    offsets = np.array([(0, 1)] * 4 + [(1, 2)] * 4)
    assert cut_words("\U0001f389\U0001f389", offsets, 2) == [1]


def naive_join(vectors: np.ndarray, groups: list[int], most: int) -> list[list[int]]:
    parts = [[i] for i in range(len(vectors))]
    while len(parts) > max(most, len(set(groups))):
        best, where = -2.0, -1
        for at in range(len(parts) - 1):
            if groups[parts[at][0]] != groups[parts[at + 1][0]]:
                continue
            one, other = (vectors[parts[at + k]].sum(axis=0) for k in (0, 1))
            cosine = float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
            if cosine > best + 1e-12:
                best, where = cosine, at
        parts[where : where + 2] = [parts[where] + parts[where + 1]]
    return parts


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=14).map(sorted),
    st.integers(1, 14),
    st.integers(0, 2**32 - 1),
)
def test_the_most_similar_neighbours_are_joined_first(
    groups: list[int], most: int, seed: int
) -> None:
    vectors = np.random.default_rng(seed).normal(size=(len(groups), 5))
    joined = join_alike(vectors, np.array(groups), most)
    wanted = naive_join(vectors, groups, most)
    assert [np.flatnonzero(joined == part).tolist() for part in range(joined[-1] + 1)] == wanted
