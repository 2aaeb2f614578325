"""Late chunking against its peers: time, peak memory, and what of the text they keep.

Contenders take turns on the same texts in one process; peak memory is of one process each.
See benchmarks/contenders.py for how each is run. "text kept" is the characters of all chunks
per character of text: below 100 % text is lost, above it given twice. "alone" is the share of
chunks that were silently embedded without their context.
"""

from __future__ import annotations

import json
import logging
import random
import warnings
from collections.abc import Callable
from functools import partial

from benchmarks import contenders
from benchmarks.contenders import Contender, Outcome
from benchmarks.corpus import sentences
from benchmarks.harness import (
    MIB,
    PeakMemory,
    Ratios,
    in_child,
    minilm,
    parser,
    print_table,
    seconds_in_turns,
)

CONTENDERS: dict[str, Callable[[str, str, int], Contender]] = {
    "this package": contenders.ours,
    "this package, no overlap": partial(contenders.ours, overlap_tokens=0, preamble_tokens=0),
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


def texts_of(length: str) -> list[str]:
    """The documents of a case, of lengths drawn evenly."""
    n_texts, shortest, longest = LENGTHS[length]
    rng = random.Random(0)
    return [sentences(rng.randint(shortest, longest), seed) for seed in range(n_texts)]


def quiet() -> None:
    """Peers warn about each other's older calls; the table is what is wanted."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


def child(name: str, length: str, dtype: str, chunk_tokens: int) -> None:
    """Print the peak memory of one contender above its loaded and warm model."""
    run = CONTENDERS[name](minilm(), dtype, chunk_tokens)
    run(texts_of("short, 200 to 400")[:2])
    texts = texts_of(length) * (4 if length.startswith("long") else 1)
    with PeakMemory() as memory:
        run(texts)
    print(json.dumps({"peak": memory.above}))


def measure(length: str, dtype: str, chunk_tokens: int, rounds: int) -> list[list[str]]:
    """A row for each contender, without the names of the case."""
    texts = texts_of(length)
    long = length.startswith("long")
    runs = {
        name: build(minilm(), dtype, chunk_tokens)
        for name, build in CONTENDERS.items()
        if long or "overlap" not in name
    }
    outcomes: dict[str, Outcome] = {}

    def noted(name: str, run: Contender) -> None:
        outcomes[name] = run(texts)

    times = seconds_in_turns(
        {name: partial(noted, name, run) for name, run in runs.items()}, rounds
    )
    n_chars = sum(map(len, texts))
    rows = []
    for name, seconds in times.items():
        arguments = ("--child", name, "--length", length, "--dtype", dtype)
        peak = in_child("benchmarks.peers", *arguments, "--chunk-tokens", chunk_tokens)["peak"]
        outcome = outcomes[name]
        rows.append(
            [
                name,
                f"{n_chars / seconds:,.0f}",
                f"{seconds / times['this package']:.2f}",
                f"{outcome.n_chars / n_chars:.0%}",
                f"{outcome.n_naive / outcome.n_chunks:.0%}",
                f"{peak / MIB:.0f}",
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
    arguments.add_argument("--child", choices=list(CONTENDERS))
    options = arguments.parse_args()
    quiet()
    if options.child:
        child(options.child, options.length[0], options.dtype, options.chunk_tokens[0])
        return
    rows = [
        [length, chunk_tokens, *row]
        for length in options.length
        for chunk_tokens in options.chunk_tokens
        for row in measure(length, options.dtype, chunk_tokens, options.rounds)
    ]
    columns = ["documents, characters", "chunk tokens", "contender", "characters/s"]
    columns += ["time / ours", "text kept", "alone", "peak MiB"]
    ratios = Ratios(labels=3, higher=("time / ours",))
    print_table(f"Peers with MiniLM in {options.dtype}", columns, rows, ratios, options.json)


if __name__ == "__main__":
    main()
