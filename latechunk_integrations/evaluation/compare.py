"""Early, late, blends and header variants over the same chunks, model and queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.engine import LateChunkEngine
from latechunk_integrations.errors import OptionError
from latechunk_integrations.evaluation.configurations import BASELINE, DEFAULT
from latechunk_integrations.evaluation.dataset import GoldenSet
from latechunk_integrations.evaluation.metrics import (
    MEASURES,
    ChunkTable,
    deepest,
    paired_difference,
    score_rankings,
    token_scores,
)
from latechunk_integrations.evaluation.pass_cache import VectorCache
from latechunk_integrations.evaluation.passes import Passes
from latechunk_integrations.evaluation.results import (
    Comparison,
    Configuration,
    ConfigurationResult,
    Costs,
    Difference,
    Hit,
    QueryResult,
)
from latechunk_integrations.evaluation.splitters import Splitter, sizes_of, split_documents
from latechunk_integrations.schema import CharSpans

__all__ = ["compare"]

_SIZES = (128,)
_TOP = 5
# Similarities held at once: queries in blocks, so that a large corpus needs no large matrix.
_BLOCK_QUERIES = 256
# Equal chunks must tie on every processor, and matrix products give them similarities that differ
# in the last bits: those of float64, which rounding takes off.
_DECIMALS = 6
_BLOCK_CHUNKS = 8_192


def compare(  # a comparison has that many sides, and defaults for all
    engine: LateChunkEngine,
    golden: GoldenSet,
    configurations: Sequence[Configuration] = DEFAULT,
    *,
    splitter: Splitter = "recursive",
    chunk_sizes: Sequence[int | None] | None = None,
    measures: Sequence[str] = MEASURES,
    cache: str | Path | None = None,
    show_progress: bool = False,
) -> Comparison:
    """Measure configurations on a golden set.

    Args:
        engine: The model, and the options that configurations do not name.
        golden: Documents, queries, gold spans.
        configurations: What to measure; plain early chunking is added if it is not among them.
        splitter: See `split_documents`.
        chunk_sizes: Tokens of a chunk at most; one late pass serves all of them. ``None``: 128
            for ``"recursive"``; other splitters have a size of their own.
        measures: Names of ir-measures, each with a cutoff.
        cache: A folder that keeps vectors; a run that was stopped goes on from
            the last pass that it finished.
        show_progress: Show a progress bar for each pass.

    Returns:
        Every configuration at every chunk size.

    Raises:
        OptionError: A configuration, measure or splitter is impossible, or a name stands twice.
        MissingExtraError: A package of the extra ``evaluation`` is not installed.
    """
    configurations, untitled = _without_titles(_with_baseline(configurations), golden)
    spans: dict[int | None, list[CharSpans]] = {}
    notes = [*golden.notes, *untitled]
    for size in sizes_of(splitter, chunk_sizes, _SIZES):
        spans[size], lost = split_documents(golden, splitter, size, engine.encoder)
        notes += [note for note in lost if note not in notes]
    passes = Passes(engine, golden, spans, VectorCache(cache), show_progress=show_progress)
    notes += passes.notes()
    queries = passes.queries()
    results: list[ConfigurationResult] = []
    for size, chunks in spans.items():
        judge = _Judge(engine, golden, chunks, measures)
        notes += [note for note in judge.notes() if note not in notes]
        baseline: _Scored | None = None
        for configuration in configurations:
            vectors, costs = passes.vectors(configuration, size)
            scored = judge.score(queries, vectors)
            baseline = baseline or scored
            result = judge.result(configuration, scored, baseline, costs)
            results.append(replace(result, splitter=_name_splitter(splitter), chunk_size=size))
    return Comparison(
        dataset=golden.name,
        model=engine.options.model,
        n_documents=len(golden.documents),
        n_queries=len(golden.queries),
        baseline=BASELINE,
        results=tuple(results),
        notes=tuple(notes),
    )


def _with_baseline(configurations: Sequence[Configuration]) -> list[Configuration]:
    early = Configuration(name=BASELINE)
    names = [configuration.name for configuration in configurations]
    if len(set(names)) < len(names):
        raise OptionError(f"configurations need different names: {names}")
    if any(c.name == BASELINE and c != early for c in configurations):
        raise OptionError(f"the name {BASELINE!r} belongs to plain early chunking")
    return [early, *(c for c in configurations if c != early)]


def _without_titles(
    configurations: list[Configuration], golden: GoldenSet
) -> tuple[list[Configuration], list[str]]:
    """Leave out what adds the title's vector if no document has a title, and say so."""
    titled = any(document.title.strip() for document in golden.documents)
    if titled or all(c.header == "none" for c in configurations):
        return configurations, []
    kept = [c for c in configurations if not (c.header_weight and c.header != "none")]
    left_out = ", ".join(repr(c.name) for c in configurations if c not in kept)
    note = "no document has a title: rows that use one are measured without it"
    return kept, [f"{note}; left out: {left_out}" if left_out else note]


def _name_splitter(splitter: Splitter) -> str:
    if isinstance(splitter, str):
        return splitter
    return str(getattr(splitter, "__qualname__", type(splitter).__qualname__))


