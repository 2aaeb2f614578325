"""The short form of the chaos suite; the long one is ``python -m benchmarks.bulk_chaos``."""

from __future__ import annotations

import os
import warnings
from functools import partial
from pathlib import Path

import pytest

from tests.bulk import support
from tests.bulk.chaos import Chaos
from tests.prepared import Prepared

pytestmark = [pytest.mark.store, pytest.mark.slow]


def run(folder: Path, model: Path, kind: str) -> None:
    """Kill six runs, and compare."""
    warnings.simplefilter("ignore")
    chaos = Chaos(folder, partial(support.target, kind), support.options(model), seed=7)
    chaos.go(kills=6)
    assert chaos.compare() > 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="runs are forked")
@pytest.mark.parametrize("kind", [*support.TARGETS, "chroma", "lancedb"])
def test_after_kills_and_an_operators_worst_the_target_is_what_a_fresh_one_is(
    tmp_path: Path, tiny_model_path: Path, kind: str
) -> None:
    """In a process of its own: threads of other tests here would not live through a fork."""
    finished = Prepared(tmp_path, run, tmp_path, tiny_model_path, kind).finish(900)
    assert finished.returncode == 0, finished.stderr
