"""``latechunk migrate`` as a user types it, and as an operating system kills it."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.cli import app
from tests.bulk.migration import collections
from tests.bulk.migration.test_migrating import check_vectors, expected
from tests.prepared import Prepared, run_command

pytestmark = pytest.mark.store


def _arguments(collection: str, model: Path, folder: Path) -> list[str]:
    return [
        "migrate",
        collection,
        *("--from-framework", "langchain"),
        *("--checkpoint", str(folder / "state")),
        *("--model", str(model), "-o", "dtype=float32", "-o", "device=cpu"),
        *("--batch-parents", "1", "--quiet"),
    ]


def test_plan_migrate_and_switch(tmp_path: Path, tiny_model_path: Path) -> None:
    corpus = collections.texts(3)
    collection = collections.write_langchain_qdrant(tmp_path, corpus)
    n_chunks = len(collections.read_qdrant(tmp_path))
    planned = CliRunner().invoke(
        app, ["migrate", collection, "--from-framework", "langchain", "--plan"]
    )
    assert planned.exit_code == 0, planned.output
    assert (
        f"{n_chunks} chunks; {n_chunks} have a place in 3 parents (3 by offset)" in planned.output
    )
    assert not collections.read_qdrant(tmp_path, "late")
    arguments = _arguments(collection, tiny_model_path, tmp_path)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert f"{n_chunks} vectors of 3 parents written" in done.output
    again = CliRunner().invoke(app, [*arguments, "--json"])
    assert json.loads(again.stdout)["n_unchanged"] == 3
    switched = CliRunner().invoke(app, [*arguments, "--switch"])
    assert "'late_before'" in switched.output
    assert switched.exit_code == 0


def test_chunks_without_a_place_give_exit_code_1_and_advice(
    tmp_path: Path, tiny_model_path: Path
) -> None:
    """LangChain's splitters write no offsets unless they are told to."""
    from langchain_qdrant import QdrantVectorStore

    chunks = collections.langchain_chunks(collections.texts(2), start=False)
    store = QdrantVectorStore.from_documents(
        chunks, collections.early_embeddings(), path=str(tmp_path / "q"), collection_name="chunks"
    )
    store.client.close()
    collection = f"qdrant:{tmp_path / 'q'}#chunks"
    planned = CliRunner().invoke(
        app, ["migrate", collection, "--from-framework", "langchain", "--plan"]
    )
    assert planned.exit_code == 1
    assert f"{len(chunks)} have no place: no_offset_and_no_order" in planned.output
    assert "--source-folder" in planned.output
    (tmp_path / "docs").mkdir()
    for name, text in collections.texts(2).items():
        (tmp_path / "docs" / name).write_text(text)
    found = CliRunner().invoke(
        app,
        [
            *("migrate", collection, "--from-framework", "langchain", "--plan", "--json"),
            *("--source-folder", str(tmp_path / "docs")),
        ],
    )
    assert json.loads(found.stdout)["n_placed"] == len(chunks)


@pytest.mark.slow
def test_a_migration_that_is_killed_three_times_ends_like_one_that_was_not(
    tmp_path: Path, tiny_engine: LateChunkEngine, tiny_model_path: Path
) -> None:
    corpus = collections.texts(16)
    collection = collections.write_langchain_qdrant(tmp_path, corpus)
    before = collections.read_qdrant(tmp_path)
    arguments = _arguments(collection, tiny_model_path, tmp_path)
    log = tmp_path / "state" / "finished.jsonl"
    for kill in range(3):
        process = Prepared(tmp_path, run_command, *arguments)
        n_lines = log.read_bytes().count(b"\n") if log.exists() else 0
        while process.is_alive():
            now = log.read_bytes().count(b"\n") if log.exists() else 0
            if now >= n_lines + 3:
                break
            time.sleep(0.01)
        assert process.is_alive(), f"it was done before kill {kill}"
        process.kill()
        process.join()
    finished = CliRunner().invoke(app, arguments)
    assert finished.exit_code == 0, finished.output
    assert "0 parents were finished before" not in finished.output
    late = collections.read_qdrant(tmp_path, "late")
    check_vectors(late, expected(tiny_engine, corpus, before))


def test_questions_are_asked_of_the_store_by_both_vectors(
    tmp_path: Path, tiny_engine: LateChunkEngine, tiny_model_path: Path
) -> None:
    """Against a search by hand over what the store holds."""
    corpus = collections.texts(6)
    collection = collections.write_langchain_qdrant(tmp_path, corpus)
    name, text = next(iter(corpus.items()))
    quote, lost = text[40:90], "This stands nowhere."
    rows: list[dict[str, Any]] = [
        {"query": "Who delivers the goods?", "quote": quote, "document": name},
        {"query": "When is payment due?", "ids": ["unknown-id"]},
        {"query": "What else?", "quote": lost},
    ]
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    arguments = _arguments(collection, tiny_model_path, tmp_path)
    done = CliRunner().invoke(app, [*arguments, "--questions", str(path), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["questions"]
    assert (found["n_questions"], found["without_answer"]) == (2, ["What else?"])
    query = tiny_engine.embed_query(rows[0]["query"])
    for which, vector_name in (("old", ""), ("late", "late")):
        held = collections.read_qdrant(tmp_path, vector_name)
        scores = {
            key: float(query @ row.vector / np.linalg.norm(row.vector)) for key, row in held.items()
        }
        best = sorted(scores, key=lambda key: -scores[key])[:10]
        answers = {
            key
            for key, row in held.items()
            if row.source.endswith(name)
            and text.index(row.text) < 90
            and text.index(row.text) + len(row.text) > 40
        }
        recall = len(answers & set(best)) / len(answers)
        assert found["measures"]["R@10"][which] == pytest.approx(recall / 2)
    shown = CliRunner().invoke(app, [*arguments, "--questions", str(path)])
    assert "nDCG@10" in shown.output
    assert "too few questions for an interval" in shown.output
    assert "1 left out" in shown.output


def test_a_missing_package_for_questions_is_said_before_the_work(
    tmp_path: Path, tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = collections.write_langchain_qdrant(tmp_path, collections.texts(1))
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps({"query": "Who?", "ids": ["some-id"]}), encoding="utf-8")
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    arguments = _arguments(collection, tiny_model_path, tmp_path)
    done = CliRunner().invoke(app, [*arguments, "--questions", str(path)])
    assert done.exit_code == 2
    assert "latechunk-integrations[evaluation]" in done.output
    assert not collections.read_qdrant(tmp_path, "late")
