"""`check_adapter`: both adapters pass it, and what loses parents or order fails."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from llama_index.core import Document as LlamaDocument
from llama_index.core.node_parser.interface import TextSplitter as LlamaTextSplitter

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.langchain import LateChunkEmbeddings, LateChunkTextSplitter
from latechunk_integrations.llama_index import LateChunkEmbedding, LateChunkNodeParser
from latechunk_integrations.testing import ConformanceError, check_adapter


def sentences(text: str) -> list[str]:
    return re.findall(r"\S[^.]*\.", text)


class Sentences(LlamaTextSplitter):
    """LlamaIndex's shape of a splitter."""

    def split_text(self, text: str) -> list[str]:
        return sentences(text)


def test_the_langchain_adapter_conforms(tiny_engine: LateChunkEngine) -> None:
    embeddings = LateChunkEmbeddings(engine=tiny_engine)
    splitter = LateChunkTextSplitter(embeddings=embeddings, splitter=sentences)

    def embed(parents: Sequence[Parent]) -> list[Any]:
        documents = [Document(parent.text, metadata={"n": n}) for n, parent in enumerate(parents)]
        chunks = splitter.split_documents(documents)
        vectors = embeddings.embed_documents([chunk.page_content for chunk in chunks])
        rows: list[list[Any]] = [[] for _ in parents]
        for chunk, vector in zip(chunks, vectors, strict=True):
            rows[chunk.metadata["n"]].append(vector)
        return rows

    check_adapter(embed, tiny_engine)


def test_the_llama_index_adapter_conforms(tiny_engine: LateChunkEngine) -> None:
    embed_model = LateChunkEmbedding(engine=tiny_engine)
    parser = LateChunkNodeParser(embed_model=embed_model, splitter=Sentences())

    def embed(parents: Sequence[Parent]) -> list[Any]:
        documents = [
            LlamaDocument(text=parent.text, id_=f"document {n}") for n, parent in enumerate(parents)
        ]
        nodes = parser.get_nodes_from_documents(documents)
        return [
            [node.get_embedding() for node in nodes if node.ref_doc_id == f"document {n}"]
            for n in range(len(parents))
        ]

    check_adapter(embed, tiny_engine)


def _alone(engine: LateChunkEngine, parents: Sequence[Parent]) -> list[Any]:
    """What everyone does: each chunk by itself."""
    return [
        engine.embed_texts([one.chunk_text(row) for row in range(len(one.spans))])
        for one in parents
    ]


def _by_text(engine: LateChunkEngine, parents: Sequence[Parent]) -> list[Any]:
    """A cache that knows a chunk by its text."""
    known: dict[str, Any] = {}
    found = []
    for parent, result in zip(parents, engine.embed(list(parents)), strict=True):
        texts = [parent.chunk_text(row) for row in range(len(parent.spans))]
        for text, vector in zip(texts, result.vectors, strict=True):
            known.setdefault(text, vector)
        found.append(np.array([known[text] for text in texts]))
    return found


def _turned(engine: LateChunkEngine, parents: Sequence[Parent]) -> list[Any]:
    return [result.vectors[::-1] for result in engine.embed(list(parents))]


def _longest_first(engine: LateChunkEngine, parents: Sequence[Parent]) -> list[Any]:
    """Sorted for the sake of padding, and never sorted back."""
    ordered = sorted(parents, key=lambda parent: -len(parent.text))
    return [result.vectors for result in engine.embed(ordered)]


def _fewer(engine: LateChunkEngine, parents: Sequence[Parent]) -> list[Any]:
    return [result.vectors for result in engine.embed(list(parents))][:-1]


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        (_alone, "own parent"),
        (_by_text, "own parent"),
        (_turned, "own parent"),
        (_longest_first, "own parent"),
        (_fewer, "order"),
    ],
    ids=["alone", "by text", "turned", "longest first", "fewer"],
)
def test_a_wrong_adapter_fails_with_the_rule_it_breaks(
    wrong: Callable[[LateChunkEngine, Sequence[Parent]], list[Any]],
    rule: str,
    tiny_engine: LateChunkEngine,
) -> None:
    with pytest.raises(ConformanceError) as caught:
        check_adapter(lambda parents: wrong(tiny_engine, parents), tiny_engine)
    assert caught.value.rule == rule
