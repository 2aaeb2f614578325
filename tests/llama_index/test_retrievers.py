"""Snippets of long documents as a LlamaIndex retriever."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from llama_index.core import Document
from llama_index.core.schema import TextNode

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.llama_index import LateChunkEmbedding
from latechunk_integrations.llama_index.postprocessors import SnippetNodeRetriever
from latechunk_integrations.retrieval.snippets import SnippetOptions, select_snippets

TEXTS = ["".join(f"Report {n} says {m}. " for n in range(20)) for m in ("yes", "no")]
OPTIONS = SnippetOptions(length=20, chunk_size=10, n_snippets=2)


def test_a_retriever_gives_the_selected_snippets_and_embeds_its_documents_once(
    tiny_model_path: Path,
) -> None:
    engine = LateChunkEngine.from_pretrained(str(tiny_model_path), dtype="float32", device="cpu")
    right = {q: select_snippets(engine, q, TEXTS, options=OPTIONS) for q in ("report 3", "no")}
    documents = [Document(text=text, id_=str(n)) for n, text in enumerate(TEXTS)]
    retriever = SnippetNodeRetriever(LateChunkEmbedding(engine=engine), documents, OPTIONS)
    retriever.retrieve("report 3")
    n_windows = engine.stats["windows"]
    for question, snippets in right.items():
        for found in (
            retriever.retrieve(question),
            asyncio.run(retriever.aretrieve(question)),
        ):
            for one, snippet in zip(found, snippets, strict=True):
                assert isinstance(one.node, TextNode)
                assert one.node.text == snippet.text
                assert one.node.ref_doc_id == str(snippet.index)
                assert one.score == pytest.approx(snippet.score, abs=1e-5)
    assert engine.stats["windows"] == n_windows
