"""Splitters by name, by import path, or given; every chunk becomes a span of its document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from langchain_text_splitters import CharacterTextSplitter

from latechunk_integrations import LateChunkEngine, Span
from latechunk_integrations.errors import OptionError
from latechunk_integrations.evaluation.splitters import (
    Splitter,
    sizes_of,
    split_documents,
    split_text,
)
from tests.evaluation.support import BERLIN, TOKYO, small_set


def words(text: str, chunk_size: int = 3) -> list[str]:
    found = text.split()
    return [" ".join(found[n : n + chunk_size]) for n in range(0, len(found), chunk_size)]


def halves(text: str) -> Iterator[tuple[int, int]]:
    yield 0, len(text) // 2
    yield len(text) // 2, len(text)


def nowhere(text: str) -> list[str]:
    return ["in no way a part", f"of {len(text)} characters"]


def invented(text: str) -> list[str]:
    return [text[:10], "a summary that stands nowhere"]


def _texts(engine: LateChunkEngine, splitter: Splitter, size: int | None = None) -> list[str]:
    spans, _ = split_text(BERLIN, splitter, size, engine.encoder)
    return [BERLIN[start:end] for start, end in spans.array.tolist()]


def test_recursive_chunks_keep_to_their_size_in_the_models_tokens(
    tiny_engine: LateChunkEngine,
) -> None:
    for size in (12, 30):
        texts = _texts(tiny_engine, "recursive", size)
        assert len(texts) > 1
        lengths = [len(t.ids) for t in tiny_engine.encoder.tokenize(texts, "")]
        assert max(lengths) <= size
        assert "".join("".join(texts).split()) == "".join(BERLIN.split())


def test_sentences_are_chunks_by_name(tiny_engine: LateChunkEngine) -> None:
    texts = _texts(tiny_engine, "sentences")
    assert texts[0] == "Berlin is the capital of Germany."
    assert len(texts) == 4


@pytest.mark.parametrize(
    ("splitter", "size", "first"),
    [
        ("tests.evaluation.test_splitters:words", None, "Berlin is the"),
        ("tests.evaluation.test_splitters:words", 2, "Berlin is"),
        (words, None, "Berlin is the"),
        (halves, None, BERLIN[: len(BERLIN) // 2]),
        ("langchain_text_splitters:RecursiveCharacterTextSplitter", 40, BERLIN[:37]),
        ("llama_index.core.node_parser:SentenceSplitter", None, BERLIN),
        (CharacterTextSplitter(separator=". ", chunk_size=50, chunk_overlap=0), None, BERLIN[:32]),
    ],
)
def test_a_splitter_may_be_a_path_a_function_or_a_frameworks_own(
    tiny_engine: LateChunkEngine, splitter: Any, size: int | None, first: str
) -> None:
    assert _texts(tiny_engine, splitter, size)[0] == first


@pytest.mark.parametrize(
    ("splitter", "message"),
    [
        ("sentance", r"no splitter 'sentance' \(did you mean 'sentences'\?\)"),
        ("nowhere.to:be_found", "no splitter 'nowhere"),
        ("tests.evaluation.test_splitters:absent", "absent"),
        ("tests.evaluation.test_splitters:BERLIN", "a name, a function or an object"),
        ("fractions:Fraction", "cannot be built"),
        ("native", "only a golden set"),
        (7, "a name, a function or an object"),
        (lambda _: [], "gave no chunk"),
        (nowhere, "gave no chunk"),
    ],
)
def test_what_is_no_splitter_is_refused(
    tiny_engine: LateChunkEngine, splitter: Any, message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        split_text(
            BERLIN, splitter, 16 if splitter == "fractions:Fraction" else None, tiny_engine.encoder
        )


def test_chunks_that_stand_nowhere_are_counted(tiny_engine: LateChunkEngine) -> None:
    spans, notes = split_documents(small_set(), invented, None, tiny_engine.encoder)
    assert [len(each) for each in spans] == [1, 1]
    assert notes[0] == "1 chunks of 'berlin' are not in its text"


def test_a_golden_set_may_bring_its_own_chunks(tiny_engine: LateChunkEngine) -> None:
    golden = small_set()
    with pytest.raises(OptionError, match="brings no chunks for 2 documents"):
        split_documents(golden, "native", None, tiny_engine.encoder)
    chunks = {"berlin": (Span(0, 33), Span(34, 80)), "tokyo": (Span(0, len(TOKYO)),)}
    spans, notes = split_documents(
        replace(golden, chunks=chunks), "native", None, tiny_engine.encoder
    )
    assert ([len(each) for each in spans], notes) == ([2, 1], [])


def test_a_size_is_refused_where_chunks_have_their_own(tiny_engine: LateChunkEngine) -> None:
    golden = replace(small_set(), chunks={"berlin": (Span(0, 33),), "tokyo": (Span(0, 9),)})
    for splitter in ("native", "sentences", halves):
        with pytest.raises(OptionError, match="chunks of its own size: leave chunk_size out"):
            split_documents(golden, splitter, 64, tiny_engine.encoder)


def test_a_size_of_no_token_is_refused(tiny_engine: LateChunkEngine) -> None:
    with pytest.raises(OptionError, match="chunk_size=0"):
        split_text("A text.", "recursive", 0, tiny_engine.encoder)


def test_only_the_splitter_that_counts_our_tokens_has_sizes_by_default() -> None:
    assert sizes_of("recursive", None, (64, 128)) == (64, 128)
    for splitter in ("native", "sentences", "module:name", words):
        assert sizes_of(splitter, [], (64, 128)) == (None,)
        assert sizes_of(splitter, [5, None], (64, 128)) == (5, None)
