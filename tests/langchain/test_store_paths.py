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
from latechunk_integrations.errors import InputTypeError
from latechunk_integrations.langchain import (
    LateChunkEmbeddings,
    LateChunkPair,
    LateChunkVectorStore,
    aadd_late_chunks,
    add_late_chunks,
)
from tests.langchain.stores import KINDS, StoreKind
from tests.langchain.support import (
    Vectors,
    assert_same,
    corpus,
    pair_of_lines,
    rebuilt,
    true_vectors,
)

pytestmark = pytest.mark.store


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    return corpus()


@pytest.fixture(scope="module")
def truth(tiny_engine: LateChunkEngine, documents: list[Document]) -> Vectors:
    return true_vectors(tiny_engine, documents)


@pytest.fixture
def pair(tiny_engine: LateChunkEngine) -> LateChunkPair:
    return pair_of_lines(tiny_engine)


@pytest.fixture(params=sorted(KINDS))
def store_kind(request: pytest.FixtureRequest, tmp_path: Path) -> StoreKind:
    return KINDS[request.param](tmp_path)


def _in_batches(chunks: Sequence[Document], size: int) -> list[list[Document]]:
    return [list(chunks[start : start + size]) for start in range(0, len(chunks), size)]


def test_from_documents_stores_the_engines_vectors(
    store_kind: StoreKind, pair: LateChunkPair, documents: list[Document], truth: Vectors
) -> None:
    """InMemoryVectorStore makes new documents of texts, which know nothing any more."""
    chunks = pair.splitter.split_documents(documents)
    if store_kind.kind.__name__ == "InMemoryVectorStore":
        store = LateChunkVectorStore.from_documents(
            chunks, pair.embeddings, store_class=store_kind.kind
        ).store
    else:
        store = store_kind.kind.from_documents(chunks, pair.embeddings, **store_kind.arguments)
    assert_same(store_kind.read(store), truth)
    assert pair.embeddings.stats["unknown"] == 0


def test_a_store_built_wrapped_of_rebuilt_documents_has_the_engines_vectors(
    store_kind: StoreKind, pair: LateChunkPair, documents: list[Document], truth: Vectors
) -> None:
    chunks = rebuilt(pair.splitter.split_documents(documents))
    random.Random(1).shuffle(chunks)
    built = LateChunkVectorStore.from_documents(
        chunks, pair.embeddings, store_class=store_kind.kind, **store_kind.arguments
    )
    assert_same(store_kind.read(built.store), truth)
    assert pair.embeddings.stats["late"] == len(chunks)


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
    assert pair.embeddings.stats["late"] == len(chunks)


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
    assert pair.embeddings.stats["late"] == len(chunks)


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


def test_texts_with_metadata_are_right_through_the_proxy(
    store_kind: StoreKind,
    pair: LateChunkPair,
    documents: list[Document],
    truth: Vectors,
    tiny_engine: LateChunkEngine,
) -> None:
    chunks = rebuilt(pair.splitter.split_documents(documents))
    store = LateChunkVectorStore(store_kind.empty(pair.embeddings, tiny_engine.dimensions))
    store.add_texts([c.page_content for c in chunks], [c.metadata for c in chunks])
    assert_same(store_kind.read(store.store), truth)


def test_late_chunks_are_added_where_parents_are_given(
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
    ids = add_late_chunks(store, iter(chunks), parents=pair.splitter.parents(documents))
    assert len(set(ids)) == len(chunks)
    assert_same(store_kind.read(store), truth)


def test_what_is_stored_says_how_it_was_embedded(
    store_kind: StoreKind,
    pair: LateChunkPair,
    documents: list[Document],
    tiny_engine: LateChunkEngine,
) -> None:
    """By every way: the splitter's own documents, rebuilt ones, and both in one collection."""
    chunks = pair.splitter.split_documents(documents)
    half = len(chunks) // 2
    store = store_kind.empty(pair.embeddings, tiny_engine.dimensions)
    LateChunkVectorStore(store).add_documents(rebuilt(chunks[:half]))
    store.add_documents(chunks[half:])
    found = store.similarity_search("Who pays?", k=len(chunks))
    marks = {(d.metadata["late_engine"], d.metadata["late_mode"]) for d in found}
    assert {engine for engine, _ in marks} == {tiny_engine.fingerprint}
    parents = pair.splitter.parents(documents)
    modes = {mode for result in tiny_engine.embed(list(parents)) for mode in result.modes}
    assert {mode for _, mode in marks} == modes


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


def test_a_stream_of_plain_documents_is_taken_in_batches(pair: LateChunkPair) -> None:
    """They name no parent, so that none of them belong together."""
    from langchain_core.vectorstores import InMemoryVectorStore

    store = InMemoryVectorStore(pair.embeddings)
    most_waiting = 0

    def plain() -> Iterator[Document]:
        nonlocal most_waiting
        for number in range(2_500):
            most_waiting = max(most_waiting, number - len(store.store))
            yield Document("No pets.")

    assert len(add_late_chunks(store, plain())) == 2_500
    assert most_waiting < 1_100


async def test_late_chunks_are_added_without_blocking_the_loop(
    pair: LateChunkPair, documents: list[Document], truth: Vectors, tmp_path: Path
) -> None:
    kind = KINDS["in_memory"](tmp_path)
    store = kind.empty(pair.embeddings, 0)
    given = [f"id-{i}" for i in range(len(truth))]
    ids = await aadd_late_chunks(store, pair.splitter.split_documents(documents), ids=given)
    assert ids == given
    assert_same(kind.read(store), truth)


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
    assert pair.embeddings.stats["unknown"] == 0


def test_the_header_is_attended_by_every_chunk(
    tiny_engine: LateChunkEngine, documents: list[Document], tmp_path: Path
) -> None:
    pair = pair_of_lines(tiny_engine, header="title")
    kind = KINDS["in_memory"](tmp_path)
    store = kind.empty(pair.embeddings, 0)
    store.add_documents(pair.splitter.split_documents(documents))
    assert_same(kind.read(store), true_vectors(tiny_engine, documents, header_key="title"))
