"""The recommended configuration on real text, and what the named configurations are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from latechunk_integrations import LateChunkEngine, LateChunkOptions
from latechunk_integrations.evaluation.compare import compare
from latechunk_integrations.evaluation.configurations import (
    ALL,
    BASELINE,
    FRUGAL,
    LEVERS,
    RECOMMENDED,
)
from latechunk_integrations.evaluation.dataset import GoldenSet
from latechunk_integrations.evaluation.results import Configuration
from latechunk_integrations.options import FRUGAL as FRUGAL_OPTIONS
from latechunk_integrations.options import RECOMMENDED as RECOMMENDED_OPTIONS

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
SAMPLES = Path(__file__).resolve().parents[2] / "examples" / "samples"


def test_every_configuration_has_a_name_of_its_own() -> None:
    names = [configuration.name for configuration in (*ALL, *LEVERS)]
    assert len(set(names)) == len(names)
    assert names[0] == BASELINE


@pytest.mark.parametrize(
    ("options", "configuration"),
    [(RECOMMENDED_OPTIONS, RECOMMENDED), (FRUGAL_OPTIONS, FRUGAL)],
    ids=["recommended", "frugal"],
)
def test_what_is_measured_is_what_the_options_give(
    options: Mapping[str, Any], configuration: Configuration, tmp_path: Path
) -> None:
    """The same in Python and in a file; the title is the header in all of them."""
    by_name = LateChunkOptions(model="some/model", **options)
    file = tmp_path / "latechunk.yaml"
    file.write_text(yaml.safe_dump({"model": "some/model", **options}), encoding="utf-8")
    assert LateChunkOptions.from_config(file) == by_name
    asked = configuration.options()
    given = by_name.to_dict()
    assert asked == {name: given[name] for name in asked}
    assert configuration.header == "attended"


def test_the_recommended_configuration_gains_on_the_samples(
    minilm_engine: LateChunkEngine,
) -> None:
    """Contracts, release notes, a handbook: texts whose chunks lean on their document."""
    golden = GoldenSet.from_quotes(SAMPLES / "queries.jsonl")
    compared = compare(minilm_engine, golden, [RECOMMENDED], chunk_sizes=(64,))
    difference = compared.get("recommended").corpus_difference["nDCG@10"]
    assert difference.mean > 0.05


@pytest.mark.skipif(not DATA.is_dir(), reason="the golden sets do not stand beside the checkout")
def test_the_recommended_configuration_loses_on_none_of_the_quick_sets(
    minilm_engine: LateChunkEngine,
) -> None:
    """A quarter of XQuAD: its chunks stand on their own, where late chunking has least to give."""
    whole = GoldenSet.load(DATA / "xquad_en", "small")
    documents = whole.documents[:12]
    kept = {document.doc_id for document in documents}
    golden = GoldenSet(
        "xquad",
        documents,
        tuple(query for query in whole.queries if query.doc_id in kept),
        tuple(span for span in whole.spans if span.doc_id in kept),
    )
    compared = compare(minilm_engine, golden, [RECOMMENDED], measures=("nDCG@10",))
    result = compared.get("recommended")
    assert result.corpus_difference["nDCG@10"].mean > -0.003
    assert result.document_difference["nDCG@10"].mean > -0.003
