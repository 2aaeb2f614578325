"""Every way out of the command: its exit code, one line for an error, a traceback when asked."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from latechunk_integrations.cli import app
from latechunk_integrations.cli.exit_codes import ExitCode
from latechunk_integrations.engine import shared_engine
from latechunk_integrations.errors import MissingExtraError
from tests.bulk import support
from tests.prepared import Prepared, run_command

pytestmark = pytest.mark.store

N_FILES = 4


class Run:
    """Arguments of `latechunk index` over four files, and what comes of them."""

    def __init__(self, folder: Path, model: Path, kind: str = "parquet") -> None:
        self.folder, self.model, self.kind = folder, model, kind
        self.source = folder / "source"
        self.source.mkdir()
        for number in range(N_FILES):
            (self.source / f"{number}.txt").write_text(f"Text {number}.", encoding="utf-8")
        self.more: list[str] = []

    def __call__(self, *more: str, command: str = "index") -> Result:
        arguments = [
            *(command, str(self.source), "--to", support.target(self.kind, self.folder)),
            *("--checkpoint", str(self.folder / "checkpoint"), "--model", str(self.model)),
            *("-o", "dtype=float32", "-o", "device=cpu", "--splitter", support.SPLITTER),
            *self.more,
            *more,
        ]
        return CliRunner().invoke(app, arguments)  # type: ignore[return-value]  # typer's own twin

    def part(self) -> Path:
        return min((self.folder / f"rows.{self.kind}").glob("part-*"))

    def state(self, name: str) -> Path:
        return self.folder / "checkpoint" / name


@pytest.fixture
def run(tmp_path: Path, tiny_model_path: Path) -> Run:
    return Run(tmp_path, tiny_model_path)


def _said(result: Result) -> str:
    """The error of a result: one line, no traceback."""
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in result.output + result.stderr, result.output
    assert len(lines) == 1, result.output + result.stderr
    return lines[0]


def test_0_all_is_done(run: Run) -> None:
    assert run("--quiet").exit_code == ExitCode.DONE
    assert run("--quiet", "--plan").exit_code == ExitCode.DONE
    assert run(command="verify").exit_code == ExitCode.DONE
    assert run("--quiet", command="repair").exit_code == ExitCode.DONE
    audited = CliRunner().invoke(app, ["audit", support.target(run.kind, run.folder)])
    assert audited.exit_code == ExitCode.DONE
    assert "4 vectors: 100.0% late" in audited.output


@pytest.mark.parametrize("name", ["blank.txt", "empty.parquet", "broken.parquet", "line.jsonl"])
def test_1_a_document_failed(run: Run, name: str) -> None:
    content = {"broken.parquet": b"no table", "line.jsonl": b"{"}.get(name, b"")
    (run.source / name).write_bytes(content)
    finished = run("--quiet")
    assert finished.exit_code == ExitCode.FOUND, finished.output
    assert "4 documents" in finished.stdout
    assert name in run.state("dead-letters.jsonl").read_text("utf-8")


def test_1_damage_was_found_and_what_repair_leaves(run: Run) -> None:
    run("--quiet")
    run.part().write_bytes(b"")
    found = run(command="verify")
    assert found.exit_code == ExitCode.FOUND
    assert f"part damaged: {run.part().name}" in found.stdout
    assert run("--quiet", command="repair").exit_code == ExitCode.DONE


def _not_utf8(folder: Path) -> list[str]:
    (folder / "c.yaml").write_bytes(b"model: caf\xe9\n")
    return ["--config", str(folder / "c.yaml")]


def _nested(folder: Path) -> list[str]:
    (folder / "c.yaml").write_text("[" * 5_000, encoding="utf-8")
    return ["--config", str(folder / "c.yaml")]


def _no_yaml(folder: Path) -> list[str]:
    (folder / "c.yaml").write_text("a: b: c", encoding="utf-8")
    return ["--config", str(folder / "c.yaml")]


WRONG: dict[str, Callable[[Path], list[str]]] = {
    "config not UTF-8": _not_utf8,
    "config nested deeply": _nested,
    "config no YAML": _no_yaml,
    "config a folder": lambda folder: ["--config", str(folder)],
    "no target": lambda folder: ["--to", "rows.csv"],
    "option out of range": lambda folder: ["--option", "max_tokens=0"],
    "option no pair": lambda folder: ["--option", "nothing"],
    "option nested deeply": lambda folder: ["--option", "max_tokens=" + "[" * 5_000],
    "cache a folder": lambda folder: ["-o", f"window_cache={folder}"],
    "checkpoint a file": lambda folder: ["--checkpoint", str(folder / "source" / "0.txt")],
    "no splitter": lambda folder: ["--splitter", "nowhere:at_all"],
    "no model": lambda folder: ["--model", str(folder / "no-model")],
    "share out of range": lambda folder: ["--prune-at-most", "1.5"],
    "letters in the source": lambda folder: ["--dead-letters", str(folder / "source" / "l.jsonl")],
    "report in the source": lambda folder: ["--json", str(folder / "source" / "report.json")],
}


@pytest.mark.parametrize("wrong", WRONG)
def test_2_the_command_is_wrong(run: Run, wrong: str) -> None:
    finished = run("--quiet", *WRONG[wrong](run.folder))
    assert finished.exit_code == ExitCode.USAGE
    assert "Errno" not in _said(finished) or "cannot read" in _said(finished)
    assert not list(run.folder.glob("rows.*"))


def test_2_what_typer_itself_refuses(run: Run) -> None:
    assert run("--no-such-flag").exit_code == ExitCode.USAGE
    assert CliRunner().invoke(app, ["nonsense"]).exit_code == ExitCode.USAGE
    assert CliRunner().invoke(app, ["audit", "qdrant"]).exit_code == ExitCode.USAGE


@pytest.mark.parametrize("command", ["index", "verify", "repair", "audit"])
def test_2_a_result_would_replace_a_foreign_file(run: Run, command: str) -> None:
    notes = run.folder / "notes.json"
    notes.write_text("My notes.", encoding="utf-8")
    if command == "audit":
        audited = ["audit", support.target(run.kind, run.folder), "--json", str(notes)]
        finished = CliRunner().invoke(app, audited)
    else:
        more = ["--plan"] if command == "index" else []
        finished = run("--json", str(notes), *more, command=command)  # type: ignore[assignment]
    assert finished.exit_code == ExitCode.USAGE
    assert notes.read_text("utf-8") == "My notes."


def test_2_an_extra_is_missing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise MissingExtraError("filelock", extra="bulk")

    monkeypatch.setattr("latechunk_integrations.bulk.indexing.index", missing)
    finished = run("--quiet")
    assert finished.exit_code == ExitCode.USAGE
    assert "[bulk]" in _said(finished)


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more"])
def test_3_a_part_of_the_target_is_damaged(run: Run, content: bytes) -> None:
    run("--quiet")
    run.part().write_bytes(content)
    finished = run("--quiet")
    assert finished.exit_code == ExitCode.STOPPED
    assert run.part().name in _said(finished)


SHAPES = ["[]", "3", '{"finished": []}', '{"begun": [1]}', '{"failed": {}}', "[" * 9_000, "\xff"]


@pytest.mark.parametrize("name", ["finished.jsonl", "run.json"])
@pytest.mark.parametrize("content", SHAPES)
def test_3_a_checkpoint_has_another_shape(run: Run, name: str, content: str) -> None:
    run("--quiet")
    run.state(name).write_text(content + "\n", encoding="latin-1")
    finished = run("--quiet")
    assert finished.exit_code == ExitCode.STOPPED
    assert "latechunk repair" in _said(finished)


def test_3_a_checkpoint_of_another_model(run: Run) -> None:
    run("--quiet")
    finished = run("--quiet", "-o", "max_tokens=16")
    assert finished.exit_code == ExitCode.STOPPED
    assert "another model" in _said(finished)


def test_3_a_checkpoint_that_another_run_holds(run: Run) -> None:
    import filelock

    run("--quiet")
    with filelock.FileLock(run.state("lock")):
        finished = run("--quiet")
    assert finished.exit_code == ExitCode.STOPPED
    assert "another run" in _said(finished)


@pytest.mark.parametrize("after", [0, 1, 2, 3, 5])
def test_3_the_disk_is_full(run: Run, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """At every file that is made durable: head, log, dead letters, part."""
    durable, left = os.fsync, after

    def full(file: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        durable(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        finished = run("--quiet", "--batch-documents", "1")
    assert finished.exit_code == ExitCode.STOPPED
    assert "No space left" in _said(finished)
    assert run("--quiet").exit_code == ExitCode.DONE
    assert len(support.read("parquet", run.folder)) == N_FILES


def test_3_the_disk_is_full_under_a_local_store(
    tmp_path: Path, tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qdrant_client import QdrantClient

    def full(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    run = Run(tmp_path, tiny_model_path, "qdrant")
    with monkeypatch.context() as patch:
        patch.setattr(QdrantClient, "upsert", full)
        finished = run("--quiet")
    assert finished.exit_code == ExitCode.STOPPED
    assert "disk is full" in _said(finished)
    assert run("--quiet").exit_code == ExitCode.DONE


@pytest.mark.parametrize("kind", ["qdrant", "milvus"])
def test_3_a_local_store_is_damaged(tmp_path: Path, tiny_model_path: Path, kind: str) -> None:
    """As a process, so that what a client prints by itself is seen too."""
    run = Run(tmp_path, tiny_model_path, kind)
    place = tmp_path / f"{kind}.db"
    if kind == "qdrant":
        place.mkdir()
        (place / "meta.json").write_text("{", encoding="utf-8")
    else:
        place.write_bytes(b"no database " * 500)
    arguments = [
        *("index", str(run.source), "--to", support.target(kind, tmp_path), "--quiet"),
        *("--checkpoint", str(tmp_path / "c"), "--model", str(tiny_model_path)),
        *("-o", "dtype=float32", "-o", "device=cpu", "--splitter", support.SPLITTER),
    ]
    finished = Prepared(tmp_path, run_command, *arguments).finish()
    assert finished.returncode == ExitCode.STOPPED, finished.stderr
    assert "Traceback" not in finished.stderr
    assert len([line for line in finished.stderr.splitlines() if "error" in line.lower()]) == 1


def test_3_a_device_is_sick_after_a_document(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = shared_engine(support.options(run.model)).encoder
    healthy, n_passes = encoder.forward, 0

    def sick(batch: Any) -> Any:
        nonlocal n_passes
        n_passes += 1
        if n_passes > 1:
            raise RuntimeError("the device is lost")
        return healthy(batch)

    with monkeypatch.context() as patch:
        patch.setattr(encoder, "forward", sick)
        patch.setattr(type(encoder), "sums_there", False, raising=False)
        finished = run("--quiet", "--most-failures-in-a-row", "3", "--batch-documents", "1")
        assert finished.exit_code == ExitCode.STOPPED
        assert "the device is lost" in _said(finished)
    again = run("--quiet")
    assert again.exit_code == ExitCode.DONE
    assert "3 documents, 3 chunks written" in again.stdout
    assert "1 documents unchanged" in again.stdout


def test_4_a_removal_is_refused(run: Run) -> None:
    run("--quiet")
    (run.source / "0.txt").unlink()
    refused = run("--quiet", "--prune")
    assert refused.exit_code == ExitCode.REMOVAL_REFUSED
    assert "--prune-at-most 0.25" in refused.stdout
    assert run("--quiet", "--prune", "--plan").exit_code == ExitCode.REMOVAL_REFUSED
    assert run("--quiet", "--prune", "--prune-at-most", "0.25").exit_code == ExitCode.DONE


def test_70_a_fault_of_our_own(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("division by\nzero \x1b[31m")

    monkeypatch.setattr("latechunk_integrations.bulk.indexing.index", broken)
    finished = run("--quiet")
    assert finished.exit_code == ExitCode.FAULT
    assert _said(finished).startswith(
        r"error: ZeroDivisionError: division by zero \x1b[31m (a fault"
    )
    debugged = run("--quiet", "--debug")
    assert debugged.exit_code == ExitCode.FAULT
    assert "Traceback" in debugged.stderr
    assert 'raise ZeroDivisionError("division' in debugged.stderr


def test_130_interrupted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("latechunk_integrations.bulk.indexing.index", interrupted)
    finished = run("--quiet")
    assert finished.exit_code == ExitCode.INTERRUPTED
    assert _said(finished) == "error: interrupted; what is finished is kept"


def test_clients_of_stores_do_not_print_their_own_tracebacks(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(*_: object, **__: object) -> None:
        logging.getLogger("pymilvus.decorators").error("Traceback of its own")
        raise OSError(errno.EIO, "no answer")

    monkeypatch.setattr("latechunk_integrations.bulk.indexing.index", failing)
    assert run("--quiet").exit_code == ExitCode.STOPPED
    assert "of its own" not in capsys.readouterr().err


def test_the_documentation_explains_every_exit_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "bulk.md").read_text("utf-8")
    documented = {int(number) for number in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert documented == set(ExitCode)


def test_the_report_says_all_of_a_run_as_json(run: Run) -> None:
    (run.source / "blank.txt").write_text(" ", encoding="utf-8")
    report = run.folder / "report.json"
    run("--quiet", "--json", str(report))
    said = json.loads(report.read_bytes())
    assert (said["state"], said["documents"]["written"], said["chunks"]) == ("done", N_FILES, 4)
    assert said["errors_by_file"] == {"blank.txt": {"EmptyTextError": 1}}
    assert said["tokens"] > N_FILES
    assert said["documents_per_second"] > 0
    assert said["seconds_left"] == 0
    printed = json.loads(run("--quiet", "--json", "-").stdout)
    assert (printed["documents"]["unchanged"], printed["documents"]["failed"]) == (N_FILES, 1)
    planned = json.loads(run("--quiet", "--plan", "--json", "-").stdout)
    assert planned["failing"].keys() == {"blank.txt"}


def test_a_report_says_what_ended_a_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    report = run.folder / "report.json"

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("latechunk_integrations.bulk.checkpoint.Checkpoint.add", full)
    run("--quiet", "--json", str(report))
    said = json.loads(report.read_bytes())
    assert said["state"] == "aborted"
    assert "OSError" in said["error"]
