"""Measures of a ranking whose relevance is that of character spans.

A chunk is relevant when it overlaps a gold span of the query. The measures come from ir-measures;
relevance, the ranking and the token measures are ours.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.errors import OptionError
from latechunk_integrations.evaluation.dataset import GoldenSet, GoldSpan
from latechunk_integrations.evaluation.results import Difference
from latechunk_integrations.plugins import import_extra
from latechunk_integrations.schema import CharSpans

MEASURES = (
    *("nDCG@10", "RR@10", "R@1", "R@5", "R@10", "R@20", "Success@1", "Success@5"),
    "answer@2000",
)
"""What a comparison computes unless told otherwise, by the names of ir-measures; the last is
ours, and the one that is fair between chunk sizes (see `score_budget`)."""

FEWEST_QUERIES = 20
"""With fewer queries there is no interval: resampling so few says nothing about others."""

_BUDGET = re.compile(r"answer@([1-9]\d*)")
# Of two-sided 5 % and of a power of 80 %: (1.96 + 0.84) ** 2.
_POWER = 7.85
# What the differences of two configurations usually scatter by, where too few were measured.
_USUAL_SPREAD = 0.25
_FEWEST_FOR_SPREAD = 5

_TAIL = 0.025  # on each side of a 95 % interval
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
        """Rows of the chunks that overlap one of the spans or alternatives, ascending."""
        found: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
        for span in spans:
            found += self.rows_of_places(span)
        return np.unique(np.concatenate(found))

    def rows_of_places(self, span: GoldSpan) -> list[NDArray[np.int64]]:
        """Rows of the chunks that overlap a span, and those for each of its alternatives."""
        rows = self.rows_of(span.doc_id)
        return [
            rows[(self.starts[rows] < place.end) & (self.ends[rows] > place.start)]
            for place in span.places
        ]


def deepest(measures: Sequence[str]) -> int:
    """The largest cutoff of the measures: no ranking need be longer.

    Raises:
        OptionError: A measure has no cutoff, or ir-measures does not know or cannot compute it.
    """
    parsed = _parse([measure for measure in measures if budget_of(measure) is None])
    cutoffs = [measure.params.get("cutoff") for measure in parsed]
    if not all(cutoffs):  # of 0, too: trec_eval ends the process
        raise OptionError(f"every measure needs a cutoff, such as nDCG@10: {list(measures)}")
    missing = [str(measure) for measure in parsed if not _is_computable(measure)]
    if missing:
        raise OptionError(f"ir-measures, as it is installed, cannot compute {', '.join(missing)}")
    return int(max(cutoffs, default=0))


def score_rankings(
    rankings: Sequence[NDArray[np.int64]],
    relevant: Sequence[NDArray[np.int64]],
    measures: Sequence[str],
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
    for metric in _load_measures().iter_calc(_parse(measures), judged, run):
        scores[parsed[str(metric.measure)]][int(metric.query_id)] = metric.value
    return scores


def budget_of(measure: str) -> int | None:
    """The token budget of a measure such as ``answer@2000``; ``None`` for those of ir-measures."""
    found = _BUDGET.fullmatch(measure)
    return int(found[1]) if found else None


def score_budget(
    retrieved: Iterable[tuple[str, int, int]],
    gold: Sequence[GoldSpan],
    offsets: Mapping[str, NDArray[np.int64]],
    budget: int,
) -> float:
    """Share of the answer's tokens in the best chunks that have a number of tokens together.

    Small and large chunks get the same number of tokens, as a language model's prompt has; the
    chunk that passes it is cut.

    Args:
        retrieved: Document, start and end of each chunk, best first; read until the budget is full.
        gold: The gold spans.
        offsets: As for `token_scores`.
        budget: Tokens.
    """
    kept, left = [], budget
    for doc_id, first, end in _token_runs(retrieved, offsets):
        kept.append((doc_id, first, min(end, first + left)))
        left -= end - first
        if left <= 0:
            break
    wanted = list(_token_runs(((g.doc_id, g.start, g.end) for g in gold), offsets))
    n_wanted = _n_tokens(wanted)
    n_shared = _n_tokens(kept) + n_wanted - _n_tokens(kept + wanted)
    return n_shared / n_wanted if n_wanted else 0.0


def count_needed_queries(differences: NDArray[np.float64], effect: float) -> int:
    """How many queries tell a mean difference of this size from chance, four times out of five.

    Args:
        differences: Those that were measured, for their spread; few are replaced by a usual one.
        effect: The mean difference, above 0.
    """
    few = len(differences) < _FEWEST_FOR_SPREAD or not differences.any()
    spread = _USUAL_SPREAD if few else float(differences.std(ddof=1))
    return max(FEWEST_QUERIES, math.ceil(_POWER * (spread / effect) ** 2))


def token_scores(
    retrieved: Sequence[tuple[str, int, int]],
    gold: Sequence[GoldSpan],
    offsets: Mapping[str, NDArray[np.int64]],
) -> tuple[float, float, float]:
    """Precision, recall and IoU of the tokens of retrieved chunks against those of gold spans.

    Args:
        retrieved: Document, start and end of each chunk; a token that several hold counts once.
        gold: The gold spans.
        offsets: For each document, start and end of each token in characters, ascending, shape
            ``(n_tokens, 2)``. A token belongs to every span that it overlaps.

    Returns:
        The three, 0 where nothing was retrieved.
    """
    found = list(_token_runs(retrieved, offsets))
    wanted = list(_token_runs(((g.doc_id, g.start, g.end) for g in gold), offsets))
    n_found, n_wanted, n_either = _n_tokens(found), _n_tokens(wanted), _n_tokens(found + wanted)
    n_shared = n_found + n_wanted - n_either
    return (
        n_shared / n_found if n_found else 0.0,
        n_shared / n_wanted if n_wanted else 0.0,
        n_shared / n_either if n_either else 0.0,
    )


def paired_difference(
    values: NDArray[np.float64], baseline: NDArray[np.float64], *, seed: int = 0
) -> Difference:
    """Mean difference over the same queries, its confidence interval and p-value.

    Args:
        values: Of the configuration, a value for each query.
        baseline: Of the opponent, for the same queries.
        seed: Of the resampling.

    Returns:
        A percentile bootstrap interval of 95 %, and the p-value of a paired permutation test
        (random signs); neither for fewer queries than `FEWEST_QUERIES`.
    """
    differences = values - baseline
    mean = float(differences.mean())
    n = len(differences)
    if n < FEWEST_QUERIES:
        return Difference(mean, None, None, None)
    if not differences.any():
        return Difference(mean, mean, mean, 1.0)
    draws, signs = _draw_samples(n, seed)
    low, high = np.quantile(draws @ differences, [_TAIL, 1 - _TAIL])
    # As extreme as the observed mean, but for rounding; the observed one counts as a draw too.
    extreme = np.abs(signs @ differences) >= abs(mean) * (1 - 1e-9)
    p_value = (1 + int(extreme.sum())) / (1 + _RESAMPLES)
    return Difference(mean, float(low), float(high), p_value)


@lru_cache(maxsize=1)
def _draw_samples(n: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows that make a resampled mean of n differences: bootstrap draws, and random signs.

    The same rows serve every measure and configuration, so that a comparison with hundreds of
    differences takes one matrix product for each; SciPy would draw anew for each.
    """
    random = np.random.default_rng(seed)
    draws = random.multinomial(n, np.full(n, 1 / n), size=_RESAMPLES) / n
    signs = random.choice([-1.0, 1.0], size=(_RESAMPLES, n)) / n
    return draws, signs


