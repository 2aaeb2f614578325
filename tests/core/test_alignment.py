"""Character spans to token spans, against brute force over tokens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latechunk_integrations.core.alignment import Aligner, align
from latechunk_integrations.errors import OffsetsError
from latechunk_integrations.schema import CharSpans

N_CHARS = 30


@st.composite
def offsets(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Offsets of any tokenizer: shared characters, gaps, tokens without text."""
    steps = draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=25))
    tokens, start, end = [], 0, 0
    for forward, length in steps:
        start = min(N_CHARS, start + forward)
        end = max(end, min(N_CHARS, start + length))
        tokens.append((start, end))
    return tokens


spans = st.lists(
    st.tuples(st.integers(0, N_CHARS - 1), st.integers(1, N_CHARS)).map(
        lambda pair: (min(pair), max(pair[1], pair[0] + 1))
    ),
    min_size=1,
    max_size=8,
)


def brute_force(span: tuple[int, int], tokens: list[tuple[int, int]]) -> set[int]:
    inside = {i for i, (a, b) in enumerate(tokens) if a < span[1] and b > span[0]}
    with_text = [i for i, (a, b) in enumerate(tokens) if b > a]
    if not inside & set(with_text):
        return set()
    if with_text[0] in inside:
        inside |= set(range(with_text[0]))
    if with_text[-1] in inside:
        inside |= set(range(with_text[-1], len(tokens)))
    return inside


@pytest.mark.rule(1)
@given(tokens=offsets(), chars=spans)
def test_a_chunk_has_exactly_the_tokens_that_overlap_it(
    tokens: list[tuple[int, int]], chars: list[tuple[int, int]]
) -> None:
    found = align(CharSpans(chars), np.array(tokens))
    for span, (start, end) in zip(chars, found.array.tolist(), strict=True):
        assert set(range(start, end)) == brute_force(span, tokens)


@given(tokens=offsets(), chars=spans, data=st.data())
def test_offsets_may_come_in_pieces(
    tokens: list[tuple[int, int]], chars: list[tuple[int, int]], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(tokens)))
    aligner = Aligner([CharSpans(chars)], [N_CHARS])
    for piece in (tokens[:cut], tokens[cut:]):
        aligner.add(np.array(piece, dtype=np.int32).reshape(-1, 2))
    assert aligner.token_spans() == align(CharSpans(chars), np.array(tokens))
    assert aligner.n_tokens.tolist() == [len(tokens)]


@pytest.mark.rule(6)
@given(texts=st.lists(st.tuples(offsets(), spans), min_size=1, max_size=4), at_once=st.booleans())
def test_many_texts_are_aligned_as_each_alone(
    texts: list[tuple[list[tuple[int, int]], list[tuple[int, int]]]], at_once: bool
) -> None:
    aligner = Aligner([CharSpans(chars) for _, chars in texts], [N_CHARS] * len(texts))
    rows = [np.array(tokens, np.int32) for tokens, _ in texts]
    if at_once:
        numbers = np.repeat(np.arange(len(texts)), [len(row) for row in rows])
        aligner.add(np.concatenate(rows), numbers)
    else:
        for number, row in enumerate(rows):
            aligner.add(row, number)
    found = aligner.token_spans().array.tolist()
    alone = [align(CharSpans(chars), np.array(tokens)).array.tolist() for tokens, chars in texts]
    assert found == [span for one in alone for span in one]


def test_a_token_that_straddles_two_chunks_is_in_both() -> None:
    found = align(CharSpans([(0, 4), (4, 8)]), np.array([(0, 3), (3, 6), (6, 8)]))
    assert found.array.tolist() == [[0, 2], [1, 3]]


def test_offsets_that_go_back_are_refused() -> None:
    with pytest.raises(OffsetsError):
        align(CharSpans([(0, 4)]), np.array([(3, 4), (0, 2)]))
