"""Measures: by hand, against ir-measures, and against SciPy."""

from __future__ import annotations

import math

import ir_measures
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from latechunk_integrations.errors import OptionError
from latechunk_integrations.evaluation.dataset import GoldSpan
from latechunk_integrations.evaluation.metrics import (
    FEWEST_QUERIES,
    MEASURES,
    ChunkTable,
    budget_of,
    count_needed_queries,
    deepest,
    paired_difference,
    score_rankings,
    token_scores,
)
from latechunk_integrations.schema import CharSpans
from tests.evaluation.support import BERLIN, TOKYO, small_set


def _rows(*numbers: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(numbers, np.int64)


def test_measures_of_a_ranking_done_by_hand() -> None:
    """Two right chunks, found at places 2 and 4."""
    ranking, relevant = _rows(9, 1, 7, 2, 3), _rows(1, 2)
    scores = score_rankings(
        [ranking], [relevant], ["nDCG@10", "RR@10", "R@1", "R@2", "R@5", "Success@1", "Success@5"]
    )
    gain = 1 / math.log2(3) + 1 / math.log2(5)
    best = 1 / math.log2(2) + 1 / math.log2(3)
    expected = [gain / best, 1 / 2, 0.0, 0.5, 1.0, 0.0, 1.0]
    assert [float(values[0]) for values in scores.values()] == pytest.approx(expected)


def test_a_query_without_a_right_chunk_scores_zero_and_keeps_its_place() -> None:
    scores = score_rankings([_rows(0, 1), _rows(0, 1)], [_rows(), _rows(0)], ["RR@10"])
    assert scores["RR@10"].tolist() == [0.0, 1.0]


@given(st.integers(0, 10_000))
def test_measures_are_those_of_ir_measures(seed: int) -> None:
    random = np.random.default_rng(seed)
    n_queries, n_chunks = 5, 40
    rankings = [random.permutation(n_chunks)[:20] for _ in range(n_queries)]
    relevant = [random.choice(n_chunks, random.integers(1, 6), replace=False) for _ in rankings]
    names = [name for name in MEASURES if budget_of(name) is None]
    assert len(names) == len(MEASURES) - 1
    ours = score_rankings(rankings, relevant, names)
    qrels = [
        ir_measures.Qrel(str(n), str(row), 1) for n, rows in enumerate(relevant) for row in rows
    ]
    run = [
        ir_measures.ScoredDoc(str(n), str(row), 1 / (1 + place))
        for n, ranking in enumerate(rankings)
        for place, row in enumerate(ranking)
    ]
    measures = [ir_measures.parse_measure(name) for name in names]
    theirs = ir_measures.calc_aggregate(measures, qrels, run)
    for name, measure in zip(names, measures, strict=True):
        assert ours[name].mean() == pytest.approx(theirs[measure]), name


def test_the_deepest_cutoff_bounds_the_ranking() -> None:
    assert deepest(MEASURES) == 20
    with pytest.raises(OptionError, match="cutoff"):
        deepest(["AP"])
    with pytest.raises(OptionError, match="does not know"):
        deepest(["Nonsense@3"])


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        ("nDCG@0", "cutoff"),
        ("RBP@10", "cannot compute RBP@10"),
        ("SetP@3", "cannot compute SetP@3"),
    ],
)
def test_what_ir_measures_knows_and_cannot_compute_is_refused_before_a_run(
    measure: str, message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        deepest(["nDCG@10", measure])


def test_a_chunk_is_relevant_when_it_overlaps_a_gold_span() -> None:
    spans = [CharSpans([(0, 33), (34, 80), (80, len(BERLIN))]), CharSpans([(0, len(TOKYO))])]
    table = ChunkTable.build(small_set(), spans)
    assert table.rows_of("tokyo").tolist() == [3]
    assert table.relevant([GoldSpan("q", "berlin", 33, 34)]).tolist() == []
    assert table.relevant([GoldSpan("q", "berlin", 32, 35)]).tolist() == [0, 1]
    touching = [GoldSpan("q", "berlin", 79, 80), GoldSpan("q", "tokyo", 0, 1)]
    assert table.relevant(touching).tolist() == [1, 3]


_WORDS = {"d": np.array([(0, 5), (6, 9), (10, 14), (15, 20)]), "e": np.array([(0, 3), (4, 8)])}


@pytest.mark.parametrize(
    ("retrieved", "gold", "expected"),
    [
        # Three tokens found, two of them wanted, and no other.
        ([("d", 0, 14)], [("d", 6, 14)], (2 / 3, 1.0, 2 / 3)),
        # A token that two chunks hold counts once.
        ([("d", 0, 9), ("d", 6, 14)], [("d", 6, 14)], (2 / 3, 1.0, 2 / 3)),
        # A span that begins inside a token holds it; one that begins behind it does not.
        ([("d", 8, 14)], [("d", 9, 14)], (1 / 2, 1.0, 1 / 2)),
        # Another document, at the same positions.
        ([("e", 0, 8)], [("d", 0, 9)], (0.0, 0.0, 0.0)),
        # Half of the answer.
        ([("d", 0, 5), ("e", 0, 8)], [("d", 0, 9)], (1 / 3, 1 / 2, 1 / 4)),
        ([], [("d", 0, 9)], (0.0, 0.0, 0.0)),
    ],
)
def test_token_measures_done_by_hand(
    retrieved: list[tuple[str, int, int]],
    gold: list[tuple[str, int, int]],
    expected: tuple[float, float, float],
) -> None:
    spans = [GoldSpan("q", doc_id, start, end) for doc_id, start, end in gold]
    assert token_scores(retrieved, spans, _WORDS) == pytest.approx(expected)


@given(
    st.lists(st.tuples(st.integers(0, 19), st.integers(1, 9)), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 19), st.integers(1, 9)), min_size=1, max_size=3),
)
def test_token_measures_are_those_of_plain_sets(
    retrieved: list[tuple[int, int]], gold: list[tuple[int, int]]
) -> None:
    def tokens(spans: list[tuple[int, int]]) -> set[int]:
        return {
            n
            for n, (first, end) in enumerate(_WORDS["d"].tolist())
            for start, length in spans
            if first < start + length and end > start
        }

    found, wanted = tokens(retrieved), tokens(gold)
    shared, either = len(found & wanted), len(found | wanted)
    ours = token_scores(
        [("d", start, start + length) for start, length in retrieved],
        [GoldSpan("q", "d", start, start + length) for start, length in gold],
        _WORDS,
    )
    expected = (
        shared / len(found) if found else 0,
        shared / len(wanted) if wanted else 0,
        shared / either if either else 0,
    )
    assert ours == pytest.approx(expected)


