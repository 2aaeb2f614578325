"""Measures of a ranking whose relevance is that of character spans.

A chunk is relevant when it overlaps a gold span of the query. The measures come from ir-measures;
relevance, the ranking and the token measures are ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.errors import MissingExtraError, OptionError
from latechunk_integrations.evaluation.dataset import GoldenSet, GoldSpan
from latechunk_integrations.evaluation.results import Difference
from latechunk_integrations.schema import CharSpans

__all__ = ["MEASURES", "ChunkTable", "paired_difference", "score_rankings", "token_scores"]

MEASURES = ("nDCG@10", "RR@10", "R@1", "R@5", "R@10", "R@20", "Success@1", "Success@5")
"""What a comparison computes unless told otherwise, by the names of ir-measures."""

_CONFIDENCE = 0.95
_RESAMPLES = 2_000


@dataclass(frozen=True, eq=False)
class ChunkTable:
    """All chunks of a corpus in one order, documents one after the other.

    Args:
        document: Number of each chunk's document, int64, shape ``(n_chunks,)``.
        starts: First characters.
        ends: One past the last.
        first: Row of each document's first chunk, and the number of chunks at the end.
        numbers: Document id to number.
    """

    document: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    first: NDArray[np.int64]
    numbers: Mapping[str, int]

    @classmethod
    def build(cls, golden: GoldenSet, spans: Sequence[CharSpans]) -> ChunkTable:
        """The table of these chunks."""
        counts = [len(each) for each in spans]
        rows = np.concatenate([each.array for each in spans])
        return cls(
            document=np.repeat(np.arange(len(counts)), counts),
            starts=rows[:, 0],
            ends=rows[:, 1],
            first=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            numbers={document.doc_id: n for n, document in enumerate(golden.documents)},
        )

    def rows_of(self, doc_id: str) -> NDArray[np.int64]:
        """The rows of a document's chunks."""
        number = self.numbers[doc_id]
        return np.arange(self.first[number], self.first[number + 1])

    def relevant(self, spans: Iterable[GoldSpan]) -> NDArray[np.int64]:
        """Rows of the chunks that overlap one of the spans, ascending."""
        found: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
        for span in spans:
            rows = self.rows_of(span.doc_id)
            overlaps = (self.starts[rows] < span.end) & (self.ends[rows] > span.start)
            found.append(rows[overlaps])
        return np.unique(np.concatenate(found))


def deepest(measures: Sequence[str]) -> int:
    """The largest cutoff of the measures: no ranking need be longer.

    Raises:
        OptionError: A measure has no cutoff or ir-measures does not know it.
    """
    cutoffs = [measure.params.get("cutoff") for measure in _parse(measures)]
    if None in cutoffs:
        raise OptionError(f"every measure needs a cutoff, such as nDCG@10: {list(measures)}")
    return int(max(cutoffs))


def score_rankings(
    rankings: Sequence[NDArray[np.int64]],
    relevant: Sequence[NDArray[np.int64]],
    measures: Sequence[str] = MEASURES,
) -> dict[str, NDArray[np.float64]]:
    """Each measure for each query.

    Args:
        rankings: For each query, chunk rows, best first, down to the deepest cutoff.
        relevant: For each query, the relevant rows. A query without any scores 0.
        measures: Names of ir-measures.

    Returns:
        Measure to values, float64, shape ``(n_queries,)``.

    Raises:
        MissingExtraError: ir-measures is not installed.
    """
    parsed = dict(zip(map(str, _parse(measures)), measures, strict=True))
    run = {
        # Ranks as scores: ir-measures would break ties of similarities by name.
        str(n): {str(row): float(len(ranking) - i) for i, row in enumerate(ranking.tolist())}
        for n, ranking in enumerate(rankings)
    }
    qrels = {str(n): dict.fromkeys(map(str, rows.tolist()), 1) for n, rows in enumerate(relevant)}
    scores = {measure: np.zeros(len(rankings)) for measure in measures}
    judged = {query: judgements for query, judgements in qrels.items() if judgements}
    for metric in _module().iter_calc(_parse(measures), judged, run):
        scores[parsed[str(metric.measure)]][int(metric.query_id)] = metric.value
    return scores


def token_scores(
    retrieved: Sequence[tuple[str, int, int]],
    gold: Sequence[GoldSpan],
    token_starts: Mapping[str, NDArray[np.int64]],
) -> tuple[float, float, float]:
    """Precision, recall and IoU of the tokens of retrieved chunks against those of gold spans.

    Args:
        retrieved: Document, start and end of each chunk; a token that several hold counts once.
        gold: The gold spans.
        token_starts: For each document, the first character of each token, ascending.

    Returns:
        The three, 0 where nothing was retrieved.
    """
    found = _token_sets(((d, s, e) for d, s, e in retrieved), token_starts)
    wanted = _token_sets(((g.doc_id, g.start, g.end) for g in gold), token_starts)
    shared = len(found & wanted)
    either = len(found | wanted)
    return (
        shared / len(found) if found else 0.0,
        shared / len(wanted) if wanted else 0.0,
        shared / either if either else 0.0,
    )


def paired_difference(
    values: NDArray[np.float64], baseline: NDArray[np.float64], *, seed: int = 0
) -> Difference:
    """Mean difference over the same queries, its confidence interval and p-value.

    Args:
        values: Of the configuration, a value for each query.
        baseline: Of early chunking, for the same queries.
        seed: Of the resampling.

    Returns:
        A percentile bootstrap interval of 95 %, and the p-value of a paired permutation test.

    Raises:
        MissingExtraError: SciPy is not installed.
    """
    try:
        from scipy import stats  # noqa: PLC0415  # optional
    except ImportError as error:
        raise MissingExtraError("scipy", extra="evaluation") from error
    differences = values - baseline
    mean = float(differences.mean())
    if not differences.any() or len(differences) < 2:  # noqa: PLR2004  # one value has no spread
        return Difference(mean, mean, mean, 1.0)
    interval = stats.bootstrap(
        (differences,),
        np.mean,
        n_resamples=_RESAMPLES,
        confidence_level=_CONFIDENCE,
        method="percentile",
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    test = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=_RESAMPLES,
        random_state=np.random.default_rng(seed),
    )
    return Difference(mean, float(interval.low), float(interval.high), float(test.pvalue))


def _token_sets(
    spans: Iterable[tuple[str, int, int]], token_starts: Mapping[str, NDArray[np.int64]]
) -> set[tuple[str, int]]:
    found: set[tuple[str, int]] = set()
    for doc_id, start, end in spans:
        starts = token_starts[doc_id]
        # The token that a span begins inside counts too.
        low = max(int(np.searchsorted(starts, start, "right")) - 1, 0)
        found.update((doc_id, n) for n in range(low, int(np.searchsorted(starts, end, "left"))))
    return found


def _parse(measures: Sequence[str]) -> list[Any]:
    module = _module()
    try:
        return [module.parse_measure(measure) for measure in measures]
    except (NameError, ValueError, SyntaxError) as error:
        raise OptionError(f"ir-measures does not know one of {list(measures)}: {error}") from error


def _module() -> Any:
    try:
        import ir_measures  # noqa: PLC0415  # optional
    except ImportError as error:
        raise MissingExtraError("ir_measures", extra="evaluation") from error
    return ir_measures
