"""What a checkpoint remembers after every way to die, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from latechunk_integrations.bulk.checkpoint import Checkpoint, read_state
from latechunk_integrations.bulk.rows import DocumentRows, Failure
from latechunk_integrations.errors import CheckpointError

IDENTITY = {"model": "m", "target": "t"}


def _rows(name: str, version: str) -> DocumentRows:
    return DocumentRows(
        name, version, "p", np.array([[0, 1]]), ("a",), np.zeros((1, 2), np.float32), ("late",)
    )


def _filled(folder: Path) -> Path:
    with Checkpoint(folder, IDENTITY) as checkpoint:
        rows = [_rows("a", "1"), _rows("b", "1")]
        checkpoint.add("one", rows, [Failure("c", "E", "why", "1")], seal="1:x")
        checkpoint.add("two", [_rows("a", "2")], [], seal="2:y")
    return folder / "finished.jsonl"


def test_it_remembers_the_last_version_of_each_document(tmp_path: Path) -> None:
    _filled(tmp_path)
    with Checkpoint(tmp_path, IDENTITY) as checkpoint:
        known = [("a", "1"), ("a", "2"), ("b", "1"), ("c", "1"), ("c", "2"), ("d", "1")]
        assert [checkpoint.state.knows(*each) for each in known] == [0, 1, 1, 1, 0, 0]
        assert checkpoint.state.stale_parts == {"one"}
        assert checkpoint.state.parts == {"one": {"1:x"}, "two": {"2:y"}}
        checkpoint.announce("one", "3:z")
        assert checkpoint.state.parts["one"] == {"1:x", "3:z"}
        checkpoint.purged("one", "3:z")
        assert checkpoint.state.parts["one"] == {"3:z"}
        checkpoint.forget(["b"])
    with Checkpoint(tmp_path, IDENTITY) as checkpoint:
        assert not checkpoint.state.knows("b", "1")
        assert checkpoint.state.n_chunks == 1


def test_a_log_cut_off_anywhere_in_its_last_line_loses_that_line_alone(tmp_path: Path) -> None:
    log = _filled(tmp_path)
    whole = log.read_bytes()
    first_line = whole.index(b"\n") + 1
    for end in range(first_line, len(whole)):
        log.write_bytes(whole[:end])
        with Checkpoint(tmp_path, IDENTITY) as checkpoint:
            assert checkpoint.state.knows("a", "1")
            assert not checkpoint.state.knows("a", "2")
            checkpoint.add("two", [_rows("a", "2")], [], seal="2:y")
        with Checkpoint(tmp_path, IDENTITY) as checkpoint:
            assert checkpoint.state.knows("a", "2")


def test_a_log_damaged_in_the_middle_is_refused(tmp_path: Path) -> None:
    log = _filled(tmp_path)
    log.write_bytes(b"\0\0" + log.read_bytes()[2:])
    with pytest.raises(CheckpointError, match=r"line 1 .* is damaged"):
        Checkpoint(tmp_path, IDENTITY)
    with Checkpoint(tmp_path, IDENTITY, restart=True) as checkpoint:
        assert not checkpoint.state.knows("a", "2")


@pytest.mark.slow
def test_another_bit_anywhere_in_the_log_is_refused_or_loses_the_last_line(tmp_path: Path) -> None:
    log = _filled(tmp_path)
    whole = log.read_bytes()
    for at in range(len(whole)):
        for bit in range(8):
            changed = bytearray(whole)
            changed[at] ^= 1 << bit
            log.write_bytes(changed)
            try:
                state = read_state(tmp_path, IDENTITY)
            except CheckpointError:
                continue
            assert at == len(whole) - 1, whole[at - 9 : at + 9]  # the end of the last line
            assert state.knows("a", "1")


@pytest.mark.parametrize("left", [None, "{", "{}", "[]"])
def test_a_checkpoint_without_a_readable_head_is_refused(tmp_path: Path, left: str | None) -> None:
    _filled(tmp_path)
    (tmp_path / "run.json").unlink()
    if left is not None:
        (tmp_path / "run.json").write_text(left, encoding="utf-8")
    with pytest.raises(CheckpointError, match="does all again"):
        Checkpoint(tmp_path, IDENTITY)
    with Checkpoint(tmp_path, IDENTITY, restart=True) as checkpoint:
        assert not checkpoint.state.finished


def test_a_checkpoint_of_something_else_is_refused_by_name(tmp_path: Path) -> None:
    _filled(tmp_path)
    with pytest.raises(CheckpointError, match="another target;"):
        Checkpoint(tmp_path, {**IDENTITY, "target": "other"})
    with Checkpoint(tmp_path, IDENTITY) as checkpoint:
        assert checkpoint.state.knows("a", "2")


def test_two_runs_do_not_share_a_checkpoint(tmp_path: Path) -> None:
    with (
        Checkpoint(tmp_path, IDENTITY),
        pytest.raises(CheckpointError, match="another run"),
    ):
        Checkpoint(tmp_path, IDENTITY)
    with Checkpoint(tmp_path, IDENTITY) as checkpoint:
        assert not checkpoint.state.finished
