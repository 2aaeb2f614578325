"""Per store and per path: what lies in the store is what the engine gives for that parent."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.errors import InputTypeError, UnsupportedStoreError
from latechunk_integrations.langchain import (
    LateChunkEmbeddings,
    LateChunkPair,
    LateChunkVectorStore,
    aadd_late_chunks,
    add_late_chunks,
    late_chunking,
)
from tests.langchain.stores import KINDS, StoreKind
from tests.langchain.support import Vectors, assert_same, corpus, lines, rebuilt, true_vectors

pytestmark = pytest.mark.store


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    return corpus()


@pytest.fixture(scope="module")
def truth(tiny_engine: LateChunkEngine, documents: list[Document]) -> Vectors:
    return true_vectors(tiny_engine, documents)


@pytest.fixture
def pair(tiny_engine: LateChunkEngine) -> LateChunkPair:
    return late_chunking(tiny_engine, lines)


@pytest.fixture(params=sorted(KINDS))
def store_kind(request: pytest.FixtureRequest, tmp_path: Path) -> StoreKind:
    return KINDS[request.param](tmp_path)


def _in_batches(chunks: Sequence[Document], size: int) -> list[list[Document]]:
    return [list(chunks[start : start + size]) for start in range(0, len(chunks), size)]


def test_from_documents_stores_the_engines_vectors(
    store_kind: StoreKind, pair: LateChunkPair, documents: list[Document], truth: Vectors
) -> None:
    chunks = pair.splitter.split_documents(documents)
    store = store_kind.kind.from_documents(chunks, pair.embeddings, **store_kind.arguments)
    assert_same(store_kind.read(store), truth)
    assert pair.embeddings.stats["standalone"] == 0


@pytest.mark.parametrize("size", [1, 7, 100])
def test_add_documents_in_any_order_and_batch_stores_the_engines_vectors(
    store_kind: StoreKind,
    pair: LateChunkPair,
    documents: list[Document],
    truth: Vectors,
    tiny_engine: LateChunkEngine,
    size: int,
) -> None:
    chunks = pair.splitter.split_documents(documents)
    random.Random(size).shuffle(chunks)
    store = store_kind.empty(pair.embeddings, tiny_engine.dimensions)
    for batch in _in_batches(chunks, size):
        store.add_documents(batch)
    assert_same(store_kind.read(store), truth)
    assert pair.embeddings.stats["text"] == len(chunks)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_rebuilt_documents_in_any_order_are_right_through_the_proxy(
    store_kind: StoreKind,
    pair: LateChunkPair,
    documents: list[Document],
    truth: Vectors,
    tiny_engine: LateChunkEngine,
    size: int,
) -> None:
    chunks = rebuilt(pair.splitter.split_documents(documents))
    random.Random(size).shuffle(chunks)
    store = LateChunkVectorStore(store_kind.empty(pair.embeddings, tiny_engine.dimensions))
    for batch in _in_batches(chunks, size):
        store.add_documents(batch)
    assert_same(store_kind.read(store.store), truth)
    assert pair.embeddings.stats["bound"] == len(chunks)


async def test_aadd_documents_stores_the_engines_vectors(
    store_kind: StoreKind,
    pair: LateChunkPair,
    documents: list[Document],
    truth: Vectors,
    tiny_engine: LateChunkEngine,
) -> None:
    chunks = pair.splitter.split_documents(documents)
    half = len(chunks) // 2
    store = store_kind.empty(pair.embeddings, tiny_engine.dimensions)
    await store.aadd_documents(chunks[:half])
    await LateChunkVectorStore(store).aadd_documents(rebuilt(chunks[half:]))
    assert_same(store_kind.read(store), truth)


def test_from_texts_stores_the_engines_vectors(
    store_kind: StoreKind, pair: LateChunkPair, documents: list[Document], truth: Vectors
) -> None:
    """Texts in split order, which some stores hand on and others rebuild."""
    chunks = pair.splitter.split_documents(documents)
    store = store_kind.kind.from_texts(
        [chunk.page_content for chunk in chunks],
        pair.embeddings,
        [chunk.metadata for chunk in chunks],
        **store_kind.arguments,
    )
    assert_same(store_kind.read(store), truth)
    assert pair.embeddings.stats["standalone"] == pair.embeddings.stats["ambiguous"] == 0


def test_precomputed_vectors_need_no_ledger(
    store_kind: StoreKind,
    pair: LateChunkPair,
    documents: list[Document],
    truth: Vectors,
    tiny_engine: LateChunkEngine,
) -> None:
    """Split in one process, indexed in another: only texts, metadata and parents cross over."""
    chunks = rebuilt(pair.splitter.split_documents(documents))
    random.Random(3).shuffle(chunks)
    elsewhere = LateChunkEmbeddings(engine=tiny_engine)
    store = store_kind.empty(elsewhere, tiny_engine.dimensions)
    ids = add_late_chunks(store, iter(chunks), parents=documents)
    assert len(set(ids)) == len(chunks)
    assert_same(store_kind.read(store), truth)


def test_a_corpus_longer_than_memory_is_embedded_and_written_as_it_is_read(
    pair: LateChunkPair, tiny_engine: LateChunkEngine, tmp_path: Path
) -> None:
    """Chunks are asked for only when those before them lie in the store."""
    kind = KINDS["in_memory"](tmp_path)
    store: Any = kind.empty(pair.embeddings, 0)
    documents = corpus(400, seed=2)
    most_waiting = 0

    def chunks() -> Iterator[Document]:
        nonlocal most_waiting
        for number, chunk in enumerate(pair.splitter.lazy_split_documents(iter(documents))):
            most_waiting = max(most_waiting, number - len(store.store))
            yield chunk

    add_late_chunks(store, chunks())
    assert len(store.store) > 2_000
    assert most_waiting < 1_100
    assert_same(kind.read(store), true_vectors(tiny_engine, documents))


async def test_precomputed_vectors_are_written_without_blocking_the_loop(
    pair: LateChunkPair, documents: list[Document], truth: Vectors, tmp_path: Path
) -> None:
    kind = KINDS["in_memory"](tmp_path)
    store = kind.empty(pair.embeddings, 0)
    given = [f"id-{i}" for i in range(len(truth))]
    ids = await aadd_late_chunks(store, pair.splitter.split_documents(documents), ids=given)
    assert ids == given
    assert_same(kind.read(store), truth)


def test_a_store_that_takes_no_vectors_is_refused(
    pair: LateChunkPair, documents: list[Document], tmp_path: Path
) -> None:
    from langchain_community.vectorstores import SKLearnVectorStore

    store = SKLearnVectorStore(pair.embeddings)
    with pytest.raises(UnsupportedStoreError, match="SKLearnVectorStore"):
        add_late_chunks(store, pair.splitter.split_documents(documents))


def test_a_store_with_other_embeddings_is_refused(documents: list[Document]) -> None:
    from langchain_core.embeddings import DeterministicFakeEmbedding
    from langchain_core.vectorstores import InMemoryVectorStore

    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=4))
    with pytest.raises(InputTypeError, match="DeterministicFakeEmbedding"):
        LateChunkVectorStore(store)
    with pytest.raises(InputTypeError, match="DeterministicFakeEmbedding"):
        add_late_chunks(store, documents)


@pytest.mark.parametrize("wrap", [False, True])
def test_ten_threads_add_at_once(
    pair: LateChunkPair, tiny_engine: LateChunkEngine, tmp_path: Path, wrap: bool
) -> None:
    """Each thread adds whole documents; chunks are rebuilt where the proxy is to find parents."""
    documents = corpus(n_documents=30, seed=7)
    kind = KINDS["in_memory"](tmp_path)
    store: Any = kind.empty(pair.embeddings, 0)
    target = LateChunkVectorStore(store) if wrap else store

    def add(some: list[Document]) -> None:
        for batch in _in_batches(pair.splitter.split_documents(some), 4):
            target.add_documents(rebuilt(batch) if wrap else batch)

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(add, [documents[i::10] for i in range(10)]))
    assert_same(kind.read(store), true_vectors(tiny_engine, documents))
    assert pair.embeddings.stats["standalone"] == pair.embeddings.stats["ambiguous"] == 0


def test_the_header_is_attended_by_every_chunk(
    tiny_engine: LateChunkEngine, documents: list[Document], tmp_path: Path
) -> None:
    pair = late_chunking(tiny_engine, lines, header_from=["title"])
    kind = KINDS["in_memory"](tmp_path)
    store = kind.kind.from_documents(pair.splitter.split_documents(documents), pair.embeddings)
    assert_same(kind.read(store), true_vectors(tiny_engine, documents, header_key="title"))
