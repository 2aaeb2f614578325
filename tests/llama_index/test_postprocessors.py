"""Snippets and links as LlamaIndex postprocessors and as a retriever."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from llama_index.core import Document
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.errors import InputTypeError
from latechunk_integrations.llama_index import LateChunkEmbedding
from latechunk_integrations.llama_index.postprocessors import (
    LinkRankingPostprocessor,
    SnippetPostprocessor,
)
from latechunk_integrations.llama_index.retrievers import SnippetRetriever
from latechunk_integrations.retrieval.snippets import SnippetOptions, select_snippets

TEXTS = ["".join(f"Report {n} says {m}. " for n in range(20)) for m in ("yes", "no")]
OPTIONS = SnippetOptions(length=20, chunk_size=10, n_snippets=2)


def test_postprocessor_and_retriever_give_the_selected_snippets(
    tiny_engine: LateChunkEngine,
) -> None:
    embed_model = LateChunkEmbedding(engine=tiny_engine)
    documents = [
        Document(text=text, id_=str(n), metadata={"n": n}, excluded_llm_metadata_keys=["n"])
        for n, text in enumerate(TEXTS)
    ]
    right = select_snippets(tiny_engine, "report 3", TEXTS, options=OPTIONS)
    postprocessor = SnippetPostprocessor(embed_model=embed_model, options=OPTIONS)
    given = [NodeWithScore(node=document) for document in documents]
    retriever = SnippetRetriever(embed_model, documents, OPTIONS)
    ways = [
        postprocessor.postprocess_nodes(given, query_str="report 3"),
        retriever.retrieve("report 3"),
        asyncio.run(retriever.aretrieve("report 3")),
    ]
    for found in ways:
        assert [one.node.get_content() for one in found] == [one.text for one in right]
        assert [one.score for one in found] == pytest.approx([one.score for one in right], abs=1e-5)
        for one, snippet in zip(found, right, strict=True):
            assert isinstance(one.node, TextNode)
            assert one.node.start_char_idx == snippet.span.start
            assert one.node.ref_doc_id == str(snippet.index)
            assert one.node.metadata == {"n": snippet.index}
            assert one.node.excluded_llm_metadata_keys == ["n"]


def test_a_postprocessor_without_a_query_says_so(tiny_engine: LateChunkEngine) -> None:
    postprocessor = SnippetPostprocessor(embed_model=LateChunkEmbedding(engine=tiny_engine))
    with pytest.raises(InputTypeError):
        postprocessor.postprocess_nodes([NodeWithScore(node=TextNode(text="x"))])


def test_links_are_ranked_by_what_their_metadata_say() -> None:
    def scorer(_: str, texts: Sequence[str]) -> list[float]:
        return [float(len(text)) for text in texts]

    nodes = [
        NodeWithScore(node=TextNode(text="x" * n, metadata={"url": f"https://{host}.org/{n}"}))
        for host in ("a", "b")
        for n in range(1, 4)
    ]
    nodes[0].node.metadata["last_modified"] = "2026-01-01T00:00:00Z"
    ranking = LinkRankingPostprocessor(scorer=scorer)
    ranking.options = type(ranking.options)(top_k_per_host=1)
    found = ranking.postprocess_nodes(nodes, query_bundle=QueryBundle("q"))
    assert [one.node.metadata["url"] for one in found] == ["https://a.org/3", "https://b.org/3"]
