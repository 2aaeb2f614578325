"""One document through the engine and both frameworks: the same vectors."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document as LangChainDocument
from langchain_text_splitters import RecursiveCharacterTextSplitter
from llama_index.core import Document
from llama_index.core.node_parser import LangchainNodeParser

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.langchain import LateChunkEmbeddings, LateChunkTextSplitter
from latechunk_integrations.llama_index import LateChunkEmbedding, LateChunkNodeParser


@pytest.mark.rule(6)
def test_engine_llama_index_and_langchain_agree(tiny_engine: LateChunkEngine) -> None:
    sentence = "Section {}. The supplier delivers 東京 parts. "
    texts = {f"d{n}": sentence.format(n) * (n + 1) for n in range(8)}
    inner = RecursiveCharacterTextSplitter(chunk_size=60, chunk_overlap=0)

    by_engine: dict[tuple[str | None, int], Any] = {}
    for name, text in texts.items():
        spans, end = [], 0
        for chunk in inner.split_text(text):
            start = text.index(chunk, end)
            end = start + len(chunk)
            spans.append((start, end))
        (result,) = tiny_engine.embed([Parent(text, spans)])
        for (start, _), vector in zip(spans, result.vectors, strict=True):
            by_engine[name, start] = vector

    names = list(texts)
    random.Random(1).shuffle(names)  # a seed, not a secret
    embed_model = LateChunkEmbedding(engine=tiny_engine)
    parser = LateChunkNodeParser(embed_model=embed_model, splitter=LangchainNodeParser(inner))
    nodes = parser.get_nodes_from_documents([Document(text=texts[n], id_=n) for n in names])
    for node in nodes:
        place = (node.ref_doc_id, node.start_char_idx)  # type: ignore[attr-defined]  # a TextNode
        np.testing.assert_allclose(np.array(node.get_embedding()), by_engine[place], atol=1e-6)

    embeddings = LateChunkEmbeddings(engine=tiny_engine)
    splitter = LateChunkTextSplitter(embeddings=embeddings, splitter=inner, header=None)
    chunks = splitter.split_documents(
        [LangChainDocument(page_content=texts[n], metadata={"source": n}) for n in names]
    )
    for document in chunks:
        (vector,) = embeddings.embed_documents([document.page_content])
        place = (document.metadata["source"], document.metadata["start_index"])
        np.testing.assert_allclose(np.array(vector), by_engine[place], atol=1e-6)
    assert len(nodes) == len(chunks) == len(by_engine)
    marks = {node.metadata["late_engine"] for node in nodes}
    marks |= {chunk.metadata["late_engine"] for chunk in chunks}
    assert marks == {tiny_engine.fingerprint}  # so that an audit sees one engine
