"""Imports that warn on the way, done once and before warnings are errors."""

from __future__ import annotations

import pickle
import subprocess
import sys
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


_SPLITTING = """
import json, pickle, sys
from langchain_classic.storage import LocalFileStore
from latechunk_integrations.langchain import late_chunking
from tests.langchain.support import WORDS, corpus, lines

store = LocalFileStore(sys.argv[1])
pair = late_chunking("words", lines, header=None, encoder=WORDS, parent_store=store)
sys.stdout.buffer.write(pickle.dumps(pair.splitter.split_documents(corpus(6))))
"""


@pytest.fixture(scope="module")
def split_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Document]]:
    """What a process that splits leaves: its parents in a folder, and pickled chunks."""
    folder = tmp_path_factory.mktemp("parents")
    command = [sys.executable, "-c", _SPLITTING, str(folder)]
    done = subprocess.run(command, capture_output=True, check=True)
    return folder, pickle.loads(done.stdout)
