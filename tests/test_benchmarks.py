"""Benchmarks are run by hand, so that only this sees when what they import is gone."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

_FOLDER = Path(__file__).parents[1] / "benchmarks"
_PEERS = {"accelerate", "afterthoughts", "chonkie"}


@pytest.mark.parametrize("name", sorted(path.stem for path in _FOLDER.glob("[a-z]*.py")))
def test_what_a_benchmark_imports_is_there(name: str) -> None:
    try:
        importlib.import_module(f"benchmarks.{name}")
    except ModuleNotFoundError as error:
        if error.name not in _PEERS:
            raise
        pytest.skip(f"{error.name} is installed by `make bench` only")
