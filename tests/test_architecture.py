"""What importing costs, and what is public."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import grimp
import pytest

import latechunk_integrations

_BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Block())
"""


def _run(code: str) -> str:
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    return finished.stdout.strip()


@pytest.mark.slow
def test_importing_the_package_takes_no_framework() -> None:
    heavy = ("llama_index", "langchain_core", "langchain_text_splitters", "ray", "pymilvus")
    loaded = _run(
        "import sys, latechunk_integrations, latechunk_integrations.bulk\n"
        f"print([n for n in {heavy!r} if n in sys.modules])"
    )
    assert loaded == "[]"


@pytest.mark.parametrize(
    ("package", "framework", "extra"),
    [("llama_index", "llama_index", "llama-index"), ("langchain", "langchain_core", "langchain")],
)
def test_an_adapter_without_its_framework_names_the_extra(
    package: str, framework: str, extra: str
) -> None:
    code = (
        _BLOCK.format(blocked={framework})
        + f"""
try:
    import latechunk_integrations.{package}
except ImportError as error:
    print(type(error).__name__, error)
"""
    )
    printed = _run(code)
    assert printed.startswith("MissingExtraError")
    assert f"[{extra}]" in printed


def test_public_names_are_those_that_are_exported() -> None:
    names = {
        name
        for name in dir(latechunk_integrations)
        if name[0].isupper() and name not in ("TYPE_CHECKING", "Any")
    }
    assert names == set(latechunk_integrations.__all__)
    for name in names:
        assert getattr(latechunk_integrations, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Parents'"):
        _ = latechunk_integrations.Parents  # type: ignore[attr-defined]  # there is none


@pytest.mark.slow
@pytest.mark.parametrize("file", ["oracle.py", "service_oracle.py"])
def test_an_oracle_knows_nothing_of_the_package(file: str) -> None:
    package = Path(latechunk_integrations.__file__).parent
    source = (package / "testing" / file).read_text(encoding="utf-8")
    imported = {
        name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [])
        + [alias.name for alias in node.names]
    }
    assert not any("latechunk" in name for name in imported)


# --- the house --------------------------------------------------------------------------------

_PACKAGE = Path(latechunk_integrations.__file__).parent
_PROJECT = _PACKAGE.parent
_MODULES = sorted(_PACKAGE.rglob("*.py"))


def _classes() -> list[str]:
    """The name of every class of the package."""
    return [
        node.name
        for file in _MODULES
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    ]


def _repeated(names: Iterable[str]) -> set[str]:
    return {name for name, n in Counter(names).items() if n > 1}


def test_no_two_files_have_one_name() -> None:
    files = (file.name for file in _MODULES if file.name != "__init__.py")
    assert _repeated(files) == set()
    assert {file.stem for file in _MODULES}.isdisjoint({"run", "runs", "running"})


@pytest.mark.slow
def test_no_two_classes_have_one_name_and_none_that_of_a_framework() -> None:
    assert _repeated(_classes()) == set()
    taken = {"Document", "Node", "Chunk", "Embeddings", "Embedding", "TextSplitter", "NodeParser"}
    assert taken.isdisjoint(_classes())


def test_no_module_reaches_itself_through_its_imports() -> None:
    """Those inside functions and of types count too."""
    package = grimp.build_graph("latechunk_integrations", cache_dir=None)
    graph = {one: package.find_modules_directly_imported_by(one) for one in package.modules}
    for _ in graph:  # what imports nothing that is left, or is imported by nothing, is in no circle
        imported = set().union(*graph.values())
        ends = {one for one, below in graph.items() if not below or one not in imported}
        graph = {one: graph[one] - ends for one in graph.keys() - ends}
    assert sorted(graph) == []


def _tree() -> str:
    """The tree of CONTRIBUTING: each part of the package by the first line of its docstring."""
    lines: list[str] = []
    for folder, indent in ((_PACKAGE, "      "), (_PACKAGE / "encoders", "        ")):
        level = []
        for path in sorted(folder.iterdir()):
            source = path / "__init__.py" if path.is_dir() else path
            if source.suffix == ".py" and source.exists() and path.name != "__init__.py":
                said = (ast.get_docstring(ast.parse(source.read_text("utf-8"))) or "").splitlines()
                name = f"{path.name}/" if path.is_dir() else path.name
                level.append(f"{indent}{name:22} {said[0].rstrip('.')}")
        at = next((i for i, line in enumerate(lines) if line.strip().startswith("encoders/")), -1)
        lines[at + 1 : at + 1] = level
    return "\n".join(["    latechunk_integrations/", *lines])


def test_the_tree_of_contributing_is_that_of_the_package() -> None:
    tree = _tree()
    assert tree in (_PROJECT / "CONTRIBUTING.md").read_text("utf-8"), f"should hold\n\n{tree}\n"


def test_every_word_of_the_glossary_is_used_and_every_public_name_is_explained() -> None:
    glossary = (_PROJECT / "docs" / "glossary.md").read_text("utf-8")
    code = "\n".join(file.read_text("utf-8") for file in _MODULES).lower()
    words = re.findall(r"^\| ([a-z][a-z -]+?) \|", glossary, re.MULTILINE)
    assert len(words) > 10
    assert [word for word in words[1:] if not re.search(_spelled(word), code)] == []
    pages = [_PROJECT / "README.md", *(_PROJECT / "docs").glob("*.md")]
    explained = "\n".join(page.read_text("utf-8") for page in pages)
    public = latechunk_integrations.__all__
    assert [name for name in public if not re.search(rf"\b{name}\b", explained)] == []


def _spelled(word: str) -> str:
    """A word of the glossary as prose, options and class names spell it."""
    return r"\b" + r"[\s_-]?".join(map(re.escape, re.split("[ -]", word)))
