"""Imports that warn on the way, done once and before warnings are errors."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import pytest
from langchain_core.documents import Document

with warnings.catch_warnings():
    # Sunset, but FAISS, BM25 and the semantic chunker are still there, and users have them.
    warnings.simplefilter("ignore", DeprecationWarning)
    import faiss  # noqa: F401  # SWIG types without a module
    import langchain_classic  # noqa: F401
    import langchain_community.vectorstores  # noqa: F401
    import langchain_experimental  # noqa: F401

from tests.langchain.support import split_into
from tests.prepared import Prepared


@pytest.fixture(scope="module")
def split_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Document]]:
    """What a process that splits leaves: its parents in a folder, and pickled chunks."""
    folder = tmp_path_factory.mktemp("parents")
    said = tmp_path_factory.mktemp("chunks")
    done = Prepared(said, split_into, folder, said / "chunks.pickle").finish()
    assert done.returncode == 0, done.stderr
    return folder, pickle.loads((said / "chunks.pickle").read_bytes())