def _token_runs(
    spans: Iterable[tuple[str, int, int]], offsets: Mapping[str, NDArray[np.int64]]
) -> Iterator[tuple[str, int, int]]:
    """Document, first token and one past the last token of each span."""
    for doc_id, start, end in spans:
        starts, ends = offsets[doc_id].T
        yield doc_id, int(ends.searchsorted(start, "right")), int(starts.searchsorted(end, "left"))


def _n_tokens(runs: Sequence[tuple[str, int, int]]) -> int:
    """Tokens of runs that may overlap, each counted once."""
    total, last_doc, reached = 0, "", 0
    for doc_id, first, end in sorted(runs):
        if doc_id != last_doc:
            last_doc, reached = doc_id, 0
        total += max(end - max(first, reached), 0)
        reached = max(reached, end)
    return total


def _parse(measures: Sequence[str]) -> list[Any]:
    module = _load_measures()
    try:
        return [module.parse_measure(measure) for measure in measures]
    except (NameError, ValueError, SyntaxError) as error:
        raise OptionError(f"ir-measures does not know one of {list(measures)}: {error}") from error


def _is_computable(measure: Any) -> bool:
    """Whether a provider for the measure, with these parameters, is installed."""
    try:
        return bool(_load_measures().DefaultPipeline.supports(measure))
    except AssertionError:  # how it says that a measure has no such parameter
        return False


def _load_measures() -> Any:
    return import_extra("ir_measures", extra="evaluation")
