"""One bad document costs one document."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from latechunk_integrations import ChunkVectors, LateChunkEngine, Parent
from latechunk_integrations.encoders.base import TokenBatch
from latechunk_integrations.errors import (
    ChunkWithoutTokenError,
    EncodingFailedError,
    LateChunkError,
    NotFiniteError,
    OptionError,
)

TEXT = "Berlin is the capital of Germany. It has 3.85 million inhabitants. "


def poisoned(engine: LateChunkEngine, monkeypatch: pytest.MonkeyPatch, value: float | None) -> None:
    """Windows that hold a rare character fail, or give a number."""
    forward: Any = engine.encoder.forward
    word = int(engine.encoder.tokenize(["東"], "")[0].ids[-1])

    def fail(batch: TokenBatch) -> Any:
        hidden = forward(batch)
        rows = (batch.ids == word).any(axis=1)
        if rows.any() and value is None:
            raise RuntimeError("the kernel has no answer")
        if value is not None:
            hidden = hidden.clone()
            hidden[rows] = value
        return hidden

    monkeypatch.setattr(engine.encoder, "forward", fail)


@pytest.mark.rule(8)
def test_a_parent_that_fails_gives_an_error_in_its_place(
    tiny_engine: LateChunkEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    parents = [Parent(f"{TEXT} {n}", id=str(n)) for n in range(6)]
    parents[3] = Parent(TEXT + "東", id="3")
    expected = [tiny_engine.embed([parent])[0].vectors for parent in parents]
    poisoned(tiny_engine, monkeypatch, None)
    results = list(tiny_engine.embed_iter(parents, on_error="yield"))
    assert len(results) == 6
    for number, result in enumerate(results):
        if number == 3:
            assert isinstance(result, EncodingFailedError)
            assert result.parent_id == "3"
            assert isinstance(result.__cause__, RuntimeError)
        else:
            assert isinstance(result, ChunkVectors)
            np.testing.assert_allclose(result.vectors, expected[number], atol=1e-6)
    with pytest.raises(RuntimeError, match="no answer"):
        tiny_engine.embed(parents)


@pytest.mark.rule(6)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_a_vector_that_is_no_direction_names_its_parent_and_the_dtype(
    tiny_engine: LateChunkEngine, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    poisoned(tiny_engine, monkeypatch, value)
    bad = Parent(TEXT + "東", id="bad")
    with pytest.raises(NotFiniteError, match="float32") as caught:
        tiny_engine.embed([Parent(TEXT, id="good"), bad])
    assert caught.value.parent_id == "bad"
    good, failed = tiny_engine.embed_iter([Parent(TEXT, id="good"), bad], on_error="yield")
    assert isinstance(good, ChunkVectors)
    assert isinstance(failed, NotFiniteError)


@pytest.mark.rule(8)
def test_what_cannot_be_planned_is_isolated_too(tiny_engine: LateChunkEngine) -> None:
    from dataclasses import replace

    engine = LateChunkEngine(tiny_engine.encoder, replace(tiny_engine.options, strict=True))
    parents = [
        Parent(TEXT, id="a"),
        Parent("one   \n\n  two", [(4, 8)], id="b"),
        Parent(TEXT, id="c"),
    ]
    results = list(engine.embed_iter(parents, on_error="yield"))
    assert [isinstance(result, LateChunkError) for result in results] == [False, True, False]
    assert isinstance(results[1], ChunkWithoutTokenError)


def test_an_unknown_way_with_errors_is_refused(tiny_engine: LateChunkEngine) -> None:
    with pytest.raises(OptionError, match="on_error"):
        tiny_engine.embed_iter([], on_error="skip")  # type: ignore[call-overload]  # what users do
