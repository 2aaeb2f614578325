"""What an operator may do that no page forbids: nothing is lost, and he is told what to do next."""

from __future__ import annotations

import errno
import io
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from latechunk_integrations import LateChunkOptions
from latechunk_integrations.bulk import index, plan_index, repair, verify
from latechunk_integrations.bulk.checkpoint import Checkpoint
from latechunk_integrations.bulk.corpus_files import FileSource
from latechunk_integrations.bulk.corpus_walk import find_files
from latechunk_integrations.bulk.dead_letters import DeadLetters, format_letter
from latechunk_integrations.bulk.document_formats import read_format
from latechunk_integrations.bulk.rows import Columns, CorpusDocument, Failure
from latechunk_integrations.cli.exit_codes import ExitCode, exit_code_of
from latechunk_integrations.errors import CheckpointError, LateChunkError, OptionError, WriterError
from tests.bulk import support
from tests.bulk.support import documents, read, target
from tests.prepared import Prepared, run_command

pytestmark = pytest.mark.slow  # stores, deep folders, processes


class Given(NamedTuple):
    """What every run is given."""

    source: Any
    target: str
    options: LateChunkOptions
    checkpoint: Path


@pytest.fixture
def given(tmp_path: Path, tiny_model_path: Path) -> Given:
    """Twelve text files and their places."""
    source = tmp_path / "source"
    source.mkdir()
    for number in range(12):
        (source / f"{number}.txt").write_text(f"Text number {number}.", encoding="utf-8")
    options = support.options(tiny_model_path)
    return Given(source, target("jsonl", tmp_path), options, tmp_path / "checkpoint")


def _held(folder: Path) -> set[str]:
    return {row["document_id"] for row in read("jsonl", folder).values()}


# --- disks that are full ----------------------------------------------------------------------


def test_a_dead_letter_that_was_cut_off_is_no_foreign_file(given: Given, tmp_path: Path) -> None:
    (given.source / "blank.txt").write_text("", encoding="utf-8")
    index(*given, support.settings())
    letters = tmp_path / "checkpoint" / "dead-letters.jsonl"
    letters.write_bytes(letters.read_bytes() + b'{"id": "blank2.txt", "err')
    assert index(*given, support.settings()).n_failed == 1
    assert len(letters.read_bytes().splitlines()) == 1


@pytest.mark.parametrize(
    "content",
    [
        '{"id": "a", "text": "one document, and no line break"}',
        '{"id": "a", "error": "E", "severity": 3}',
        '{"id": "a", "text": "cut o',
        '{"id": 3, "err',
    ],
)
def test_a_foreign_line_without_an_end_is_not_replaced(
    content: str, given: Given, tmp_path: Path
) -> None:
    foreign = tmp_path / "foreign.jsonl"
    foreign.write_text(content, encoding="utf-8")
    with pytest.raises(OptionError, match="no file of dead letters"):
        index(*given, support.settings(dead_letters=foreign))
    assert foreign.read_text(encoding="utf-8") == content


def test_letters_are_ours_wherever_they_are_cut(tmp_path: Path) -> None:
    file = tmp_path / "letters.jsonl"
    failures = [Failure("a.txt", "Error", '} " \\ b'), Failure('q"\\x', "Error", "{")]
    letters = b"".join(map(format_letter, failures))
    for n_bytes in range(len(letters) + 1):
        file.write_bytes(letters[:n_bytes])
        DeadLetters(file, failures)
        assert file.read_bytes() == letters


def test_a_log_that_cannot_be_closed_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.BytesIO):
        def close(self) -> None:
            super().close()
            raise OSError(errno.ENOSPC, "No space left on device")

    held = Checkpoint(tmp_path, {"a": "b"})
    vars(held)["_log"].close()
    monkeypatch.setattr(held, "_log", Full())
    with pytest.raises(OSError, match="No space"):
        held.__exit__(None, None, None)
    with Checkpoint(tmp_path, {"a": "b"}):
        pass


# --- repair -----------------------------------------------------------------------------------


