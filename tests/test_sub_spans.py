"""Sub-spans: vectors of parts of a chunk from the same pass, against the oracle."""

from __future__ import annotations

import math
import pickle
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from latechunk_integrations import LateChunkEngine, LateChunkOptions, Parent, SubSpanVectors
from latechunk_integrations.errors import InputTypeError, OptionError, WindowBudgetError
from latechunk_integrations.evaluation.inspection import inspect_parent
from latechunk_integrations.schema import CharSpans
from tests import strategies
from tests.sub_span_oracle import SubSpanOracle, SubSpanSums
from tests.test_units import SENTENCES, TEXT, Loaded
from tests.tiny_models import FAMILIES, FAMILIES_ONE_FAST, Family
from tests.units_oracle import UnitsOracle

_SETTINGS = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.reuse, Phase.generate],
)
LONG = TEXT * 3
HALVES = [(0, len(TEXT)), (len(TEXT), len(LONG))]


@pytest.fixture(scope="module")
def loaded(tiny_model_paths: dict[str, Path]) -> dict[str, Loaded]:
    return {family: Loaded(tiny_model_paths[family], family) for family in FAMILIES}


def oracle_of(loaded: Loaded, **options: Any) -> SubSpanOracle:
    base: UnitsOracle = loaded.oracle
    return SubSpanOracle(**{**vars(base), "pool_edges": False, **options})


def grouped(sub_spans: SubSpanVectors, sums: list[SubSpanSums]) -> list[list[SubSpanSums]]:
    """The oracle's sub-spans inside each of those that the engine gave."""
    return [
        [one for one in sums if one.chunk == chunk and start <= one.span[0] < end]
        for chunk, (start, end) in zip(
            sub_spans.chunks.tolist(), sub_spans.spans.array.tolist(), strict=True
        )
    ]


@pytest.mark.slow
@pytest.mark.rule(1)
@pytest.mark.parametrize("family", FAMILIES)
@_SETTINGS
@given(data=st.data())
def test_sub_spans_and_their_chunks_are_the_oracles(
    loaded: dict[str, Loaded], family: Family, data: st.DataObject
) -> None:
    """Any text and spans, headers of their own, prompt, focus; with and without a budget."""
    window = data.draw(st.sampled_from([32, 64, 256]))
    focus = data.draw(st.sampled_from([0.0, 2.0, math.inf]))
    size = data.draw(st.sampled_from([2, 5, 16]))
    options: dict[str, Any] = {
        "max_tokens": window,
        "document_prompt": data.draw(strategies.prompts),
        "focus": focus,
        "header_focus": "auto" if math.isinf(focus) else max(0.0, focus - 0.5),
        "header_pooling": data.draw(st.sampled_from([0.0, 0.0, 1.0])),
        "overlap_tokens": 4,
    }
    budget = data.draw(st.sampled_from([None, None, 1.0, 1.5, 2.0]))
    parents = []
    for _ in range(2):
        text = data.draw(strategies.texts(max_pieces=30))
        spans = data.draw(strategies.spans_of(text))
        headers = [data.draw(strategies.headers) for _ in spans]
        parents.append(Parent(text, spans, headers=headers))
    try:
        engine = loaded[family].engine(
            **options,
            sub_span_tokens=size,
            sub_spans_per_chunk=budget,
            batch_tokens=data.draw(st.sampled_from([1, 100, 2_000])),
        )
    except WindowBudgetError:
        assume(False)  # the prompt fills a small window: tested elsewhere
    oracle = oracle_of(
        loaded[family],
        max_tokens=window,
        prompt=options["document_prompt"],
        focus=focus,
        header_focus=0.0 if math.isinf(focus) else float(options["header_focus"]),
        header_pooling=options["header_pooling"],
        overlap=4,
    )
    for parent, result in zip(parents, engine.embed(parents), strict=True):
        spans = [(int(start), int(end)) for start, end in parent.spans.array]
        assert parent.headers is not None
        sums = oracle.sub_spans(parent.text, spans, parent.headers, size)
        found = result.sub_spans
        assert found is not None
        if budget is None:
            assert [tuple(span) for span in found.spans.array.tolist()] == [s.span for s in sums]
        else:
            assert len(found) <= max(len(spans), math.floor(budget * len(spans)))
        wanted = [oracle.pool(own) for own in grouped(found, sums)]
        np.testing.assert_allclose(found.vectors, wanted, atol=1e-5)
        chunks = [oracle.pool([s for s in sums if s.chunk == c]) for c in range(len(spans))]
        np.testing.assert_allclose(result.vectors, chunks, atol=1e-5)


