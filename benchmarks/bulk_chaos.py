"""Indexing under an operator's worst: kills, edits, lost permissions, full disks, lost checkpoints.

Over every target, with two runs at once in between, and over Parquet with Ray, whose driver and
workers are killed in turn. Every ten kills the target must equal a fresh index bit for bit: no
chunk lost, none doubled. Prints what happened, and how often. With --resume a stopped run goes on
at the ten kills that it was at. As root the disk is a small tmpfs, which is filled; else
``os.fsync`` says that it is full.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property, partial
from itertools import product
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["OMP_NUM_THREADS"] = "1"

import psutil
import psycopg
import torch

from latechunk_integrations import LateChunkOptions
from tests.bulk import support
from tests.bulk.chaos import Chaos
from tests.bulk.ray_chaos import RayChaos, running_ray
from tests.postgres import running_postgres
from tests.tiny_models import save_tiny_model

_RAY = "ray"
_TARGETS = (*support.TARGETS, "chroma", "lancedb", "pgvector", _RAY)
_PIECE = 10
_DISK_BYTES = 96 << 20


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    """A folder on a small tmpfs, where this process may mount one."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(command, check=False).returncode == 0  # noqa: S603  # our own command
    try:
        yield folder
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)  # noqa: S603, S607  # as above


class _Suite:
    """Ten kills at a time; servers are started when they are needed."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = save_tiny_model(self._folder / "model", "wordpiece")
        self._options = LateChunkOptions(model=str(model), dtype="float32", device="cpu")

    def run(self, kind: str, seed: int) -> Counter[str]:
        """Kill, compare, print; returns what happened."""
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as disk, _small_disk(Path(disk)) as folder:
            (work := folder / "work").mkdir()
            given = (work, self._place(kind, seed), self._options, seed)
            chaos = RayChaos(self._cluster, *given) if kind == _RAY else Chaos(*given)
            chaos.go(_PIECE)
            n_rows = chaos.compare()
        seconds = time.perf_counter() - start
        print(f"{kind} {seed}: {n_rows} rows, equal ({seconds:.0f} s; {_list(chaos.counts)})")
        return chaos.counts

    def _place(self, kind: str, seed: int) -> Callable[[Path], str]:
        """The target of a folder."""
        if kind != "pgvector":
            return partial(support.target, "parquet" if kind == _RAY else kind)
        return lambda folder: f"pgvector:{self._postgres}#{folder.name}_{seed}"

    @cached_property
    def _cluster(self) -> psutil.Process:
        return self._stack.enter_context(running_ray(self._folder / "ray"))

    @cached_property
    def _postgres(self) -> str:
        url = self._stack.enter_context(running_postgres()).replace("+psycopg", "")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("create extension if not exists vector")
        return url


def _list(counts: Counter[str]) -> str:
    return ", ".join(f"{n} {name}" for name, n in sorted(counts.items()))


def main() -> None:
    """Run the pieces that are left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30, help="of each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--targets", nargs="+", default=list(_TARGETS), choices=_TARGETS)
    parser.add_argument("--resume", type=Path, help="a file that keeps what is done")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    done: dict[tuple[str, int], Counter[str]] = {}
    if asked.resume is not None and asked.resume.exists():
        for line in asked.resume.read_text("utf-8").splitlines():
            kind, seed, counts = json.loads(line)
            done[kind, seed] = Counter(counts)
    seeds = range(asked.seed, asked.seed + math.ceil(asked.kills / _PIECE))
    with ExitStack() as stack:
        suite = _Suite(stack)
        for kind, seed in product(asked.targets, seeds):
            if (kind, seed) in done:
                continue
            done[kind, seed] = suite.run(kind, seed)
            if asked.resume is not None:
                with asked.resume.open("a", encoding="utf-8") as file:
                    file.write(json.dumps([kind, seed, done[kind, seed]]) + "\n")
    total = sum((done[piece] for piece in product(asked.targets, seeds)), Counter[str]())
    print(f"{total['killed']} kills over {len(asked.targets)} targets: none lost, none doubled")
    print(_list(total))


if __name__ == "__main__":
    main()
