"""The names that LlamaHub lists: modules in LlamaIndex's namespace, in the same wheel."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent.parent
HUB = ROOT / "llamahub"


@pytest.mark.slow
def test_the_namespace_has_our_classes_and_keeps_llama_indexs() -> None:
    """Beside the installed ``llama_index``, which stays whole: no ``__init__.py`` hides it."""
    code = """
from llama_index.embeddings.latechunk import LateChunkEmbedding
from llama_index.node_parser.latechunk import LateChunkNodeParser
import llama_index.core, llama_index.embeddings.huggingface
from latechunk_integrations import llama_index as ours
print(LateChunkEmbedding is ours.LateChunkEmbedding)
print(LateChunkNodeParser is ours.LateChunkNodeParser)
"""
    path = os.pathsep.join([str(HUB), str(ROOT)])
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert finished.stdout.split() == ["True", "True"]
    for folder in ("", "embeddings", "node_parser"):
        assert not (HUB / "llama_index" / folder / "__init__.py").exists()


def test_llamahub_is_told_what_there_is() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads TOML")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    hub = project["tool"]["llamahub"]
    assert (HUB / Path(*hub["import_path"].split("."))).is_dir()
    ours = importlib.import_module("latechunk_integrations.llama_index")
    assert all(hasattr(ours, name) for name in hub["class_authors"])


def test_the_floor_that_is_declared_is_the_one_that_is_tested() -> None:
    """`make test-floor` reads the range; the installed release is inside of it."""
    import llama_index.core

    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads TOML")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extra = map(Requirement, project["project"]["optional-dependencies"]["llama-index"])
    (declared,) = [one for one in extra if one.name == "llama-index-core"]
    assert declared.specifier.contains(llama_index.core.__version__)