@pytest.mark.rule(1)
@pytest.mark.parametrize("family", FAMILIES_ONE_FAST)
@_SETTINGS
@given(data=st.data())
def test_sub_spans_of_running_text_are_the_oracles_and_chunks_what_they_were(
    loaded: dict[str, Loaded], family: Family, data: st.DataObject
) -> None:
    focus = data.draw(st.sampled_from([0.0, 2.0]))
    size = data.draw(st.sampled_from([2, 5, 16]))
    text = data.draw(strategies.texts(max_pieces=30))
    spans = data.draw(strategies.spans_of(text))
    options: dict[str, Any] = {"layout": "text", "max_tokens": 64, "focus": focus}
    engine = loaded[family].engine(**options, sub_span_tokens=size)
    (result,) = engine.embed([Parent(text, spans, header="Cities")])
    found = result.sub_spans
    assert found is not None
    pooled = [*map(tuple, found.spans.array.tolist()), *spans]
    oracle = replace(loaded[family].oracle, focus=focus, header_focus=max(0.0, focus - 0.5))
    wanted = oracle.running_vectors(text, pooled, "Cities")
    for vector, own in zip([*found.vectors, *result.vectors], wanted, strict=True):
        if own is not None:
            np.testing.assert_allclose(vector, own, atol=1e-5)
    if focus == 0:
        (plain,) = loaded[family].engine(**options).embed([Parent(text, spans, header="Cities")])
        late = [mode != "standalone" for mode in plain.modes]
        np.testing.assert_allclose(result.vectors[late], plain.vectors[late], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@_SETTINGS
@given(data=st.data())
def test_sub_spans_tile_their_chunks_and_end_at_words(
    loaded: dict[str, Loaded], family: Family, data: st.DataObject
) -> None:
    text = data.draw(strategies.texts())
    spans = data.draw(strategies.spans_of(text))
    size = data.draw(st.sampled_from([4, 12]))
    engine = loaded[family].engine(sub_span_tokens=size)
    (result,) = engine.embed([Parent(text, spans)])
    found = result.sub_spans
    assert found is not None
    assert sorted(set(found.chunks.tolist())) == list(range(len(spans)))
    tokenizer = loaded[family].model.tokenizer
    for chunk, (start, end) in enumerate(spans):
        own = found.spans.array[found.of_chunk(chunk)].tolist()
        assert [own[0][0], own[-1][1]] == [start, end]
        for (_, before), (after, _) in pairwise(own):
            assert before == after
            inside = not text[before].isspace() and not text[before - 1].isspace()
            if inside and text[before - 1].isascii() and text[before].isascii():
                # With the white space before it, which may be a token of its own.
                word = re.findall(r"\s*\S*$", text[:before])[0] + text[before:].split()[0]
                n_tokens = len(tokenizer(word, add_special_tokens=False)["input_ids"])
                assert n_tokens > size, word


@pytest.mark.rule(3)
@pytest.mark.parametrize("family", FAMILIES)
def test_infinite_focus_is_each_sub_span_embedded_alone(
    loaded: dict[str, Loaded], family: Family
) -> None:
    parent = Parent(LONG, HALVES, header="Cities of Germany")
    options: dict[str, Any] = {"sub_span_tokens": 8}
    one = loaded[family].engine(focus=math.inf, **options).embed([parent])[0]
    other = loaded[family].engine(enabled=False, **options).embed([parent])[0]
    assert one.sub_spans is not None
    assert other.sub_spans is not None
    assert len(one.sub_spans) > len(one)
    np.testing.assert_allclose(one.sub_spans.vectors, other.sub_spans.vectors, atol=1e-5)
    np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-5)


@pytest.mark.parametrize("layout", ["units", "text"])
def test_a_blend_blends_sub_spans_and_chunks(loaded: dict[str, Loaded], layout: str) -> None:
    parent = Parent(LONG, HALVES, header="Cities")
    options: dict[str, Any] = {"layout": layout, "sub_span_tokens": 8, "max_tokens": 64}
    late, alone, both = (
        loaded["wordpiece"].engine(**options, context_weight=weight).embed([parent])[0]
        for weight in (1.0, 0.0, 0.25)
    )
    for name in ("vectors", "sub_spans"):
        sides = [getattr(one, name) for one in (late, alone, both)]
        a, b, got = [getattr(side, "vectors", side) for side in sides]
        wanted = 0.25 * a + 0.75 * b
        wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
        np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_a_chunk_shorter_than_a_sub_span_is_its_own_and_tokens_are_counted(
    loaded: dict[str, Loaded],
) -> None:
    engine = loaded["wordpiece"].engine(sub_span_tokens=1_000, max_tokens=256)
    (result,) = engine.embed([Parent(LONG, HALVES)])
    assert result.sub_spans is not None
    np.testing.assert_allclose(result.sub_spans.vectors, result.vectors, atol=1e-6)
    assert result.sub_spans.spans == CharSpans(HALVES)
    divided = loaded["wordpiece"].engine(sub_span_tokens=8, max_tokens=256)
    (other,) = divided.embed([Parent(LONG, HALVES)])
    assert other.sub_spans is not None
    extra = len(other.sub_spans) - len(result.sub_spans)
    assert divided.stats["tokens"] - engine.stats["tokens"] == 2 * extra
    assert divided.stats["sub_spans"] == len(other.sub_spans)


