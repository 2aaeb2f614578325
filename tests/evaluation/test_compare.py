"""A comparison against loops over every query and chunk."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.errors import OptionError
from latechunk_integrations.evaluation.compare import compare
from latechunk_integrations.evaluation.configurations import BASELINE, configuration_of
from latechunk_integrations.evaluation.dataset import GoldenDocument, GoldenSet, GoldSpan, Query
from latechunk_integrations.evaluation.record import read_record, write_record
from latechunk_integrations.evaluation.results import Comparison, Configuration
from latechunk_integrations.schema import Span
from tests.evaluation.support import small_set
from tests.evaluation.word_encoder import WordEncoder, lines, word_engine

_SUBJECTS = ("crane", "tower", "bridge", "harbour", "tunnel")
_FACTS = ("is tall", "is old and red", "was built by hand", "opens at noon", "has a clock")
LATE = Configuration(name="late", context_weight=1.0)
TITLED = Configuration(name="titled", context_weight=0.5, header="attended", header_weight=0.1)


def _pairs(text: str) -> list[tuple[int, int]]:
    each = lines(text)
    return [(a[0], b[1]) for a, b in zip(each[::2], [*each[1::2], each[-1]], strict=False)]


def sized(text: str, chunk_size: int) -> list[tuple[int, int]]:
    """One line or two."""
    return lines(text) if chunk_size == 1 else _pairs(text)


def _set() -> GoldenSet:
    """Documents of five facts, each fact told with "it" behind the first line."""
    documents, queries, spans = [], [], []
    for subject in _SUBJECTS:
        text = f"This is about the {subject}.\n" + "\n".join(f"It {fact}." for fact in _FACTS)
        documents.append(GoldenDocument(subject, text, f"The {subject}"))
        for n, fact in enumerate(_FACTS):
            query = f"{subject}{n}"
            start = text.index(fact)
            queries.append(Query(query, subject, f"the {subject} {fact}"))
            spans.append(GoldSpan(query, subject, start, start + len(fact)))
    return GoldenSet("buildings", tuple(documents), tuple(queries), tuple(spans))


def _by_loops(
    engine: LateChunkEngine, golden: GoldenSet, weight: float
) -> dict[str, tuple[float, int, float, int]]:
    """nDCG@10 and rank of each query, over the corpus and inside the gold document."""
    one = LateChunkEngine(engine.encoder, replace(engine.options, context_weight=weight))
    chunks = []
    for document in golden.documents:
        spans = lines(document.text)
        (found,) = one.embed([Parent(document.text, spans)])
        chunks += [
            (document.doc_id, span, row) for span, row in zip(spans, found.vectors, strict=True)
        ]
    scores = {}
    for query in golden.queries:
        vector = one.embed_query(query.text)
        gold = golden.by_query[query.query_id]
        # Facts repeat, so chunks tie, and how a processor adds must not part them.
        exact = vector.astype(np.float64)
        ranked = sorted(chunks, key=lambda chunk: -round(float(chunk[2] @ exact), 6))
        hits = [
            any(doc == g.doc_id and s < g.end and e > g.start for g in gold)
            for doc, (s, e), _ in ranked
        ]
        inside = [hit for hit, chunk in zip(hits, ranked, strict=True) if chunk[0] == query.doc_id]
        scores[query.query_id] = (*_measured(hits), *_measured(inside))
    return scores


def _measured(hits: Sequence[bool]) -> tuple[float, int]:
    gain = sum(1 / math.log2(rank + 2) for rank, hit in enumerate(hits[:10]) if hit)
    best = sum(1 / math.log2(rank + 2) for rank in range(min(10, sum(hits))))
    return gain / best, hits.index(True) + 1


@pytest.fixture(scope="module")
def compared() -> Comparison:
    return compare(word_engine(), _set(), [LATE, TITLED], splitter=lines, chunk_sizes=[None])


@pytest.mark.slow
def test_chunk_sizes_that_are_not_given_are_the_splitters_own() -> None:
    assert compare(word_engine(), _set(), [], splitter=lines).chunk_sizes == (None,)
    assert compare(word_engine(), _set(), []).chunk_sizes == (128,)


@pytest.mark.parametrize(("name", "weight"), [(BASELINE, 0.0), ("late", 1.0)])
def test_measures_and_ranks_are_those_of_plain_loops(
    compared: Comparison, name: str, weight: float
) -> None:
    result = compared.get(name)
    expected = _by_loops(word_engine(), _set(), weight)
    for query in result.queries:
        ndcg, rank, inside, inside_rank = expected[query.query_id]
        assert query.scores["nDCG@10"] == pytest.approx(ndcg)
        assert query.document_scores["nDCG@10"] == pytest.approx(inside)
        assert (query.rank, query.document_rank) == (rank, inside_rank)
    means = np.mean(list(expected.values()), axis=0)
    assert result.corpus["nDCG@10"] == pytest.approx(means[0])
    assert result.document["nDCG@10"] == pytest.approx(means[2])


def test_early_chunking_comes_first_and_the_others_are_measured_against_it(
    compared: Comparison,
) -> None:
    assert compared.names == (BASELINE, "late", "titled")
    early, late = compared.get(BASELINE), compared.get("late")
    assert compared.opponent is early
    assert early.corpus_difference == early.document_difference == {}
    for measure, value in late.corpus.items():
        assert late.corpus_difference[measure].mean == pytest.approx(value - early.corpus[measure])
        inside = late.document[measure] - early.document[measure]
        assert late.document_difference[measure].mean == pytest.approx(inside)
    # Facts are told of "it": only a chunk that has read its document knows of what.
    low = late.corpus_difference["RR@10"].low
    assert low is not None
    assert low > 0.2


def test_hits_are_the_best_chunks_with_their_places(compared: Comparison) -> None:
    golden = _set()
    for query in compared.get("late").queries:
        scores = [hit.score for hit in query.top]
        assert scores == sorted(scores, reverse=True)
        gold = golden.by_query[query.query_id]
        for rank, hit in enumerate(query.top, 1):
            inside = any(
                hit.doc_id == g.doc_id and hit.start < g.end and hit.end > g.start for g in gold
            )
            assert hit.relevant is inside
            assert not hit.relevant or (query.rank is not None and query.rank <= rank)


def test_a_result_survives_json(compared: Comparison, tmp_path: Path) -> None:
    write_record(compared, tmp_path / "comparison.json")
    assert read_record(tmp_path / "comparison.json") == compared


@pytest.mark.slow
def test_each_chunk_size_is_measured_as_if_it_ran_alone() -> None:
    splitter = f"{__name__}:sized"
    both = compare(word_engine(), _set(), [LATE], splitter=splitter, chunk_sizes=[1, 2])
    assert [(r.name, r.chunk_size, r.n_chunks) for r in both.results] == [
        ("early", 1, 30),
        ("late", 1, 30),
        ("early", 2, 15),
        ("late", 2, 15),
    ]
    for size in (1, 2):
        alone = compare(word_engine(), _set(), [LATE], splitter=splitter, chunk_sizes=[size])
        for name in (BASELINE, "late"):
            assert both.get(name, size).queries == alone.get(name, size).queries


@pytest.mark.slow
def test_one_forward_pass_serves_all_weights_and_a_cache_all_runs(tmp_path: Path) -> None:
    engine = word_engine()
    encoder = engine.encoder
    assert isinstance(encoder, WordEncoder)
    weights = [Configuration(name=f"{w}", context_weight=w) for w in (0.2, 0.4, 0.6, 0.8)]
    options: dict[str, Any] = {"splitter": lines, "chunk_sizes": [None], "cache": tmp_path}
    compare(engine, _set(), [LATE], **options)
    n_forward = encoder.n_forward
    first = compare(engine, _set(), [LATE, *weights], **options)
    assert encoder.n_forward == n_forward
    assert compare(engine, _set(), [LATE, *weights], **options) == first


def test_of_equal_chunks_the_earlier_one_ranks_first() -> None:
    text = "same words\nsame words\nsame words"
    golden = GoldenSet(
        "ties",
        (GoldenDocument("d", text),),
        (Query("q", "d", "same"),),
        (GoldSpan("q", "d", 11, 15),),
    )
    early = compare(word_engine(), golden, [], splitter=lines, chunk_sizes=[None]).get(BASELINE)
    assert (early.queries[0].rank, early.queries[0].scores["RR@10"]) == (2, 0.5)


def test_an_answer_between_the_chunks_is_said_and_counts_as_not_found() -> None:
    golden = _set()
    heads = compare(
        word_engine(), golden, [LATE], splitter=lambda text: lines(text)[:2], chunk_sizes=[None]
    )
    late = heads.get("late")
    assert {query.rank for query in late.queries if not query.query_id.endswith("0")} == {None}
    assert late.corpus["Success@5"] <= 0.2
    assert any("20 queries have a gold span that no chunk overlaps" in n for n in heads.notes)


@pytest.mark.parametrize(
    ("configurations", "message"),
    [
        ([LATE, replace(LATE, context_weight=0.5)], "different names"),
        ([Configuration(name=BASELINE, context_weight=0.5)], "belongs to plain early"),
        ([replace(LATE, header="prepended")], "prepended"),
    ],
)
def test_configurations_that_cannot_be_compared_are_refused(
    configurations: list[Configuration], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        compare(word_engine(), _set(), configurations, splitter=lines, chunk_sizes=[None])


@pytest.mark.slow
def test_documents_without_titles_are_compared_without_the_titles_vector() -> None:
    titled = _set()
    bare = replace(titled, documents=tuple(replace(d, title="") for d in titled.documents))
    attended = replace(TITLED, name="attended", header_weight=0.0)
    plain = Configuration(name="plain", context_weight=0.5)
    found = compare(word_engine(), bare, [TITLED, attended, plain], splitter=lines)
    assert found.names == (BASELINE, "attended", "plain")
    assert found.get("attended").corpus == found.get("plain").corpus
    assert found.notes == (
        "no document has a title: rows that use one are measured without it; left out: 'titled'",
    )
    assert compare(word_engine(), titled, [TITLED], splitter=lines).notes == ()


def test_a_measure_without_a_cutoff_is_refused() -> None:
    with pytest.raises(OptionError, match="cutoff"):
        compare(word_engine(), _set(), [LATE], splitter=lines, measures=["nDCG"])


@pytest.mark.slow
def test_any_configuration_can_be_the_opponent() -> None:
    options: dict[str, Any] = {"splitter": lines}
    found = compare(word_engine(), _set(), [LATE, TITLED], opponent="titled", **options)
    assert found.names == ("titled", BASELINE, "late")
    assert found.opponent.corpus_difference == {}
    for result in found.results[1:]:
        expected = result.corpus["RR@10"] - found.opponent.corpus["RR@10"]
        assert result.corpus_difference["RR@10"].mean == pytest.approx(expected)
    with pytest.raises(OptionError, match="no configuration is called 'fast'"):
        compare(word_engine(), _set(), [LATE], opponent="fast", **options)


@pytest.mark.slow
def test_models_and_sizes_are_compared_with_one_opponent() -> None:
    engines = [word_engine(1.0), word_engine(3.0)]
    splitter = f"{__name__}:sized"
    both = compare(engines, _set(), [LATE], splitter=splitter, chunk_sizes=[1, 2])
    assert both.models == ("words", "words (2)")
    assert [(r.model, r.chunk_size, r.name) for r in both.results] == [
        (model, size, name)
        for model in both.models
        for size in (1, 2)
        for name in ("early", "late")
    ]
    assert both.label(both.results[-1]) == "late, 2 tokens, words (2)"
    for result in both.results[1:]:
        expected = result.corpus["answer@2000"] - both.opponent.corpus["answer@2000"]
        assert result.corpus_difference["answer@2000"].mean == pytest.approx(expected)
    alone = compare(engines[1], _set(), [LATE], splitter=splitter, chunk_sizes=[2])
    assert both.get("late", 2, "words (2)").queries == alone.get("late", 2).queries


@pytest.mark.slow
def test_of_several_places_the_one_that_is_found_first_counts() -> None:
    """The score is the best that a label with one of the places would give."""
    golden = _set()
    document = golden.documents[0]
    places = [Span(*place) for place in lines(document.text)[1:4]]
    query = golden.queries[0]

    def labelled(*given: Span) -> GoldenSet:
        first, *others = given
        gold = GoldSpan(query.query_id, document.doc_id, first.start, first.end, tuple(others))
        return replace(golden, queries=(query,), spans=(gold,))

    def score(given: GoldenSet) -> tuple[float, int | None]:
        result = compare(word_engine(), given, [LATE], splitter=lines).get("late")
        return result.corpus["nDCG@10"], result.queries[0].rank

    alone = [score(labelled(place)) for place in places]
    assert len(set(alone)) > 1
    assert score(labelled(*places)) == max(alone)
    assert score(labelled(*reversed(places))) == max(alone)
    assert compare(word_engine(), labelled(*places), [], splitter=lines).uncertain == (
        query.query_id,
    )


def test_units_of_one_size_do_not_read_those_of_another(tiny_engine: LateChunkEngine) -> None:
    golden = small_set()
    unit = replace(LATE, layout="units", focus=0.0)
    sizes: tuple[int | None, ...] = (8, 16)
    both = compare(tiny_engine, golden, [unit], chunk_sizes=sizes)
    for size in sizes:
        alone = compare(tiny_engine, golden, [unit], chunk_sizes=[size])
        assert both.get("late", size).queries == alone.get("late", size).queries


def test_a_budget_of_tokens_is_filled_with_the_best_chunks() -> None:
    golden = _set()
    found = compare(
        word_engine(), golden, [LATE], splitter=lines, measures=["nDCG@10", "answer@12"]
    ).get("late")
    for query in found.queries:
        (gold,) = golden.by_query[query.query_id]
        document = next(d for d in golden.documents if d.doc_id == gold.doc_id)
        wanted = {n for n in range(gold.start, gold.end) if document.text[n].isalnum()}
        left, seen = 12, set()
        for hit in query.top:
            text = next(d.text for d in golden.documents if d.doc_id == hit.doc_id)
            for word in re.finditer(r"\w+", text):
                if left and word.start() < hit.end and word.end() > hit.start:
                    left -= 1
                    seen |= {n for n in range(*word.span()) if hit.doc_id == gold.doc_id}
        assert query.scores["answer@12"] == pytest.approx(
            _share_of_words(document.text, wanted, seen)
        )


def _share_of_words(text: str, wanted: set[int], seen: set[int]) -> float:
    words = [set(range(*word.span())) for word in re.finditer(r"\w+", text)]
    needed = [word for word in words if word & wanted]
    return sum(bool(word & seen) for word in needed) / len(needed)


def test_options_that_configurations_set_are_not_passed_over_in_silence() -> None:
    """Who compares with the options that `tune` wrote would take some row for them."""
    engine = word_engine()
    own = LateChunkEngine(
        engine.encoder, replace(engine.options, overlap_tokens=4, pool_edges=False)
    )
    found = compare(own, _set(), [LATE], splitter=lines)
    (note,) = found.notes
    assert note.startswith("overlap_tokens=4, pool_edges=False: the engine's own, not measured")
    measured = compare(own, _set(), [configuration_of(own.options)], splitter=lines)
    assert measured.notes == ()
