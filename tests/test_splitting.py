"""Splitters by name, import path, object or factory, and their arguments."""

from __future__ import annotations

import gc
import tracemalloc
from functools import partial
from typing import Any

import pytest
from langchain_text_splitters import CharacterTextSplitter

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.errors import InputTypeError, OptionError, SpanError
from latechunk_integrations.splitting import Splitter, chunk_spans, text_splitter

TEXT = "one two three four five six"


def pieces(text: str, size: int = 7, chunk_size: int | None = None) -> list[str]:
    size = chunk_size or size
    return [text[start : start + size] for start in range(0, len(text), size)]


def factory(size: int = 9) -> Any:
    return partial(pieces, size=size)


def halved(text: str) -> list[str]:
    return [text[: len(text) // 2], text[len(text) // 2 :]]


_PIECES = f"{__name__}:pieces"
_WORDS = "langchain_text_splitters:CharacterTextSplitter"


@pytest.mark.parametrize(
    ("splitter", "size", "arguments", "first"),
    [
        (pieces, None, {}, "one two"),
        (pieces, 3, {}, "one"),
        (pieces, None, {"size": 5}, "one t"),
        (_PIECES, None, {"size": 5}, "one t"),
        (factory, None, {}, "one two t"),
        (f"{__name__}:factory", None, {"size": 2}, "on"),
        (_WORDS, 9, {"separator": " "}, "one two"),
        (_WORDS, None, {"separator": " ", "chunk_size": 4, "chunk_overlap": 0}, "one"),
        (partial(CharacterTextSplitter, separator=" ", chunk_overlap=0), 9, {}, "one two"),
        (CharacterTextSplitter(separator=" ", chunk_size=4, chunk_overlap=0), None, {}, "one"),
        ("recursive", 3, {"separators": [" "]}, "one"),
    ],
)
def test_a_splitter_may_be_named_given_or_made(
    tiny_engine: LateChunkEngine,
    splitter: Splitter,
    size: int | None,
    arguments: dict[str, Any],
    first: str,
) -> None:
    split = text_splitter(splitter, size, tiny_engine.encoder, arguments)
    assert next(iter(split(TEXT))).strip() == first


@pytest.mark.parametrize(
    ("splitter", "arguments"),
    [
        ("no_such_module:name", {}),
        (f"{__name__}:absent", {}),
        (f"{__name__}:TEXT", {}),
        (_WORDS, {"no_such_argument": 1}),
        (_WORDS, {"chunk_size": 0}),
        ("recursive", {"no_such_argument": 1}),
        (CharacterTextSplitter(), {"separator": " "}),
        (7, {}),
    ],
)
def test_what_cannot_be_a_splitter_is_refused(
    tiny_engine: LateChunkEngine, splitter: Any, arguments: dict[str, Any]
) -> None:
    with pytest.raises(OptionError):
        text_splitter(splitter, None, tiny_engine.encoder, arguments)


def test_a_size_that_a_function_does_not_take_is_refused(tiny_engine: LateChunkEngine) -> None:
    for splitter in (str.split, f"{__name__}:halved"):
        with pytest.raises(OptionError, match="chunks of its own size: leave chunk_size out"):
            text_splitter(splitter, 5, tiny_engine.encoder)


@pytest.mark.slow
def test_the_recursive_splitter_keeps_no_long_texts(tiny_engine: LateChunkEngine) -> None:
    blocks = [f"{number} " + "a " * 2_000 for number in range(60)]
    text = "\n\n".join(blocks)
    n_chars = len(text)
    split = text_splitter("recursive", 3_000, tiny_engine.encoder)
    list(split("0 " + blocks[0]))  # what is made once is no part of it
    tracemalloc.start()
    try:
        assert sum(1 for _ in split(text)) == 60
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < n_chars / 2  # bytes


def test_chunks_are_spans_whether_texts_or_pairs() -> None:
    found, n_lost = chunk_spans(TEXT, ["one", "absent", "two three"])
    assert (found.array.tolist(), n_lost) == ([[0, 3], [4, 13]], 1)
    found, n_lost = chunk_spans(TEXT, [(4, 7), (0, 3)])
    assert (found.array.tolist(), n_lost) == ([[4, 7], [0, 3]], 0)


@pytest.mark.parametrize("given", [None, "one text", 3, ["one", (0, 3)], [(0, 3), "one"], [0, 3]])
def test_what_a_splitter_must_not_give_is_said(given: Any) -> None:
    with pytest.raises((InputTypeError, SpanError), match=r"must (give|be)"):
        chunk_spans(TEXT, given)