def test_the_header_vector_is_added_to_sub_spans_too(loaded: dict[str, Loaded]) -> None:
    parent = Parent(LONG, HALVES, headers=["Cities", "Germany"])
    options: dict[str, Any] = {"sub_span_tokens": 8, "sub_spans_per_chunk": 2}
    plain = loaded["wordpiece"].engine(**options).embed([parent])[0].sub_spans
    with_header = loaded["wordpiece"].engine(**options, header_weight=0.5).embed([parent])[0]
    assert plain is not None
    assert with_header.sub_spans is not None
    titles = loaded["wordpiece"].engine().embed_texts(["Cities", "Germany"])
    wanted = plain.vectors + 0.5 * titles[plain.chunks]
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(with_header.sub_spans.vectors, wanted, atol=1e-5)


def test_levels_of_a_hierarchy_do_not_read_their_own_text_again(loaded: dict[str, Loaded]) -> None:
    engine = loaded["wordpiece"].engine(sub_span_tokens=8, max_tokens=256)
    inner = loaded["wordpiece"].engine(sub_span_tokens=8, max_tokens=256)
    (both,) = engine.embed([Parent(LONG, [(0, len(LONG)), *HALVES])])
    (alone,) = inner.embed([Parent(LONG, HALVES)])
    np.testing.assert_allclose(both.vectors[1:], alone.vectors, atol=1e-5)


def test_skipped_parents_have_no_sub_spans_and_unasked_ones_none(
    loaded: dict[str, Loaded],
) -> None:
    engine = loaded["wordpiece"].engine(sub_span_tokens=8, fallback="skip", max_tokens=32)
    long, short = engine.embed([Parent(LONG, HALVES), Parent("Berlin")])
    assert long.skipped
    assert long.sub_spans is not None
    assert short.sub_spans is not None
    assert (len(long.sub_spans), len(short.sub_spans)) == (0, 1)
    assert loaded["wordpiece"].engine().embed([Parent("Berlin")])[0].sub_spans is None


def test_sub_spans_survive_a_pickle_and_cannot_be_written(loaded: dict[str, Loaded]) -> None:
    (result,) = loaded["wordpiece"].engine(sub_span_tokens=8).embed([Parent(TEXT, SENTENCES)])
    copied = pickle.loads(pickle.dumps(result)).sub_spans
    assert result.sub_spans is not None
    np.testing.assert_array_equal(copied.vectors, result.sub_spans.vectors)
    for array in (copied.vectors, copied.chunks, copied.spans.array):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    with pytest.raises(InputTypeError, match="one of each"):
        SubSpanVectors(np.zeros((2, 3), np.float32), np.zeros(1, np.int64), CharSpans([(0, 1)]))
    spans = CharSpans([(0, 1), (1, 2)])
    with pytest.raises(InputTypeError, match="ascend"):
        SubSpanVectors(np.zeros((2, 3), np.float32), np.array([1, 0]), spans)


def test_the_fingerprint_knows_sub_spans(loaded: dict[str, Loaded]) -> None:
    options: list[dict[str, Any]] = [
        {},
        {"sub_span_tokens": 32},
        {"sub_span_tokens": 16},
        {"sub_span_tokens": 16, "sub_spans_per_chunk": 2.0},
    ]
    engines = [loaded["wordpiece"].engine(**own) for own in options]
    assert len({engine.fingerprint for engine in engines}) == len(options)
    assert "sub-spans of about 32 tokens" in str(engines[1].describe())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sub_span_tokens": 0}, "at least 1"),
        ({"sub_span_tokens": 32, "sub_spans_per_chunk": 0.5}, "at least 1"),
        ({"sub_spans_per_chunk": 2}, "needs sub_span_tokens"),
    ],
)
def test_impossible_sub_spans_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        LateChunkOptions(model="some/model", **options)


def test_a_service_that_pools_itself_refuses_sub_spans() -> None:
    with pytest.raises(OptionError, match="no tokens to pool sub-spans from"):
        LateChunkEngine.from_pretrained(
            "jina-embeddings-v3", encoder="jina", api_key="k", sub_span_tokens=32
        )


def test_the_focus_grows_with_the_sub_spans_of_a_window(loaded: dict[str, Loaded]) -> None:
    """2.0 ln k, the header half a nat below; chunks that are one unit each keep 1.6."""
    parent = Parent(LONG, HALVES, header="Cities")
    for options, slope in (({"sub_span_tokens": 16}, 2.0), ({}, 1.6)):
        block = loaded["wordpiece"].engine(max_tokens=256, **options).plan([parent])
        assert block.focus is not None
        assert block.header_focus is not None
        n_units = np.diff(block.windows)
        assert n_units.sum() > 1
        np.testing.assert_allclose(block.focus, slope * np.log(n_units), atol=1e-6)
        header_focus = np.maximum(block.focus - 0.5, 0)
        np.testing.assert_allclose(block.header_focus, header_focus, atol=1e-6)


def test_inspection_shows_the_chunks_of_each_window(loaded: dict[str, Loaded]) -> None:
    engine = loaded["wordpiece"].engine(sub_span_tokens=8, max_tokens=256)
    found = inspect_parent(engine, Parent(LONG, HALVES))
    assert {unit for window in found.windows for unit in window.units} == {0, 1}
    assert [chunk.start for chunk in found.chunks] == [start for start, _ in HALVES]
    assert all(chunk.windows for chunk in found.chunks)
