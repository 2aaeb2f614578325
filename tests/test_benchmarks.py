"""Benchmarks are run by hand, so that only this sees when what they import is gone."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import check
from benchmarks.harness import Ratios, machine_kind, read_ratios, write_record

_FOLDER = Path(__file__).parents[1] / "benchmarks"
_PEERS = {"accelerate", "afterthoughts", "chonkie", "nncf", "openvino"}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.stem for path in _FOLDER.glob("[a-z]*.py")))
def test_what_a_benchmark_imports_is_there(name: str) -> None:
    try:
        importlib.import_module(f"benchmarks.{name}")
    except ModuleNotFoundError as error:
        if error.name not in _PEERS:
            raise
        pytest.skip(f"{error.name} is not among what the project installs")


_COLUMNS = ["model", "way", "tokens/s", "late / bare", "time / early"]
_ROWS = [["minilm", "late", "1,200", "1.10", "0.50"], ["minilm", "early", "900", "-", "~0.80"]]


def test_a_record_holds_machine_versions_and_ratios_of_which_more_is_better(tmp_path: Path) -> None:
    ratios = Ratios(labels=2, higher=("late / bare",), lower=("time / early",))
    found = read_ratios(_COLUMNS, _ROWS, ratios)
    assert found == {
        "minilm | late | late / bare": 1.1,
        "minilm | late | time / early": 2.0,
        "minilm | early | time / early": 1.25,
    }
    write_record(tmp_path / "new" / "record.json", found)
    record = json.loads((tmp_path / "new" / "record.json").read_text())
    assert record["machine"] == machine_kind()
    assert record["ratios"] == found
    assert {"python", "torch", "numpy"} <= set(record["versions"])


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({"speed": 2.0, "new": 0.1}, ""),
        ({"speed": 1.81}, ""),
        ({"speed": 1.79}, "10% below the stored 2.000"),
        ({}, "no longer measured"),
    ],
)
def test_a_ratio_more_than_a_tenth_below_the_stored_one_fails(
    now: dict[str, float],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[list[str]] = []

    def run(name: str, arguments: list[str], file: Path) -> dict[str, Any]:
        asked.append([name, *arguments])
        return {"ratios": now}

    monkeypatch.setattr(check, "run", run)
    stored = tmp_path / "machine.json"
    stored.write_text(json.dumps({"ingest": {"arguments": ["--x"], "ratios": {"speed": 2.0}}}))
    assert check.check(stored, tmp_path) == bool(said)
    assert asked == [["ingest", "--x"]]
    printed = capsys.readouterr().out
    assert said in printed
    assert ("No ratio fell" in printed) == (not said)


def test_without_a_record_of_this_kind_of_machine_nothing_is_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check.check(tmp_path / "another.json", tmp_path) == 0
    assert "nothing is compared" in capsys.readouterr().out
