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
from latechunk_integrations.langchain import LateChunkPair, LateChunkVectorStore, late_chunking
from tests.langchain.stores import KINDS, StoreKind
from tests.langchain.support import assert_same, corpus, lines, true_vectors

pytestmark = pytest.mark.store


@pytest.fixture
def records() -> InMemoryRecordManager:
    manager = InMemoryRecordManager("test")
    manager.create_schema()
    return manager


@pytest.fixture
def pair(tiny_engine: LateChunkEngine) -> LateChunkPair:
    return late_chunking(tiny_engine, lines)


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
@pytest.mark.parametrize("batch_size", [2, 100])
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
    assert pair.embeddings.stats["standalone"] == pair.embeddings.stats["ambiguous"] == 0


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
    assert pair.embeddings.stats["bound"] == len(chunks)


def test_index_without_the_proxy_is_right_or_says_what_it_guessed(
    pair: LateChunkPair,
    records: InMemoryRecordManager,
    kind: StoreKind,
    tiny_engine: LateChunkEngine,
) -> None:
    """Rebuilt documents without the proxy have the ledger alone; in split order that is enough."""
    documents = corpus(6)
    store = InMemoryVectorStore(pair.embeddings)
    chunks = pair.splitter.split_documents(documents)
    _index(chunks, records, store, None, batch_size=4)
    stats = pair.embeddings.stats
    assert stats["ledger"] == len(chunks)
    truth, stored = true_vectors(tiny_engine, documents), kind.read(store)
    n_wrong = sum(abs(stored[key] - truth[key]).max() > 1e-5 for key in truth)
    assert n_wrong <= stats["ambiguous"]


def test_index_streams_a_corpus_of_any_length(
    records: InMemoryRecordManager, kind: StoreKind, tiny_engine: LateChunkEngine
) -> None:
    """An iterator into `index`, with a ledger that holds no more than a few documents."""
    pair = late_chunking(tiny_engine, lines, ledger_bytes=30_000)
    documents = corpus(40)

    def stream() -> Iterator[Document]:
        yield from pair.splitter.lazy_split_documents(iter(documents))

    inner = InMemoryVectorStore(pair.embeddings)
    _index(stream(), records, LateChunkVectorStore(inner), None, batch_size=7)
    assert_same(kind.read(inner), true_vectors(tiny_engine, documents))
    assert pair.embeddings.stats["standalone"] == 0


async def test_aindex_is_right(
    pair: LateChunkPair,
    records: InMemoryRecordManager,
    kind: StoreKind,
    tiny_engine: LateChunkEngine,
) -> None:
    documents = corpus(5)
    inner = InMemoryVectorStore(pair.embeddings)
    await aindex(
        pair.splitter.split_documents(documents),
        records,
        LateChunkVectorStore(inner),
        cleanup="incremental",
        source_id_key="source",
        key_encoder="sha256",
        batch_size=3,
    )
    assert_same(kind.read(inner), true_vectors(tiny_engine, documents))


@pytest.mark.parametrize("name", ["chroma", "qdrant", "faiss", "milvus"])
def test_index_into_other_stores_is_right(
    pair: LateChunkPair,
    records: InMemoryRecordManager,
    tiny_engine: LateChunkEngine,
    tmp_path: Path,
    name: str,
) -> None:
    """Qdrant takes UUIDs as ids and nothing else; its batches are its own."""

    def as_uuid(chunk: Document) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{chunk.page_content}{chunk.metadata}"))

    documents = corpus(5)
    kind = KINDS[name](tmp_path)
    if name == "milvus":
        kind.arguments["auto_id"] = False
    inner = kind.empty(pair.embeddings, tiny_engine.dimensions)
    chunks = pair.splitter.split_documents(documents)
    store = LateChunkVectorStore(inner)
    _index(chunks, records, store, "incremental", batch_size=5, key_encoder=as_uuid)
    assert_same(kind.read(inner), true_vectors(tiny_engine, documents))
