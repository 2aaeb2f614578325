"""One document under the lens: what is shown is what the engine does."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.evaluation.inspection import inspect_parent
from latechunk_integrations.evaluation.similarity import compare_sentences, sentence_spans
from tests.evaluation.support import BERLIN

LONG = " ".join([BERLIN] * 4)


def _parent(text: str = LONG, header: str = "Cities") -> Parent:
    return Parent(text, sentence_spans(text), header=header, id="doc")


def test_windows_cover_the_text_and_chunks_name_the_windows_that_hold_them(
    tiny_engine: LateChunkEngine,
) -> None:
    seen = inspect_parent(tiny_engine, _parent())
    (result,) = tiny_engine.embed([_parent()])
    assert len(seen.windows) == result.n_windows > 1
    assert (seen.windows[0].start, seen.windows[-1].end) == (0, len(LONG))
    assert tuple(chunk.mode for chunk in seen.chunks) == result.modes
    for chunk in seen.chunks:
        overlapping = tuple(
            n
            for n, window in enumerate(seen.windows)
            if window.start < chunk.end and window.end > chunk.start
        )
        assert chunk.windows == overlapping
        assert chunk.text == LONG[chunk.start : chunk.end]


def _running(engine: LateChunkEngine) -> LateChunkEngine:
    """The same model over running text."""
    return LateChunkEngine(engine.encoder, replace(engine.options, layout="text", focus=0.0))


def test_windows_of_units_name_their_chunks_and_their_focus(tiny_engine: LateChunkEngine) -> None:
    seen = inspect_parent(tiny_engine, _parent())
    assert [unit for window in seen.windows for unit in window.units] == list(
        range(len(seen.chunks))
    )
    for number, window in enumerate(seen.windows):
        assert all(seen.chunks[unit].windows == (number,) for unit in window.units)
        assert window.focus == pytest.approx(1.6 * math.log(len(window.units)))


def test_token_counts_are_the_tokenizers(tiny_engine: LateChunkEngine) -> None:
    seen = inspect_parent(_running(tiny_engine), _parent())
    (tokens,) = tiny_engine.encoder.tokenize([LONG], "")
    assert seen.n_tokens == len(tokens.ids)
    for chunk in seen.chunks:
        inside = [n for n, (a, b) in enumerate(tokens.offsets) if a < chunk.end and b > chunk.start]
        assert chunk.n_tokens == len(inside)
    (header,) = tiny_engine.encoder.tokenize(["Cities"], "")
    assert (seen.header, seen.header_tokens) == ("Cities", len(header.ids))


def test_similarities_are_there_with_a_query_only(tiny_engine: LateChunkEngine) -> None:
    asked = inspect_parent(tiny_engine, _parent(), "How many inhabitants?")
    found = compare_sentences(tiny_engine, LONG, "How many inhabitants?", header="Cities")
    late = [chunk.late for chunk in asked.chunks]
    early = [chunk.early for chunk in asked.chunks]
    np.testing.assert_allclose(np.array(late, float), found.late[0], atol=1e-6)
    np.testing.assert_allclose(np.array(early, float), found.early[0], atol=1e-6)
    assert asked.highest == pytest.approx(max(found.late.max(), found.early.max()))
    silent = inspect_parent(tiny_engine, _parent())
    assert {chunk.late for chunk in silent.chunks} == {None}
    assert silent.highest > 0


def test_what_could_not_be_done_late_is_noted(tiny_engine: LateChunkEngine) -> None:
    options = replace(tiny_engine.options, min_parent_tokens=500)
    seen = inspect_parent(LateChunkEngine(tiny_engine.encoder, options), _parent(), "a query")
    assert seen.windows == ()
    assert {chunk.mode for chunk in seen.chunks} == {"standalone"}
    assert {chunk.windows for chunk in seen.chunks} == {()}
    (note,) = seen.notes
    assert note.startswith("1 documents below min_parent_tokens")


def test_a_short_document_is_one_window(tiny_engine: LateChunkEngine) -> None:
    seen = inspect_parent(tiny_engine, Parent("Berlin has parks.", id="short"))
    assert len(seen.windows) == len(seen.chunks) == 1
    assert seen.chunks[0].mode == "late"
    assert seen.notes == ()


def test_a_document_too_long_for_the_options_is_shown_as_it_is_embedded(
    tiny_engine: LateChunkEngine,
) -> None:
    options = replace(tiny_engine.options, fallback="standard")
    seen = inspect_parent(LateChunkEngine(tiny_engine.encoder, options), _parent(), "a query")
    assert (seen.windows, {chunk.mode for chunk in seen.chunks}) == ((), {"standalone"})
    assert "1 documents longer than a window, embedded chunk by chunk" in seen.notes
    skipping = replace(tiny_engine.options, fallback="skip")
    shown = inspect_parent(LateChunkEngine(tiny_engine.encoder, skipping), _parent())
    assert {chunk.mode for chunk in shown.chunks} == {"windowed"}
