"""``latechunk index`` as a user types it, and as an operating system kills it."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

from latechunk_integrations.bulk import index
from latechunk_integrations.bulk.rows import Columns
from latechunk_integrations.cli import app
from tests.bulk import support
from tests.prepared import Prepared, run_command

pytestmark = pytest.mark.store


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    lines = [
        json.dumps({"id": each.id, "body": each.text, "title": each.header})
        for each in support.documents(30)
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _arguments(corpus: Path, model: Path, folder: Path) -> list[str]:
    return [
        "index",
        str(corpus),
        *("--to", str(folder / "rows.parquet")),
        *("--checkpoint", str(folder / "checkpoint")),
        *("--model", str(model)),
        *("--option", "dtype=float32", "-o", "device=cpu"),
        *("--splitter", support.SPLITTER),
        *("--text-column", "body", "--header-column", "title"),
        *("--batch-documents", "3"),
        "--quiet",
    ]


def _by_function(corpus: Path, model: Path, folder: Path) -> support.Rows:
    settings = support.settings(columns=Columns("body", "id", "title"))
    index(corpus, str(folder / "rows.parquet"), support.options(model), folder / "c", settings)
    return support.read("parquet", folder)


def test_the_command_gives_the_rows_of_the_function_and_says_what_it_did(
    corpus: Path, tmp_path: Path, tiny_model_path: Path
) -> None:
    arguments = _arguments(corpus, tiny_model_path, tmp_path)
    first = CliRunner().invoke(app, arguments)
    assert first.exit_code == 0, first.output
    assert first.stdout.startswith("30 documents, ")
    again = CliRunner().invoke(app, arguments)
    assert again.stdout.startswith("0 documents, 0 chunks written")
    assert "30 documents unchanged" in again.output
    single = _by_function(corpus, tiny_model_path, tmp_path / "single")
    assert support.read("parquet", tmp_path) == single


def test_failed_documents_give_exit_code_1_and_a_file(
    corpus: Path, tmp_path: Path, tiny_model_path: Path
) -> None:
    with corpus.open("a", encoding="utf-8") as file:
        file.write('\n{"id": "broken", "body": 7}\n')
    letters = tmp_path / "letters.jsonl"
    arguments = _arguments(corpus, tiny_model_path, tmp_path)
    finished = CliRunner().invoke(app, [*arguments, "--dead-letters", str(letters)])
    assert finished.exit_code == 1
    assert f"1 documents failed, see {letters}" in finished.output
    assert json.loads(letters.read_bytes()) == {
        "id": "broken",
        "error": "InputTypeError",
        "reason": "corpus.jsonl:31 has int in 'body', not a str",
    }


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--option", "max_tokens"], "NAME=VALUE"),
        (["--option", "max_token=3"], "did you mean 'max_tokens'"),
        (["--splitter", "nowhere:at_all"], "no splitter"),
        (["--concurrency", "2"], "it needs ray"),
        (["--to", "rows.csv"], "is not one of"),
        (["--text-column", "text", "--to", "milvus:x"], "is not one of"),
    ],
)
def test_what_cannot_begin_gives_exit_code_2(
    corpus: Path, tmp_path: Path, tiny_model_path: Path, more: list[str], message: str
) -> None:
    arguments = _arguments(corpus, tiny_model_path, tmp_path)
    finished = CliRunner().invoke(app, [*arguments, *more])
    assert finished.exit_code == 2
    assert message in " ".join(finished.output.split())


def test_options_come_from_a_file_and_flags_go_before_it(
    corpus: Path, tmp_path: Path, tiny_model_path: Path
) -> None:
    config = tmp_path / "latechunk.yaml"
    config.write_text(f"model: {tiny_model_path}\nmax_tokens: 32\n", encoding="utf-8")
    arguments = [
        *("index", str(corpus), "--to", str(tmp_path / "rows.jsonl")),
        *("--checkpoint", str(tmp_path / "c"), "--config", str(config)),
        *("-o", "max_tokens=16", "--text-column", "body", "--quiet"),
        *("--chunk-size", "20", "--splitter-argument", "chunk_overlap=4"),
    ]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    rows = support.read("jsonl", tmp_path)
    assert {row["mode"] for row in rows.values()} == {"windowed"}  # windows of 16, not of 32
    starts = sorted((row["document_id"], row["start"], row["end"]) for row in rows.values())
    pairs = pairwise(starts)
    assert any(one[0] == other[0] and other[1] < one[2] for one, other in pairs)  # they overlap


@pytest.mark.slow
def test_a_process_that_is_killed_goes_on_where_it_stopped(
    corpus: Path, tmp_path: Path, tiny_model_path: Path
) -> None:
    arguments = _arguments(corpus, tiny_model_path, tmp_path)
    log = tmp_path / "checkpoint" / "finished.jsonl"
    process = Prepared(tmp_path, run_command, *arguments)
    deadline = time.monotonic() + 120
    while not (log.exists() and log.read_bytes().count(b'"part"') >= 3):
        assert process.is_alive(), "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.join()
    finished = CliRunner().invoke(app, arguments)
    assert finished.exit_code == 0, finished.output
    assert " 0 documents unchanged" not in finished.output
    single = _by_function(corpus, tiny_model_path, tmp_path / "single")
    assert support.read("parquet", tmp_path) == single
