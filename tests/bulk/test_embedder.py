"""Documents to rows in one process: alone or together, and past those that fail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from langchain_text_splitters import CharacterTextSplitter

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.bulk.chunking import Chunking
from latechunk_integrations.bulk.embedder import DocumentEmbedder
from latechunk_integrations.bulk.rows import CorpusDocument, DocumentRows, Failure
from latechunk_integrations.errors import OptionError, SourceError
from tests.bulk import support


def _embedder(engine: LateChunkEngine, *, reproducible: bool = True) -> DocumentEmbedder:
    return DocumentEmbedder(engine, Chunking(support.SPLITTER), reproducible=reproducible)


def _rows(outcomes: list[DocumentRows | Failure]) -> dict[str, DocumentRows]:
    return {each.document_id: each for each in outcomes if isinstance(each, DocumentRows)}


@pytest.mark.slow
@pytest.mark.parametrize("model", ["tiny_engine", "minilm_engine"])
def test_reproducible_rows_do_not_depend_on_neighbours(
    model: str, request: pytest.FixtureRequest
) -> None:
    embedder = _embedder(request.getfixturevalue(model))
    corpus = support.documents(9)
    together = _rows(embedder.embed(corpus))
    for each in corpus[::-1]:
        (alone,) = _rows(embedder.embed([each])).values()
        assert np.array_equal(alone.vectors, together[each.id].vectors)


@pytest.mark.slow
def test_shared_batches_give_the_same_rows_up_to_rounding(tiny_engine: LateChunkEngine) -> None:
    corpus = support.documents(9)
    alone = _rows(_embedder(tiny_engine).embed(corpus))
    shared = _rows(_embedder(tiny_engine, reproducible=False).embed(corpus))
    for name, each in alone.items():
        assert np.array_equal(each.spans, shared[name].spans)
        np.testing.assert_allclose(each.vectors, shared[name].vectors, atol=1e-5)


@pytest.mark.parametrize("reproducible", [True, False])
def test_what_fails_keeps_its_place_and_the_others_theirs(
    tiny_model_path: object, *, reproducible: bool
) -> None:
    engine = LateChunkEngine.from_pretrained(
        str(tiny_model_path), dtype="float32", device="cpu", fallback="error"
    )
    long = [
        CorpusDocument(f"long-{n}", "far longer than one window can hold " * 9) for n in range(2)
    ]
    before = Failure("unread", "UnicodeDecodeError", "was no text")
    good = [CorpusDocument("a", "Short."), CorpusDocument("b", "Short too.")]
    given: list[CorpusDocument | Failure] = [
        good[0],
        long[0],
        before,
        CorpusDocument("blank", " "),
        long[1],
        good[1],
    ]
    outcomes = _embedder(engine, reproducible=reproducible).embed(given)
    names = [outcome.document_id for outcome in outcomes]
    assert names == ["a", "long-0", "unread", "blank", "long-1", "b"]
    errors = [outcome.error for outcome in outcomes if isinstance(outcome, Failure)]
    long_error = "ParentTooLongError"
    assert errors == [long_error, "UnicodeDecodeError", "EmptyTextError", long_error]


def test_chunks_that_share_a_span_are_one(tiny_engine: LateChunkEngine) -> None:
    def twice(text: str) -> list[tuple[int, int]]:
        return [(4, 9), (0, 4), (4, 9)]

    embedder = DocumentEmbedder(tiny_engine, Chunking(twice))
    (rows,) = _rows(embedder.embed([CorpusDocument("a", "some text")])).values()
    assert rows.spans.tolist() == [[4, 9], [0, 4]]


def test_the_key_follows_engine_and_splitter(tiny_engine: LateChunkEngine) -> None:
    def own(text: str) -> list[str]:
        return [text]

    chunkings = [
        Chunking(),
        Chunking(chunk_size=64),
        Chunking(arguments={"chunk_overlap": 3}),
        Chunking(support.SPLITTER),
        Chunking(own),
        *(Chunking(CharacterTextSplitter(chunk_size=size, chunk_overlap=0)) for size in (100, 200)),
    ]
    keys = {DocumentEmbedder(tiny_engine, chunking).key for chunking in chunkings}
    assert len(keys) == len(chunkings)
    assert DocumentEmbedder(tiny_engine, Chunking(chunk_size=64)).key in keys


def test_an_impossible_splitter_ends_the_run_before_it_begins(
    tiny_engine: LateChunkEngine,
) -> None:
    with pytest.raises(OptionError, match="no splitter"):
        DocumentEmbedder(tiny_engine, Chunking("no_such_module:splitter"))


def test_a_source_that_breaks_off_costs_nothing_that_it_gave(tiny_engine: LateChunkEngine) -> None:
    def batches() -> Iterator[list[CorpusDocument]]:
        yield support.documents(3)
        yield [CorpusDocument("blank", " ")]
        yield support.documents(2)
        raise SourceError("the share is gone")

    found: list[Any] = []
    with pytest.raises(SourceError, match="the share is gone"):
        found.extend(_embedder(tiny_engine).run(batches()))
    names = [[outcome.document_id for outcome in outcomes] for outcomes in found]
    assert names == [["doc-0", "doc-1", "doc-2"], ["blank"], ["doc-0", "doc-1"]]
