"""Over a hundred and fifty faults of a raw socket against each path of each of the six services.

After each, the engine must have given the right vectors or a typed error. Memory must stay within
64 MiB of where it was, and no error or log line may show the key.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["OMP_NUM_THREADS"] = "1"

from tests.fakes.attack import NAMES, Attack
from tests.fakes.hostile import alterations, faults
from tests.tiny_models import save_tiny_model


def main() -> None:
    """Attack each service, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", nargs="+", default=list(NAMES), choices=NAMES)
    asked = parser.parse_args()
    armed = {**faults(), **alterations()}
    with tempfile.TemporaryDirectory() as name:
        prompts = {"document": "search_document: ", "query": "query: "}
        folder = save_tiny_model(Path(name), "wordpiece", prompts=prompts, heads=["normalize"])
        for service in asked.services:
            start = time.perf_counter()
            with Attack(service, folder) as attack:
                outcomes = {path: attack.go(armed, path) for path in attack.paths()}
            print(
                f"{service}: {len(armed)} faults of each of {len(outcomes)} paths, "
                f"{attack.most_grown >> 20} MiB more at most, {time.perf_counter() - start:.0f} s"
            )
            for path, counts in outcomes.items():
                said = ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items()))
                print(f"  {path}: {said}", flush=True)


if __name__ == "__main__":
    main()
