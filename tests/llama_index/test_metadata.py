"""Metadata: once per parent, attended and not pooled, each node's own respected."""

from __future__ import annotations

import numpy as np
import pytest
from llama_index.core import Document
from llama_index.core.extractors import SummaryExtractor, TitleExtractor
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.llms import MockLLM
from llama_index.core.schema import MetadataMode

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.llama_index import LateChunkEmbedding
from tests.llama_index.support import SPLITTER, check, expected

TEXT = (
    "Berlin is a city. It has many inhabitants. The river is the Spree. It flows west. "
    "Its airport lies in the south. Trains leave for the coast every hour."
)


def test_what_only_some_nodes_have_stands_in_front_of_them_and_is_not_pooled(
    tiny_engine: LateChunkEngine, embed_model: LateChunkEmbedding
) -> None:
    """Shared lines are the header; a node's own lines are in the text, outside of its span."""
    document = Document(text=TEXT, metadata={"title": "Cities"})
    nodes = SPLITTER([document])
    nodes[1].metadata["page"] = 2
    embed_model(nodes)
    text, spans = "", []
    for number, node in enumerate(nodes):
        text += "\n\n" if text else ""
        text += "page: 2\n\n" if number == 1 else ""
        spans.append((len(text), len(text) + len(node.get_content())))
        text += node.get_content()
    (right,) = tiny_engine.embed([Parent(text, spans, header="title: Cities")])
    np.testing.assert_allclose([n.get_embedding() for n in nodes], right.vectors, atol=1e-6)


def test_excluded_keys_are_not_attended(
    tiny_engine: LateChunkEngine, embed_model: LateChunkEmbedding
) -> None:
    """What ``excluded_embed_metadata_keys`` hides from LlamaIndex is hidden here too."""
    hidden = Document(
        text=TEXT,
        id_="x",
        metadata={"title": "Cities", "path": "/a"},
        excluded_embed_metadata_keys=["path"],
        excluded_llm_metadata_keys=["path"],
    )
    seen = Document(text=TEXT, id_="x", metadata={"title": "Cities"})
    check(list(embed_model(SPLITTER([hidden]))), expected(tiny_engine, [seen]))


def test_plain_mode_pools_metadata_as_llama_index_does(tiny_engine: LateChunkEngine) -> None:
    model = LateChunkEmbedding(engine=tiny_engine, metadata_as_header=False)
    nodes = SPLITTER([Document(text=TEXT, metadata={"title": "Cities"})])
    contents = [node.get_content(MetadataMode.EMBED) for node in nodes]
    model(nodes)
    spans, at = [], 0
    for content in contents:
        spans.append((at, at + len(content)))
        at += len(content) + 2
    (right,) = tiny_engine.embed([Parent("\n\n".join(contents), spans)])
    np.testing.assert_allclose([n.get_embedding() for n in nodes], right.vectors, atol=1e-6)


@pytest.mark.parametrize("kind", ["title", "summary"])
def test_extractors_between_splitter_and_embedding_keep_working(
    kind: str, tiny_engine: LateChunkEngine, embed_model: LateChunkEmbedding
) -> None:
    """A title is the same for all nodes, a summary another for each: both are attended."""
    extractor = (
        TitleExtractor(llm=MockLLM(), num_workers=1, show_progress=False)
        if kind == "title"
        else SummaryExtractor(llm=MockLLM(), num_workers=1, show_progress=False)
    )
    before = tiny_engine.stats.get("standalone_chunks", 0)
    documents = [Document(text=TEXT)]
    nodes = IngestionPipeline(transformations=[SPLITTER, extractor, embed_model]).run(
        documents=documents
    )
    plain = IngestionPipeline(transformations=[SPLITTER, embed_model]).run(documents=documents)
    key = "document_title" if kind == "title" else "section_summary"
    assert all(node.metadata[key] for node in nodes)
    assert len({node.metadata["late_parent"] for node in nodes}) == 1
    assert tiny_engine.stats["standalone_chunks"] == before
    for node, other in zip(nodes, plain, strict=True):
        assert np.abs(np.subtract(node.get_embedding(), other.get_embedding())).max() > 1e-5
