"""A record keeps everything, in a published shape, and other tools read the runs."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import ir_measures
import jsonschema
import pytest

from latechunk_integrations.errors import GoldenSetError
from latechunk_integrations.evaluation.compare import compare
from latechunk_integrations.evaluation.provenance import shorten_path
from latechunk_integrations.evaluation.record import (
    read_record,
    record_schema,
    write_queries,
    write_record,
    write_trec,
)
from latechunk_integrations.evaluation.results import Comparison, Configuration
from tests.evaluation.support import small_set
from tests.evaluation.word_encoder import lines, word_engine

DOCS = Path(__file__).parents[2] / "docs"
LATE = Configuration(name="late", context_weight=1.0)
INFINITE = Configuration(name="alone", context_weight=1.0, focus=0.0, header_focus=math.inf)


@pytest.fixture(scope="module")
def compared() -> Comparison:
    return compare(word_engine(), small_set(), [LATE], splitter=lines)


def test_a_record_is_what_was_measured_in_the_published_shape(
    compared: Comparison, tmp_path: Path
) -> None:
    result = replace(compared.results[1], configuration=INFINITE)
    made = replace(compared, results=(compared.results[0], result))
    path = tmp_path / "record.json"
    write_record(made, path)
    read = read_record(path)
    assert read == made
    assert read.provenance == made.provenance
    published = json.loads((DOCS / "comparison.schema.json").read_text(encoding="utf-8"))
    assert published == record_schema()
    jsonschema.validate(json.loads(path.read_text(encoding="utf-8")), published)


def test_a_record_says_where_it_comes_from_and_names_no_path(compared: Comparison) -> None:
    assert compared.provenance is not None
    (model,) = compared.provenance.models
    assert model.fingerprint == word_engine().fingerprint
    assert model.options["focus"] == "auto"
    assert "api_key" not in model.options
    assert compared.provenance.version
    assert compared.provenance.date.endswith("UTC")
    assert "cores" in compared.provenance.hardware
    assert compared.questions["q1"] == "How many inhabitants does Berlin have?"
    assert shorten_path("/home/someone/models/tiny") == "models/tiny"
    assert shorten_path("a/model") == "a/model"


@pytest.mark.parametrize("content", ["{", "[]", '{"format": "other"}', '{"results": []}'])
def test_what_is_no_record_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "old.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(GoldenSetError, match="record"):
        read_record(path)


def test_the_csv_has_a_row_for_each_query_and_result(compared: Comparison, tmp_path: Path) -> None:
    write_queries(compared, tmp_path / "queries.csv")
    with (tmp_path / "queries.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * len(small_set().queries)
    assert {row["question"] for row in rows} == set(compared.questions.values())


def test_other_tools_compute_our_measures_from_the_trec_files(
    compared: Comparison, tmp_path: Path
) -> None:
    files = write_trec(compared, small_set(), [word_engine()], tmp_path, lines)
    assert sorted(path.name for path in files) == ["early.run", "late.run", "words-own.qrels"]
    measures: Any = ir_measures
    qrels = list(measures.read_trec_qrels(str(tmp_path / "words-own.qrels")))
    for name in ("early", "late"):
        run = list(measures.read_trec_run(str(tmp_path / f"{name}.run")))
        measured = measures.calc_aggregate([measures.nDCG @ 10], qrels, run)
        assert measured[measures.nDCG @ 10] == pytest.approx(compared.get(name).corpus["nDCG@10"])
