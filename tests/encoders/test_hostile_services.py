"""Each of the six services, answering what cannot be: right vectors or a typed error.

The short form of ``python -m benchmarks.hostile_servers``, which sends every fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.attack import NAMES, Attack
from tests.fakes.hostile import Altered, Bytes, alterations, faults
from tests.tiny_models import save_tiny_model

pytestmark = pytest.mark.slow  # hundreds of attacks on each service


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    prompts = {"document": "search_document: ", "query": "query: "}
    return save_tiny_model(folder, "wordpiece", prompts=prompts, heads=["normalize"])


@pytest.fixture(params=NAMES)
def attack(request: pytest.FixtureRequest, served: Path) -> Iterator[Attack]:
    with Attack(request.param, served) as prepared:
        yield prepared


def test_answers_that_cannot_be_are_typed_errors_at_every_path(attack: Attack) -> None:
    shapes = {name: fault for name, fault in faults().items() if name.startswith("JSON: data")}
    armed: dict[str, Bytes | Altered] = {**alterations(), **shapes}
    for path in attack.paths():
        counts = attack.go(armed, path)
        assert counts["ServerAnswerError"] > len(shapes), (path, counts)
