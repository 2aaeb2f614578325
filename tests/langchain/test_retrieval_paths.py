"""Retrievers that split, keep parents elsewhere, mix with BM25, or stand in a chain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_core.stores import InMemoryStore
from langchain_core.vectorstores import InMemoryVectorStore

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.langchain import (
    LateChunkTextSplitter,
    LateChunkVectorStore,
)
from tests.langchain.stores import KINDS
from tests.langchain.support import (
    assert_same,
    corpus,
    line_spans,
    lines,
    pair_of_lines,
    true_vectors,
)


@pytest.mark.parametrize("rebuild", [False, True])
def test_parent_document_retriever_has_late_children(
    tiny_engine: LateChunkEngine, tmp_path: Path, rebuild: bool
) -> None:
    from langchain_classic.retrievers import ParentDocumentRetriever

    documents = corpus(5)
    pair = pair_of_lines(tiny_engine)
    kind = KINDS["in_memory"](tmp_path)
    inner = InMemoryVectorStore(pair.embeddings)
    retriever = ParentDocumentRetriever(
        vectorstore=LateChunkVectorStore(inner) if rebuild else inner,
        docstore=InMemoryStore(),
        child_splitter=pair.splitter,
        search_kwargs={"k": 1},
    )
    retriever.add_documents(documents)
    assert_same(kind.read(inner), true_vectors(tiny_engine, documents))
    (found,) = retriever.invoke("Agreement number 3.")
    assert found in documents


def test_children_of_nested_splitters_attend_to_the_whole_document(
    tiny_engine: LateChunkEngine,
) -> None:
    """Parent splitter and child splitter: a child's parent is the document, embedded once."""
    from langchain_classic.retrievers import ParentDocumentRetriever

    documents = corpus(4, n_lines=10)
    child_splitter, embeddings = pair_of_lines(tiny_engine)

    def pairs_of_lines(text: str) -> list[str]:
        own = lines(text)
        return ["\n".join(own[i : i + 2]) for i in range(0, len(own), 2)]

    inner = InMemoryVectorStore(embeddings)
    retriever = ParentDocumentRetriever(
        vectorstore=inner,
        docstore=InMemoryStore(),
        parent_splitter=LateChunkTextSplitter(
            embeddings=embeddings, splitter=pairs_of_lines, header=None
        ),
        child_splitter=child_splitter,
    )
    before = tiny_engine.stats["parents"]
    retriever.add_documents(documents)
    assert tiny_engine.stats["parents"] - before == len(documents)
    assert_same(KINDS["in_memory"](Path()).read(inner), true_vectors(tiny_engine, documents))


def test_children_without_our_metadata_are_right_still(tiny_engine: LateChunkEngine) -> None:
    """`child_metadata_fields` strips what we wrote; the texts know their parent themselves."""
    from langchain_classic.retrievers import ParentDocumentRetriever

    documents = corpus(3)
    pair = pair_of_lines(tiny_engine)
    inner = InMemoryVectorStore(pair.embeddings)
    retriever = ParentDocumentRetriever(
        vectorstore=inner,
        docstore=InMemoryStore(),
        child_splitter=pair.splitter,
        child_metadata_fields=["source"],
    )
    retriever.add_documents(documents)
    stored = [row["vector"] for row in inner.store.values()]
    truth = true_vectors(tiny_engine, documents)
    np.testing.assert_allclose(stored, list(truth.values()), atol=1e-5)


