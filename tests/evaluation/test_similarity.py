"""A query against each sentence of a text, early and late, in one call."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latechunk_integrations import LateChunkEngine, LateChunkOptions, Parent
from latechunk_integrations.errors import InputTypeError
from latechunk_integrations.evaluation.similarity import (
    comparable,
    compare_sentences,
    early_engine,
    sentence_spans,
)
from tests.evaluation.support import BERLIN
from tests.evaluation.word_encoder import word_engine


def _sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("Milvus 2.4.13 is out. It is fast.", ["Milvus 2.4.13 is out.", "It is fast."]),
        ("She said “Stop.” Then she left.", ["She said “Stop.”", "Then she left."]),
        ("Several, e.g. this one, are whole.", ["Several, e.g. this one, are whole."]),
        ("# Title\n\nA paragraph\nof two lines.", ["# Title", "A paragraph\nof two lines."]),
        ("東京は大きい。塔がある。", ["東京は大きい。", "塔がある。"]),
        ("  Spaces around. \n", ["Spaces around."]),
    ],
)
def test_sentences_end_where_a_reader_would_end_them(text: str, expected: list[str]) -> None:
    assert _sentences(text) == expected


@given(st.text(alphabet="aB1 .!?\n\"'。", max_size=60))
def test_sentences_are_in_order_apart_and_hold_all_that_is_no_space(text: str) -> None:
    spans = sentence_spans(text)
    assert all(a.end <= b.start for a, b in pairwise(spans))
    joined = "".join(text[span.start : span.end] for span in spans)
    assert "".join(joined.split()) == "".join(text.split())


def test_both_sides_are_cosines_of_the_engines_own_vectors(tiny_engine: LateChunkEngine) -> None:
    queries = ["How many inhabitants?", "When is delivered?"]
    found = compare_sentences(tiny_engine, BERLIN, queries, header="Berlin")
    sentences = _sentences(BERLIN)
    assert found.chunks == tuple(sentences)
    parent = Parent(BERLIN, sentence_spans(BERLIN), header="Berlin")
    late = tiny_engine.embed([parent])[0].vectors
    early_options = replace(tiny_engine.options, context_weight=0.0)
    early = LateChunkEngine(tiny_engine.encoder, early_options).embed([parent])[0].vectors
    for n, query in enumerate(queries):
        vector = tiny_engine.embed_query(query)
        np.testing.assert_allclose(found.late[n], late @ vector, atol=1e-5)
        np.testing.assert_allclose(found.early[n], early @ vector, atol=1e-5)
    assert not np.allclose(found.late, found.early, atol=1e-3)


def test_an_engine_that_is_switched_off_still_shows_both_sides(
    tiny_engine: LateChunkEngine,
) -> None:
    options = replace(tiny_engine.options, enabled=False, normalize=False)
    off = compare_sentences(LateChunkEngine(tiny_engine.encoder, options), BERLIN, "Berlin?")
    on = compare_sentences(tiny_engine, BERLIN, "Berlin?")
    np.testing.assert_allclose(off.late, on.late, atol=1e-5)
    np.testing.assert_allclose(off.early, on.early, atol=1e-5)


def test_rows_and_frame_tell_the_same(tiny_engine: LateChunkEngine) -> None:
    found = compare_sentences(tiny_engine, BERLIN, ["a", "b"], spans=[(0, 33), (34, 80)])
    frame = found.to_frame()
    assert frame.shape == (4, 5)
    assert frame["late"].tolist() == pytest.approx(found.late.ravel().tolist())
    with pytest.raises(InputTypeError, match="at least one query"):
        compare_sentences(tiny_engine, BERLIN, [])


def test_late_chunking_finds_the_sentence_that_does_not_name_its_subject(
    minilm_engine: LateChunkEngine,
) -> None:
    text = (
        "Berlin is the capital of Germany. Its more than three million inhabitants make it the "
        "most populous town of the European Union. The city is also one of the federal states."
    )
    options = replace(minilm_engine.options, layout="text", focus=0.0)
    textbook = LateChunkEngine(minilm_engine.encoder, options)
    found = compare_sentences(textbook, text, "Berlin")
    assert found.modes == ("late", "late", "late")
    gained = found.late[0] - found.early[0]
    assert gained[1] > 0.2
    assert gained[2] > 0.2


def test_what_is_compared_is_embedded_in_this_process() -> None:
    """A pool for each way that is tried would load as many models."""
    options = LateChunkOptions(model="words", processes=2)
    engine = LateChunkEngine(word_engine().encoder, options)
    assert early_engine(engine).options.processes is None
    assert comparable(options).processes is None
