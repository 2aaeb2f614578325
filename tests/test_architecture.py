"""What importing costs, and what is public."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

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


def test_the_oracle_knows_nothing_of_the_package() -> None:
    package = Path(latechunk_integrations.__file__).parent
    source = (package / "testing" / "oracle.py").read_text(encoding="utf-8")
    imported = {
        name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [])
        + [alias.name for alias in node.names]
    }
    assert not any("latechunk" in name for name in imported)
