"""The proxy is the wrapped store in everything but what it tells the embeddings."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.errors import InputTypeError
from latechunk_integrations.langchain import (
    LateChunkEmbeddings,
    LateChunkVectorStore,
    late_chunking,
)
from tests.langchain.stores import KINDS
from tests.langchain.support import assert_same, corpus, lines, rebuilt, true_vectors


def test_every_method_of_a_vector_store_is_forwarded() -> None:
    """A method that the proxy leaves out would be the base class's, which knows no documents."""
    public = {
        name
        for name, value in inspect.getmembers(VectorStore)
        if not name.startswith("_") and (callable(value) or isinstance(value, property))
    }
    own = set(vars(LateChunkVectorStore))
    # The base class's builds a retriever over the proxy, which is what is wanted.
    assert public - own == {"as_retriever"}


def test_a_retriever_of_the_proxy_adds_and_finds_through_it(tiny_engine: LateChunkEngine) -> None:
    documents = corpus(3)
    pair = late_chunking(tiny_engine, lines)
    store = LateChunkVectorStore(InMemoryVectorStore(pair.embeddings))
    retriever = store.as_retriever(search_kwargs={"k": 2})
    chunks = rebuilt(pair.splitter.split_documents(documents))
    retriever.add_documents(chunks)
    assert pair.embeddings.stats["bound"] == len(chunks)
    assert len(retriever.invoke("Who pays?")) == 2


@pytest.mark.parametrize("name", ["in_memory", "faiss"])
def test_a_store_can_be_built_wrapped(
    tiny_engine: LateChunkEngine, tmp_path: Path, name: str
) -> None:
    kind = KINDS[name](tmp_path)
    documents = corpus(3)
    pair = late_chunking(tiny_engine, lines)
    chunks = rebuilt(pair.splitter.split_documents(documents))
    truth = true_vectors(tiny_engine, documents)
    built = LateChunkVectorStore.from_documents(chunks, pair.embeddings, store_class=kind.kind)
    assert_same(kind.read(built.store), truth)
    texts, metadatas = [c.page_content for c in chunks], [c.metadata for c in chunks]
    built = LateChunkVectorStore.from_texts(
        texts, pair.embeddings, metadatas, store_class=kind.kind
    )
    assert_same(kind.read(built.store), truth)
    assert pair.embeddings.stats["bound"] == 2 * len(chunks)
    with pytest.raises(InputTypeError, match="store_class"):
        LateChunkVectorStore.from_documents(chunks, pair.embeddings)
    with pytest.raises(InputTypeError, match="PlainEmbeddings"):
        LateChunkVectorStore.from_documents(chunks, pair.embeddings.plain, store_class=kind.kind)


async def test_a_store_can_be_built_wrapped_and_awaited(
    tiny_engine: LateChunkEngine, tmp_path: Path
) -> None:
    kind = KINDS["in_memory"](tmp_path)
    documents = corpus(3)
    pair = late_chunking(tiny_engine, lines)
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
    assert pair.embeddings.stats["bound"] == 4 * len(chunks)


def test_what_only_the_wrapped_store_has_is_reached(tiny_engine: LateChunkEngine) -> None:
    store = LateChunkVectorStore(InMemoryVectorStore(LateChunkEmbeddings(engine=tiny_engine)))
    assert store.embedding is store.embeddings
    with pytest.raises(AttributeError, match="no_such"):
        _ = store.no_such
    with pytest.raises(AttributeError, match="store"):
        _ = LateChunkVectorStore.__new__(LateChunkVectorStore).anything  # as while unpickled
