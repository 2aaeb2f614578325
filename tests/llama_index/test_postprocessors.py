"""Snippets and links as LlamaIndex postprocessors."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from llama_index.core import Document
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import ImageNode, NodeWithScore, QueryBundle, TextNode

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.errors import InputTypeError
from latechunk_integrations.llama_index import LateChunkEmbedding
from latechunk_integrations.llama_index.postprocessors import (
    LinkRankingPostprocessor,
    SnippetPostprocessor,
)
from latechunk_integrations.retrieval.links import LinkRankingOptions
from latechunk_integrations.retrieval.snippets import SnippetOptions, select_snippets

TEXTS = ["".join(f"Report {n} says {m}. " for n in range(20)) for m in ("yes", "no")]
OPTIONS = SnippetOptions(length=20, chunk_size=10, n_snippets=2)


def test_nodes_give_way_to_the_selected_snippets(tiny_engine: LateChunkEngine) -> None:
    postprocessor = SnippetPostprocessor(
        embed_model=LateChunkEmbedding(engine=tiny_engine), options=OPTIONS
    )
    nodes = [
        NodeWithScore(
            node=Document(
                text=text, id_=str(n), metadata={"n": n}, excluded_llm_metadata_keys=["n"]
            )
        )
        for n, text in enumerate(TEXTS)
    ]
    right = select_snippets(tiny_engine, "report 3", TEXTS, options=OPTIONS)
    now = postprocessor.postprocess_nodes(nodes, query_str="report 3")
    later = asyncio.run(postprocessor.apostprocess_nodes(nodes, query_str="report 3"))
    for found in (now, later):
        for one, snippet in zip(found, right, strict=True):
            assert isinstance(one.node, TextNode)
            assert one.node.text == snippet.text
            assert one.score == pytest.approx(snippet.score, abs=1e-5)
            assert (one.node.start_char_idx, one.node.end_char_idx) == snippet.span
            assert one.node.ref_doc_id == str(snippet.index)
            assert one.node.metadata == {"n": snippet.index}
            assert one.node.excluded_llm_metadata_keys == ["n"]


def test_snippets_of_chunks_stand_at_their_place_in_the_document(
    tiny_engine: LateChunkEngine,
) -> None:
    """What a citation needs: ``document[start:end]`` is the snippet's text."""
    document = Document(text=TEXTS[0], id_="report")
    chunks = SentenceSplitter(chunk_size=60, chunk_overlap=0).get_nodes_from_documents([document])
    assert len(chunks) > 1
    postprocessor = SnippetPostprocessor(
        embed_model=LateChunkEmbedding(engine=tiny_engine), options=OPTIONS
    )
    nodes = [NodeWithScore(node=chunk) for chunk in chunks]
    for one in postprocessor.postprocess_nodes(nodes, query_str="report 19"):
        assert isinstance(one.node, TextNode)
        assert one.node.ref_doc_id == "report"
        assert TEXTS[0][one.node.start_char_idx : one.node.end_char_idx] == one.node.text


def test_nodes_without_text_stay_where_they_are(tiny_engine: LateChunkEngine) -> None:
    postprocessor = SnippetPostprocessor(embed_model=LateChunkEmbedding(engine=tiny_engine))
    image = NodeWithScore(node=ImageNode(image_url="https://a.org/x.png"), score=0.5)
    nodes = [
        NodeWithScore(node=TextNode(text="one")),
        image,
        NodeWithScore(node=TextNode(text="2")),
    ]
    found = postprocessor.postprocess_nodes(nodes, query_str="q")
    assert [one.node.get_content() for one in found] == ["one", "", "2"]
    assert found[1] is image


def test_a_postprocessor_without_a_query_says_so(tiny_engine: LateChunkEngine) -> None:
    postprocessor = SnippetPostprocessor(embed_model=LateChunkEmbedding(engine=tiny_engine))
    with pytest.raises(InputTypeError):
        postprocessor.postprocess_nodes([NodeWithScore(node=TextNode(text="x"))])


def by_length(_: str, texts: Sequence[str]) -> list[float]:
    """A scorer that likes long texts."""
    return [float(len(text)) for text in texts]


def test_links_are_ranked_by_what_their_metadata_say_and_come_back_as_they_were() -> None:
    nodes = [
        NodeWithScore(
            node=TextNode(text="x" * n, metadata={"url": f"https://{host}.org/{n}/", "n_seen": n})
        )
        for host in ("a", "b")
        for n in range(1, 4)
    ]
    nodes[3].node.metadata["last_modified"] = "Wed, 01 Jan 3000 00:00:00 GMT"
    options = LinkRankingOptions(top_k_per_host=1, relevance=0, frequency=0)
    ranking = LinkRankingPostprocessor(options=options)
    found = ranking.postprocess_nodes(nodes, query_bundle=QueryBundle("q"))
    assert [one.node for one in found] == [nodes[3].node, nodes[0].node]
    ranking = LinkRankingPostprocessor(scorer=by_length)
    found = ranking.postprocess_nodes(nodes, query_bundle=QueryBundle("q"))
    assert [one.node for one in found[:2]] == [nodes[2].node, nodes[5].node]
    assert all(one.score is not None and 0 <= one.score <= 1 for one in found)
