"""The pages tell the truth: the tutorial's code runs, and each typed error has its part."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
_BLOCK = re.compile(r"<!-- runs: tests/test_docs_code.py -->\n```python\n(.*?)```", re.DOTALL)


@pytest.mark.slow
def test_the_tutorials_code_runs_from_top_to_bottom(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = "\n".join(_BLOCK.findall((DOCS / "tutorial.md").read_text(encoding="utf-8")))
    exec(compile(code, "tutorial.md", "exec"), {})  # noqa: S102  # our own page
    scores = dict(re.findall(r"^(early|late) ([0-9.]+) ", capsys.readouterr().out, re.MULTILINE))
    assert float(scores["late"]) > float(scores["early"]), "the page says that it rises"


def test_every_typed_error_has_its_part_of_the_page() -> None:
    from latechunk_integrations import errors

    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\w+", " ".join(re.findall(r"^### (.*)$", page, re.MULTILINE))))
    assert named == {name for name in errors.__all__ if name.endswith("Error")}