def test_the_paired_difference_agrees_with_scipy() -> None:
    random = np.random.default_rng(4)
    baseline = random.random(80)
    values = np.clip(baseline + random.normal(0.04, 0.2, 80), 0, 1)
    found = paired_difference(values, baseline)
    interval = stats.bootstrap(
        (values - baseline,), np.mean, n_resamples=5_000, method="percentile", random_state=1
    ).confidence_interval
    test = stats.permutation_test(
        (values, baseline),
        lambda a, b: np.mean(a - b),
        permutation_type="samples",
        n_resamples=5_000,
        random_state=1,
    )
    assert found.mean == pytest.approx(float((values - baseline).mean()))
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=0.006)
    assert found.p_value == pytest.approx(test.pvalue, abs=0.02)


def test_equal_values_are_no_evidence_and_a_clear_gain_is() -> None:
    same = np.full(30, 0.5)
    assert paired_difference(same, same).p_value == 1.0
    clear = paired_difference(same + 0.2, same)
    assert clear.clear
    assert clear.low == pytest.approx(0.2)
    noise = np.random.default_rng(0).normal(0, 1, 400)
    unclear = paired_difference(noise, np.zeros(400))
    assert not unclear.clear


def test_too_few_queries_have_no_interval_and_are_never_clear() -> None:
    """One row: +9.8 points, between +9.8 and +9.8 (p = 1.000)."""
    for n in (1, FEWEST_QUERIES - 1):
        found = paired_difference(np.full(n, 0.6), np.full(n, 0.5))
        assert (found.low, found.high, found.p_value, found.clear) == (None, None, None, False)
        assert found.mean == pytest.approx(0.1)
    enough = paired_difference(np.full(FEWEST_QUERIES, 0.6), np.full(FEWEST_QUERIES, 0.5))
    assert enough.clear


@pytest.mark.slow
def test_the_queries_that_are_needed_find_a_difference_four_times_out_of_five() -> None:
    random = np.random.default_rng(2)
    pilot = random.normal(0.05, 0.3, 5_000)
    n = count_needed_queries(pilot, 0.05)
    found = [stats.ttest_1samp(random.normal(0.05, 0.3, n), 0).pvalue < 0.05 for _ in range(600)]
    assert 0.74 < np.mean(found) < 0.86
    assert count_needed_queries(np.zeros(3), 0.05) > 100
