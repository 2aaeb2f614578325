"""Voyage and Perplexity: a list for each parent, in order, and the vectors that come of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from latechunk_integrations import Parent
from latechunk_integrations.errors import OptionError, ParentTooLongError
from tests.fakes.chunk_services import TinyReader, as_query, int8
from tests.fakes.loopback import LoopbackServer
from tests.fakes.support import api_engine, corpora, service_of, serving, unit, words

pytestmark = pytest.mark.slow  # whole corpora through fake services

PATH = "/v1/contextualizedembeddings"
LISTS = {"voyage": "inputs", "perplexity": "input"}
TEXT = "The supplier delivers every part. Berlin is the capital of Germany. It is proud."
SPANS = [(0, 33), (34, 67), (68, 80)]
# Each example is several requests.
_EXAMPLES = 20


@pytest.fixture(scope="module", params=sorted(LISTS))
def encoder(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def server(reader: TinyReader, encoder: str) -> Iterator[LoopbackServer]:
    with serving(service_of(encoder, reader)) as running:
        yield running


@pytest.fixture(scope="module")
def read(reader: TinyReader, encoder: str) -> Callable[[list[str]], NDArray[np.float64]]:
    """The vectors of a document, as this service's answer has them."""

    def vectors(elements: list[str]) -> NDArray[np.float64]:
        rows, _ = reader.separated(elements)
        return rows if encoder == "voyage" else int8(rows).astype(np.float64)

    return vectors


@settings(max_examples=_EXAMPLES)
@given(data=st.data())
def test_a_document_holds_one_parent_whatever_the_corpus(
    server: LoopbackServer,
    encoder: str,
    read: Callable[[list[str]], NDArray[np.float64]],
    tiny_model_path: Path,
    data: st.DataObject,
) -> None:
    """Parents may share a request; limits of documents, elements and tokens are kept."""
    parents = data.draw(corpora())
    limits = {
        "request_documents": data.draw(st.sampled_from([1, 2, 500])),
        "request_elements": data.draw(st.sampled_from([30, 1_000])),
        "document_elements": 30,
        "request_tokens": data.draw(st.sampled_from([200, 10_000])),
    }
    engine = api_engine(
        server,
        encoder,
        limits=limits,
        max_tokens=data.draw(st.sampled_from([24, 60, 200])),
        overlap_tokens=data.draw(st.sampled_from([None, 0, 10])),
        tokenizer=str(tiny_model_path),
    )
    server.asked.clear()
    results = engine.embed(parents)
    sums = [np.zeros((len(parent.spans), 32)) for parent in parents]
    for body in server.bodies(PATH):
        documents = body[LISTS[encoder]]
        assert len(documents) <= limits["request_documents"]
        assert sum(map(len, documents)) <= limits["request_elements"]
        for elements in documents:
            assert len(elements) <= limits["document_elements"]
            (owner,) = {
                index
                for index, parent in enumerate(parents)
                for element in elements
                if element in parent.text
            }
            text = parents[owner].text
            starts = [text.index(element) for element in elements]
            assert starts == sorted(starts)
            chunks = [text[a:b] for a, b in parents[owner].spans.array]
            for element, vector in zip(elements, read(elements), strict=True):
                if element in chunks:
                    sums[owner][chunks.index(element)] += vector
    for parent, result, total in zip(parents, results, sums, strict=True):
        assert result.parent_id == parent.id
        assert np.abs(result.vectors - unit(total)).max() < 1e-5


def test_small_parents_share_a_request_and_keep_their_own_list(
    server: LoopbackServer, encoder: str, read: Callable[[list[str]], NDArray[np.float64]]
) -> None:
    parents = [Parent(TEXT.replace("Berlin", name), SPANS) for name in ("Berlin", "Munich")]
    engine = api_engine(server, encoder)
    server.asked.clear()
    results = engine.embed(parents)
    (body,) = server.bodies(PATH)
    expected = [[parent.chunk_text(row) for row in range(3)] for parent in parents]
    assert body[LISTS[encoder]] == expected
    for result, elements in zip(results, expected, strict=True):
        assert np.abs(result.vectors - unit(read(elements))).max() < 1e-5
        assert result.modes == ("late",) * 3


