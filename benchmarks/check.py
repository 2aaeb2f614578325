"""Compare ratios with those that were stored for this kind of machine.

``--store`` measures and stores them. Without it each stored benchmark runs again, and a ratio that
falls more than 10 % below the stored one is an error. Ratios of another kind of machine say nothing
about this one: where none are stored for it, nothing is compared.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness import machine_kind

RESULTS = Path(__file__).parent / "results" / "machines"
_LEAST = 0.9
# Those whose ratios hold on a machine that does other things too, in a few minutes.
_STORED: dict[str, list[str]] = {
    "incremental": ["--models", "MiniLM, 384", "--edits", "10"],
    "ingest": ["--rounds", "3"],
    "throughput": ["--family", "minilm", "--dtype", "float32"],
}


def run(name: str, arguments: list[str], file: Path) -> dict[str, Any]:
    """The record of one benchmark."""
    command = [sys.executable, "-W", "ignore", "-m", f"benchmarks.{name}", *arguments]
    subprocess.run([*command, "--json", str(file)], check=True)  # noqa: S603  # our own module
    record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return record


def find_drops(stored: dict[str, float], measured: dict[str, float]) -> list[str]:
    """What fell: a line for each ratio that is gone or more than 10 % below the stored one."""
    drops = []
    for name, before in stored.items():
        now = measured.get(name)
        if now is None:
            drops.append(f"{name}: {before:.3f} was stored, and is no longer measured")
        elif now < _LEAST * before:
            drops.append(f"{name}: {now:.3f}, {1 - now / before:.0%} below the stored {before:.3f}")
    return drops


def check(file: Path, folder: Path) -> int:
    """Run what is stored, and compare; the exit code."""
    if not file.is_file():
        print(
            f"No ratios are stored for this kind of machine ({file.stem}): nothing is compared. "
            "Store some with `python -m benchmarks.check --store`."
        )
        return 0
    stored = json.loads(file.read_text(encoding="utf-8"))
    drops = []
    for name, kept in stored.items():
        record = run(name, kept["arguments"], folder / f"{name}.json")
        drops += [f"{name}: {line}" for line in find_drops(kept["ratios"], record["ratios"])]
    print(*drops or ["No ratio fell by more than 10 %."], sep="\n")
    return 1 if drops else 0


def store(file: Path, folder: Path) -> None:
    """Measure, and keep the ratios as those of this kind of machine."""
    records = {}
    for name, arguments in _STORED.items():
        record = run(name, arguments, folder / f"{name}.json")
        kept = {key: record[key] for key in ("versions", "ratios")}
        records[name] = {"arguments": arguments, **kept}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Store or compare."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--store", action="store_true", help="measure and store")
    options = arguments.parse_args()
    file = RESULTS / f"{machine_kind()}.json"
    with tempfile.TemporaryDirectory() as folder:
        if options.store:
            store(file, Path(folder))
        else:
            sys.exit(check(file, Path(folder)))


if __name__ == "__main__":
    main()
