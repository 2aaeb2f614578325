"""Spans to elements: nothing stands twice in a document, and everything fits."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from latechunk_integrations.core.documents import (
    CONTEXT,
    Rooms,
    TextPiece,
    cut_piece,
    group_pieces,
    layers_of,
    tile,
)
from tests import strategies


@st.composite
def _sorted_spans(draw: st.DrawFn) -> tuple[str, list[tuple[int, int]]]:
    text = draw(strategies.texts())
    return text, sorted(set(draw(strategies.spans_of(text))))


@given(drawn=_sorted_spans())
def test_no_two_spans_of_a_layer_overlap_and_no_layer_is_too_many(
    drawn: tuple[str, list[tuple[int, int]]],
) -> None:
    text, spans = drawn
    layers = layers_of(np.array(spans))
    assert sorted(row for layer in layers for row in layer) == list(range(len(spans)))
    for layer in layers:
        rows = [spans[row] for row in layer]
        assert all(one[1] <= other[0] for one, other in pairwise(rows))
    deepest = max(sum(start <= at < end for start, end in spans) for at in range(len(text)))
    assert len(layers) == deepest


@given(drawn=_sorted_spans(), joined=st.booleans())
def test_pieces_tile_the_text(drawn: tuple[str, list[tuple[int, int]]], joined: bool) -> None:
    text, spans = drawn
    for layer in layers_of(np.array(spans)):
        chunks = [TextPiece(*spans[row], row) for row in layer]
        pieces = tile(text, chunks, joined=joined)
        assert [piece.row for piece in pieces if piece.row != CONTEXT] == layer
        cover = "".join(text[piece.start : piece.end] for piece in pieces)
        if joined:
            assert cover == text
        else:
            assert cover.split() == text.split() or "".join(cover.split()) == "".join(text.split())
        for piece in pieces:
            if piece.row != CONTEXT:
                start, end = spans[piece.row]
                assert piece.start <= start
                assert end <= piece.end
                more = text[piece.start : start] + text[end : piece.end]
                assert not more or (joined and more.isspace())
            else:
                assert text[piece.start : piece.end].strip()


@given(text=strategies.texts(), size=st.integers(1, 30))
def test_parts_of_a_piece_fit_and_hold_all_of_its_text(text: str, size: int) -> None:
    parts = list(cut_piece(text, TextPiece(0, len(text), 3), size, len))
    assert all(part.row == 3 and part.end - part.start <= size for part in parts)
    whole = "".join(text[part.start : part.end] for part in parts)
    assert "".join(whole.split()) == "".join(text.split())


@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=60),
    size=st.integers(12, 40),
    overlap=st.integers(0, 30),
    pieces=st.integers(2, 20),
)
def test_groups_cover_every_piece_and_fit_their_room(
    sizes: list[int], size: int, overlap: int, pieces: int
) -> None:
    rooms = Rooms(size, min(overlap, size * 3 // 4), pieces)
    groups = group_pieces(sizes, rooms)
    assert groups[0][0] == 0
    assert groups[-1][1] == len(sizes)
    for start, end in groups:
        assert 0 < end - start <= pieces
        assert sum(sizes[start:end]) <= size
    for (start, end), (next_start, next_end) in pairwise(groups):
        assert start < next_start <= end < next_end
    if sum(sizes) <= size and len(sizes) <= pieces:
        assert groups == [(0, len(sizes))]


def test_groups_share_what_the_overlap_allows_and_are_even() -> None:
    groups = group_pieces([10] * 10, Rooms(50, 20, 100))
    assert groups == [(0, 5), (3, 8), (6, 10)]
    assert group_pieces([10] * 10, Rooms(50, 0, 100)) == [(0, 5), (5, 10)]


def test_a_piece_that_is_too_large_has_a_group_of_its_own() -> None:
    assert group_pieces([5, 90, 5], Rooms(20, 10, 9)) == [(0, 1), (1, 2), (2, 3)]
