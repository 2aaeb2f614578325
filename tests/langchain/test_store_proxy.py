"""The proxy is the wrapped store in everything but what it tells the embeddings."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.errors import InputTypeError, TextKeyedCacheError
from latechunk_integrations.langchain import (
    LateChunkEmbeddings,
    LateChunkVectorStore,
    add_late_chunks,
)
from tests.langchain.stores import KINDS
from tests.langchain.support import (
    assert_same,
    corpus,
    pair_of_lines,
    rebuilt,
    rows_as_vectors,
    true_vectors,
)


def test_every_method_of_a_vector_store_is_forwarded() -> None:
    """A method that the proxy leaves out would be the base class's, which knows no documents."""
    public = {
        name
        for name, value in inspect.getmembers(VectorStore)
        if not name.startswith("_") and (callable(value) or isinstance(value, property))
    }
    own = set(vars(LateChunkVectorStore))
    # The base class's own call the proxy's, which is what is wanted.
    assert public - own == {"as_retriever", "afrom_texts"}


def test_a_retriever_of_the_proxy_adds_and_finds_through_it(tiny_engine: LateChunkEngine) -> None:
    documents = corpus(3)
    pair = pair_of_lines(tiny_engine)
    store = LateChunkVectorStore(InMemoryVectorStore(pair.embeddings))
    retriever = store.as_retriever(search_kwargs={"k": 2})
    chunks = rebuilt(pair.splitter.split_documents(documents))
    retriever.add_documents(chunks)
    assert pair.embeddings.stats["late"] == len(chunks)
    assert len(retriever.invoke("Who pays?")) == 2


@pytest.mark.parametrize("name", ["in_memory", "faiss"])
def test_a_store_can_be_built_wrapped(
    tiny_engine: LateChunkEngine, tmp_path: Path, name: str
) -> None:
    kind = KINDS[name](tmp_path)
    documents = corpus(3)
    pair = pair_of_lines(tiny_engine)
    chunks = rebuilt(pair.splitter.split_documents(documents))
    truth = true_vectors(tiny_engine, documents)
    built = LateChunkVectorStore.from_documents(chunks, pair.embeddings, store_class=kind.kind)
    assert_same(kind.read(built.store), truth)
    texts, metadatas = [c.page_content for c in chunks], [c.metadata for c in chunks]
    built = LateChunkVectorStore.from_texts(
        texts, pair.embeddings, metadatas, store_class=kind.kind
    )
    assert_same(kind.read(built.store), truth)
    assert pair.embeddings.stats["late"] == 2 * len(chunks)
    with pytest.raises(InputTypeError, match="store_class"):
        LateChunkVectorStore.from_documents(chunks, pair.embeddings)
    with pytest.raises(InputTypeError, match="PlainEmbeddings"):
        LateChunkVectorStore.from_documents(chunks, pair.embeddings.plain, store_class=kind.kind)


async def test_a_store_can_be_built_wrapped_and_awaited(
    tiny_engine: LateChunkEngine, tmp_path: Path
) -> None:
    kind = KINDS["in_memory"](tmp_path)
    documents = corpus(3)
    pair = pair_of_lines(tiny_engine)
    chunks = rebuilt(pair.splitter.split_documents(documents))
    truth = true_vectors(tiny_engine, documents)
    built = await LateChunkVectorStore.afrom_documents(
        chunks, pair.embeddings, store_class=kind.kind
    )
    assert_same(kind.read(built.store), truth)
    texts, metadatas = [c.page_content for c in chunks], [c.metadata for c in chunks]
    built = await LateChunkVectorStore.afrom_texts(
        texts, pair.embeddings, metadatas, store_class=kind.kind
    )
    assert_same(kind.read(built.store), truth)
    await built.aadd_texts(texts, metadatas)
    built.add_texts(texts, metadatas)
    assert pair.embeddings.stats["late"] == 4 * len(chunks)


