"""Blends in NumPy are what the engine itself gives with those options."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latechunk_integrations import CharSpans, LateChunkEngine, Parent
from latechunk_integrations.errors import OptionError
from latechunk_integrations.evaluation.compare import compare
from latechunk_integrations.evaluation.dataset import GoldenDocument, GoldenSet, GoldSpan, Query
from latechunk_integrations.evaluation.pass_cache import VectorCache
from latechunk_integrations.evaluation.passes import Passes
from latechunk_integrations.evaluation.results import Configuration
from latechunk_integrations.evaluation.similarity import sentence_spans
from latechunk_integrations.options import Fallback

LONG = (
    "The supplier delivers every part within thirty days, unless Section 1.3 says otherwise. "
    "Berlin is the capital of Germany; its inhabitants are proud of the café.    \n\n   "
) * 3
SHORT = "Don't stop at the tower, see the façade too. It is a city."
SETS = GoldenSet(
    "two",
    (GoldenDocument("long", LONG, "Supply and capital"), GoldenDocument("short", SHORT)),
    (Query("q", "long", "Who delivers?"), Query("r", "short", "What to see?")),
    (GoldSpan("q", "long", 4, 12), GoldSpan("r", "short", 5, 9)),
)
_PLAIN: dict[str, Any] = {"context_weight": 0.0}
_TITLED_BLANK = 20  # tokens of a chunk of white space, special tokens and title included
BLANK = LONG.index("café.") + 5
SPANS: dict[int | None, list[CharSpans]] = {
    # One chunk is white space alone, which cannot be done late.
    40: [
        CharSpans([(0, 40), (40, BLANK), (BLANK, BLANK + 4), (BLANK, len(LONG))]),
        CharSpans([(0, 20), (20, len(SHORT))]),
    ],
    # Across the borders of the other size: chunks of two sizes never read each other.
    None: [CharSpans([(0, len(LONG))]), CharSpans([(3, 30)])],
}
CONFIGURATIONS = [
    Configuration(name="early"),
    Configuration(name="early, title", header="attended", pool_edges=False),
    Configuration(name="late", context_weight=1.0),
    Configuration(name="late, title", context_weight=1.0, header="attended"),
    Configuration(name="title vector", context_weight=1.0, header="attended", header_weight=0.3),
    Configuration(name="no title", context_weight=0.3, overlap_tokens=7),
    Configuration(
        name="everything",
        context_weight=0.6,
        header="attended",
        header_weight=0.1,
        overlap_tokens=12,
        pool_edges=False,
    ),
    Configuration(name="text, focus", context_weight=1.0, focus="auto"),
    Configuration(
        name="units", context_weight=1.0, header="attended", layout="units", focus="auto"
    ),
]


def _passes(engine: LateChunkEngine, folder: Path | None = None) -> Passes:
    return Passes(engine, SETS, SPANS, VectorCache(folder))


def _by_engine(
    engine: LateChunkEngine, configuration: Configuration, size: int | None
) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.float32]], int]:
    """Vectors and encoder tokens of an engine that has the options itself."""
    one = LateChunkEngine(engine.encoder, replace(engine.options, **configuration.options()))
    titled = configuration.header == "attended"
    parents = [
        Parent(document.text, spans, header=document.title if titled else "")
        for document, spans in zip(SETS.documents, SPANS[size], strict=True)
    ]
    vectors = np.concatenate([found.vectors for found in one.embed(parents)])
    return vectors, one.stats["tokens"]


@pytest.mark.parametrize("size", [40, None])
@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda c: c.name)
def test_a_blend_is_what_the_engine_gives(
    tiny_engine: LateChunkEngine, configuration: Configuration, size: int | None
) -> None:
    vectors, _ = _passes(tiny_engine).vectors(configuration, size)
    expected, _ = _by_engine(tiny_engine, configuration, size)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda c: c.name)
def test_costs_are_those_of_the_configuration_alone(
    tiny_engine: LateChunkEngine, configuration: Configuration
) -> None:
    passes = Passes(tiny_engine, SETS, {40: SPANS[40]}, VectorCache(None))
    for other in CONFIGURATIONS:
        passes.vectors(other, 40)
    _, costs = passes.vectors(configuration, 40)
    _, n_tokens = _by_engine(tiny_engine, configuration, 40)
    # The engine embeds the white-space chunk once for both sides of a blend, two passes twice.
    blended = 0 < configuration.context_weight < 1
    assert n_tokens <= costs.encoder_tokens <= n_tokens + (_TITLED_BLANK if blended else 0)
    assert costs.seconds > 0


@pytest.mark.parametrize("fallback", ["standard", "skip", "error"])
def test_only_what_would_leave_documents_out_becomes_windows(
    tiny_engine: LateChunkEngine, fallback: Fallback
) -> None:
    options = replace(tiny_engine.options, fallback=fallback, normalize=False, max_tokens=48)
    engine = LateChunkEngine(tiny_engine.encoder, options)
    late = Configuration(name="late", context_weight=1.0)
    passes = _passes(engine)
    vectors, _ = passes.vectors(late, 40)
    kept: Fallback = "standard" if fallback == "standard" else "window"
    same = replace(options, fallback=kept, normalize=True)
    expected, _ = _by_engine(LateChunkEngine(tiny_engine.encoder, same), late, 40)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    notes = " ".join(passes.notes())
    assert "cosines" in notes
    assert f"fallback={fallback!r}" in notes
    assert ("read in windows" in notes) is (fallback != "standard")
    assert _passes(tiny_engine).notes() == []


def test_early_chunking_is_no_reason_to_leave_late_chunking_out(
    tiny_engine: LateChunkEngine,
) -> None:
    """An engine that is switched off is compared like any other."""
    options = replace(tiny_engine.options, enabled=False)
    late = Configuration(name="late", context_weight=1.0)
    vectors, _ = _passes(LateChunkEngine(tiny_engine.encoder, options)).vectors(late, 40)
    expected, _ = _by_engine(tiny_engine, late, 40)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_a_prepended_title_is_pooled_with_each_chunk(tiny_engine: LateChunkEngine) -> None:
    prepended = Configuration(name="prepended", header="prepended")
    vectors, _ = _passes(tiny_engine).vectors(prepended, None)
    expected = tiny_engine.embed_texts([SHORT[3:30]])
    np.testing.assert_allclose(vectors[1:], expected, atol=1e-6)
    by_hand = Parent("Supply and capital\n" + LONG)
    one = LateChunkEngine(tiny_engine.encoder, replace(tiny_engine.options, **_PLAIN))
    np.testing.assert_allclose(vectors[:1], one.embed([by_hand])[0].vectors, atol=1e-6)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_an_automatic_header_is_the_title_and_the_headings_above_a_chunk(
    tiny_engine: LateChunkEngine, weight: float
) -> None:
    text = "# Rules\n\nRead them.\n\n## Delivery\n\nWithin thirty days.\n"
    spans = CharSpans([(0, text.index("##")), (text.index("Within"), len(text))])
    golden = GoldenSet(
        "headed",
        (GoldenDocument("a", text, "Handbook"),),
        (Query("q", "a", "When?"),),
        (GoldSpan("q", "a", 3, 9),),
    )
    auto = Configuration(name="auto", context_weight=weight, header="auto", layout="units")
    vectors, _ = Passes(tiny_engine, golden, {9: [spans]}, VectorCache(None)).vectors(auto, 9)
    by_hand = Parent(
        text, spans, headers=["Handbook > Rules", "Handbook > Rules > Delivery"], id="a"
    )
    one = LateChunkEngine(tiny_engine.encoder, replace(tiny_engine.options, **auto.options()))
    np.testing.assert_allclose(vectors, one.embed([by_hand])[0].vectors, atol=1e-6)


def test_a_prepended_title_is_refused_in_a_late_pass(tiny_engine: LateChunkEngine) -> None:
    mixed = Configuration(name="mixed", context_weight=0.5, header="prepended")
    with pytest.raises(OptionError, match="prepended"):
        _passes(tiny_engine).vectors(mixed, 40)


def test_a_title_vector_needs_a_title(tiny_engine: LateChunkEngine) -> None:
    untitled = replace(SETS, documents=tuple(replace(d, title=" ") for d in SETS.documents))
    weighted = Configuration(name="w", header="attended", header_weight=0.1)
    with pytest.raises(OptionError, match="titles"):
        Passes(tiny_engine, untitled, SPANS, VectorCache(None)).vectors(weighted, 40)


def test_a_second_run_embeds_nothing(
    tiny_engine: LateChunkEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _passes(tiny_engine, tmp_path)
    made = [first.vectors(each, size) for each in CONFIGURATIONS for size in SPANS]
    queries = first.queries()

    def refuse(*_args: object) -> None:
        raise AssertionError("embedded again")

    monkeypatch.setattr(tiny_engine.encoder, "forward", refuse)
    monkeypatch.setattr(tiny_engine.encoder, "encode_queries", refuse)
    second = _passes(tiny_engine, tmp_path)
    again = [second.vectors(each, size) for each in CONFIGURATIONS for size in SPANS]
    for (vectors, costs), (same, kept) in zip(made, again, strict=True):
        np.testing.assert_array_equal(vectors, same)
        assert costs == kept
    np.testing.assert_array_equal(queries, second.queries())


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_chunk_with_sub_spans_counts_as_its_best_part(
    tiny_engine: LateChunkEngine, weight: float
) -> None:
    """Against the engine itself, part by part."""
    parted = Configuration(
        name="parts", context_weight=weight, header="attended", layout="auto", sub_span_tokens=6
    )
    found = compare(tiny_engine, SETS, [parted], splitter="sentences")
    options = replace(tiny_engine.options, **parted.options())
    if not weight:
        options = replace(tiny_engine.options, context_weight=0.0, sub_span_tokens=6)
    engine = LateChunkEngine(tiny_engine.encoder, options)
    scores: dict[tuple[str, int], list[float]] = {}
    n_parts = 0
    queries = [engine.embed_query(query.text) for query in SETS.queries]
    for document in SETS.documents:
        spans = sentence_spans(document.text)
        (made,) = engine.embed([Parent(document.text, spans, header=document.title)])
        assert made.sub_spans is not None
        n_parts += len(made.sub_spans)
        for n, span in enumerate(spans):
            rows = made.sub_spans.vectors[made.sub_spans.of_chunk(n)]
            scores[document.doc_id, span.start] = [
                max(float(row @ query) for row in rows) for query in queries
            ]
    result = found.get("parts")
    assert result.n_vectors == n_parts > result.n_chunks
    for n, query in enumerate(result.queries):
        for hit in query.top:
            assert hit.score == pytest.approx(scores[hit.doc_id, hit.start][n], abs=1e-4)
        best = sorted((each[n] for each in scores.values()), reverse=True)
        got = [hit.score for hit in query.top]
        assert got == pytest.approx(best[: len(got)], abs=1e-4)


def test_sub_spans_are_not_blended(tiny_engine: LateChunkEngine) -> None:
    mixed = Configuration(name="mixed", context_weight=0.5, layout="auto", sub_span_tokens=6)
    with pytest.raises(OptionError, match="not blended"):
        _passes(tiny_engine).vectors(mixed, 40)
