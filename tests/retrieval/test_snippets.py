"""Snippets: slices of the texts, in order, the best windows by brute force."""

from __future__ import annotations

import itertools
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.errors import InputTypeError, OptionError
from latechunk_integrations.retrieval.snippets import SnippetOptions, select_snippets
from tests import strategies

_SENTENCES = [f"Report {n} says that the supplier delivers part {n}. " for n in range(30)]
LONG = "".join(_SENTENCES)
QUESTION = "What does report 7 say?"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_snippets_are_slices_in_order_that_do_not_overlap(
    tiny_engine: LateChunkEngine, data: st.DataObject
) -> None:
    texts = data.draw(st.lists(strategies.texts(), max_size=3))
    size = data.draw(st.integers(1, 20))
    options = SnippetOptions(
        chunk_size=size,
        length=size * data.draw(st.integers(1, 4)),
        n_snippets=data.draw(st.integers(1, 4)),
        unit=data.draw(st.sampled_from(["tokens", "characters"])),
    )
    found = select_snippets(tiny_engine, "Berlin", texts, options=options)
    assert [one.index for one in found] == sorted(one.index for one in found)
    for one in found:
        assert texts[one.index][one.span.start : one.span.end] == one.text
        assert -1.001 <= one.score <= 1.001
    for left, right in itertools.pairwise(found):
        assert left.index < right.index or left.span.end < right.span.start


@pytest.mark.parametrize("n_snippets", [1, 2, 3])
def test_the_best_windows_are_taken_one_after_the_other(
    tiny_engine: LateChunkEngine, n_snippets: int
) -> None:
    size, width = 40, 3
    options = SnippetOptions(
        chunk_size=size, length=size * width, n_snippets=n_snippets, unit="characters"
    )
    spans = [(i, min(i + size, len(LONG))) for i in range(0, len(LONG), size)]
    (result,) = tiny_engine.embed([Parent(LONG, spans)])
    scores = result.vectors @ tiny_engine.embed_query(QUESTION)
    free, expected = [True] * len(spans), set()
    for _ in range(n_snippets):
        windows = [
            (float(np.mean(scores[at : at + width])), -at)
            for at in range(len(spans) - width + 1)
            if all(free[at : at + width])
        ]
        at = -max(windows)[1]
        free[at : at + width] = [False] * width
        expected |= set(range(spans[at][0], spans[at + width - 1][1]))
    found = select_snippets(tiny_engine, QUESTION, [LONG], options=options)
    assert {i for one in found for i in range(*one.span)} == expected


def test_all_comes_back_where_there_is_less_than_was_asked_for(
    tiny_engine: LateChunkEngine,
) -> None:
    texts = ["One short text.", "   ", "Another one, about Berlin."]
    found = select_snippets(tiny_engine, "Berlin", texts)
    assert [(one.index, one.text) for one in found] == [(0, texts[0]), (2, texts[2])]
    assert select_snippets(tiny_engine, "Berlin", []) == []


def test_token_chunks_have_the_asked_number_of_tokens(tiny_engine: LateChunkEngine) -> None:
    options = SnippetOptions(chunk_size=8, length=8, n_snippets=1)
    (one,) = select_snippets(tiny_engine, QUESTION, [LONG], options=options)
    n_tokens = len(tiny_engine.encoder.tokenize([one.text], "")[0].ids)
    assert 7 <= n_tokens <= 9


@pytest.mark.parametrize("unit", ["tokens", "characters"])
def test_snippets_are_no_longer_than_asked_for_and_all_comes_back_up_to_the_last_unit(
    tiny_engine: LateChunkEngine, unit: Literal["tokens", "characters"]
) -> None:
    length = len(LONG)
    if unit == "tokens":
        length = len(tiny_engine.encoder.tokenize([LONG], "")[0].ids)
    for asked, size in [(length, 7), (length - 1, 7), (100, 60)]:
        options = SnippetOptions(length=asked, chunk_size=size, n_snippets=1, unit=unit)
        (one,) = select_snippets(tiny_engine, QUESTION, [LONG], options=options)
        assert (one.text == LONG) == (asked == length)
        if unit == "characters":
            assert len(one.text) <= asked


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=strategies.texts(),
    size=st.integers(1, 9),
    family=st.sampled_from(["wordpiece", "byte_bpe", "unigram"]),
)
def test_as_many_tokens_as_asked_for_start_in_a_chunk_and_none_is_without_a_token(
    tiny_model_paths: dict[str, Path], text: str, size: int, family: str
) -> None:
    """The last chunk may be shorter; tokens without text do not count."""
    tokenizer = Tokenizer.from_file(str(tiny_model_paths[family] / "tokenizer.json"))
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    starts = [start for start, end in offsets if start < end]
    assume(len(starts) > size and len(set(starts)) == len(starts))
    engine = _strict_engine(tiny_model_paths[family])
    options = SnippetOptions(chunk_size=size, length=size, n_snippets=1)
    (one,) = select_snippets(engine, QUESTION, [text], options=options)
    n_inside = sum(one.span.start <= start < one.span.end for start in starts)
    assert n_inside == size or (one.span.end == len(text) and n_inside == len(starts) % size)


@cache
def _strict_engine(path: Path) -> LateChunkEngine:
    """A chunk without a token is an error."""
    return LateChunkEngine.from_pretrained(str(path), device="cpu", strict=True)


def test_texts_that_the_engine_skips_give_no_snippets(tiny_model_path: Path) -> None:
    engine = LateChunkEngine.from_pretrained(str(tiny_model_path), device="cpu", fallback="skip")
    found = select_snippets(engine, QUESTION, [LONG, "Report 7 is short."])
    assert [one.index for one in found] == [1]
    assert engine.stats["skipped_parents"] == 1


def test_impossible_options_and_a_bare_string_are_refused(tiny_engine: LateChunkEngine) -> None:
    with pytest.raises(OptionError, match="chunk_size"):
        SnippetOptions(length=10, chunk_size=20)
    with pytest.raises(OptionError, match="unit"):
        SnippetOptions(unit="words")  # type: ignore[arg-type]  # what users do
    with pytest.raises(OptionError, match="n_snippets"):
        SnippetOptions(n_snippets=0)
    with pytest.raises(InputTypeError):
        select_snippets(tiny_engine, "q", "one text")


def test_minilm_finds_the_paragraph_that_answers(minilm_engine: LateChunkEngine) -> None:
    filler = "The weather was fine and nobody had anything to report that day. " * 40
    answer = "The penalty for late delivery is five hundred euros. "
    options = SnippetOptions(length=64, chunk_size=16, n_snippets=1)
    (one,) = select_snippets(
        minilm_engine,
        "What is the penalty for late delivery?",
        [filler, filler + answer + filler],
        options=options,
    )
    assert one.index == 1
    assert "penalty for late delivery is five hundred" in one.text
