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
from latechunk_integrations.retrieval.snippets import (
    SnippetIndex,
    SnippetOptions,
    select_snippets,
)
from tests import strategies

_SENTENCES = [f"Report {n} says that the supplier delivers part {n}. " for n in range(30)]
LONG = "".join(_SENTENCES)
OTHER = "".join(f"Berlin has {n} of 3.85 million inhabitants, all proud. " for n in range(9))
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


def _spans(
    path: Path, text: str, size: int, unit: Literal["tokens", "characters"]
) -> list[tuple[int, int]]:
    """Spans of equal length, from the tokenizer itself."""
    starts = list(range(0, len(text), size))
    if unit == "tokens":
        starts = [0, *_token_starts(path, text)[size::size]]
    return list(zip(starts, [*starts[1:], len(text)], strict=True))


def _token_starts(path: Path, text: str) -> list[int]:
    """Where the tokens that hold text start."""
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    return [start for start, end in offsets if start < end]


@pytest.mark.parametrize("unit", ["tokens", "characters"])
@pytest.mark.parametrize("n_snippets", [1, 3, 5])
def test_the_best_windows_of_all_texts_are_taken_one_after_the_other(
    tiny_engine: LateChunkEngine,
    tiny_model_path: Path,
    n_snippets: int,
    unit: Literal["tokens", "characters"],
) -> None:
    """Brute force: of all windows without a taken chunk, the one with the greatest mean."""
    size, width = (8, 3) if unit == "tokens" else (40, 3)
    # Words in random order: repeated sentences would make windows that are equally good.
    words = np.random.default_rng(7).permutation((OTHER + LONG).split())
    texts = [" ".join(part) for part in np.split(words, [90, 300])]
    spans = [_spans(tiny_model_path, text, size, unit) for text in texts]
    query = tiny_engine.embed_query(QUESTION)
    results = tiny_engine.embed([Parent(t, s) for t, s in zip(texts, spans, strict=True)])
    windows = {
        (row, at): float(np.mean((result.vectors @ query)[at : at + width]))
        for row, result in enumerate(results)
        for at in range(len(result) - width + 1)
    }
    expected: set[tuple[int, int]] = set()
    for _ in range(n_snippets):
        row, at = max(windows, key=lambda key: windows[key])
        expected |= {(row, i) for n in range(at, at + width) for i in range(*spans[row][n])}
        windows = {
            key: mean for key, mean in windows.items() if key[0] != row or abs(key[1] - at) >= width
        }
    # A length that is no multiple of the chunk is rounded down.
    options = SnippetOptions(
        chunk_size=size, length=size * width + size - 1, n_snippets=n_snippets, unit=unit
    )
    for found in (
        select_snippets(tiny_engine, QUESTION, texts, options=options),
        SnippetIndex(tiny_engine, texts, options).select(QUESTION),
    ):
        assert {(one.index, i) for one in found for i in range(*one.span)} == expected


@pytest.mark.slow
def test_a_page_of_200_000_tokens_is_cut_at_the_same_tokens_as_if_it_were_read_at_once(
    tiny_model_path: Path,
) -> None:
    """Long texts are tokenized piece by piece; no seam moves a chunk."""
    engine = LateChunkEngine.from_pretrained(
        str(tiny_model_path), device="cpu", max_tokens=512, overlap_tokens=0
    )
    page = "".join(f"Report {n} says: part {n * 7 % 997} is late. " for n in range(18_000))
    starts = _token_starts(tiny_model_path, page)
    assert len(starts) > 200_000
    options = SnippetOptions(length=512, chunk_size=100, n_snippets=20)
    edges = [0, *starts[100::100], len(page)]
    n_taken = 0
    for one in select_snippets(engine, QUESTION, [page], options=options):
        assert set(one.span) <= set(edges)
        n_taken += sum(one.span.start <= edge < one.span.end for edge in edges)
    assert n_taken == 20 * 5, "chunks; the page's last one may be short"


def test_all_comes_back_where_there_is_less_than_was_asked_for(
    tiny_engine: LateChunkEngine,
) -> None:
    texts = ["One short text.", "   ", "Another one, about Berlin."]
    found = select_snippets(tiny_engine, "Berlin", texts)
    assert [(one.index, one.text) for one in found] == [(0, texts[0]), (2, texts[2])]
    assert select_snippets(tiny_engine, "Berlin", ["", " "]) == []
    assert SnippetIndex(tiny_engine, []).select("Berlin") == []


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


@pytest.mark.slow
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
    starts = _token_starts(tiny_model_paths[family], text)
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
    with pytest.raises(OptionError, match="at least 1"):
        SnippetIndex(tiny_engine, ["one text"]).select("q", 0)


@pytest.mark.slow
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