def test_a_repair_that_was_stopped_loses_no_rows_of_documents_that_are_gone(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index(*given, support.settings())
    before = read("jsonl", tmp_path)
    for number in (0, 5, 11):
        (given.source / f"{number}.txt").unlink()
    shutil.rmtree(tmp_path / "checkpoint")
    adopt, n_calls = Checkpoint.adopt, 0

    def stopped(self: Checkpoint, *arguments: Any, **more: Any) -> None:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 3:
            raise KeyboardInterrupt
        adopt(self, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "adopt", stopped)
        with pytest.raises(KeyboardInterrupt):
            repair(*given, support.settings())
    with pytest.raises(CheckpointError, match="latechunk repair"):
        index(*given, support.settings())
    assert repair(*given, support.settings()).left == []
    assert read("jsonl", tmp_path) == before


def test_repair_leaves_a_foreign_file_where_it_is(given: Given, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "run.json").write_text('{"my": "settings"}', encoding="utf-8")
    with pytest.raises(CheckpointError, match="another folder"):
        repair(*given, support.settings())
    assert [path.name for path in folder.iterdir()] == ["run.json"]


def test_repair_beside_a_run_moves_nothing(given: Given, tmp_path: Path) -> None:
    import filelock

    index(*given, support.settings())
    log = tmp_path / "checkpoint" / "finished.jsonl"
    log.write_bytes(b"\0" + log.read_bytes())
    before = sorted(path.name for path in log.parent.iterdir())
    held = filelock.FileLock(log.with_name("lock"))
    with held, pytest.raises(CheckpointError, match="another run"):
        repair(*given, support.settings())
    assert sorted(path.name for path in log.parent.iterdir()) == before


@pytest.mark.parametrize("name", ["finished.jsonl", "run.json", "lock"])
def test_dead_letters_do_not_take_the_place_of_a_checkpoint(given: Given, name: str) -> None:
    with pytest.raises(OptionError, match="dead_letters"):
        index(*given, support.settings(dead_letters=given.checkpoint / name))
    index(*given, support.settings())
    assert index(*given, support.settings()).n_unchanged == 12


# --- what a folder may hold -------------------------------------------------------------------


def test_endings_in_capitals_are_endings(tmp_path: Path) -> None:
    (tmp_path / "READ.TXT").write_text("Read me.", encoding="utf-8")
    (tmp_path / "Page.Html").write_text("<p>A page.</p>", encoding="utf-8")
    (tmp_path / "lines.JSONL").write_text('{"id": 1, "text": "A line."}', encoding="utf-8")
    found = [each for each in FileSource(tmp_path, Columns()) if isinstance(each, CorpusDocument)]
    assert {each.id: each.text for each in found} == {
        "READ.TXT": "Read me.",
        "Page.Html": "A page.\n",
        "1": "A line.",
    }


def test_folders_may_be_as_deep_as_the_system_allows(tmp_path: Path) -> None:
    before = Path.cwd()
    try:
        os.chdir(tmp_path)
        for _ in range(700):
            Path("d").mkdir()
            os.chdir("d")
        Path("a.txt").write_text("Deep.", encoding="utf-8")
    finally:
        os.chdir(before)
    found = find_files(tmp_path, [".txt"])
    assert ([path.name for path in found.files], found.unreadable) == (["a.txt"], [])
    shutil.rmtree(tmp_path / "d")


def test_a_plan_does_not_call_gone_what_nobody_could_look_for(
    given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = given.source
    (source / "deep").mkdir()
    (source / "deep" / "a.txt").write_text("Deep.", encoding="utf-8")
    index(*given, support.settings())
    scan = os.scandir

    def fail(path: Any = ".") -> Any:
        if str(path).endswith("deep"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", fail)
    plan = plan_index(*given, support.settings())
    assert list(plan.untold) == ["deep"]
    assert "could not be read" in plan.kept["deep/a.txt"]


def test_a_csv_that_lost_its_head_hides_its_documents(tmp_path: Path) -> None:
    (tmp_path / "export.csv").write_bytes(b"")
    (failure,) = FileSource(tmp_path, Columns())
    assert isinstance(failure, Failure)
    assert failure.hides


def test_a_place_that_is_also_an_id_still_hides(given: Given) -> None:
    named = [*documents(12), CorpusDocument("lines.jsonl:3", "A text.")]
    index(*given._replace(source=[*named, CorpusDocument("gone", "Once.")]), support.settings())
    source = [*named, Failure.of("lines.jsonl:3", ValueError("no JSON"), hides=True)]
    summary = index(*given._replace(source=source), support.settings(prune=True))
    assert summary.n_removed == 0
    assert "could not be read" in summary.removal_refused


def test_a_file_that_became_a_folder_is_gone_and_its_files_are_new(
    given: Given, tmp_path: Path
) -> None:
    index(*given, support.settings())
    file = given.source / "3.txt"
    file.unlink()
    file.mkdir()
    (file / "a.txt").write_text("Inside.", encoding="utf-8")
    summary = index(*given, support.settings(prune=True))
    assert (summary.n_documents, summary.n_removed) == (1, 1)
    assert "3.txt/a.txt" in _held(tmp_path)
    assert "3.txt" not in _held(tmp_path)


@pytest.mark.parametrize("how", ["folder", "gone"])
def test_a_file_that_changes_between_walk_and_reading_keeps_its_rows(
    given: Given, tmp_path: Path, how: str
) -> None:
    index(*given, support.settings())
    source = FileSource(given.source, Columns())
    (given.source / "3.txt").unlink()
    if how == "folder":
        (given.source / "3.txt").mkdir()
    summary = index(*given._replace(source=source), support.settings(prune=True))
    assert (summary.n_retried, summary.n_removed) == (1, 0)
    assert "3.txt" in _held(tmp_path)


# --- formats ----------------------------------------------------------------------------------


def test_html_whose_head_is_never_closed_keeps_its_body() -> None:
    page = b"<!doctype html><head><title>T</title><style>p{}</style><body><p>Hello<p>World"
    assert read_format(".html", page, "a.html", 1 << 20) == "Hello\nWorld\n"


def test_html_takes_time_in_proportion_to_its_length() -> None:
    def seconds(n: int) -> float:
        page = b"<p>A few words.</p>\n" * n
        start = time.process_time()
        assert read_format(".html", page, "a.html", 1 << 28).count("\n") == n
        return time.process_time() - start

    assert seconds(20_000) < 40 * max(seconds(2_000), 0.01)


def test_cells_of_docx_that_are_joined_or_hold_tables_are_read_once() -> None:
    import docx

    document = docx.Document()
    table = document.add_table(2, 3)
    table.cell(0, 0).merge(table.cell(0, 2)).text = "Joined"
    table.cell(1, 0).text = "Outer"
    inner = table.cell(1, 1).add_table(1, 1)
    inner.cell(0, 0).text = "Inner"
    saved = io.BytesIO()
    document.save(saved)
    text = read_format(".docx", saved.getvalue(), "a.docx", 1 << 20)
    assert [text.count(word) for word in ("Joined", "Outer", "Inner")] == [1, 1, 1]


# --- targets ----------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ['{"my": 1}', "[]", '{"collections": {"chunks": 3}}'])
def test_a_qdrant_folder_of_another_shape_is_a_typed_error(
    given: Given, tmp_path: Path, content: str
) -> None:
    place = tmp_path / "qdrant.db"
    place.mkdir()
    (place / "meta.json").write_text(content, encoding="utf-8")
    with pytest.raises(WriterError, match="Qdrant cannot open"):
        index(*given._replace(target=target("qdrant", tmp_path)), support.settings())


def test_a_damaged_qdrant_is_a_typed_error(given: Given, tmp_path: Path) -> None:
    import sqlite3

    given = given._replace(target=target("qdrant", tmp_path))
    index(*given, support.settings())
    (base,) = (tmp_path / "qdrant.db").rglob("*.sqlite")
    connection = sqlite3.connect(base)
    connection.execute("update points set point = ?", [b"\x80\x05broken"])
    connection.commit()
    connection.close()
    with pytest.raises(WriterError, match="Qdrant cannot open"):
        verify(*given, support.settings())


def test_a_damaged_lance_table_is_a_typed_error(given: Given, tmp_path: Path) -> None:
    given = given._replace(target=target("lancedb", tmp_path))
    index(*given, support.settings())
    for path in (tmp_path / "lancedb.db").rglob("*.lance"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(WriterError):
        verify(*given, support.settings())


def test_a_damaged_chroma_is_a_typed_error(given: Given, tmp_path: Path) -> None:
    given = given._replace(target=target("chroma", tmp_path))
    index(*given, support.settings())
    from chromadb.api.shared_system_client import SharedSystemClient

    SharedSystemClient.clear_system_cache()
    for path in (tmp_path / "chroma.db").rglob("*.sqlite3"):
        path.write_bytes(b"no database " * 900)
    with pytest.raises(WriterError):
        verify(*given, support.settings())


def test_a_checkpoint_that_is_a_file_is_a_wrong_command(given: Given, tmp_path: Path) -> None:
    given.checkpoint.write_text("mine", encoding="utf-8")
    with pytest.raises(OptionError, match="name a folder, or a new one") as raised:
        index(*given, support.settings())
    assert exit_code_of(raised.value) == ExitCode.USAGE
    assert given.checkpoint.read_text(encoding="utf-8") == "mine"


def test_a_milvus_file_with_another_ending_is_said(given: Given, tmp_path: Path) -> None:
    with pytest.raises(LateChunkError):
        index(*given._replace(target=f"milvus:{tmp_path / 'store'}#chunks"), support.settings())


def test_a_run_that_is_told_to_end_says_so(given: Given, tmp_path: Path) -> None:
    arguments = [
        *("index", str(given.source), "--to", given.target, "--checkpoint", str(given.checkpoint)),
        *(
            "--model",
            str(given.options.model),
            "--splitter",
            "tests.bulk.test_hostile_operator:slow",
        ),
        *("--quiet", "--batch-documents", "1"),
    ]
    process = Prepared(tmp_path, run_command, *arguments)
    log = given.checkpoint / "finished.jsonl"
    while not (log.exists() and log.stat().st_size) and process.is_alive():
        time.sleep(0.05)
    process.terminate()
    finished = process.finish(60)
    assert finished.returncode == 130, finished.stderr
    assert "error: interrupted; what is finished is kept" in finished.stderr


def slow(text: str) -> Iterator[tuple[int, int]]:
    time.sleep(0.3)
    yield 0, len(text)
