"""LangChain's standard suite of retrievers, `k` included, and its second name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests import RetrieversIntegrationTests

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.langchain import (
    LateChunkEmbeddings,
    SnippetRetriever,
    SubSpanRetriever,
    add_late_chunks,
    late_chunking,
    split_sub_spans,
)
from latechunk_integrations.retrieval.snippets import SnippetOptions

_OPTIONS = SnippetOptions(length=20, chunk_size=10, n_snippets=2)


class TestSnippetRetriever(RetrieversIntegrationTests):
    late: ClassVar[LateChunkEmbeddings]

    @pytest.fixture(autouse=True)
    def _own_embeddings(self, tiny_engine: LateChunkEngine) -> None:
        type(self).late = LateChunkEmbeddings(engine=tiny_engine)

    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return SnippetRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        texts = ["".join(f"Report {n} says {m}. " for n in range(40)) for m in ("yes", "no")]
        documents = [Document(text) for text in texts]
        return {"embeddings": self.late, "documents": documents, "options": _OPTIONS}

    @property
    def retriever_query_example(self) -> str:
        return "report 3"


class TestSubSpanRetriever(RetrieversIntegrationTests):
    store: ClassVar[InMemoryVectorStore]

    @pytest.fixture(autouse=True)
    def _own_store(self, tiny_model_path: Path) -> None:
        options: dict[str, Any] = {"dtype": "float32", "device": "cpu", "sub_span_tokens": 4}
        splitter, late = late_chunking(tiny_model_path, lambda text: text.split("\n"), **options)
        texts = [f"Report {n} says yes.\nIt was read by all." for n in range(4)]
        parts = split_sub_spans(splitter.create_documents(texts), late)
        type(self).store = InMemoryVectorStore(late)
        add_late_chunks(self.store, parts)

    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return SubSpanRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"vectorstore": self.store}

    @property
    def retriever_query_example(self) -> str:
        return "report 3"


@pytest.mark.parametrize("k", [1, 2, 5, 6])
def test_k_snippets_of_six_short_documents_are_k(tiny_engine: LateChunkEngine, k: int) -> None:
    documents = [Document(f"Report {n} says yes.") for n in range(6)]
    retriever = SnippetRetriever(
        embeddings=LateChunkEmbeddings(engine=tiny_engine), documents=documents
    )
    found = retriever.invoke("report 3", k=k)
    assert len(found) == k
    scores = {
        d.page_content: d.metadata["snippet_score"] for d in retriever.invoke("report 3", k=6)
    }
    best = sorted(scores, key=lambda text: scores[text], reverse=True)[:k]
    assert {one.page_content for one in found} == set(best)


def test_the_pair_has_the_name_that_conventions_ask_for() -> None:
    import langchain_latechunk
    import latechunk_integrations.langchain as pair

    assert langchain_latechunk.__all__ == pair.__all__
    assert all(getattr(langchain_latechunk, name) is getattr(pair, name) for name in pair.__all__)
