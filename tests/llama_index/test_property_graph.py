"""A property graph keeps late vectors of its chunks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from llama_index.core import Document
from llama_index.core.graph_stores import SimplePropertyGraphStore
from llama_index.core.indices.property_graph import ImplicitPathExtractor
from llama_index.core.llms import MockLLM
from llama_index.core.schema import TransformComponent

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.llama_index import (
    LateChunkEmbedding,
    LateChunkNodeParser,
    LateChunkPropertyGraphIndex,
)
from tests.llama_index.support import SPLITTER, Vectors, check_stored, expected


def graph_of(
    documents: list[Document], embed_model: LateChunkEmbedding, **options: Any
) -> LateChunkPropertyGraphIndex:
    return LateChunkPropertyGraphIndex.from_documents(
        documents,
        embed_model=embed_model,
        llm=MockLLM(),
        kg_extractors=[ImplicitPathExtractor()],
        show_progress=False,
        **options,
    )


def check_graph(graph: LateChunkPropertyGraphIndex, right: Vectors) -> None:
    store = graph.property_graph_store
    assert isinstance(store, SimplePropertyGraphStore)
    chunks = [node for node in store.graph.nodes.values() if hasattr(node, "text")]
    check_stored([node.embedding or [] for node in chunks if node.text.strip()], right)


@pytest.mark.parametrize("use_async", [True, False])
@pytest.mark.parametrize(
    ("hook", "embed_kg_nodes"),
    [("node parser", True), ("node parser", False), ("splitter", True)],
)
def test_chunks_of_a_graph_have_the_engines_vectors(
    hook: str,
    embed_kg_nodes: bool,
    use_async: bool,
    tiny_engine: LateChunkEngine,
    documents: list[Document],
) -> None:
    model = LateChunkEmbedding(engine=tiny_engine)
    step: TransformComponent = SPLITTER
    if hook == "node parser":
        step = LateChunkNodeParser(embed_model=model, splitter=SPLITTER)
    graph = graph_of(
        documents[:2],
        model,
        transformations=[step],
        embed_kg_nodes=embed_kg_nodes,
        use_async=use_async,
    )
    graph.insert(documents[2])
    check_graph(graph, expected(tiny_engine, documents[:3]))
    assert model.stats["standalone_texts"] == 0
    assert model.stats["foreign_vectors_replaced"] == 0


def test_a_graph_is_searched_with_plain_queries(
    tiny_engine: LateChunkEngine, documents: list[Document]
) -> None:
    model = LateChunkEmbedding(engine=tiny_engine)
    graph = graph_of(documents[:2], model, transformations=[SPLITTER])
    assert graph.as_retriever(include_text=True).retrieve("Berlin") is not None
    np.testing.assert_allclose(
        model.get_query_embedding("Berlin"), tiny_engine.embed_query("Berlin"), atol=1e-6
    )
