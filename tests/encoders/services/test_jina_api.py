"""Jina's API: requests that hold one parent, in order, and the vectors that come of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.encoders.services.context_apis import VoyageEncoder
from latechunk_integrations.encoders.services.jina_api import JinaEncoder
from latechunk_integrations.errors import OptionError, ParentTooLongError, ServerAnswerError
from latechunk_integrations.options import LateChunkOptions
from latechunk_integrations.testing.oracle import Oracle
from tests import strategies
from tests.fakes.chunk_services import JinaService, TinyReader, as_query
from tests.fakes.loopback import LoopbackServer
from tests.fakes.support import api_engine, corpora, serving, unit, words

PATH = "/v1/embeddings"
# Each example is several requests.
_EXAMPLES = 30
TEXT = "The supplier delivers every part. Berlin is the capital of Germany. It is proud."
SPANS = [(0, 33), (34, 67), (68, 80)]


@pytest.fixture(scope="module")
def server(reader: TinyReader) -> Iterator[LoopbackServer]:
    with serving(JinaService(reader)) as running:
        yield running


@pytest.fixture(scope="module")
def oracle(tiny_model_path: Path) -> Oracle:
    model = SentenceTransformer(str(tiny_model_path), device="cpu").double()
    return Oracle(model.transformers_model, model.tokenizer, max_tokens=502)


@pytest.mark.slow
@pytest.mark.rule(3)
@settings(max_examples=_EXAMPLES)
@given(data=st.data())
def test_a_parent_that_fits_is_late_chunked_as_on_this_machine(
    server: LoopbackServer, oracle: Oracle, tiny_model_path: Path, data: st.DataObject
) -> None:
    """Any spans: overlapping, nested, repeated, with gaps; with and without a tokenizer."""
    text = data.draw(strategies.texts(max_pieces=15))
    spans = data.draw(_spans_of_tokens(oracle, text))
    tokenizer = data.draw(st.sampled_from([None, str(tiny_model_path)]))
    engine = api_engine(server, "jina", tokenizer=tokenizer)
    server.asked.clear()
    (result,) = engine.embed([Parent(text, spans)])
    assert np.abs(result.vectors - oracle.vectors(text, spans)).max() < 1e-5
    assert set(result.modes) == {"late"}
    for body in server.bodies(PATH):
        assert "".join(body["input"]) == text


@st.composite
def _spans_of_tokens(draw: st.DrawFn, oracle: Oracle, text: str) -> list[tuple[int, int]]:
    """Spans on token borders: which of two chunks a service gives a token to is its affair."""
    _, _, offsets = oracle.tokens(text)
    # Nor does it say who pools special tokens where text without a token comes first or last.
    assume(offsets and not (text[: offsets[0][0]] + text[offsets[-1][1] :]).strip())
    borders = st.tuples(st.sampled_from(offsets), st.sampled_from(offsets))
    drawn = draw(st.lists(borders, min_size=1, max_size=6))
    return [(min(one[0], other[0]), max(one[1], other[1])) for one, other in drawn]


@pytest.mark.slow
@settings(max_examples=_EXAMPLES)
@given(data=st.data())
def test_requests_hold_one_parent_each_whatever_the_corpus(
    server: LoopbackServer, reader: TinyReader, tiny_model_path: Path, data: st.DataObject
) -> None:
    """Rule 2: every vector is the mean over the documents of its parent that hold the chunk."""
    parents = data.draw(corpora())
    engine = api_engine(
        server,
        "jina",
        max_tokens=data.draw(st.sampled_from([24, 60, 200])),
        overlap_tokens=data.draw(st.sampled_from([None, 0, 10])),
        tokenizer=str(tiny_model_path),
    )
    server.asked.clear()
    results = engine.embed(parents)
    sums = [np.zeros((len(parent.spans), 32)) for parent in parents]
    for body in server.bodies(PATH):
        assert body["late_chunking"] is True
        run = "".join(body["input"])
        (owner,) = [index for index, parent in enumerate(parents) if run in parent.text]
        parent = parents[owner]
        start = parent.text.index(run)
        vectors, n_tokens = reader.joined(body["input"])
        assert n_tokens <= engine.options.max_tokens  # type: ignore[operator]  # it is set
        _add_chunks(parent, start, body["input"], vectors, sums[owner])
    for parent, result, total in zip(parents, results, sums, strict=True):
        assert result.parent_id == parent.id
        assert np.abs(result.vectors - unit(total)).max() < 1e-5


def _add_chunks(
    parent: Parent,
    start: int,
    elements: list[str],
    vectors: NDArray[np.float64],
    total: NDArray[np.float64],
) -> None:
    """Add the vector of each element that is a chunk, found by where it stands."""
    at = start
    spans = [(a, b) for a, b in parent.spans.array.tolist()]
    for element, vector in zip(elements, vectors, strict=True):
        end = at + len(element)
        for row, (a, b) in enumerate(spans):
            text = parent.text
            if at <= a and b <= end and not (text[at:a] + text[b:end]).strip():
                total[row] += vector
        at = end


def test_queries_are_never_late_chunked_and_have_the_task_of_queries(
    server: LoopbackServer, reader: TinyReader
) -> None:
    engine = api_engine(server, "jina")
    server.asked.clear()
    vectors = engine.embed_queries(["where is Berlin", "what is it"])
    (body,) = server.bodies(PATH)
    assert body["late_chunking"] is False
    assert body["task"] == "retrieval.query"
    expected = [as_query(reader.joined([text])[0])[0] for text in body["input"]]
    assert np.abs(vectors - unit(np.array(expected))).max() < 1e-5
    assert np.array_equal(engine.embed_query("what is it"), vectors[1])


def test_a_blend_takes_passages_of_the_same_service(server: LoopbackServer, oracle: Oracle) -> None:
    engine = api_engine(server, "jina", context_weight=0.4)
    (result,) = engine.embed([Parent(TEXT, SPANS)])
    blended = unit(
        np.float64(0.4) * oracle.vectors(TEXT, SPANS)
        + 0.6 * np.array([oracle.vectors(TEXT[a:b], [(0, b - a)])[0] for a, b in SPANS])
    )
    assert np.abs(result.vectors - blended).max() < 1e-5


def test_a_header_is_read_in_front_and_its_vector_dropped(
    server: LoopbackServer, reader: TinyReader
) -> None:
    """Also in front of the standalone side, which is then a request for each chunk."""
    engine = api_engine(server, "jina", context_weight=0.5, header_weight=0.1)
    server.asked.clear()
    (result,) = engine.embed([Parent(TEXT, SPANS, header="Berlin handbook ")])
    front = "Berlin handbook\n\n"
    late = reader.joined([front, *(TEXT[a:b] for a, b in [(0, 33), (33, 67), (67, 80)])])[0][1:]
    alone = np.array([reader.joined([front, TEXT[a:b]])[0][1] for a, b in SPANS])
    own = reader.joined(["Berlin handbook"])[0]
    expected = unit(0.5 * unit(late) + 0.5 * unit(alone) + 0.1 * unit(own))
    assert np.abs(result.vectors - expected).max() < 1e-5
    assert len(server.bodies(PATH)) == 1 + len(SPANS) + 1


@pytest.mark.slow
def test_without_a_tokenizer_a_refused_parent_is_divided_until_it_fits(
    reader: TinyReader,
) -> None:
    """The estimate is for usual vocabularies; the tiny one makes more tokens."""
    text = words("b", 100)
    spans = [(text.index(word), text.index(word) + len(word)) for word in text.split()[:90:9]]
    with serving(JinaService(reader, most_tokens=60)) as server:
        engine = api_engine(server, "jina", max_tokens=60)
        (result,) = engine.embed([Parent(text, spans)])
        assert set(result.modes) == {"windowed"}
        total = np.zeros((len(spans), 32))
        answered = [body["input"] for body in server.bodies(PATH)]
        answered = [elements for elements in answered if reader.joined(elements)[1] <= 60]
        assert len(answered) == result.n_windows == engine.stats["requests"]
        assert len(answered) < len(server.asked)
        for elements in answered:
            start = text.index("".join(elements))
            _add_chunks(Parent(text, spans), start, elements, reader.joined(elements)[0], total)
        assert np.abs(result.vectors - unit(total)).max() < 1e-5


def test_a_chunk_longer_than_the_model_is_the_mean_of_its_parts_and_counted(
    reader: TinyReader, tiny_model_path: Path
) -> None:
    text = words("b", 40)
    with serving(JinaService(reader, most_tokens=30)) as server:
        options: dict[str, Any] = {
            "max_tokens": 30,
            "tokenizer": str(tiny_model_path),
        }
        engine = api_engine(server, "jina", **options)
        (result,) = engine.embed([Parent(text)])
        assert engine.stats["chunks_cut"] == 1
        assert result.modes == ("windowed",)
        total = np.zeros(32)
        for body in server.bodies(PATH):
            for element, vector in zip(body["input"], reader.joined(body["input"])[0], strict=True):
                total += (
                    len(reader.tokenizer(element, add_special_tokens=False)["input_ids"]) * vector
                )
        assert np.abs(result.vectors[0] - unit(total)).max() < 1e-5
        with pytest.raises(ParentTooLongError, match="longer than"):
            api_engine(server, "jina", **options, strict=True).embed([Parent(text)])


@pytest.mark.parametrize("tokenizer", [None, "own"])
@pytest.mark.parametrize("fallback", ["standard", "skip", "error"])
def test_a_parent_over_the_limit_follows_the_fallback(
    reader: TinyReader, tiny_model_path: Path, fallback: str, tokenizer: str | None
) -> None:
    """Whether the length is known before, or told by the service."""
    text = words("b", 30)
    spans = [(0, 3), (4, 7)]
    long, short = Parent(text, spans, id="long"), Parent("cee cet", [(0, 3)], id="short")
    with serving(JinaService(reader, most_tokens=40)) as server:
        engine = api_engine(
            server,
            "jina",
            max_tokens=40,
            fallback=fallback,
            tokenizer=str(tiny_model_path) if tokenizer else None,
        )
        if fallback == "error":
            with pytest.raises(ParentTooLongError) as caught:
                engine.embed([short, long])
            assert caught.value.parent_id == "long"
            return
        first, second = engine.embed([long, short])
        assert second.modes == ("late",)
        if fallback == "skip":
            assert first.skipped
            assert engine.stats["skipped_parents"] == 1
            return
        assert first.modes == ("standalone", "standalone")
        assert engine.stats["long_parents_standalone"] == 1
        expected = unit(np.array([reader.joined([text[a:b]])[0][0] for a, b in spans]))
        assert np.abs(first.vectors - expected).max() < 1e-5


def test_the_models_own_width_and_length_are_known_and_others_asked_for(
    server: LoopbackServer,
) -> None:
    model = "jina-embeddings-v3"
    engine = api_engine(server, "jina", model=model, max_tokens=None, dimensions=None)
    assert engine.dimensions == 1_024
    with pytest.raises(OptionError, match="8192"):
        api_engine(server, "jina", model=model, max_tokens=9_000)
    with pytest.raises(OptionError, match="32 to 1024"):
        api_engine(server, "jina", model=model, dimensions=2_000)
    with pytest.raises(OptionError, match="dimensions and its max_tokens"):
        api_engine(server, "jina", model="some-model", max_tokens=None)


@pytest.mark.parametrize(
    ("model", "width", "tokens", "refused"),
    [
        ("jina-embeddings-v4", 2_048, 32_768, 64),
        ("jina-embeddings-v5-text-small", 1_024, 32_768, 100),
        ("jina-embeddings-v5-text-nano", 768, 8_192, 1_024),
    ],
)
def test_models_are_asked_as_they_are_documented(
    server: LoopbackServer, model: str, width: int, tokens: int, refused: int
) -> None:
    """The server refuses `normalized` of a model whose request does not have it."""
    options: dict[str, Any] = {"model": model, "max_tokens": None}
    engine = api_engine(server, "jina", dimensions=None, **options)
    limits = engine.describe().limits
    assert limits is not None
    assert (engine.dimensions, limits.document_tokens) == (width, tokens)
    with pytest.raises(OptionError, match=f"dimensions={refused}"):
        api_engine(server, "jina", dimensions=refused, **options)
    asked = len(server.asked)
    with suppress(ServerAnswerError):  # the server's own vectors are narrower
        engine.embed([Parent(TEXT, [(0, 10), (10, 20)])])
    assert len(server.asked) == asked + 1
    assert ("normalized" in server.asked[-1].body) == ("v4" not in model)


def test_five_requests_are_in_flight_unless_more_are_asked_for(server: LoopbackServer) -> None:
    """What Jina's free tier takes at once; other services have the default of all."""

    def most(**options: Any) -> int:
        asked = LateChunkOptions(model="jina-embeddings-v3", encoder="jina", **options)
        return JinaEncoder(asked).max_concurrency

    assert most(base_url=server.url) == 5
    assert most(base_url=server.url, max_concurrency=50) == 50
    voyage = LateChunkOptions(model="voyage-context-3", encoder="voyage", base_url=server.url)
    assert VoyageEncoder(voyage).max_concurrency == 8


@pytest.mark.parametrize(
    "option",
    [{"pooling": "mean"}, {"document_prompt": ""}, {"dtype": "float32"}, {"batch_tokens": 100}],
    ids=repr,
)
def test_an_option_without_a_meaning_is_refused(
    server: LoopbackServer, option: dict[str, Any]
) -> None:
    with pytest.raises(OptionError, match=next(iter(option))):
        api_engine(server, "jina", **option)


def test_what_needs_tokens_says_so(server: LoopbackServer) -> None:
    engine: LateChunkEngine = api_engine(server, "jina")
    with pytest.raises(OptionError, match="gives vectors of chunks, no tokens"):
        _ = engine.encoder
