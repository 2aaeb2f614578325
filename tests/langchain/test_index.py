"""The indexing API: unchanged documents are skipped, changed ones embedded anew with all chunks."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, aindex, index
from langchain_core.vectorstores import InMemoryVectorStore

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.langchain import LateChunkPair, LateChunkVectorStore
from tests.langchain.stores import KINDS, StoreKind
from tests.langchain.support import assert_same, corpus, lines, pair_of_lines, true_vectors

pytestmark = pytest.mark.store


@pytest.fixture
def records() -> InMemoryRecordManager:
    manager = InMemoryRecordManager("test")
    manager.create_schema()
    return manager


@pytest.fixture
def pair(tiny_engine: LateChunkEngine) -> LateChunkPair:
    return pair_of_lines(tiny_engine)


@pytest.fixture
def kind(tmp_path: Path) -> StoreKind:
    return KINDS["in_memory"](tmp_path)


def _index(
    chunks: Any, records: InMemoryRecordManager, store: Any, cleanup: Any, **options: Any
) -> dict[str, int]:
    result = index(
        chunks,
        records,
        store,
        cleanup=cleanup,
        source_id_key="source",
        **{"key_encoder": "sha256", **options},
    )
    return {name: int(value) for name, value in result.items()}  # type: ignore[call-overload]  # ints


def _edited(documents: list[Document], number: int) -> list[Document]:
    """The corpus with a line more at the end of one document."""
    edited = [d.model_copy(deep=True) for d in documents]
    edited[number].page_content += "\nOne more clause was added."
    return edited


@pytest.mark.parametrize("cleanup", [None, "incremental", "full", "scoped_full"])
@pytest.mark.parametrize("batch_size", [3, 100])
def test_a_changed_document_is_embedded_anew_with_all_its_chunks(
    pair: LateChunkPair,
    records: InMemoryRecordManager,
    kind: StoreKind,
    tiny_engine: LateChunkEngine,
    cleanup: Any,
    batch_size: int,
) -> None:
    documents = corpus(5)
    inner = InMemoryVectorStore(pair.embeddings)
    store = LateChunkVectorStore(inner)
    first = pair.splitter.split_documents(documents)
    result = _index(first, records, store, cleanup, batch_size=batch_size)
    assert result["num_added"] == len(first)
    assert_same(kind.read(inner), true_vectors(tiny_engine, documents))

    before = tiny_engine.stats["parents"]
    result = _index(
        pair.splitter.split_documents(documents), records, store, cleanup, batch_size=batch_size
    )
    # LangChain's incremental clean-up deletes what is left of a source that a batch cut.
    cuts_sources = cleanup == "incremental" and batch_size < len(lines(documents[0].page_content))
    if not cuts_sources:
        assert result["num_skipped"] == len(first)
        assert tiny_engine.stats["parents"] == before

    edited = _edited(documents, 2)
    second = pair.splitter.split_documents(edited)
    result = _index(second, records, store, cleanup, batch_size=batch_size)
    n_changed = len(lines(edited[2].page_content))
    if not cuts_sources:
        assert result["num_added"] == n_changed
        assert result["num_skipped"] == len(second) - n_changed
    if cleanup is None:  # the old chunks stay, beside the new ones
        assert len(inner.store) == len(second) + n_changed - 1
    else:
        assert_same(kind.read(inner), true_vectors(tiny_engine, edited))
    assert sum(pair.embeddings.stats.values()) == pair.embeddings.stats["late"]


@pytest.mark.parametrize("seed", range(5))
def test_index_skipping_a_random_half_embeds_the_rest_right(
    pair: LateChunkPair,
    records: InMemoryRecordManager,
    kind: StoreKind,
    tiny_engine: LateChunkEngine,
    seed: int,
) -> None:
    """Documents that are known are skipped, so that texts reach the embeddings with gaps."""
    rng = random.Random(seed)
    documents = corpus(12, seed=seed)
    inner = InMemoryVectorStore(pair.embeddings)
    store = LateChunkVectorStore(inner)
    half = rng.sample(documents, 6)
    _index(pair.splitter.split_documents(half), records, store, None, batch_size=7)
    chunks = pair.splitter.split_documents(documents)
    rng.shuffle(chunks)
    result = _index(chunks, records, store, None, batch_size=rng.choice([1, 7, 100]))
    assert result["num_skipped"] > 0
    assert_same(kind.read(inner), true_vectors(tiny_engine, documents))
    assert pair.embeddings.stats["late"] == len(chunks)


def test_index_without_the_proxy_is_standalone_and_says_so(
    pair: LateChunkPair,
    records: InMemoryRecordManager,
    kind: StoreKind,
    tiny_engine: LateChunkEngine,
) -> None:
    """The indexing API makes new documents; nothing guesses what they were."""
    store = InMemoryVectorStore(pair.embeddings)
    chunks = pair.splitter.split_documents(corpus(3))
    _index(chunks, records, store, None, batch_size=4)
    assert pair.embeddings.stats["unknown"] == len(chunks)
    alone = tiny_engine.embed_texts([str(row["text"]) for row in store.store.values()])
    for row, vector in zip(store.store.values(), alone, strict=True):
        assert abs(vector - row["vector"]).max() < 1e-5


def test_index_streams_a_corpus_of_any_length(
    records: InMemoryRecordManager, kind: StoreKind, tiny_engine: LateChunkEngine
) -> None:
    """An iterator into `index`, with memory for no more than a few documents."""
    pair = pair_of_lines(tiny_engine, memory_bytes=30_000)
    documents = corpus(40)

    def stream() -> Iterator[Document]:
        yield from pair.splitter.lazy_split_documents(iter(documents))

    inner = InMemoryVectorStore(pair.embeddings)
    _index(stream(), records, LateChunkVectorStore(inner), None, batch_size=7)
    assert_same(kind.read(inner), true_vectors(tiny_engine, documents))
    assert pair.embeddings.stats["parent_not_held"] == 0


@pytest.mark.parametrize("cleanup", [None, "incremental", "full", "scoped_full"])
@pytest.mark.parametrize("batch_size", [3, 100])
async def test_aindex_follows_edits_and_deletions(
    pair: LateChunkPair,
    records: InMemoryRecordManager,
    kind: StoreKind,
    tiny_engine: LateChunkEngine,
    cleanup: Any,
    batch_size: int,
) -> None:
    documents = corpus(5)
    inner = InMemoryVectorStore(pair.embeddings)
    edited = _edited(documents, 2)
    for version in (documents, edited, edited[:4] if cleanup == "full" else edited):
        await aindex(
            pair.splitter.split_documents(version),
            records,
            LateChunkVectorStore(inner),
            cleanup=cleanup,
            source_id_key="source",
            key_encoder="sha256",
            batch_size=batch_size,
        )
        if cleanup is not None or version is documents:
            assert_same(kind.read(inner), true_vectors(tiny_engine, version))
    assert sum(pair.embeddings.stats.values()) == pair.embeddings.stats["late"]


def test_a_cache_with_cache_key_under_index(
    pair: LateChunkPair,
    records: InMemoryRecordManager,
    kind: StoreKind,
    tiny_engine: LateChunkEngine,
) -> None:
    from langchain_classic.embeddings import CacheBackedEmbeddings
    from langchain_core.stores import InMemoryByteStore

    documents = corpus(4)
    cached = CacheBackedEmbeddings.from_bytes_store(
        pair.embeddings, InMemoryByteStore(), key_encoder=pair.embeddings.cache_key
    )
    inner = InMemoryVectorStore(cached)
    chunks = pair.splitter.split_documents(documents)
    _index(chunks, records, LateChunkVectorStore(inner), "incremental", batch_size=3)
    assert_same(kind.read(inner), true_vectors(tiny_engine, documents))


_CAN_DELETE = [
    "chroma",
    "qdrant",
    "qdrant_hybrid",
    "faiss",
    "milvus",
    "lancedb",
]


def _as_uuid(chunk: Document) -> str:
    """Qdrant takes UUIDs as ids and nothing else."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{chunk.page_content}{chunk.metadata}"))


