"""Do questions without labels rank ways of chunking as people's questions do? Kendall's tau.

    python -m benchmarks.question_ranks              # the project's samples
    python -m benchmarks.question_ranks --sets xquad_en codebase --data FOLDER --size 128

Questions of `propose_from_text`, for which no language model is asked, against a set's own.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from scipy.stats import kendalltau

from benchmarks.harness import minilm
from latechunk_integrations import LateChunkEngine
from latechunk_integrations.evaluation.compare import compare
from latechunk_integrations.evaluation.configurations import ALL, DEFAULT
from latechunk_integrations.evaluation.dataset import GoldenSet
from latechunk_integrations.evaluation.questions import append_questions, propose_from_text

_ROOT = Path(__file__).resolve().parents[1]
MEASURE = "nDCG@10"


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", nargs="+", default=["samples"])
    parser.add_argument("--data", type=Path, default=_ROOT.parent / "shared" / "data")
    parser.add_argument("--variant", default="small")
    parser.add_argument("--size", type=int, default=64, help="tokens of a chunk")
    parser.add_argument("--number", type=int, default=300, help="questions at most")
    given = parser.parse_args()
    engine = LateChunkEngine.from_pretrained(minilm())
    for name in given.sets:
        asked = (
            GoldenSet.from_quotes(_ROOT / "examples" / "samples" / "queries.jsonl")
            if name == "samples"
            else GoldenSet.load(given.data / name, given.variant)
        )
        print_ranks(name, engine, asked, size=given.size, number=given.number)


def print_ranks(
    name: str, engine: LateChunkEngine, asked: GoldenSet, *, size: int, number: int
) -> None:
    """A line for each way, then tau over all and over the default set."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "questions.csv"
        append_questions(file, propose_from_text(asked.documents, number=number))
        made = GoldenSet.from_quotes(file, asked.documents)
    scores = [
        {
            result.name: result.corpus[MEASURE]
            for result in compare(
                engine, golden, ALL, chunk_sizes=[size], measures=[MEASURE]
            ).results
        }
        for golden in (asked, made)
    ]
    print(f"{name}: {len(asked.queries)} questions of people, {len(made.queries)} made")
    for way in scores[0]:
        print(f"  {way:65} {100 * scores[0][way]:5.1f} {100 * scores[1][way]:5.1f}")
    for title, ways in {"all": list(scores[0]), "default": [each.name for each in DEFAULT]}.items():
        tau = kendalltau(*([of[way] for way in ways] for of in scores)).statistic
        print(f"  Kendall's tau, {title} ({len(ways)}): {tau:.2f}", flush=True)


if __name__ == "__main__":
    main()