def test_queries_and_passages_are_documents_of_one_element(
    server: LoopbackServer,
    encoder: str,
    reader: TinyReader,
    read: Callable[[list[str]], NDArray[np.float64]],
) -> None:
    engine = api_engine(server, encoder, limits={"request_texts": 2})
    server.asked.clear()
    texts = ["where is Berlin", "what is it", "who"]
    queries, passages = engine.embed_queries(texts), engine.embed_texts(texts)
    bodies = server.bodies(PATH)
    assert [body[LISTS[encoder]] for body in bodies] == [[[texts[0]], [texts[1]]], [[texts[2]]]] * 2
    expected = np.array([read([text])[0] for text in texts])
    assert np.abs(passages - unit(expected)).max() < 1e-5
    if encoder == "voyage":
        assert [body["input_type"] for body in bodies] == ["query"] * 2 + ["document"] * 2
        expected = np.array([as_query(reader.separated([text])[0])[0] for text in texts])
    assert np.abs(queries - unit(expected)).max() < 1e-5


def test_gaps_and_header_are_context_and_their_vectors_dropped(
    server: LoopbackServer, encoder: str, read: Callable[[list[str]], NDArray[np.float64]]
) -> None:
    engine = api_engine(server, encoder, context_weight=0.5)
    (result,) = engine.embed([Parent(TEXT, SPANS[1:2], header="Handbook")])
    late = read(["Handbook", TEXT[:34], TEXT[34:67], TEXT[67:]])[2]
    alone = read(["Handbook", TEXT[34:67]])[1]
    assert np.abs(result.vectors[0] - unit(unit(late) + unit(alone))).max() < 1e-5


def test_overlapping_chunks_are_read_in_layers(
    server: LoopbackServer, encoder: str, read: Callable[[list[str]], NDArray[np.float64]]
) -> None:
    """No text stands twice in a document; each chunk is pooled whole by the service."""
    spans = [(0, 67), (34, 80), (0, 67), (68, 80)]
    engine = api_engine(server, encoder)
    (result,) = engine.embed([Parent(TEXT, spans)])
    first = read([TEXT[0:67], TEXT[68:80]])
    second = read([TEXT[0:34], TEXT[34:80]])
    expected = np.array([first[0], second[1], first[0], first[1]])
    assert np.abs(result.vectors - unit(expected)).max() < 1e-5
    assert set(result.modes) == {"late"}
    assert engine.stats["extra_layers"] == 1


def test_a_refused_request_is_sent_in_halves(
    reader: TinyReader, encoder: str, read: Callable[[list[str]], NDArray[np.float64]]
) -> None:
    texts = [words(letter, 10) for letter in "bcgu"]
    with serving(service_of(encoder, reader, most_request_tokens=60)) as server:
        engine = api_engine(server, encoder)
        results = engine.embed([Parent(text, [(0, 3), (4, 7)]) for text in texts])
        for text, result in zip(texts, results, strict=True):
            expected = unit(read([text[0:3], text[4:7], text[7:]])[:2])
            assert np.abs(result.vectors - expected).max() < 1e-5
            assert set(result.modes) == {"late"}
        # Vectors of a query too, one by one where it takes that.
        assert len(engine.embed_queries(texts)) == 4
        with pytest.raises(ParentTooLongError, match="shorten it"):
            engine.embed_query(words("b", 60))


def test_raw_vectors_come_as_the_service_made_them(
    server: LoopbackServer, encoder: str, read: Callable[[list[str]], NDArray[np.float64]]
) -> None:
    engine = api_engine(server, encoder, normalize=False)
    (result,) = engine.embed([Parent(TEXT, SPANS)])
    expected = read([TEXT[a:b] for a, b in SPANS])
    assert np.abs(result.vectors - expected).max() < 1e-5
    assert engine.embed([Parent(TEXT, SPANS)])[0].vectors.dtype == np.float32


@pytest.mark.parametrize(
    ("name", "model", "width", "wrong"),
    [
        ("voyage", "voyage-context-4", 1_024, 100),
        ("perplexity", "pplx-embed-context-v1-0.6b", 1_024, 64),
        ("perplexity", "pplx-embed-context-v1-4b", 2_560, 4_000),
    ],
)
def test_the_models_own_widths_are_known(
    server: LoopbackServer, name: str, model: str, width: int, wrong: int
) -> None:
    options: dict[str, Any] = {"model": model, "max_tokens": None}
    assert api_engine(server, name, **options, dimensions=None).dimensions == width
    with pytest.raises(OptionError, match="vectors of"):
        api_engine(server, name, **options, dimensions=wrong)
