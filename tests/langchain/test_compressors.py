"""Snippets and links as LangChain compressors."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.documents import Document

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.langchain import LateChunkEmbeddings, LateChunkTextSplitter
from latechunk_integrations.langchain.retrievers import (
    LinkRankingCompressor,
    SnippetCompressor,
    SnippetRetriever,
)
from latechunk_integrations.retrieval.links import LinkRankingOptions
from latechunk_integrations.retrieval.snippets import SnippetOptions, select_snippets

TEXTS = ["".join(f"Report {n} says {m}. " for n in range(20)) for m in ("yes", "no")]
OPTIONS = SnippetOptions(length=20, chunk_size=10, n_snippets=2)
WHOLE = SnippetOptions(length=10_000, n_snippets=2)


def test_documents_give_way_to_the_selected_snippets(tiny_engine: LateChunkEngine) -> None:
    embeddings = LateChunkEmbeddings(engine=tiny_engine)
    documents = [Document(text, metadata={"n": n}) for n, text in enumerate(TEXTS)]
    right = select_snippets(tiny_engine, "report 3", TEXTS, options=OPTIONS)
    compressor = SnippetCompressor(embeddings=embeddings, options=OPTIONS)
    everything = SnippetRetriever(embeddings=embeddings, documents=documents, options=WHOLE)
    compressing = ContextualCompressionRetriever(
        base_compressor=compressor, base_retriever=everything
    )
    ways = [
        compressor.compress_documents(documents, "report 3"),
        asyncio.run(compressor.acompress_documents(documents, "report 3")),
        compressing.invoke("report 3"),
    ]
    for found in ways:
        for document, snippet in zip(found, right, strict=True):
            assert document.page_content == snippet.text
            assert document.metadata["n"] == snippet.index
            assert document.metadata["start_index"] == snippet.span.start
            assert document.metadata["snippet_score"] == pytest.approx(snippet.score, abs=1e-5)


def test_snippets_of_chunks_stand_at_their_place_in_the_document(
    tiny_engine: LateChunkEngine,
) -> None:
    """What a citation needs: the snippet's text is at ``start_index`` of the document."""
    embeddings = LateChunkEmbeddings(engine=tiny_engine)
    splitter = LateChunkTextSplitter(
        embeddings=embeddings, splitter=lambda text: [text[:211], text[211:]]
    )
    chunks = splitter.split_documents([Document(TEXTS[0])])
    chunks.append(Document("Report 3 says no.", metadata={"start_index": -1}))
    compressor = SnippetCompressor(embeddings=embeddings, options=OPTIONS)
    found = compressor.compress_documents(chunks, "report 19")
    assert {0, 211} <= {chunk.metadata["start_index"] for chunk in chunks}
    assert found
    for one in found:
        start = one.metadata["start_index"]
        assert start == -1 or TEXTS[0].startswith(one.page_content, start)
        assert not any(key.startswith("late_") for key in one.metadata)
    # As it is, as JSON and tables write it, and where it is not known.
    for written, read in ((-1, -1), ("7", 7), (7.0, 7), (None, -1), ("page 2", -1)):
        given = Document(chunks[-1].page_content, metadata={"start_index": written})
        (found_at,) = compressor.compress_documents([given], "q")
        assert found_at.metadata["start_index"] == read


def by_length(_: str, texts: Sequence[str]) -> list[float]:
    """A scorer that likes long texts."""
    return [float(len(text)) for text in texts]


def test_links_are_ranked_by_what_their_metadata_say_and_keep_them() -> None:
    documents = [
        Document(
            "x" * n, id=f"{host}{n}", metadata={"url": f"https://{host}.org/{n}/", "n_seen": n}
        )
        for host in ("a", "b")
        for n in range(1, 4)
    ]
    ranking = LinkRankingCompressor(scorer=by_length, options=LinkRankingOptions(top_k_per_host=1))
    found = ranking.compress_documents(documents, "q")
    later = asyncio.run(ranking.acompress_documents(documents, "q"))
    assert [document.id for document in found] == ["a3", "b3"]
    for document in found:
        score = document.metadata.pop("link_score")
        assert 0 <= score <= 1
        assert document in documents
    assert [document.id for document in later] == ["a3", "b3"]
    assert all("link_score" not in document.metadata for document in documents)