def test_what_only_the_wrapped_store_has_is_reached(tiny_engine: LateChunkEngine) -> None:
    store = LateChunkVectorStore(InMemoryVectorStore(LateChunkEmbeddings(engine=tiny_engine)))
    assert store.embedding is store.embeddings
    with pytest.raises(AttributeError, match="no_such"):
        _ = store.no_such
    with pytest.raises(AttributeError, match="store"):
        _ = LateChunkVectorStore.__new__(LateChunkVectorStore).anything  # as while unpickled


def test_methods_of_the_wrapped_store_are_given_chunks_that_know_their_parent(
    tiny_engine: LateChunkEngine, tmp_path: Path
) -> None:
    """Chroma's own `update_documents`, which no base class knows."""
    kind = KINDS["chroma"](tmp_path)
    pair = pair_of_lines(tiny_engine)
    documents = corpus(3)
    chunks = rebuilt(pair.splitter.split_documents(documents))
    inner = kind.empty(pair.embeddings, 0)
    ids = [str(number) for number in range(len(chunks))]
    inner.add_documents(chunks, ids=ids)  # plain: standalone
    assert pair.embeddings.stats["unknown"] == len(chunks)
    LateChunkVectorStore(inner).update_documents(ids, chunks)
    assert_same(kind.read(inner), true_vectors(tiny_engine, documents))
    LateChunkVectorStore(inner).update_document(ids[0], chunks[0])
    assert pair.embeddings.stats["late"] == len(chunks) + 1


def test_a_text_keyed_cache_is_refused_whatever_its_class(tiny_engine: LateChunkEngine) -> None:
    from langchain_classic.embeddings import CacheBackedEmbeddings
    from langchain_core.stores import InMemoryByteStore

    class OwnCache(CacheBackedEmbeddings):
        pass

    pair = pair_of_lines(tiny_engine)
    for kind in (CacheBackedEmbeddings, OwnCache):
        by_text = kind.from_bytes_store(
            pair.embeddings, InMemoryByteStore(), namespace="n", key_encoder="sha256"
        )
        with pytest.raises(TextKeyedCacheError, match="cache_key"):
            LateChunkVectorStore(InMemoryVectorStore(by_text))
        with pytest.raises(TextKeyedCacheError, match="cache_key"):
            LateChunkVectorStore(InMemoryVectorStore(by_text), pair.embeddings)
        with pytest.raises(TextKeyedCacheError, match="cache_key"):
            add_late_chunks(InMemoryVectorStore(by_text), [], embeddings=pair.embeddings)
        with pytest.raises(TextKeyedCacheError, match="cache_key"):
            add_late_chunks(InMemoryVectorStore(by_text), [])
        shared = kind.from_bytes_store(
            pair.embeddings,
            InMemoryByteStore(),
            key_encoder=pair.embeddings.cache_key,
            query_embedding_cache=True,
        )
        with pytest.raises(TextKeyedCacheError, match="store of its own"):
            LateChunkVectorStore(InMemoryVectorStore(shared))


def test_a_cache_with_the_right_key_stands_behind_the_proxy(tiny_engine: LateChunkEngine) -> None:
    from langchain_classic.embeddings import CacheBackedEmbeddings
    from langchain_core.stores import InMemoryByteStore

    pair = pair_of_lines(tiny_engine)
    documents = corpus(3)
    chunks = rebuilt(pair.splitter.split_documents(documents))
    cached = CacheBackedEmbeddings.from_bytes_store(
        pair.embeddings, InMemoryByteStore(), key_encoder=pair.embeddings.cache_key
    )
    for _ in range(2):  # the second time from the cache
        inner = InMemoryVectorStore(cached)
        LateChunkVectorStore(inner).add_documents(chunks)
        rows = [(row["metadata"], row["vector"]) for row in inner.store.values()]
        assert_same(rows_as_vectors(rows), true_vectors(tiny_engine, documents))
    assert pair.embeddings.stats["late"] == len(chunks)


def test_signatures_and_docstrings_are_the_base_classs() -> None:
    for name in ("add_documents", "asimilarity_search", "max_marginal_relevance_search"):
        ours, theirs = getattr(LateChunkVectorStore, name), getattr(VectorStore, name)
        assert inspect.signature(ours) == inspect.signature(theirs)
        assert ours.__doc__ == theirs.__doc__
        assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(theirs)
