"""Scores the vectors of one chunking against the gold spans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.evaluation.dataset import GoldenSet, GoldSpan
from latechunk_integrations.evaluation.metrics import (
    ChunkTable,
    budget_of,
    deepest,
    score_budget,
    score_rankings,
    token_scores,
)
from latechunk_integrations.evaluation.results import Hit
from latechunk_integrations.schema import CharSpans

_TOP = 10  # kept for reports and runs
_TOKENS_TOP = 5
# Similarities held at once: queries in blocks, so that a large corpus needs no large matrix.
_BLOCK_QUERIES = 256
# Equal chunks must tie on every processor, and matrix products give them similarities that differ
# in the last bits: those of float64, which rounding takes off.
_DECIMALS = 6
_BLOCK_CHUNKS = 8_192


@dataclass(frozen=True, eq=False)
class Scored:
    """Rankings and measures of one configuration, over the corpus and inside the gold document."""

    corpus: Mapping[str, NDArray[np.float64]]
    document: Mapping[str, NDArray[np.float64]]
    ranks: Sequence[int | None]
    document_ranks: Sequence[int | None]
    top: Sequence[tuple[Hit, ...]]
    tokens: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class _Rankings:
    """The best rows of each query, and which of its places they are judged by."""

    rows: list[NDArray[np.int64]]
    relevant: list[NDArray[np.int64]]
    gold: list[list[GoldSpan]]


class Judge:
    """Ranks the chunks of one chunking for each query.

    Of a gold span with alternatives, the place counts that the ranking finds first.

    Args:
        golden: Queries and gold spans.
        spans: The chunks of each document.
        offsets: For each document, start and end of each token in characters.
        measures: What to compute.
    """

    def __init__(
        self,
        golden: GoldenSet,
        spans: Sequence[CharSpans],
        offsets: Mapping[str, NDArray[np.int64]],
        measures: Sequence[str],
    ) -> None:
        self._golden = golden
        self._offsets = offsets
        self._ranked = [measure for measure in measures if budget_of(measure) is None]
        self._budgets = {m: budget for m in measures if (budget := budget_of(m)) is not None}
        self._measures = tuple(measures)
        self._table = ChunkTable.build(golden, spans)
        by_query = golden.by_query
        self._gold = [by_query[query.query_id] for query in golden.queries]
        self._places = [[self._table.rows_of_places(g) for g in gold] for gold in self._gold]
        self._holds = [self._table.relevant(gold) for gold in self._gold]
        self._home = [self._table.rows_of(query.doc_id) for query in golden.queries]
        self._depth = max(deepest(measures), _TOP, self._fill_budget())

    @property
    def n_chunks(self) -> int:
        """Chunks of all documents."""
        return len(self._table.document)

    def notes(self) -> list[str]:
        """What the chunks make unanswerable."""
        lost = sum(not len(rows) for rows in self._holds)
        return [f"{lost} queries have a gold span that no chunk overlaps"] if lost else []

    def score(
        self,
        queries: NDArray[np.float32],
        vectors: NDArray[np.float32],
        owners: NDArray[np.int64] | None = None,
    ) -> Scored:
        """Rank all chunks for all queries, and measure.

        Args:
            queries: Unit vectors, float32, shape ``(n_queries, dim)``.
            vectors: Of the chunks, or of their parts, float32, shape ``(n, dim)``.
            owners: The chunk of each part, ascending; a chunk counts as its best part.
        """
        first = None if owners is None else np.searchsorted(owners, np.arange(self.n_chunks))
        corpus, home = _Rankings([], [], []), _Rankings([], [], [])
        ranks: list[int | None] = []
        home_ranks: list[int | None] = []
        hits: list[tuple[Hit, ...]] = []
        for begin in range(0, len(queries), _BLOCK_QUERIES):
            block = _compute_similarities(queries[begin : begin + _BLOCK_QUERIES], vectors)
            if first is not None:
                block = np.maximum.reduceat(block, first, axis=1)
            for n, row in enumerate(block, begin):
                at_home = self._home[n]
                relevant, gold = self._choose_places(n, row)
                at_home_relevant = np.intersect1d(relevant, at_home)
                best = _select_best(row, self._depth)
                corpus.rows.append(best)
                corpus.relevant.append(relevant)
                corpus.gold.append(gold)
                home.rows.append(at_home[_select_best(row[at_home], self._depth)])
                home.relevant.append(at_home_relevant)
                home.gold.append([span for span in gold if span.doc_id == gold[0].doc_id])
                ranks.append(_rank(row, relevant))
                home_ranks.append(_rank(row[at_home], at_home_relevant - at_home[0]))
                hits.append(self._find_hits(n, row, best[:_TOP]))
        return Scored(
            corpus=self._measure(corpus),
            document=self._measure(home),
            ranks=ranks,
            document_ranks=home_ranks,
            top=hits,
            tokens=self._measure_tokens(hits, corpus.gold),
        )

    def _fill_budget(self) -> int:
        """How many chunks it takes at most to fill the largest token budget."""
        budget = max(self._budgets.values(), default=0)
        sizes = np.sort(
            np.concatenate([self._count_tokens(n) for n in range(len(self._golden.documents))])
        )
        return int(np.searchsorted(np.cumsum(sizes), budget)) + 1

    def _count_tokens(self, number: int) -> NDArray[np.int64]:
        document = self._golden.documents[number]
        rows = self._table.rows_of(document.doc_id)
        offsets = self._offsets[document.doc_id]
        first = np.searchsorted(offsets[:, 1], self._table.starts[rows], "right")
        return (np.searchsorted(offsets[:, 0], self._table.ends[rows], "left") - first).astype(
            np.int64
        )

    def _choose_places(
        self, n: int, similarities: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], list[GoldSpan]]:
        """The relevant rows of a query, and its gold spans, each at the place found first."""
        rows: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
        chosen = []
        for span, options in zip(self._gold[n], self._places[n], strict=True):
            best = max(
                range(len(options)), key=lambda k: similarities[options[k]].max(initial=-np.inf)
            )
            rows.append(options[best])
            place = span.places[best]
            chosen.append(GoldSpan(span.query_id, span.doc_id, place.start, place.end))
        return np.unique(np.concatenate(rows)), chosen

    def _measure(self, rankings: _Rankings) -> dict[str, NDArray[np.float64]]:
        scores = score_rankings(rankings.rows, rankings.relevant, self._ranked)
        for measure, budget in self._budgets.items():
            scores[measure] = np.array(
                [
                    score_budget(map(self._place, rows), gold, self._offsets, budget)
                    for rows, gold in zip(
                        (each.tolist() for each in rankings.rows), rankings.gold, strict=True
                    )
                ]
            )
        return {measure: scores[measure] for measure in self._measures}

    def _place(self, row: int) -> tuple[str, int, int]:
        document = self._golden.documents[int(self._table.document[row])]
        return document.doc_id, int(self._table.starts[row]), int(self._table.ends[row])

    def _find_hits(
        self, n: int, similarities: NDArray[np.float32], rows: NDArray[np.int64]
    ) -> tuple[Hit, ...]:
        holds = set(self._holds[n].tolist())
        return tuple(
            Hit(*self._place(row), score=float(similarities[row]), relevant=row in holds)
            for row in rows.tolist()
        )

    def _measure_tokens(
        self, hits: Sequence[tuple[Hit, ...]], gold: Sequence[Sequence[GoldSpan]]
    ) -> dict[str, float]:
        scores = [
            token_scores(
                [(h.doc_id, h.start, h.end) for h in top[:_TOKENS_TOP]], spans, self._offsets
            )
            for top, spans in zip(hits, gold, strict=True)
        ]
        means = np.mean(scores, axis=0).tolist()
        return dict(zip(("precision", "recall", "iou"), means, strict=True))


def _compute_similarities(
    queries: NDArray[np.float32], vectors: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Similarity of each query with each vector, shape ``(n_queries, n_vectors)``."""
    similarities = np.empty((len(queries), len(vectors)), dtype=np.float32)
    exact = queries.astype(np.float64)
    for begin in range(0, len(vectors), _BLOCK_CHUNKS):
        block = slice(begin, begin + _BLOCK_CHUNKS)
        similarities[:, block] = (exact @ vectors[block].astype(np.float64).T).round(_DECIMALS)
    return similarities


def _select_best(similarities: NDArray[np.float32], n: int) -> NDArray[np.int64]:
    """The ``n`` most similar rows, best first; of equal ones the earlier."""
    if n < len(similarities):
        # Everything as good as the n-th, so that ties at the edge go by position too.
        nth = np.partition(similarities, len(similarities) - n)[len(similarities) - n]
        candidates = np.flatnonzero(similarities >= nth)
    else:
        candidates = np.arange(len(similarities))
    order = np.argsort(-similarities[candidates], kind="stable")[:n]
    return candidates[order]


def _rank(similarities: NDArray[np.float32], relevant: NDArray[np.int64]) -> int | None:
    """Rank of the best relevant row, from 1, in the order of `_select_best`."""
    if not len(relevant):
        return None
    best = relevant[int(np.argmax(similarities[relevant]))]
    value = similarities[best]
    return 1 + int((similarities > value).sum()) + int((similarities[:best] == value).sum())
