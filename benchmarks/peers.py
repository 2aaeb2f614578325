"""Late chunking against its peers: time, peak memory, and what of the text they keep.

Contenders take turns on the same texts in one process; peak memory is of one process each.
See benchmarks/contenders.py for how each is run. "text kept" is the characters of all chunks
per character of text: below 100 % text is lost, above it given twice. "alone" is the share of
chunks that were silently embedded without their context. jina-v2 is not among the models: its
published code is remote code, which is not run here.
"""

from __future__ import annotations

import json
import logging
import random
import tempfile
import warnings
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from math import ceil
from pathlib import Path

from benchmarks import contenders
from benchmarks.contenders import Contender, Outcome
from benchmarks.corpus import sentences
from benchmarks.families import model_path
from benchmarks.harness import (
    MIB,
    PeakMemory,
    Ratios,
    cpu_seconds_in_turns,
    in_child,
    parser,
    print_table,
)

CONTENDERS: dict[str, Callable[[str, str, int], Contender]] = {
    "this package": contenders.ours,
    "this package, textbook": partial(contenders.ours, layout="text", focus=0.0),
    "sentence-transformers, early": contenders.early,
    "chonkie LateChunker": contenders.chonkie,
    "afterthoughts LateEncoder": contenders.afterthoughts,
    "published algorithm": contenders.published,
}
# Documents and their characters: 200 to 1,000 is 50 to 240 tokens, up to MiniLM's window.
LENGTHS = {
    "short, 200 to 400": (64, 200, 400),
    "fit the window, 300 to 1,000": (32, 300, 1_000),
    "long, 10,000": (2, 10_000, 10_000),
}


def texts_of(length: str, share: float = 1.0) -> list[str]:
    """The documents of a case, or a share of them, of lengths drawn evenly."""
    n_texts, shortest, longest = LENGTHS[length]
    rng = random.Random(0)
    return [
        sentences(rng.randint(shortest, longest), seed) for seed in range(ceil(n_texts * share))
    ]


def quiet() -> None:
    """Peers warn about each other's older calls; the table is what is wanted."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


def child(name: str, model: str, length: str, dtype: str, chunk_tokens: int) -> None:
    """Print the peak memory of one contender above its loaded and warm model."""
    run = CONTENDERS[name](model, dtype, chunk_tokens)
    run(texts_of("short, 200 to 400")[:2])
    texts = texts_of(length) * (4 if length.startswith("long") else 1)
    with PeakMemory() as memory:
        run(texts)
    print(json.dumps({"peak": memory.above}))


def measure(model: str, length: str, chunk_tokens: int, options: Namespace) -> list[list[str]]:
    """A row for each contender, without the names of the case."""
    texts = texts_of(length, options.share)
    runs = {name: build(model, options.dtype, chunk_tokens) for name, build in CONTENDERS.items()}
    outcomes: dict[str, Outcome] = {}

    def noted(name: str, run: Contender) -> None:
        outcomes[name] = run(texts)

    wall, cpu = cpu_seconds_in_turns(
        {name: partial(noted, name, run) for name, run in runs.items()}, options.rounds
    )
    n_chars = sum(map(len, texts))
    rows = []
    for name, seconds in wall.items():
        peak = ""
        if options.peak:
            arguments = ("--child", name, "--model", model, "--length", length)
            arguments += ("--dtype", options.dtype, "--chunk-tokens", chunk_tokens)
            peak = f"{in_child('benchmarks.peers', *arguments)['peak'] / MIB:.0f}"
        outcome = outcomes[name]
        rows.append(
            [
                name,
                f"{n_chars / seconds:,.0f}",
                f"{seconds / wall['this package']:.2f}",
                f"{cpu[name] / cpu['this package']:.2f}",
                f"{outcome.n_chars / n_chars:.0%}",
                f"{outcome.n_naive / outcome.n_chunks:.0%}",
                peak,
            ]
        )
    return rows


def main() -> None:
    """Print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--dtype", default="float32")
    arguments.add_argument("--chunk-tokens", type=int, nargs="+", default=[128])
    arguments.add_argument("--length", nargs="+", default=list(LENGTHS), choices=list(LENGTHS))
    arguments.add_argument("--share", type=float, default=1.0, help="of the documents")
    arguments.add_argument("--model", default="minilm", help="a family, or a folder")
    arguments.add_argument("--no-peak", dest="peak", action="store_false", help="time alone")
    arguments.add_argument("--child", choices=list(CONTENDERS))
    options = arguments.parse_args()
    quiet()
    if options.child:
        case = options.length[0], options.dtype, options.chunk_tokens[0]
        child(options.child, options.model, *case)
        return
    with tempfile.TemporaryDirectory() as folder:
        model = model_path(options.model, Path(folder))
        rows = [
            [length, chunk_tokens, *row]
            for length in options.length
            for chunk_tokens in options.chunk_tokens
            for row in measure(model, length, chunk_tokens, options)
        ]
    columns = ["documents, characters", "chunk tokens", "contender", "characters/s"]
    columns += ["time / ours", "CPU time / ours", "text kept", "alone", "peak MiB"]
    ratios = Ratios(labels=3, higher=("time / ours",))
    print_table(
        f"Peers with {Path(options.model).name} in {options.dtype}",
        columns,
        rows,
        ratios,
        options.json,
    )


if __name__ == "__main__":
    main()
