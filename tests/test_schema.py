"""Values are checked when built, and do not change afterwards."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest

from latechunk_integrations import CharSpans, ChunkVectors, Parent, Span
from latechunk_integrations.errors import (
    EmptyTextError,
    InputTypeError,
    InvalidCharacterError,
    SpanError,
)
from latechunk_integrations.schema import check_texts


@pytest.mark.parametrize("bounds", [(5, 3), (4, 4), (-1, 2)])
def test_a_span_that_cannot_be_is_refused(bounds: tuple[int, int]) -> None:
    with pytest.raises(SpanError) as caught:
        Span(*bounds)
    assert caught.value.span == bounds
    with pytest.raises(SpanError):
        CharSpans([(0, 1), bounds])


def test_a_span_outside_its_parent_names_both() -> None:
    with pytest.raises(SpanError, match="9 code points") as caught:
        Parent("nine char", [(0, 3), (4, 10)], id="doc")
    assert (caught.value.parent_id, caught.value.span) == ("doc", (4, 10))


@pytest.mark.parametrize("text", ["", " \n\t", "\u00a0"])
def test_a_parent_without_text_is_refused(text: str) -> None:
    with pytest.raises(EmptyTextError):
        Parent(text)


def test_wrong_types_are_refused() -> None:
    with pytest.raises(InputTypeError):
        Parent(b"bytes")  # type: ignore[arg-type]  # what users do
    with pytest.raises(InputTypeError):
        Parent("text", header=None)  # type: ignore[arg-type]  # what users do
    for spans in ([(0, 1, 2)], 5):
        with pytest.raises(SpanError):
            Parent("text", spans)  # type: ignore[arg-type]  # what users do
    for texts in ("text", None, iter(["text"])):
        with pytest.raises(InputTypeError, match="list of texts"):
            check_texts(texts)  # type: ignore[arg-type]  # what users do


def test_without_spans_the_parent_is_one_chunk() -> None:
    assert Parent("text").spans.array.tolist() == [[0, 4]]
    assert Parent("text", []).spans.array.shape == (0, 2)


def test_the_fingerprint_depends_on_text_spans_and_headers_alone() -> None:
    parent = Parent("text", [(0, 2)], header="head")
    assert parent.fingerprint == Parent("text", [(0, 2)], header="head", id="x").fingerprint
    others = {
        Parent("text", [(0, 2)]).fingerprint,
        Parent("texthead", [(0, 2)]).fingerprint,
        Parent("text", [(0, 3)], header="head").fingerprint,
        Parent("text", [(0, 2)], headers=["head"]).fingerprint,
        # What is between the parts of a fingerprint may be in a text.
        Parent("text\x00header\x00head", [(0, 2)]).fingerprint,
        Parent("text", [(0, 2)], header="head", headers=[""]).fingerprint,
        Parent("text", [(0, 2)], header="head\x00header\x00").fingerprint,
        parent.fingerprint,
    }
    assert len(others) == 8
    assert parent.id == parent.fingerprint


def test_each_chunk_has_its_own_header_or_the_parents() -> None:
    shared = Parent("text", [(0, 2), (2, 4)], header="head")
    own = Parent("text", [(0, 2), (2, 4)], header="head", headers=["head > a", "head > b"])
    assert [shared.chunk_header(row) for row in range(2)] == ["head", "head"]
    assert [own.chunk_header(row) for row in range(2)] == ["head > a", "head > b"]
    for headers in (["one"], "ab", [1, 2], {"one", "two"}, iter(["one", "two"])):
        with pytest.raises(InputTypeError):
            Parent("text", [(0, 2), (2, 4)], headers=headers)  # type: ignore[arg-type]  # what users do


def test_parents_are_frozen_and_survive_pickling() -> None:
    parent = Parent("text", [(0, 2)], header="head", id="x")
    with pytest.raises(FrozenInstanceError):
        parent.text = "other"  # type: ignore[misc]  # that it fails is the point
    with pytest.raises(ValueError, match="read-only"):
        parent.spans.array[0, 0] = 1
    assert pickle.loads(pickle.dumps(parent)) == parent  # ours


def test_vectors_and_modes_must_agree() -> None:
    with pytest.raises(InputTypeError):
        ChunkVectors("x", np.zeros((2, 3), np.float32), ("late",))


@pytest.mark.parametrize("bounds", [(0.0, 3), (0, "3"), (None, 1)])
def test_bounds_that_are_no_integers_are_refused(bounds: tuple[Any, Any]) -> None:
    with pytest.raises(SpanError, match="integers"):
        Span(*bounds)
    with pytest.raises(SpanError, match="integers"):
        CharSpans([bounds])


@pytest.mark.parametrize("field", ["text", "header"])
def test_a_lone_surrogate_is_refused_where_it_stands(field: str) -> None:
    """Half of a character, as careless slicing of UTF-16 leaves it, is read by no tokenizer."""
    with pytest.raises(InvalidCharacterError, match="d83d") as caught:
        Parent(**{"text": "fine", field: "half \ud83d of one"}, id="broken")  # type: ignore[arg-type]  # texts only
    assert caught.value.parent_id == "broken"
    assert caught.value.span == (5, 6)
    assert Parent("a whole one \U0001f600").text


def test_vectors_stay_read_only_through_pickling() -> None:
    vectors = ChunkVectors("p", np.zeros((1, 2), np.float32), ("late",))
    copy = pickle.loads(pickle.dumps(vectors))  # ours
    assert not copy.vectors.flags.writeable
    assert copy.modes == ("late",)
