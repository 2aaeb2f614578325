"""What ingestion costs: late chunking and the recommended blend against early chunking today.

Early chunking runs as users run it: sentence-transformers in float32, its own batches. Windows,
overlap, preamble, headers and the second pass of the blend are all counted. Next to each time
stands the number of tokens, which bounds what any implementation can reach at equal dtype.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.corpus import sentences
from benchmarks.harness import minilm, print_table, seconds_in_turns
from latechunk_integrations import CharSpans, LateChunkEngine, Parent

# A published refactor to late chunking took this many times the ingest time.
MARK = 2.3
_TITLE = "Handbook of the message broker, part {}"
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "textbook late": {"layout": "text", "focus": 0.0},
    "textbook late, no overlap": {
        "layout": "text",
        "focus": 0.0,
        "overlap_tokens": 0,
        "preamble_tokens": 0,
    },
}
LENGTHS = {"fit the window": (24, 930), "long": (1, 22_000)}


def corpus(n_parents: int, n_chars: int, chunk_chars: int, *, header: bool) -> list[Parent]:
    """Parents with titles."""
    parents = []
    for seed in range(n_parents):
        text = sentences(n_chars - 20 * (seed % 7), seed)
        starts = range(0, len(text), chunk_chars)
        spans = CharSpans([(start, min(start + chunk_chars, len(text))) for start in starts])
        parents.append(Parent(text, spans, header=_TITLE.format(seed) if header else ""))
    return parents


def measure(shape: tuple[int, int], chunk_chars: int, rounds: int, dtype: str) -> list[list[str]]:
    """A row for each configuration, without the names of the case."""
    path = minilm()
    early = LateChunkEngine.from_pretrained(path, dtype="float32", enabled=False)
    model = early.encoder.model  # type: ignore[attr-defined]  # a local encoder
    plain = corpus(*shape, chunk_chars, header=False)
    titled = corpus(*shape, chunk_chars, header=True)
    texts = [parent.chunk_text(i) for parent in plain for i in range(len(parent.spans))]
    n_early = sum(len(ids) for ids in model.tokenizer(texts)["input_ids"])
    engines = {
        name: LateChunkEngine.from_pretrained(path, dtype=dtype, **options)
        for name, options in CONFIGURATIONS.items()
        if len(plain) == 1 or "overlap" not in name
    }
    contenders: dict[str, Callable[[], object]] = {
        "early": lambda: model.encode_document(texts, show_progress_bar=False)
    }
    for name, engine in engines.items():
        parents = titled if engine.options.standalone else plain
        contenders[name] = partial(engine.embed, parents)
    times = seconds_in_turns(contenders, rounds)
    rows = []
    for name, engine in engines.items():
        n_tokens = engine.stats["tokens"] / (rounds + 1)
        per_time, per_tokens = times[name] / times["early"], n_tokens / n_early
        used = str(engine.encoder.model.dtype).removeprefix("torch.")  # type: ignore[attr-defined]  # local
        cells = [f"{per_time:.2f}", f"{per_tokens:.2f}", f"{per_time / per_tokens:.2f}"]
        rows.append([name, used, *cells, "yes" if per_time <= MARK else "no"])
    return rows


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--dtype", default="auto")
    arguments.add_argument("--chunk-chars", type=int, nargs="+", default=[530])
    options = arguments.parse_args()
    rows = [
        [name, chunk_chars, *row]
        for name, shape in LENGTHS.items()
        for chunk_chars in options.chunk_chars
        for row in measure(shape, chunk_chars, options.rounds, options.dtype)
    ]
    columns = ["parents", "chunk chars", "configuration", "dtype", "time / early float32"]
    columns += ["tokens / early", "time per token / early", f"at most {MARK}"]
    print_table("Ingestion with MiniLM, window 256", columns, rows)


if __name__ == "__main__":
    main()
