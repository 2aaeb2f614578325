"""Every example runs as a user would run it, and prints what it is there to show."""

from __future__ import annotations

import ast
import html
import json
from pathlib import Path
from typing import Any

import pytest

from tests.prepared import Prepared, run_script

EXAMPLES = Path(__file__).parent.parent / "examples"
_EXPECTED = {
    "bulk_index.py": "again: 0 embedded, 1 unchanged, 1 failed; 11 rows",
    "engine_only.py": "4.2 In the case of Section 1.4",
    "handbook_sections.py": "mean reciprocal rank: 0.58 early, 0.71 late",
    "hierarchical_auto_merging.py": "37 nodes, 26 of them leaves, from 1 reading",
    "llama_index_quickstart.py": "3.1 The Fee is invoiced",
    "langchain_quickstart.py": "3.1 The Fee is invoiced",
    "contracts.py": "mean reciprocal rank: 0.35 early, 0.88 late",
    "parent_document_retrieval.py": "the contract went through the model 1 time",
    "deep_search_snippets.py": "4.2 In the case of Section 1.4",
    "demo.py": "right chunk moves up for 14, down for 1\nequals a brute-force cosine scan",
    "sub_spans.py": "9 chunks, 27 vectors",
    "berlin_similarity.py": "sentences that do not name Berlin: +0.34",
}


def test_every_example_is_run_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(_EXPECTED)


def test_the_readme_says_what_the_demo_prints() -> None:
    readme = " ".join((EXAMPLES.parent / "README.md").read_text(encoding="utf-8").split())
    assert _EXPECTED["demo.py"].splitlines()[0] in readme


@pytest.mark.store
@pytest.mark.parametrize("name", sorted(_EXPECTED))
@pytest.mark.slow
def test_example_runs_and_prints_what_it_shows(name: str, tmp_path: Path) -> None:
    finished = Prepared(tmp_path, run_script, EXAMPLES / name).finish()
    assert finished.returncode == 0, finished.stderr[-2_000:]
    for said in _EXPECTED[name].splitlines():
        assert said in finished.stdout


@pytest.mark.slow
def test_the_notebook_runs_and_shows_what_it_is_there_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cell by cell in one namespace; what a cell ends in is shown as a notebook shows it."""
    monkeypatch.chdir(EXAMPLES)
    notebook = json.loads((EXAMPLES / "decide.ipynb").read_text(encoding="utf-8"))
    values: dict[str, Any] = {}
    shown = []
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        assert cell["outputs"] == []
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop()
        assert isinstance(last, ast.Expr)
        exec(compile(tree, "decide.ipynb", "exec"), values)  # noqa: S102  # our own notebook
        value = eval(compile(ast.Expression(last.value), "decide.ipynb", "eval"), values)  # noqa: S307  # as above
        shown.append(value._repr_html_() if hasattr(value, "_repr_html_") else repr(value))
    described, compared, advised, ranks, proposed, inspected = shown
    assert "fingerprint" in described
    assert "early, title prepended (now)" in compared
    assert "What to do" in compared
    assert values["advice"].headline in advised
    assert html.escape(values["advice"].headline[:40]) in compared
    assert "late (default)" in ranks
    assert "Quillstream" in proposed
    assert "most similar chunks" in inspected
    assert not any("<script" in each for each in shown)
