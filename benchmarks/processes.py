"""Two worker processes against one process on the same two cores, and the memory of all of them.

Speed: the ways take turns over the same parents, whose model is loaded. "planning beside" is one
process with one thread for the model, so that planning has the other core to itself.

Memory: the resident size of the process and its workers, summed, at its peak. Pages that they
share, such as the code of PyTorch, count once for each.
"""

from __future__ import annotations

import argparse
import json
import os
import random
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from typing import Any

import psutil
import torch

from benchmarks.corpus import parent
from benchmarks.harness import MIB, PeakMemory, in_child, minilm, print_table, seconds_in_turns
from latechunk_integrations import LateChunkEngine, Parent

_CHUNK_CHARS = 530
CASES = {"1,000 characters": (140, 1_050), "12,000 characters": (12, 12_000)}


class AllMemory(PeakMemory):
    """Samples this process and its children."""

    def _sizes(self) -> tuple[int, int]:
        sizes = []
        for process in (self._process, *self._process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                sizes.append(process.memory_info().rss)
        return sum(sizes), 0

    @property
    def peak(self) -> int:
        """Bytes at the peak."""
        return self._peak[0]


def stream(n_parents: int, n_chars: int) -> Iterator[Parent]:
    """Parents made as they are drawn; lengths vary by a tenth."""
    rng = random.Random(0)
    for seed in range(n_parents):
        yield parent(n_chars - rng.randrange(n_chars // 10), _CHUNK_CHARS, seed)


def speed(dtype: str, rounds: int, n_processes: int) -> list[list[str]]:
    """A row for each corpus."""
    n_cores = torch.get_num_threads()
    one = LateChunkEngine.from_pretrained(minilm(), dtype=dtype)
    several = LateChunkEngine.from_pretrained(minilm(), dtype=dtype, processes=n_processes)

    def embed(engine: LateChunkEngine, parents: list[Parent], n_threads: int) -> None:
        torch.set_num_threads(n_threads)
        for _ in engine.embed_iter(parents):
            pass

    rows = []
    for name, (n_parents, n_chars) in CASES.items():
        parents = list(stream(n_parents, n_chars))
        seconds = seconds_in_turns(
            {
                "threads": lambda parents=parents: embed(one, parents, n_cores),  # type: ignore[misc]  # bound here
                "beside": lambda parents=parents: embed(one, parents, 1),  # type: ignore[misc]  # as above
                "processes": lambda parents=parents: embed(several, parents, n_cores),  # type: ignore[misc]  # as above
            },
            rounds,
        )
        first = seconds["threads"]
        cells = [f"{seconds[way]:.1f} s, {first / seconds[way]:.2f}" for way in seconds]
        rows.append([name, str(one.encoder.dtype), *cells])
    several.close()
    return rows


def child(n_parents: int, n_chars: int, n_processes: int, dtype: str) -> None:
    """Print the peak of one stream."""
    options: dict[str, Any] = {"processes": n_processes} if n_processes > 1 else {}
    with (
        LateChunkEngine.from_pretrained(minilm(), dtype=dtype, **options) as engine,
        AllMemory() as memory,
    ):
        for _ in engine.embed_iter(stream(n_parents, n_chars)):
            pass
    print(json.dumps({"peak": memory.peak}))


def memory_rows(sizes: list[int], n_processes: int, dtype: str) -> list[list[str]]:
    """A row for each corpus and number of processes."""
    rows, first = [], {}
    for n, n_parents in product((1, n_processes), sizes):
        found = in_child(
            *("benchmarks.processes", "--child", n_parents, 1_050, n, "--dtype", dtype)
        )["peak"]
        first.setdefault(n, found)
        rows.append([str(n), f"{n_parents:,}", f"{found / MIB:.0f} MiB", f"{found / first[n]:.2f}"])
    return rows


def main() -> None:
    """Print the tables."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--child", type=int, nargs=3)
    arguments.add_argument("--processes", type=int, default=2)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--dtype", nargs="+", default=["float32", "auto"])
    arguments.add_argument("--documents", type=int, nargs="*", default=[150, 600])
    arguments.add_argument("--only", choices=["speed", "memory"])
    given = arguments.parse_args()
    if given.child:
        child(*given.child, given.dtype[0])
        return
    n = given.processes
    if given.only != "memory":
        rows = [row for dtype in given.dtype for row in speed(dtype, given.rounds, n)]
        columns = ["parents", "dtype", "one process", "one, planning beside", f"{n} processes"]
        print_table("Seconds, and speed over one process", columns, rows)
    if given.only != "speed":
        # As in benchmarks.memory: what is in use, not what the allocator keeps in pieces.
        os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "131072")
        rows = memory_rows(given.documents, n, given.dtype[0])
        columns = ["processes", "parents", "peak of all", "to the first"]
        print_table(f"Memory, {given.dtype[0]}", columns, rows)


if __name__ == "__main__":
    main()