@dataclass(frozen=True, eq=False)
class _Scored:
    """Rankings and measures of one configuration, over the corpus and inside the gold document."""

    corpus: Mapping[str, NDArray[np.float64]]
    document: Mapping[str, NDArray[np.float64]]
    ranks: Sequence[int | None]
    document_ranks: Sequence[int | None]
    top: Sequence[tuple[Hit, ...]]
    tokens: Mapping[str, float]


class _Judge:
    """Scores vectors of one chunking against the gold spans."""

    def __init__(
        self,
        engine: LateChunkEngine,
        golden: GoldenSet,
        spans: Sequence[CharSpans],
        measures: Sequence[str],
    ) -> None:
        self._golden = golden
        self._measures = tuple(measures)
        self._depth = max(deepest(measures), _TOP)
        self._table = ChunkTable.build(golden, spans)
        by_query = golden.by_query
        self._gold = [by_query[query.query_id] for query in golden.queries]
        self._relevant = [self._table.relevant(gold) for gold in self._gold]
        self._home = [self._table.rows_of(query.doc_id) for query in golden.queries]
        self._home_relevant = [
            np.intersect1d(relevant, home)
            for relevant, home in zip(self._relevant, self._home, strict=True)
        ]
        texts = [document.text for document in golden.documents]
        tokens = engine.encoder.tokenize(texts, "")
        self._offsets = {
            document.doc_id: np.asarray(found.offsets).astype(np.int64)
            for document, found in zip(golden.documents, tokens, strict=True)
        }

    def notes(self) -> list[str]:
        """What the chunks make unanswerable."""
        lost = sum(not len(relevant) for relevant in self._relevant)
        return [f"{lost} queries have a gold span that no chunk overlaps"] if lost else []

    def score(self, queries: NDArray[np.float32], vectors: NDArray[np.float32]) -> _Scored:
        """Rank all chunks for all queries, and measure."""
        best: list[NDArray[np.int64]] = []
        home: list[NDArray[np.int64]] = []
        ranks: list[int | None] = []
        home_ranks: list[int | None] = []
        hits: list[tuple[Hit, ...]] = []
        for begin in range(0, len(queries), _BLOCK_QUERIES):
            block = _compute_similarities(queries[begin : begin + _BLOCK_QUERIES], vectors)
            for n, row in enumerate(block, begin):
                at_home, relevant_at_home = self._home[n], self._home_relevant[n]
                best.append(_select_best(row, self._depth))
                home.append(at_home[_select_best(row[at_home], self._depth)])
                ranks.append(_rank(row, self._relevant[n]))
                home_ranks.append(_rank(row[at_home], relevant_at_home - at_home[0]))
                hits.append(self._find_hits(n, row, best[-1][:_TOP]))
        return _Scored(
            corpus=score_rankings(best, self._relevant, self._measures),
            document=score_rankings(home, self._home_relevant, self._measures),
            ranks=ranks,
            document_ranks=home_ranks,
            top=hits,
            tokens=self._measure_tokens(hits),
        )

    def result(
        self, configuration: Configuration, scored: _Scored, baseline: _Scored, costs: Costs
    ) -> ConfigurationResult:
        """Means, differences and the fate of each query."""
        is_baseline = scored is baseline
        return ConfigurationResult(
            configuration=configuration,
            splitter="",
            chunk_size=None,
            n_chunks=len(self._table.document),
            corpus=_average(scored.corpus),
            document=_average(scored.document),
            tokens=scored.tokens,
            corpus_difference={}
            if is_baseline
            else _compare_results(scored.corpus, baseline.corpus),
            document_difference=(
                {} if is_baseline else _compare_results(scored.document, baseline.document)
            ),
            costs=costs,
            queries=tuple(
                QueryResult(
                    query_id=query.query_id,
                    doc_id=query.doc_id,
                    rank=scored.ranks[n],
                    document_rank=scored.document_ranks[n],
                    scores={name: float(values[n]) for name, values in scored.corpus.items()},
                    document_scores={
                        name: float(values[n]) for name, values in scored.document.items()
                    },
                    top=scored.top[n],
                )
                for n, query in enumerate(self._golden.queries)
            ),
        )

    def _find_hits(
        self, n: int, similarities: NDArray[np.float32], rows: NDArray[np.int64]
    ) -> tuple[Hit, ...]:
        relevant = set(self._relevant[n].tolist())
        return tuple(
            Hit(
                doc_id=self._golden.documents[int(self._table.document[row])].doc_id,
                start=int(self._table.starts[row]),
                end=int(self._table.ends[row]),
                score=float(similarities[row]),
                relevant=row in relevant,
            )
            for row in rows.tolist()
        )

    def _measure_tokens(self, hits: Sequence[tuple[Hit, ...]]) -> dict[str, float]:
        scores = [
            token_scores([(h.doc_id, h.start, h.end) for h in top], gold, self._offsets)
            for top, gold in zip(hits, self._gold, strict=True)
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


def _average(values: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    return {name: float(each.mean()) for name, each in values.items()}


def _compare_results(
    values: Mapping[str, NDArray[np.float64]], baseline: Mapping[str, NDArray[np.float64]]
) -> dict[str, Difference]:
    return {name: paired_difference(each, baseline[name]) for name, each in values.items()}
