"""Several chunk sizes from one reading, and auto-merging over them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.node_parser import HierarchicalNodeParser, get_leaf_nodes, get_root_nodes
from llama_index.core.retrievers import AutoMergingRetriever
from llama_index.core.schema import BaseNode, TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.errors import OptionError
from latechunk_integrations.llama_index import (
    LateChunkEmbedding,
    LateChunkHierarchicalNodeParser,
    LateChunkNodeParser,
)

TEXT = " ".join(
    f"Clause {n} binds the supplier. All rights are reserved. It ends after {n} years."
    for n in range(24)
)
SIZES = [256, 96, 32]


def windows_of(engine: LateChunkEngine) -> int:
    return engine.stats.get("windows", 0)


def check_against_the_document(
    nodes: list[BaseNode], engine: LateChunkEngine, header: str = ""
) -> None:
    """All levels are spans of one parent, the document."""
    texts = [node for node in nodes if isinstance(node, TextNode)]
    spans = [(node.start_char_idx or 0, node.end_char_idx or 0) for node in texts]
    assert [TEXT[start:end] for start, end in spans] == [node.text for node in texts]
    (right,) = engine.embed([Parent(TEXT, spans, header=header)])
    np.testing.assert_allclose([n.get_embedding() for n in texts], right.vectors, atol=1e-6)


@pytest.mark.rule(2)
def test_three_levels_take_the_windows_of_one(tiny_model_path: Path) -> None:
    """In running text the number of forward passes does not grow with the number of levels."""
    tiny_engine = LateChunkEngine.from_pretrained(
        str(tiny_model_path), dtype="float32", device="cpu", layout="text", focus=0.0
    )
    embed_model = LateChunkEmbedding(engine=tiny_engine)
    taken = Counter[int]()
    for n_levels in (1, 2, 3):
        parser = LateChunkHierarchicalNodeParser(
            embed_model=embed_model, chunk_sizes=SIZES[-n_levels:], chunk_overlap=0
        )
        before = windows_of(tiny_engine)
        nodes = parser.get_nodes_from_documents([Document(text=TEXT, metadata={"title": "Deed"})])
        taken[n_levels] = windows_of(tiny_engine) - before
        check_against_the_document(nodes, tiny_engine, "Deed")
    assert taken[1] == taken[2] == taken[3] > 1


def test_children_lie_inside_of_their_parents_at_exact_offsets(
    embed_model: LateChunkEmbedding,
) -> None:
    parser = LateChunkHierarchicalNodeParser(embed_model=embed_model, chunk_sizes=SIZES)
    nodes = parser.get_nodes_from_documents([Document(text=TEXT)])
    by_id = {node.node_id: node for node in nodes}
    children = [node for node in nodes if node.parent_node]
    assert len(children) > len(nodes) / 2
    for child in children:
        assert child.parent_node is not None
        parent = by_id[child.parent_node.node_id]
        assert isinstance(child, TextNode)
        assert isinstance(parent, TextNode)
        assert (parent.start_char_idx or 0) <= (child.start_char_idx or 0)
        assert (child.end_char_idx or 0) <= (parent.end_char_idx or 0)


def test_the_frameworks_hierarchy_in_front_is_read_once_too(
    tiny_engine: LateChunkEngine, embed_model: LateChunkEmbedding
) -> None:
    """Behind ``HierarchicalNodeParser``, and with it as splitter: the same vectors."""
    splitter = HierarchicalNodeParser.from_defaults(chunk_sizes=SIZES, chunk_overlap=0)
    before = windows_of(tiny_engine)
    behind = list(embed_model(splitter.get_nodes_from_documents([Document(text=TEXT)])))
    taken = windows_of(tiny_engine) - before
    parser = LateChunkNodeParser(embed_model=embed_model, splitter=splitter)
    inside = parser.get_nodes_from_documents([Document(text=TEXT)])
    assert windows_of(tiny_engine) - before == 2 * taken
    check_against_the_document(inside, tiny_engine)
    for one, other in zip(behind, inside, strict=True):
        np.testing.assert_allclose(one.get_embedding(), other.get_embedding(), atol=1e-6)


def test_auto_merging_finds_parents_of_late_leaves(
    tiny_engine: LateChunkEngine, embed_model: LateChunkEmbedding
) -> None:
    """Leaves are found and merged; links to neighbours stay on their level."""
    parser = LateChunkHierarchicalNodeParser(
        embed_model=embed_model, chunk_sizes=SIZES, chunk_overlap=0
    )
    nodes = parser.get_nodes_from_documents([Document(text=TEXT)])
    leaves, roots = get_leaf_nodes(nodes), get_root_nodes(nodes)
    levels = {node.node_id: node.parent_node and node.parent_node.node_id for node in nodes}
    for node in nodes:
        if node.next_node:
            assert levels[node.next_node.node_id] == levels[node.node_id]
    docstore = SimpleDocumentStore()
    docstore.add_documents(nodes)
    context = StorageContext.from_defaults(docstore=docstore)
    plain_texts = tiny_engine.stats.get("plain_texts", 0)
    index = VectorStoreIndex(leaves, storage_context=context, embed_model=embed_model)
    assert tiny_engine.stats.get("plain_texts", 0) == plain_texts
    everything = index.as_retriever(similarity_top_k=len(leaves))
    found = AutoMergingRetriever(everything, context, verbose=False).retrieve("Clause 3")  # type: ignore[arg-type]  # what as_retriever returns
    assert {hit.node.node_id for hit in found} == {node.node_id for node in roots}


def test_leaves_alone_are_one_text_under_strict(
    tiny_model_path: Path, tiny_engine: LateChunkEngine
) -> None:
    """An AutoMerging pipeline embeds its leaves only: nothing is missing, and all see all."""
    splitter = HierarchicalNodeParser.from_defaults(chunk_sizes=[96, 24], chunk_overlap=0)
    leaves = get_leaf_nodes(splitter.get_nodes_from_documents([Document(text=TEXT)]))
    model = LateChunkEmbedding(model_name=str(tiny_model_path), dtype="float32", strict=True)
    nodes = model(leaves)
    texts = [node.get_content() for node in nodes]
    ends = np.cumsum([len(text) + 2 for text in texts])
    spans = [(end - len(text) - 2, end - 2) for end, text in zip(ends, texts, strict=True)]
    (right,) = tiny_engine.embed([Parent("\n\n".join(texts), spans)])
    np.testing.assert_allclose([n.get_embedding() for n in nodes], right.vectors, atol=1e-5)
    assert model.stats["parents"] == 1


def test_sizes_that_do_not_decrease_are_refused(embed_model: LateChunkEmbedding) -> None:
    with pytest.raises(OptionError, match="decrease"):
        LateChunkHierarchicalNodeParser(embed_model=embed_model, chunk_sizes=[128, 128])
