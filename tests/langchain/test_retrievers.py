"""Snippets of long documents as a LangChain retriever."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from langchain_core.documents import Document
from pydantic import ValidationError

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.langchain import LateChunkEmbeddings
from latechunk_integrations.langchain.retrievers import SnippetRetriever
from latechunk_integrations.retrieval.snippets import SnippetOptions, select_snippets

TEXTS = ["".join(f"Report {n} says {m}. " for n in range(20)) for m in ("yes", "no")]
OPTIONS = SnippetOptions(length=20, chunk_size=10, n_snippets=2)


def test_no_snippets_are_refused_at_once(tiny_engine: LateChunkEngine) -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        SnippetRetriever(
            embeddings=LateChunkEmbeddings(engine=tiny_engine), documents=[Document("A.")], k=0
        )


def test_a_retriever_gives_the_selected_snippets_and_embeds_its_documents_once(
    tiny_model_path: Path,
) -> None:
    engine = LateChunkEngine.from_pretrained(str(tiny_model_path), dtype="float32", device="cpu")
    right = {q: select_snippets(engine, q, TEXTS, options=OPTIONS) for q in ("report 3", "no")}
    documents = [Document(text, metadata={"n": n}) for n, text in enumerate(TEXTS)]
    retriever = SnippetRetriever(
        embeddings=LateChunkEmbeddings(engine=engine), documents=documents, options=OPTIONS
    )
    retriever.invoke("report 3")
    n_windows = engine.stats["windows"]
    for question, snippets in right.items():
        for found in (retriever.invoke(question), asyncio.run(retriever.ainvoke(question))):
            for one, snippet in zip(found, snippets, strict=True):
                assert one.page_content == snippet.text
                assert one.metadata["n"] == snippet.index
                assert one.metadata["snippet_score"] == pytest.approx(snippet.score, abs=1e-5)
    assert engine.stats["windows"] == n_windows
