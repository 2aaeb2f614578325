"""Peak memory above the loaded model: flat in documents and in windows per parent.

Both are measured with a small `batch_tokens`, so that the first row already fills the stream's
buffer, which is a multiple of it: fewer tokens would show how the buffer fills.

Each row is a process of its own: the model is loaded, then documents are made, embedded and
dropped one by one, as a stream into a store does it. The peak is the highest resident size seen
above the loaded model, which has not run yet: working memory of the first batch included.
Loaded means read: safetensors only maps its file, and each page of the weights becomes resident
when it is first touched, those of the word embeddings when their word first stands in a text.

"own" leaves out what the peak holds of files, such as PyTorch's code: it is what the process
asked for. The vectors of the parents in hand are part of it; "vectors" is what one parent's take.
"""

from __future__ import annotations

import argparse
import json
import os
import random
from collections.abc import Iterator

import torch

from benchmarks.corpus import parent
from benchmarks.harness import (
    MIB,
    PeakMemory,
    Ratios,
    in_child,
    minilm,
    parser,
    print_table,
)
from latechunk_integrations import LateChunkEngine, Parent

_CHUNK_CHARS = 512
_SHORT_CHARS = 380
_BATCH_TOKENS = 384
# Of a row about windows, shared out among its parents: rows differ in nothing else.
_WINDOWS = 300
# The first fits a window of MiniLM at any length drawn; of the others each fills one on average.
_FIRST_WINDOW_CHARS, _WINDOW_CHARS = 1_040, 1_220
_COLUMNS = (
    *("what grows", "parents", "characters each", "windows each", "vectors MiB"),
    *("peak above model MiB", "to the first", "own MiB", "own to the first"),
)


def stream(n_parents: int, n_chars: int) -> Iterator[Parent]:
    """Parents made as they are drawn; lengths vary by a tenth, so that batches are real ones."""
    rng = random.Random(0)
    for seed in range(n_parents):
        yield parent(n_chars - rng.randrange(n_chars // 10), _CHUNK_CHARS, seed)


def read_weights(model: torch.nn.Module) -> None:
    """Touch every weight, so that the pages of a mapped file are resident."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.sum()


def child(n_parents: int, n_chars: int, options: argparse.Namespace) -> None:
    """Print peak memory, windows and the bytes of the largest result."""
    # No overlap: sizes are measured, not context.
    engine = LateChunkEngine.from_pretrained(
        minilm(),
        dtype=options.dtype,
        overlap_tokens=0,
        batch_tokens=options.batch_tokens,
    )
    read_weights(engine.encoder.model)  # type: ignore[attr-defined]  # a local one
    n_windows = n_bytes = 0
    with PeakMemory() as memory:
        for result in engine.embed_iter(stream(n_parents, n_chars)):
            n_windows += result.n_windows
            n_bytes = max(n_bytes, result.vectors.nbytes)
    found = {"peak": memory.above, "own": memory.own_above}
    print(json.dumps({**found, "windows": n_windows, "vectors": n_bytes}))


def table(name: str, cases: list[tuple[int, int]], options: argparse.Namespace) -> list[list[str]]:
    """The rows of one thing that grows; each is printed as soon as it is there."""
    rows: list[list[str]] = []
    first: dict[str, float] = {}
    for n_parents, n_chars in cases:
        found = in_child(
            *("benchmarks.memory", "--child", n_parents, n_chars, "--dtype", options.dtype),
            *("--batch-tokens", options.batch_tokens),
        )
        first = first or found
        per_parent = f"{found['windows'] / n_parents:.0f}"
        cells = [name, f"{n_parents:,}", f"{n_chars:,}", per_parent]
        cells.append(f"{found['vectors'] / MIB:.2f}")
        for what in ("peak", "own"):
            cells += [f"{found[what] / MIB:.1f}", f"{found[what] / first[what]:.2f}"]
        print(", ".join(f"{title}: {cell}" for title, cell in zip(_COLUMNS, cells, strict=True)))
        rows.append(cells)
    return rows


def main() -> None:
    """Print the tables."""
    arguments = parser(__doc__)
    arguments.add_argument("--child", type=int, nargs=2)
    arguments.add_argument("--documents", type=int, nargs="*", default=[100, 1_000, 10_000])
    arguments.add_argument("--windows", type=int, nargs="*", default=[1, 10, 100])
    arguments.add_argument("--megabytes", type=int, nargs="*", default=[])
    arguments.add_argument("--batch-tokens", type=int, default=_BATCH_TOKENS)
    arguments.add_argument("--dtype", default="auto")
    arguments.add_argument("--plain", action="store_true", help="leave glibc's allocator as it is")
    options = arguments.parse_args()
    if options.child:
        child(*options.child, options)
        return
    if not options.plain:
        # glibc then gives large buffers back at once: the peak counts what is in use, not what
        # its allocator keeps in pieces, which grows over the first thousands of documents.
        os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "131072")
    groups = {
        "documents": [(n, _SHORT_CHARS) for n in options.documents],
        "windows per parent": [
            (max(1, _WINDOWS // n), _FIRST_WINDOW_CHARS + (n - 1) * _WINDOW_CHARS)
            for n in options.windows
        ],
        "one huge parent": [(1, size * 1_000_000) for size in options.megabytes],
    }
    rows = [row for name, cases in groups.items() for row in table(name, cases, options)]
    ratios = Ratios(labels=4, lower=("to the first", "own to the first"))
    print_table("Peak memory of MiniLM", _COLUMNS, rows, ratios, options.json)


if __name__ == "__main__":
    main()
