"""Peak memory above the loaded model: flat in documents and in windows per parent.

Both are measured with a small `batch_tokens`, so that the first row already fills the stream's
buffer, which is a multiple of it: fewer tokens would show how the buffer fills.

Each row is a process of its own: the model is loaded, then documents are made, embedded and
dropped one by one, as a stream into a store does it. The peak is the highest resident size seen
above the loaded model, which has not run yet: working memory of the first batch included.
The vectors of the parents in hand are part of it; "vectors" is what one parent's take.
"""

from __future__ import annotations

import argparse
import json
import os
import random
from collections.abc import Iterator

from benchmarks.corpus import parent
from benchmarks.harness import MIB, PeakMemory, in_child, minilm, print_table
from latechunk_integrations import LateChunkEngine, Parent

_CHUNK_CHARS = 512
_SHORT_CHARS = 420
_BATCH_TOKENS = 512
_PARENTS = 40
# A window of MiniLM holds about as many of these characters.
_WINDOW_CHARS = 1_040


def stream(n_parents: int, n_chars: int) -> Iterator[Parent]:
    """Parents made as they are drawn; lengths vary by a tenth, so that batches are real ones."""
    rng = random.Random(0)
    for seed in range(n_parents):
        yield parent(n_chars - rng.randrange(n_chars // 10), _CHUNK_CHARS, seed)


def child(n_parents: int, n_chars: int, dtype: str) -> None:
    """Print peak memory, windows and the bytes of the largest result."""
    # No overlap and no preamble: sizes are measured, not context.
    engine = LateChunkEngine.from_pretrained(
        minilm(),
        dtype=dtype,
        overlap_tokens=0,
        preamble_tokens=0,
        batch_tokens=_BATCH_TOKENS,
    )
    n_windows = n_bytes = 0
    with PeakMemory() as memory:
        for result in engine.embed_iter(stream(n_parents, n_chars)):
            n_windows += result.n_windows
            n_bytes = max(n_bytes, result.vectors.nbytes)
    print(json.dumps({"peak": memory.above, "windows": n_windows, "vectors": n_bytes}))


def row(n_parents: int, n_chars: int, dtype: str) -> tuple[float, list[str]]:
    """Peak in MiB, and the cells of a row."""
    found = in_child("benchmarks.memory", "--child", n_parents, n_chars, "--dtype", dtype)
    peak = found["peak"] / MIB
    per_parent = found["windows"] / n_parents
    vectors = f"{found['vectors'] / MIB:.2f}"
    return peak, [f"{n_parents:,}", f"{n_chars:,}", f"{per_parent:.0f}", vectors, f"{peak:.1f}"]


def main() -> None:
    """Print the tables."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--child", type=int, nargs=2)
    arguments.add_argument("--documents", type=int, nargs="*", default=[100, 1_000, 10_000])
    arguments.add_argument("--windows", type=int, nargs="*", default=[1, 10, 100])
    arguments.add_argument("--megabytes", type=int, nargs="*", default=[])
    arguments.add_argument("--dtype", default="auto")
    options = arguments.parse_args()
    if options.child:
        child(*options.child, options.dtype)
        return
    # glibc then gives large buffers back at once: the peak counts what is in use, not what its
    # allocator keeps in pieces, which grows by some 40 MiB over the first thousand documents.
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "131072")
    groups = {
        "documents": [(n, _SHORT_CHARS) for n in options.documents],
        "windows per parent": [(_PARENTS, n * _WINDOW_CHARS) for n in options.windows],
        "one huge parent": [(1, size * 1_000_000) for size in options.megabytes],
    }
    rows: list[list[str]] = []
    for name, cases in groups.items():
        first = None
        for case in cases:
            peak, cells = row(*case, options.dtype)
            first = first or peak
            rows.append([name, *cells, f"{peak / first:.2f}"])
    columns = ["what grows", "parents", "characters each", "windows each", "vectors MiB"]
    print_table("Peak memory of MiniLM", [*columns, "peak above model MiB", "to the first"], rows)


if __name__ == "__main__":
    main()
