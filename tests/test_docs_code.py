"""The pages tell the truth: the tutorial's code runs, and each typed error has its part."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.prepared import Prepared, run_command

DOCS = Path(__file__).parent.parent / "docs"
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_HIT = re.compile(r"^(early|late) (\d+) ([0-9.]+) (.*)$", re.MULTILINE)


@pytest.mark.slow
def test_the_tutorial_works_word_for_word(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = _BLOCK.findall((DOCS / "tutorial.md").read_text(encoding="utf-8"))
    code = "\n".join(text for language, text in blocks if language == "python")
    (printed,) = (text for _, text in blocks if text.startswith("early 1 "))
    (questions,) = (text for _, text in blocks if text.startswith("query,"))
    (command,) = (text for _, text in blocks if text.startswith("latechunk "))
    exec(compile(code, "tutorial.md", "exec"), {})  # noqa: S102  # our own page
    shown, found = _HIT.findall(printed), _HIT.findall(capsys.readouterr().out)
    assert [(way, rank, text) for way, rank, _, text in found] == [
        (way, rank, text) for way, rank, _, text in shown
    ]
    scores = [[float(hit[2]) for hit in hits] for hits in (found, shown)]
    assert scores[0] == pytest.approx(scores[1], abs=0.015), "CPUs round differently"

    (tmp_path / "questions.csv").write_text(questions, encoding="utf-8")
    finished = Prepared(tmp_path, _run_in, tmp_path, _words(command)).finish()
    assert finished.returncode == 0, finished.stderr
    assert "<html" in (tmp_path / "report.html").read_text(encoding="utf-8")


def _words(command: str) -> list[str]:
    """What a shell makes of the arguments of ``latechunk``."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    print_them = "latechunk() { printf '%s\\n' \"$@\"; }\n"
    return subprocess.check_output(
        ["/bin/bash", "-c", print_them + command], env=os.environ | {"PATH": path}, text=True
    ).splitlines()


def _run_in(folder: Path, arguments: list[str]) -> None:
    os.chdir(folder)
    run_command(*arguments)


def test_every_typed_error_has_its_part_of_the_page() -> None:
    from latechunk_integrations import errors

    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\w+", " ".join(re.findall(r"^### (.*)$", page, re.MULTILINE))))
    assert named == {name for name in errors.__all__ if name.endswith("Error")}
