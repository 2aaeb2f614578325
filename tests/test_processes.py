"""``processes=2`` wherever a user can say it; the pool itself: `tests/flow/test_worker_pool.py`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_text_splitters import RecursiveCharacterTextSplitter
from llama_index.core.schema import TextNode
from numpy.typing import NDArray
from typer.testing import CliRunner

from latechunk_integrations.bulk import index
from latechunk_integrations.bulk.rows import CorpusDocument
from latechunk_integrations.cli import app
from latechunk_integrations.langchain import LateChunkEmbeddings, LateChunkTextSplitter
from latechunk_integrations.llama_index import LateChunkEmbedding
from tests.bulk import support

pytestmark = pytest.mark.slow  # each starts two processes that load torch

TEXTS = [f"Part {n} is delivered within {n} days. It is paid later. " * 3 for n in range(12)]


def _check(found: Sequence[Sequence[float]], wanted: Sequence[Sequence[float]]) -> None:
    assert len(found) == len(wanted) > len(TEXTS)
    np.testing.assert_allclose(np.array(found), np.array(wanted), atol=1e-6, rtol=0)


def test_langchain(tiny_model_path: Path) -> None:
    def embed(processes: int | None) -> list[list[float]]:
        embeddings = LateChunkEmbeddings(
            model=str(tiny_model_path), dtype="float32", device="cpu", processes=processes
        )
        cut = RecursiveCharacterTextSplitter(chunk_size=60, chunk_overlap=0)
        splitter = LateChunkTextSplitter(embeddings=embeddings, splitter=cut)
        chunks = splitter.split_documents([Document(text) for text in TEXTS])
        vectors = embeddings.embed_documents([chunk.page_content for chunk in chunks])
        assert embeddings.stats["late"] == len(chunks)
        assert (embeddings.engine._workers is None) == (processes is None)  # noqa: SLF001  # who did it
        embeddings.engine.close()
        return vectors

    _check(embed(2), embed(None))


def test_llama_index(tiny_model_path: Path) -> None:
    def embed(processes: int | None) -> list[list[float]]:
        embed_model = LateChunkEmbedding(
            model_name=str(tiny_model_path), dtype="float32", device="cpu", processes=processes
        )
        nodes = [TextNode(text=text) for text in TEXTS for _ in range(2)]
        embed_model(nodes)
        assert embed_model.engine.stats["parents"] == len(nodes)
        embed_model.engine.close()
        return [node.get_embedding() for node in nodes]

    _check(embed(2), embed(None))


def test_the_command(tiny_model_path: Path, tmp_path: Path) -> None:
    corpus = [*support.documents(30), CorpusDocument("blank", " ")]
    index(
        corpus,
        support.target("parquet", tmp_path),
        support.options(tiny_model_path),
        tmp_path / "c",
        support.settings(),
    )
    wanted = support.read("parquet", tmp_path)
    source, folder = tmp_path / "corpus.jsonl", tmp_path / "other"
    folder.mkdir()
    lines = [json.dumps({"id": e.id, "text": e.text, "title": e.header}) for e in corpus]
    source.write_text("\n".join(lines), encoding="utf-8")
    done = CliRunner().invoke(
        app,
        [
            *("index", str(source), "--to", support.target("parquet", folder)),
            *("--checkpoint", str(folder / "c"), "--model", str(tiny_model_path)),
            *("-o", "dtype=float32", "-o", "device=cpu", "--processes", "2", "--quiet"),
            *("--splitter", support.SPLITTER, "--header-column", "title"),
        ],
    )
    assert done.exit_code == 1, done.output  # one has no text
    found = support.read("parquet", folder)
    assert found.keys() == wanted.keys()

    def vectors(rows: support.Rows) -> list[NDArray[np.float32]]:
        return [np.frombuffer(rows[name]["vector"], np.float32) for name in sorted(rows)]

    np.testing.assert_allclose(vectors(found), vectors(wanted), atol=1e-6, rtol=0)
    assert {found[name]["late_engine"] for name in found} == {
        wanted[name]["late_engine"] for name in wanted
    }
