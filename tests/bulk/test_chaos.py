"""The short form of the chaos suite; the long one is ``python -m benchmarks.bulk_chaos``."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from tests.bulk import support
from tests.bulk.chaos import Chaos

pytestmark = [pytest.mark.store, pytest.mark.slow]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="runs are forked")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("kind", [*support.TARGETS, "chroma", "lancedb"])
def test_after_kills_and_an_operators_worst_the_target_is_what_a_fresh_one_is(
    tmp_path: Path, tiny_model_path: Path, kind: str
) -> None:
    chaos = Chaos(tmp_path, partial(support.target, kind), support.options(tiny_model_path), seed=7)
    chaos.go(kills=6)
    assert chaos.compare() > 20
