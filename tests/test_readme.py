"""README and home page tell the truth: their code runs, the option table is complete."""

from __future__ import annotations

import re
import shutil
from dataclasses import fields
from pathlib import Path

import pytest

from latechunk_integrations import LateChunkOptions

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "docs" / "index.md"]
OPTIONS = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
_BLOCKS = [
    block
    for page in PAGES
    for block in re.findall(
        r"<!-- runs: tests/test_readme.py -->\n```python\n(.*?)```",
        page.read_text(encoding="utf-8"),
        re.DOTALL,
    )
]


def test_all_three_quickstarts_are_found() -> None:
    assert len(_BLOCKS) == 3


@pytest.mark.slow
@pytest.mark.parametrize("block", _BLOCKS, ids=["llama_index", "langchain", "engine"])
def test_quickstart_runs(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minilm_path: Path
) -> None:
    """As printed, but for the model's name: there is no model hub here."""
    shutil.copy(ROOT / "examples" / "samples" / "contract.md", tmp_path)
    monkeypatch.chdir(tmp_path)
    code = block.replace("nomic-ai/nomic-embed-text-v1.5", str(minilm_path))
    code = code.replace('open("contract.md").read()', "CONTRACT")
    contract = (tmp_path / "contract.md").read_text(encoding="utf-8")
    scope: dict[str, object] = {"CONTRACT": contract}
    exec(compile(code, "quickstart", "exec"), scope)  # noqa: S102  # our own pages
    found = scope.get("nodes") or scope.get("found") or scope["similarities"]
    assert len(found) in (2, 3)  # type: ignore[arg-type]  # nodes, documents or similarities


def test_option_table_names_every_option_and_its_default() -> None:
    rows = dict(re.findall(r"^\| (`.+?`) \| (.*?) \|", OPTIONS, re.MULTILINE))
    table = {
        name.strip(" `"): default.strip("`")
        for names, default in rows.items()
        for name in names.split(",")
    }
    options = {field.name: field.default for field in fields(LateChunkOptions)}
    assert set(options) <= set(table)
    for name, default in options.items():
        if name != "model":
            assert table[name].replace('"', "") == str(default), name


def test_every_link_works_where_a_package_index_shows_the_page() -> None:
    markdown = pytest.importorskip("readme_renderer.markdown")
    shown = markdown.render(PAGES[0].read_text(encoding="utf-8"))
    links = re.findall(r'(?:href|src)="([^"]+)"', shown)
    site = "https://latechunk.github.io/latechunk_integrations/"
    assert len(links) > 10
    for link in links:
        if link.startswith(site):
            page, _, place = link.removeprefix(site).partition("#")
            text = (ROOT / "docs" / f"{page.strip('/')}.md").read_text(encoding="utf-8")
            headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
            assert not place or place in {h.lower().replace(" ", "-") for h in headings}, link
        elif "latechunk_integrations" in link:
            assert (ROOT / link.split("/main/")[1]).is_file(), link
        else:
            assert link.startswith("https://"), link