@pytest.mark.parametrize("name", _CAN_DELETE)
@pytest.mark.parametrize(
    ("cleanup", "batch_size"),
    [("incremental", 100), ("incremental", 3), ("full", 3), ("scoped_full", 100)],
)
def test_index_follows_edits_and_deletions_in_other_stores(
    pair: LateChunkPair,
    records: InMemoryRecordManager,
    tiny_engine: LateChunkEngine,
    tmp_path: Path,
    name: str,
    cleanup: Any,
    batch_size: int,
) -> None:
    """A document with a line more, then one gone: what is left is right in each."""
    documents = corpus(5)
    kind = KINDS[name](tmp_path)
    if name == "milvus":
        kind.arguments["auto_id"] = False
    inner = kind.empty(pair.embeddings, tiny_engine.dimensions)
    store = LateChunkVectorStore(inner)
    edited = _edited(documents, 2)
    for version in (documents, edited, edited[:4] if cleanup == "full" else edited):
        chunks = pair.splitter.split_documents(version)
        _index(chunks, records, store, cleanup, batch_size=batch_size, key_encoder=_as_uuid)
        assert_same(kind.read(inner), true_vectors(tiny_engine, version))
    assert pair.embeddings.stats["unknown"] == 0


@pytest.mark.parametrize("name", ["sqlite_vec", "sklearn", "duckdb"])
def test_index_writes_into_a_store_that_cannot_delete(
    pair: LateChunkPair,
    records: InMemoryRecordManager,
    tiny_engine: LateChunkEngine,
    tmp_path: Path,
    name: str,
) -> None:
    """Without clean-up it holds what was indexed; the error of a clean-up is the store's own."""
    kind = KINDS[name](tmp_path)
    store = LateChunkVectorStore(kind.empty(pair.embeddings, tiny_engine.dimensions))
    documents = corpus(5)
    chunks = pair.splitter.split_documents(documents)
    for n_added in (len(chunks), 0):
        assert _index(chunks, records, store, None, batch_size=7)["num_added"] == n_added
        assert_same(kind.read(store.store), true_vectors(tiny_engine, documents))
    added = Document("A new agreement.\nSigned.", metadata={"source": "new"})
    _index(pair.splitter.split_documents([added]), records, store, None)
    assert_same(kind.read(store.store), true_vectors(tiny_engine, [*documents, added]))
    edited = pair.splitter.split_documents(_edited([added], 0))
    with pytest.raises(NotImplementedError):
        _index(edited, records, store, "incremental")
