"""What ingestion costs: the default and the textbook's late chunking against early chunking.

Early chunking runs as users run it: sentence-transformers in float32, its own batches, the title in
front of each chunk. The contenders take turns, so that ratios hold whatever else the machine is
doing; the CPU time of this process stands beside the wall time for the same reason. The default is
held to 1.02 times the tokens and 1.1 times the time; in bfloat16, where ``dtype="auto"`` takes it
on a CPU, to 0.6 times the time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.corpus import cut, sentences
from benchmarks.harness import (
    Ratios,
    cpu_seconds_in_turns,
    minilm,
    parser,
    print_table,
)
from latechunk_integrations import LateChunkEngine, Parent

MOST_TOKENS = 1.02
MOST_TIME = {"float32": 1.1, "bfloat16": 0.6}
_TITLE = "Handbook of the message broker, part {}"
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "textbook late": {"layout": "text", "focus": 0.0},
}
LENGTHS = {"fit the window": (24, 930), "long": (2, 11_000)}


def corpus(n_parents: int, n_chars: int, chunk_chars: int) -> list[Parent]:
    """Parents with titles."""
    return [
        cut(sentences(n_chars - 20 * (seed % 7), seed), chunk_chars, str(seed), _TITLE.format(seed))
        for seed in range(n_parents)
    ]


def measure(shape: tuple[int, int], chunk_chars: int, rounds: int, path: str) -> list[list[str]]:
    """A row for each configuration, without the names of the case."""
    engines = {
        (name, dtype): LateChunkEngine.from_pretrained(path, dtype=dtype, **options)
        for dtype in ("float32", "auto")
        for name, options in CONFIGURATIONS.items()
    }
    if _dtype(engines["default", "auto"]) == "float32":  # the same rows again
        engines = {key: engine for key, engine in engines.items() if key[1] == "float32"}
    model = engines["default", "float32"].encoder.model  # type: ignore[attr-defined]  # a local encoder
    parents = corpus(*shape, chunk_chars)
    texts = [f"{p.header}\n{p.chunk_text(i)}" for p in parents for i in range(len(p.spans))]
    n_early = sum(len(ids) for ids in model.tokenizer(texts)["input_ids"])
    contenders: dict[str, Callable[[], object]] = {
        "early": lambda: model.encode_document(texts, show_progress_bar=False)
    }
    contenders |= {str(key): partial(engine.embed, parents) for key, engine in engines.items()}
    wall, cpu = cpu_seconds_in_turns(contenders, rounds)
    rows = []
    for key, engine in engines.items():
        name, dtype = key[0], _dtype(engine)
        per_tokens = engine.stats["tokens"] / (rounds + 1) / n_early
        times = [seconds[str(key)] / seconds["early"] for seconds in (wall, cpu)]
        held = per_tokens <= MOST_TOKENS and min(times) <= MOST_TIME.get(dtype, 1.0)
        verdict = ("yes" if held else "no") if name == "default" else ""
        rows.append([name, dtype, *(f"{each:.2f}" for each in (per_tokens, *times)), verdict])
    return rows


def _dtype(engine: LateChunkEngine) -> str:
    return str(engine.encoder.model.dtype).removeprefix("torch.")  # type: ignore[attr-defined]  # local


def main() -> None:
    """Print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--model", default=minilm())
    arguments.add_argument("--chunk-chars", type=int, nargs="+", default=[265, 530])
    options = arguments.parse_args()
    rows = [
        [name, chunk_chars, *row]
        for name, shape in LENGTHS.items()
        for chunk_chars in options.chunk_chars
        for row in measure(shape, chunk_chars, options.rounds, options.model)
    ]
    columns = ["parents", "chunk chars", "configuration", "dtype", "tokens / early"]
    columns += ["time / early float32", "CPU time / early", "held"]
    title = "Ingestion over early chunking with the title in front"
    print_table(title, columns, rows, Ratios(labels=4, lower=columns[4:7]), options.json)


if __name__ == "__main__":
    main()
