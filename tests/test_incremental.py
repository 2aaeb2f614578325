"""A user edits a paragraph of a long document and updates the index: most is kept."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document as SourceDocument
from langchain_core.indexing import InMemoryRecordManager
from langchain_core.indexing import index as index_into
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core import Document
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores import SimpleVectorStore

from latechunk_integrations import LateChunkEngine, LateChunkOptions
from latechunk_integrations.bulk import IndexSettings, index
from latechunk_integrations.bulk.chunking import Chunking
from latechunk_integrations.bulk.rows import CorpusDocument
from latechunk_integrations.langchain import LateChunkVectorStore, late_chunking
from latechunk_integrations.llama_index import LateChunkEmbedding, LateChunkNodeParser

_WORDS = ["the", "supplier", "delivers", "every", "part", "within", "thirty", "days", "Berlin"]
_OPTIONS: dict[str, Any] = {
    "dtype": "float32",
    "device": "cpu",
    "max_tokens": 128,
    "stable_windows": True,
    "window_cache": ":memory:",
}


def paragraphs(text: str) -> list[str]:
    return text.split("\n\n")


@pytest.fixture(scope="module")
def versions() -> tuple[str, str]:
    """A document of some 10,000 tokens, and the same with one paragraph more."""
    rng = random.Random(0)
    parts = [" ".join(rng.choices(_WORDS, k=rng.randrange(5, 40))) + "." for _ in range(300)]
    return "\n\n".join(parts), "\n\n".join([*parts[:90], "One more clause.", *parts[90:]])


@pytest.fixture
def engine(tiny_model_path: Path) -> Iterator[LateChunkEngine]:
    engine = LateChunkEngine.from_pretrained(str(tiny_model_path), **_OPTIONS)
    yield engine
    engine.close()


@pytest.fixture
def fresh(tiny_model_path: Path) -> LateChunkEngine:
    return LateChunkEngine.from_pretrained(
        str(tiny_model_path), **{**_OPTIONS, "window_cache": None}
    )


def _costs(
    engine: LateChunkEngine, update: Callable[[str], object], texts: tuple[str, str]
) -> tuple[int, int]:
    costs = []
    for text in texts:
        before = engine.stats.get("tokens", 0)
        update(text)
        costs.append(engine.stats["tokens"] - before)
    return costs[0], costs[1]


@pytest.mark.slow
def test_llama_index_upserts(
    engine: LateChunkEngine, fresh: LateChunkEngine, versions: tuple[str, str]
) -> None:
    def pipeline(engine: LateChunkEngine, store: SimpleVectorStore) -> IngestionPipeline:
        model = LateChunkEmbedding(engine=engine)
        splitter = SentenceSplitter(chunk_size=64, chunk_overlap=0)
        return IngestionPipeline(
            transformations=[LateChunkNodeParser(embed_model=model, splitter=splitter)],
            docstore=SimpleDocumentStore(),
            docstore_strategy=DocstoreStrategy.UPSERTS,
            vector_store=store,
        )

    store, right = SimpleVectorStore(), SimpleVectorStore()
    kept = pipeline(engine, store)
    whole, edit = _costs(
        engine, lambda text: kept.run(documents=[Document(text=text, id_="handbook")]), versions
    )
    assert edit < whole / 2
    pipeline(fresh, right).run(documents=[Document(text=versions[1], id_="handbook")])
    found, expected = (
        np.array(sorted(each.data.embedding_dict.values())) for each in (store, right)
    )
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_langchain_index(
    engine: LateChunkEngine, fresh: LateChunkEngine, versions: tuple[str, str]
) -> None:
    def indexing(engine: LateChunkEngine) -> tuple[InMemoryVectorStore, Callable[[str], object]]:
        pair = late_chunking(engine, paragraphs)
        store = InMemoryVectorStore(pair.embeddings)
        records = InMemoryRecordManager("test")
        records.create_schema()

        def update(text: str) -> object:
            chunks = pair.splitter.split_documents([SourceDocument(text, metadata={"source": "a"})])
            return index_into(
                chunks,
                records,
                LateChunkVectorStore(store),
                cleanup="incremental",
                source_id_key="source",
                key_encoder="sha256",
            )

        return store, update

    store, update = indexing(engine)
    whole, edit = _costs(engine, update, versions)
    assert edit < whole / 2
    right, update = indexing(fresh)
    update(versions[1])
    found, expected = (
        np.array(sorted(row["vector"] for row in each.store.values())) for each in (store, right)
    )
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.slow
def test_the_command_indexes_what_changed(
    tiny_model_path: Path, tmp_path: Path, versions: tuple[str, str]
) -> None:
    """Each run has its own process in practice: the file is what they share."""

    def run(text: str, name: str, cache: Path | None) -> Any:
        options = {**_OPTIONS, "window_cache": cache}
        return index(
            [CorpusDocument("handbook", text)],
            str(tmp_path / f"{name}.jsonl"),
            LateChunkOptions(model=str(tiny_model_path), **options),
            tmp_path / f"{name}-checkpoint",
            IndexSettings(chunking=Chunking(paragraphs), show_progress=False),
        )

    def vectors(name: str) -> np.ndarray:
        parts = sorted((tmp_path / f"{name}.jsonl").glob("part-*.jsonl"))
        rows = [json.loads(line) for part in parts for line in part.read_bytes().splitlines()]
        return np.array([row["vector"] for row in sorted(rows, key=lambda row: row["start"])])

    cache = tmp_path / "windows.sqlite"
    whole, edit = (run(text, "kept", cache) for text in versions)
    assert edit.n_documents == 1
    assert edit.n_tokens < whole.n_tokens / 2
    assert edit.to_dict()["cached_windows"] == edit.n_cached_windows > 0
    assert whole.n_cached_windows == 0
    run(versions[1], "anew", None)
    np.testing.assert_allclose(vectors("kept"), vectors("anew"), atol=1e-6)
