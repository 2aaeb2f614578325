"""The public sets come out as the published figures need them, and a run keeps what it printed."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest

from benchmarks import public_sets, reproduce
from benchmarks.public_sets import GoldenRows, build_codebase, build_squad, fetch_sets, read_rows
from latechunk_integrations.evaluation.dataset import GoldenSet

_SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
_SAMPLES = Path(__file__).parents[1] / "examples" / "samples"
_SOURCE = {
    "data": [
        {
            "title": "The_Moon",
            "paragraphs": [
                {"context": "It is grey.", "qas": []},
                {
                    "context": "It is far.",
                    "qas": [
                        {
                            "question": "How far?",
                            "answers": [{"text": "far", "answer_start": 6}],
                        },
                        {"question": "Why?", "answers": []},
                    ],
                },
            ],
        }
    ]
}


def test_an_answer_is_where_its_paragraph_is_in_the_article() -> None:
    rows = build_squad([json.dumps(_SOURCE).encode()])
    assert rows.documents == [
        {"doc_id": "d0", "title": "The Moon", "text": "It is grey.\n\nIt is far."}
    ]
    assert [row["query"] for row in rows.queries] == ["How far?"]  # the other has no answer
    (span,) = rows.qrels
    assert rows.documents[0]["text"][span["start"] : span["end"]] == "far"


def _shared(name: str) -> tuple[Path, GoldenRows]:
    if not (_SHARED / name).is_dir():
        pytest.skip("the golden sets are not here")
    return _SHARED / name, read_rows(_SHARED / name)


@pytest.mark.parametrize("name", ["squad_dev_half", "xquad_en"])
def test_articles_in_the_source_s_format_give_the_set_of_the_checksum(name: str) -> None:
    folder, rows = _shared(name)
    chunks = [json.loads(line) for line in (folder / "chunks.jsonl").read_text().splitlines()]
    asked = {row["query_id"]: row["query"] for row in rows.queries}
    articles = []
    for document in rows.documents:
        text, own = document["text"], document["doc_id"]
        paragraphs = []
        for start, end in [(c["start"], c["end"]) for c in chunks if c["doc_id"] == own]:
            qas = [
                {
                    "question": asked[row["query_id"]],
                    "answers": [
                        {
                            "text": text[row["start"] : row["end"]],
                            "answer_start": row["start"] - start,
                        }
                    ],
                }
                for row in rows.qrels
                if row["doc_id"] == own and start <= row["start"] < end
            ]
            paragraphs.append({"context": text[start:end].rstrip("\n"), "qas": qas})
        articles.append({"title": document["title"], "paragraphs": paragraphs})
    built = build_squad([json.dumps({"data": articles}).encode()])
    assert built.checksum == public_sets.SETS[name].checksum


def test_source_files_in_the_source_s_format_give_the_set_of_the_checksum() -> None:
    folder, rows = _shared("codebase")
    chunks = [json.loads(line) for line in (folder / "chunks.jsonl").read_text().splitlines()]
    texts = {row["doc_id"]: row["text"] for row in rows.documents}
    places, files = {}, []
    for own, group in groupby(chunks, key=lambda chunk: chunk["doc_id"]):
        parts = []
        for index, chunk in enumerate(group):
            places[own, chunk["start"]] = [f"uuid-{own}", index]
            parts.append(
                {"original_index": index, "content": texts[own][chunk["start"] : chunk["end"]]}
            )
        files.append({"doc_id": own, "original_uuid": f"uuid-{own}", "chunks": parts})
    lines = [
        json.dumps(
            {
                "query": query["query"],
                "golden_chunk_uuids": [
                    places[row["doc_id"], row["start"]]
                    for row in rows.qrels
                    if row["query_id"] == query["query_id"]
                ],
            }
        )
        for query in rows.queries
    ]
    built = build_codebase([json.dumps(files).encode(), "\n".join(lines).encode()])
    assert built.checksum == public_sets.SETS["codebase"].checksum


def test_a_set_that_changed_is_refused_and_one_that_did_not_is_not_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = build_squad([json.dumps(_SOURCE).encode()])
    rows.write(tmp_path / "moon")
    assert GoldenSet.load(tmp_path / "moon").documents[0].title == "The Moon"
    source = replace(public_sets.SETS["xquad_en"], checksum=rows.checksum)
    monkeypatch.setattr(public_sets, "SETS", {"moon": source})
    assert list(fetch_sets(tmp_path)) == ["moon"]
    text = (tmp_path / "moon" / "documents.jsonl").read_text()
    (tmp_path / "moon" / "documents.jsonl").write_text(text.replace("far", "fat"))
    with pytest.raises(SystemExit, match="moon is not the set that the published figures are of"):
        list(fetch_sets(tmp_path))


@pytest.mark.slow
def test_a_run_keeps_figures_versions_and_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = GoldenRows([], [], [])
    for file in sorted(_SAMPLES.glob("*.md")):
        text = file.read_text("utf-8")
        rows.documents.append({"doc_id": file.name, "title": file.stem, "text": text})
    texts = {row["doc_id"]: row["text"] for row in rows.documents}
    for line in (_SAMPLES / "queries.jsonl").read_text("utf-8").splitlines():
        asked = json.loads(line)
        start = texts[asked["document"]].index(asked["quote"])
        place = (asked["document"], start, start + len(asked["quote"]))
        public_sets.ask(rows, asked["query"], [place])
    rows.write(tmp_path / "sets" / "samples")
    results, page = tmp_path / "results", tmp_path / "results.md"
    results.mkdir()
    older = {"version": "0.0.1", "date": "2026-01-02", "machine": "m", "software": [], "sets": []}
    (results / "0.0.1.json").write_text(json.dumps({**older, "chars": 0, "printed": {}}))
    given = ["--data", tmp_path / "sets", "--quick", "--results", results, "--page", page]
    monkeypatch.setattr(sys, "argv", ["reproduce", *map(str, given)])
    reproduce.main()
    (record,) = (json.loads(f.read_text()) for f in results.glob("*.json") if f.stem != "0.0.1")
    assert record["sets"] == ["samples"]
    assert {"model", "set", "size", "configuration", "value"} <= set(record["figures"][0])
    written = page.read_text()
    assert "| early | " in written
    assert "The cost of indexing was not measured in this run" in written
    assert str(tmp_path) not in written  # no path of a machine
    assert written.index(record["date"]) < written.index("2026-01-02")