def test_multi_vector_retriever_finds_sources_by_late_chunks(tiny_engine: LateChunkEngine) -> None:
    from langchain_classic.retrievers import MultiVectorRetriever

    documents = corpus(4)
    pair = pair_of_lines(tiny_engine)
    retriever = MultiVectorRetriever(
        vectorstore=InMemoryVectorStore(pair.embeddings),
        docstore=InMemoryStore(),
        id_key="source",
        search_kwargs={"k": 2},
    )
    retriever.vectorstore.add_documents(pair.splitter.split_documents(documents))
    retriever.docstore.mset([(document.metadata["source"], document) for document in documents])
    query = "Agreement number 2."
    truth = true_vectors(tiny_engine, documents)
    similarity = {key: v @ tiny_engine.embed_query(query) for key, v in truth.items()}
    best = sorted(similarity, key=lambda key: similarity[key], reverse=True)[:2]
    sources = list(dict.fromkeys(source for source, _ in best))
    assert [found.metadata["source"] for found in retriever.invoke(query)] == sources


def test_ensemble_with_bm25_over_the_same_chunks(tiny_engine: LateChunkEngine) -> None:
    """Both retrievers give the same documents, so that the ensemble can join their ranks."""
    from langchain_classic.retrievers import EnsembleRetriever
    from langchain_community.retrievers import BM25Retriever

    pair = pair_of_lines(tiny_engine)
    chunks = pair.splitter.split_documents(corpus(4))
    dense = InMemoryVectorStore(pair.embeddings)
    dense.add_documents(chunks)
    sparse = BM25Retriever.from_documents(chunks, k=3)
    ensemble = EnsembleRetriever(
        retrievers=[dense.as_retriever(search_kwargs={"k": 3}), sparse], weights=[0.5, 0.5]
    )
    found = ensemble.invoke("Agreement number 2.")
    assert "Agreement number 2." in [document.page_content for document in found]
    assert len({document.page_content for document in found}) == len(found)
    assert {document.page_content for document in found} <= {c.page_content for c in chunks}


async def test_a_chain_retrieves_late_chunks(tiny_engine: LateChunkEngine) -> None:
    pair = pair_of_lines(tiny_engine)
    documents = corpus(4)
    store = InMemoryVectorStore(pair.embeddings)
    store.add_documents(pair.splitter.split_documents(documents))
    chain = (
        {
            "context": store.as_retriever(search_kwargs={"k": 1})
            | RunnableLambda(lambda found: found[0].page_content),
            "question": RunnablePassthrough(),
        }
        | PromptTemplate.from_template("{context} / {question}")
        | RunnableLambda(lambda prompt: prompt.to_string())
    )
    truth = true_vectors(tiny_engine, documents)
    query = "Who pays?"
    source, start = max(truth, key=lambda key: truth[key] @ tiny_engine.embed_query(query))
    text = next(d.page_content for d in documents if d.metadata["source"] == source)
    expected = f"{text[start:].split(chr(10))[0]} / {query}"
    assert chain.invoke(query) == expected
    assert await chain.ainvoke(query) == expected


def test_a_cache_with_the_right_key_is_exact_and_saves_the_model(
    tiny_engine: LateChunkEngine,
) -> None:
    """Equal texts of different parents have vectors of their own, and a second run embeds none."""
    from langchain_classic.embeddings import CacheBackedEmbeddings
    from langchain_core.stores import InMemoryByteStore

    pair = pair_of_lines(tiny_engine)
    documents = corpus(5)
    chunks = pair.splitter.split_documents(documents)
    cached = CacheBackedEmbeddings.from_bytes_store(
        pair.embeddings, InMemoryByteStore(), key_encoder=pair.embeddings.cache_key, batch_size=3
    )
    truth = [
        vector
        for document in documents
        for vector in tiny_engine.embed(
            [Parent(document.page_content, line_spans(document.page_content))]
        )[0].vectors
    ]
    texts = [chunk.page_content for chunk in chunks]
    np.testing.assert_allclose(cached.embed_documents(texts), truth, atol=1e-5)
    before = tiny_engine.stats["parents"]
    again = pair.splitter.split_documents([Document(d.page_content) for d in documents])
    vectors = cached.embed_documents([chunk.page_content for chunk in again])
    np.testing.assert_allclose(vectors, truth, atol=1e-5)
    assert tiny_engine.stats["parents"] == before
