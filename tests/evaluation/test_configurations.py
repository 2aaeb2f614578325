"""The default on real text, and what the named configurations are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from latechunk_integrations import LateChunkEngine, LateChunkOptions
from latechunk_integrations.evaluation.compare import compare
from latechunk_integrations.evaluation.configurations import (
    ALL,
    BASELINE,
    LATE,
    LEVERS,
)
from latechunk_integrations.evaluation.dataset import GoldenSet

SAMPLES = Path(__file__).resolve().parents[2] / "examples" / "samples"


def test_every_configuration_has_a_name_of_its_own() -> None:
    names = [configuration.name for configuration in (*ALL, *LEVERS)]
    assert len(set(names)) == len(names)
    assert names[0] == BASELINE


def test_what_is_measured_is_what_an_engine_does_unless_told_otherwise() -> None:
    asked = LATE.options()
    given = LateChunkOptions(model="some/model").to_dict()
    assert {**asked, "layout": "auto"} == {name: given[name] for name in asked}
    assert LATE.header == "attended"


def test_the_default_gains_on_the_samples(
    minilm_engine: LateChunkEngine,
) -> None:
    """Contracts, release notes, a handbook: texts whose chunks lean on their document."""
    named = GoldenSet.from_quotes(SAMPLES / "queries.jsonl")
    headed = [replace(d, title=d.text.splitlines()[0].strip("# ")) for d in named.documents]
    golden = GoldenSet(named.name, tuple(headed), named.queries, named.spans)
    compared = compare(minilm_engine, golden, [LATE], chunk_sizes=(64,))
    difference = compared.get(LATE.name).corpus_difference["nDCG@10"]
    assert difference.mean > 0.05
