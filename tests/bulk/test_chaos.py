"""The short form of the chaos suite; the long one is ``python -m benchmarks.bulk_chaos``."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.bulk import support
from tests.bulk.chaos import Chaos

pytestmark = [pytest.mark.store, pytest.mark.slow]

_ROOT = Path(__file__).parents[2]
# In a process of its own: the threads that other tests have started here would not live through
# a fork, and what they hold locked would stay locked.
_RUN = "import sys; from tests.bulk.test_chaos import run; run(*sys.argv[1:])"


def run(folder: str, model: str, kind: str) -> None:
    """Kill six runs, and compare."""
    options = support.options(Path(model))
    chaos = Chaos(Path(folder), partial(support.target, kind), options, seed=7)
    chaos.go(kills=6)
    assert chaos.compare() > 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="runs are forked")
@pytest.mark.parametrize("kind", [*support.TARGETS, "chroma", "lancedb"])
def test_after_kills_and_an_operators_worst_the_target_is_what_a_fresh_one_is(
    tmp_path: Path, tiny_model_path: Path, kind: str
) -> None:
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        _RUN,
        str(tmp_path),
        str(tiny_model_path),
        kind,
    ]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, cwd=_ROOT, env=environment, timeout=900)
