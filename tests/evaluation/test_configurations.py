"""The default on real text, and what the named configurations are."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from latechunk_integrations import LateChunkEngine, LateChunkOptions
from latechunk_integrations.evaluation.compare import compare
from latechunk_integrations.evaluation.configurations import (
    ALL,
    BASELINE,
    DEFAULT,
    EARLY_PREPENDED,
    LATE,
    configuration_of,
    describe,
    drop_repeated,
    make_configurations,
    name_configuration,
)
from latechunk_integrations.evaluation.dataset import GoldenSet
from latechunk_integrations.evaluation.results import Configuration

SAMPLES = Path(__file__).resolve().parents[2] / "examples" / "samples"


def test_every_configuration_has_a_name_of_its_own() -> None:
    names = [configuration.name for configuration in ALL]
    assert len(set(names)) == len(names)
    assert names[0] == BASELINE


def test_what_is_measured_is_what_an_engine_does_unless_told_otherwise() -> None:
    asked = LATE.options()
    given = LateChunkOptions(model="some/model").to_dict()
    assert asked == {name: given[name] for name in asked}
    assert LATE.header == "auto"


def test_what_llama_index_does_with_a_title_is_in_the_default_set() -> None:
    assert EARLY_PREPENDED in DEFAULT


@pytest.mark.parametrize("configuration", ALL, ids=lambda c: c.name)
def test_a_name_is_words_of_what_it_does(configuration: Configuration) -> None:
    named = name_configuration(configuration)
    assert not re.search(r"\bw0|pool", configuration.name)
    assert describe(configuration)
    early = configuration.context_weight == 0
    assert named.startswith("early") is early is configuration.name.startswith("early")


def test_combinations_have_names_of_their_own_and_what_repeats_is_dropped() -> None:
    made = make_configurations(
        ("auto", 1.0, math.inf), ("auto", "text"), ("none", "attended", "auto"), (0.0, 0.7, 1.0)
    )
    assert len({each.name for each in made}) == len(made)
    assert LATE in made
    assert all("late" in each.name for each in made if each.context_weight)
    file = configuration_of(LateChunkOptions(model="m", focus=2.0))
    assert drop_repeated([LATE, file, replace(LATE, name="again")]) == [LATE, file]


@pytest.mark.slow
def test_the_default_gains_on_the_samples(
    minilm_engine: LateChunkEngine,
) -> None:
    """Contracts, release notes, a handbook: texts whose chunks lean on their document."""
    golden = GoldenSet.from_quotes(SAMPLES / "queries.jsonl")
    compared = compare(minilm_engine, golden, [LATE], chunk_sizes=(64,))
    difference = compared.get(LATE.name).corpus_difference["nDCG@10"]
    assert difference.mean > 0.05
