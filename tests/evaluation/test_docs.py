"""docs/evaluation.md tells the truth: its code runs, and the options it names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from latechunk_integrations.cli import app
from tests.evaluation.support import BERLIN, write_quotes

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
_COMMANDS = ("questions", "review", "compare", "tune", "inspect", "diagnose")


def _help(command: str) -> str:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [command, "--help"]).stdout


@pytest.mark.slow
def test_the_python_code_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model_path: Path
) -> None:
    """As printed, but for the model's name: there is no model hub here."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    write_quotes(tmp_path).rename(tmp_path / "queries.csv")
    monkeypatch.chdir(tmp_path)
    code = code.replace("nomic-ai/nomic-embed-text-v1.5", str(tiny_model_path))
    exec(compile(code, "evaluation.md", "exec"), {"text": BERLIN})  # noqa: S102  # our own page
    assert (tmp_path / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("command", _COMMANDS)
def test_every_option_in_the_page_exists(command: str) -> None:
    assert f"latechunk {command} " in PAGE
    lines = re.findall(rf"latechunk {command} .*", PAGE)
    shown = _help(command)
    for line in lines:
        for option in re.findall(r"--[a-z-]+", line):
            assert option in shown, option


def test_every_option_in_backticks_exists_in_some_command() -> None:
    code = re.findall(r"`([^`\n]+)`", PAGE)
    named = {option for each in code for option in re.findall(r"(?<!\S)--?[a-z][a-z-]*", each)}
    assert {"--all", "--focus", "-o"} <= named
    helped = {
        option
        for command in (*_COMMANDS, "index")
        for option in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", _help(command))
    }
    assert named <= helped
