"""Snippets and links as LangChain compressors and as a retriever."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.documents import Document

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.langchain import LateChunkEmbeddings
from latechunk_integrations.langchain.compressors import LinkRankingCompressor, SnippetCompressor
from latechunk_integrations.langchain.retrievers import SnippetRetriever
from latechunk_integrations.retrieval.links import LinkRankingOptions
from latechunk_integrations.retrieval.snippets import SnippetOptions, select_snippets

TEXTS = ["".join(f"Report {n} says {m}. " for n in range(20)) for m in ("yes", "no")]
OPTIONS = SnippetOptions(length=20, chunk_size=10, n_snippets=2)
WHOLE = SnippetOptions(length=10_000, n_snippets=2)


def test_compressor_and_retriever_give_the_selected_snippets(tiny_engine: LateChunkEngine) -> None:
    embeddings = LateChunkEmbeddings(engine=tiny_engine)
    documents = [Document(text, metadata={"n": n}) for n, text in enumerate(TEXTS)]
    right = select_snippets(tiny_engine, "report 3", TEXTS, options=OPTIONS)
    compressor = SnippetCompressor(embeddings=embeddings, options=OPTIONS)
    retriever = SnippetRetriever(embeddings=embeddings, documents=documents, options=OPTIONS)
    everything = SnippetRetriever(embeddings=embeddings, documents=documents, options=WHOLE)
    assert [d.page_content for d in everything.invoke("report 3")] == TEXTS
    compressing = ContextualCompressionRetriever(
        base_compressor=compressor, base_retriever=everything
    )
    ways = [
        compressor.compress_documents(documents, "report 3"),
        asyncio.run(compressor.acompress_documents(documents, "report 3")),
        retriever.invoke("report 3"),
        asyncio.run(retriever.ainvoke("report 3")),
        compressing.invoke("report 3"),
    ]
    for found in ways:
        assert [document.page_content for document in found] == [one.text for one in right]
        for document, snippet in zip(found, right, strict=True):
            assert document.metadata["n"] == snippet.index
            assert document.metadata["start_index"] == snippet.span.start
            assert document.metadata["snippet_score"] == pytest.approx(snippet.score, abs=1e-5)


def test_links_are_ranked_by_what_their_metadata_say() -> None:
    def scorer(_: str, texts: Sequence[str]) -> list[float]:
        return [float(len(text)) for text in texts]

    documents = [
        Document("x" * n, metadata={"url": f"https://{host}.org/{n}", "n_seen": n})
        for host in ("a", "b")
        for n in range(1, 4)
    ]
    ranking = LinkRankingCompressor(scorer=scorer, options=LinkRankingOptions(top_k_per_host=1))
    found = ranking.compress_documents(documents, "q")
    later = asyncio.run(ranking.acompress_documents(documents, "q"))
    assert [d.metadata["url"] for d in found] == ["https://a.org/3", "https://b.org/3"]
    assert [(d.page_content, d.metadata["n_seen"]) for d in found] == [("xxx", 3), ("xxx", 3)]
    assert [d.metadata for d in later] == [d.metadata for d in found]
