"""Marks: a vector says how it was made; ours are kept, all others are replaced and counted."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.ingestion import IngestionPipeline, run_transformations
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import (
    BaseNode,
    MetadataMode,
    NodeRelationship,
    TextNode,
    TransformComponent,
)
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import QdrantClient

from benchmarks.llama_index_loop import RareWords
from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.errors import UnknownChunkError
from latechunk_integrations.llama_index import LateChunkEmbedding, LateChunkNodeParser
from tests.llama_index.support import SPLITTER, check, expected

MARKS = {"late_parent", "late_start", "late_end", "late_engine", "late_mode", "late_content"}


def counted(model: LateChunkEmbedding, *names: str) -> list[int]:
    return [model.stats[name] for name in names]


def marks_of(node: BaseNode) -> dict[str, Any]:
    return {key: value for key, value in node.metadata.items() if key.startswith("late_")}


@pytest.mark.parametrize("hook", ["node parser", "embed model"])
def test_every_embedded_node_is_marked_flat_and_unseen(
    hook: str,
    tiny_engine: LateChunkEngine,
    parser: LateChunkNodeParser,
    embed_model: LateChunkEmbedding,
    documents: list[Document],
) -> None:
    nodes = parser(documents[:2]) if hook == "node parser" else embed_model(SPLITTER(documents[:2]))
    for node in nodes:
        marks = marks_of(node)
        assert set(marks) == MARKS
        assert marks["late_mode"] in ("late", "windowed")
        assert marks["late_end"] - marks["late_start"] == len(node.get_content())
        assert all(isinstance(value, str | int) for value in marks.values())
        for mode in (MetadataMode.EMBED, MetadataMode.LLM):
            assert "late_" not in node.get_content(metadata_mode=mode)
    assert len({node.metadata["late_engine"] for node in nodes}) == 1
    assert len({node.metadata["late_parent"] for node in nodes}) == 2
    del tiny_engine


def test_only_our_own_valid_vectors_are_kept(
    tiny_engine: LateChunkEngine, tiny_model_path: Path, documents: list[Document]
) -> None:
    """A second pass does nothing; another model's, other options' and copies' vectors go."""
    model = LateChunkEmbedding(engine=tiny_engine)
    nodes = list(model(SPLITTER(documents)))
    model(nodes)
    model(copy.deepcopy(nodes))
    assert counted(model, "parents", "foreign_vectors_replaced") == [5, 0]
    other = LateChunkEmbedding(model_name=str(tiny_model_path), pooling="weighted")
    other(nodes)
    assert counted(other, "foreign_vectors_replaced") == [len(nodes) - 1]
    assert len(model(nodes)) == len(nodes)
    check(nodes, expected(tiny_engine, documents))


def test_the_mark_is_the_fingerprint_of_the_engine(
    tiny_model_path: Path, documents: list[Document]
) -> None:
    """As the nodes of LangChain and `latechunk index` carry it; another mark is foreign."""
    model = LateChunkEmbedding(model_name=str(tiny_model_path))
    nodes = list(model(SPLITTER(documents)))
    (mark,) = {node.metadata["late_engine"] for node in nodes if node.embedding}
    assert mark == model.engine.fingerprint
    model(nodes)
    assert counted(model, "parents", "foreign_vectors_replaced") == [5, 0]
    for node in nodes:
        node.metadata |= {"late_engine": "another"} if node.embedding else {}
    model(nodes)
    assert counted(model, "parents", "foreign_vectors_replaced") == [10, len(nodes) - 1]


@pytest.mark.parametrize(
    "options",
    [
        {"header": None},
        {"header": lambda node: str(node.metadata["title"])},
        {"metadata_roles": {"title": "content"}},
        {"parent_by": "title"},
        {"parent_level": "document"},
    ],
    ids=["no header", "function", "roles", "parent_by", "parent_level"],
)
def test_vectors_of_other_parents_or_headers_are_replaced(
    options: dict[str, Any], tiny_engine: LateChunkEngine, documents: list[Document]
) -> None:
    """The same engine, told otherwise: taking what is there would be a silent no-op."""
    nodes = list(LateChunkEmbedding(engine=tiny_engine)(SPLITTER(documents[:2])))
    other = LateChunkEmbedding(engine=tiny_engine, **options)
    other(nodes)
    assert counted(other, "changed_vectors_replaced") == [len(nodes)]
    fresh = LateChunkEmbedding(engine=tiny_engine, **options)(SPLITTER(documents[:2]))
    right = [node.get_embedding() for node in fresh]
    np.testing.assert_allclose([node.get_embedding() for node in nodes], right, atol=1e-6)
    LateChunkEmbedding(engine=tiny_engine, **options)(nodes)
    assert counted(other, "parents") == [2]


def test_vectors_of_another_embed_model_are_replaced(
    tiny_engine: LateChunkEngine, embed_model: LateChunkEmbedding, documents: list[Document]
) -> None:
    """Adding ours behind the embed model that a pipeline had is no silent no-op."""
    pipeline = IngestionPipeline(
        transformations=[SPLITTER, MockEmbedding(embed_dim=3), embed_model]
    )
    nodes = list(pipeline.run(documents=documents))
    check(nodes, expected(tiny_engine, documents))
    assert counted(embed_model, "foreign_vectors_replaced") == [len(nodes) - 1]


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect")  # local Qdrant says so
def test_what_a_store_gives_back_is_embedded_anew_unless_it_is_ours(
    tiny_engine: LateChunkEngine, embed_model: LateChunkEmbedding, documents: list[Document]
) -> None:
    client = QdrantClient(":memory:")
    store = QdrantVectorStore("nodes", client=client)
    foreign = list(MockEmbedding(embed_dim=tiny_engine.dimensions)(SPLITTER(documents[:3])))
    store.add(foreign)
    back = store.get_nodes()
    embed_model(back)
    check(back, expected(tiny_engine, documents[:3]))
    store.add(back)
    parents = embed_model.stats["parents"]
    embed_model(store.get_nodes())
    assert embed_model.stats["parents"] == parents
    client.close()


@pytest.mark.parametrize("hook", ["node parser", "embed model"])
def test_a_vector_of_the_document_is_not_its_chunks(
    hook: str, tiny_engine: LateChunkEngine, documents: list[Document]
) -> None:
    """LlamaIndex copies a document's own one to every chunk: ours replaces and counts it."""
    documents[0].embedding = [1.0, 2.0]
    model = LateChunkEmbedding(engine=tiny_engine)
    parser = LateChunkNodeParser(embed_model=model, splitter=SPLITTER)
    nodes = list(parser(documents) if hook == "node parser" else model(SPLITTER(documents)))
    check(nodes, expected(tiny_engine, documents))
    n_chunks = sum(node.ref_doc_id == "report-0" for node in nodes)
    assert counted(model, "foreign_vectors_replaced") == [n_chunks]


@pytest.mark.parametrize("behind", [True, False], ids=["extractor between", "edited"])
def test_metadata_that_changed_after_embedding_is_noticed(
    behind: bool, tiny_engine: LateChunkEngine, documents: list[Document]
) -> None:
    """``[parser, extractor]`` leaves keywords out; the embed model behind it puts them in."""
    model = LateChunkEmbedding(engine=tiny_engine)
    parser = LateChunkNodeParser(embed_model=model, splitter=SPLITTER)
    nodes = parser(documents[:1])
    before = [node.embedding for node in nodes]
    changed = nodes[:1] if not behind else nodes
    for number, node in enumerate(changed):
        node.metadata["excerpt_keywords"] = f"word{number}"
    model(nodes)
    assert counted(model, "changed_vectors_replaced") == [len(changed)]
    assert nodes[0].embedding != before[0]
    fresh = SPLITTER(documents[:1])
    for node, marked in zip(fresh, nodes, strict=True):
        node.metadata |= {k: v for k, v in marked.metadata.items() if not k.startswith("late_")}
    LateChunkEmbedding(engine=tiny_engine)(fresh)
    assert [node.embedding for node in nodes] == [node.embedding for node in fresh]


def test_a_node_without_source_is_counted_and_refused_under_strict(
    tiny_engine: LateChunkEngine, tiny_model_path: Path
) -> None:
    nodes = [TextNode(text=f"Sentence {n} of something.") for n in range(3)]
    model = LateChunkEmbedding(engine=tiny_engine)
    model(nodes)
    assert counted(model, "sourceless_nodes", "parents") == [3, 3]
    strict = LateChunkEmbedding(model_name=str(tiny_model_path), strict=True)
    with pytest.raises(UnknownChunkError, match="parent_by"):
        strict([TextNode(text="A sentence.")])
    strict([Document(text="A document is its own parent, and no error.")])
    assert counted(strict, "sourceless_nodes") == [0]


def test_two_documents_of_one_id_are_two_parents(
    tiny_engine: LateChunkEngine, documents: list[Document]
) -> None:
    """Neither sees the other: versions by the hash that nodes keep, copies by their places."""
    model = LateChunkEmbedding(engine=tiny_engine)
    one, other = documents[0], Document(text=documents[1].text, id_=documents[0].doc_id)
    n_first = len(SPLITTER([one]))
    nodes = list(model(SPLITTER([one, other])))
    for document, given in ((one, nodes[:n_first]), (other, nodes[n_first:])):
        # LlamaIndex looks for both in the later one, so that their texts are paragraphs.
        texts = [node.get_content() for node in given]
        ends = np.cumsum([len(text) + 2 for text in texts])
        spans = [(end - len(text) - 2, end - 2) for end, text in zip(ends, texts, strict=True)]
        parent = Parent("\n\n".join(texts), spans, header=document.metadata.get("title", ""))
        (right,) = tiny_engine.embed([parent])
        found = [node.get_embedding() for node in given]
        np.testing.assert_allclose(found, right.vectors, atol=1e-6)
    first = expected(tiny_engine, [one])
    assert counted(model, "documents_of_one_id") == [1]
    copies = [node.get_embedding() for node in model(SPLITTER([one, copy.deepcopy(one)]))]
    assert len(copies) == 2 * len(first)
    np.testing.assert_allclose(copies, [*first.values(), *first.values()], atol=1e-6)


@pytest.mark.parametrize("inside", [True, False], ids=["extractors=", "pipeline"])
def test_nodes_of_one_id_keep_their_own_text_and_metadata(
    inside: bool, tiny_engine: LateChunkEngine, documents: list[Document]
) -> None:
    """Ids come from the user's ``id_func`` and can repeat; each node is still itself."""
    splitter = SentenceSplitter(chunk_size=24, chunk_overlap=0, id_func=lambda _, __: "same")
    model = LateChunkEmbedding(engine=tiny_engine)
    steps: list[TransformComponent] = [splitter, RareWords(), model]
    if inside:
        steps = [
            LateChunkNodeParser(embed_model=model, splitter=splitter, extractors=[RareWords()])
        ]
    nodes = run_transformations(documents[:2], steps)
    texts = [
        f"excerpt_keywords: {node.metadata['excerpt_keywords']}\n\n{node.get_content()}"
        for node in nodes
    ]
    assert len({node.node_id for node in nodes}) == 1
    for document in documents[:2]:
        rows = [row for row, node in enumerate(nodes) if node.ref_doc_id == document.doc_id]
        some = [texts[row] for row in rows]
        ends = np.cumsum([len(text) + 2 for text in some])
        spans = [(end - len(text) - 2, end - 2) for end, text in zip(ends, some, strict=True)]
        parent = Parent("\n\n".join(some), spans, header=document.metadata["title"])
        (right,) = tiny_engine.embed([parent])
        found = [nodes[row].get_embedding() for row in rows]
        np.testing.assert_allclose(found, right.vectors, atol=1e-6)


def test_counters_are_there_from_the_start_and_of_one_embed_model_only(
    tiny_model_path: Path, documents: list[Document]
) -> None:
    one = LateChunkEmbedding(model_name=str(tiny_model_path))
    other = LateChunkEmbedding(model_name=str(tiny_model_path))
    assert one.engine.encoder is other.engine.encoder
    one(SPLITTER(documents))
    assert one.stats["parents"] == 5
    assert not any(other.stats.values())
    assert other.stats["standalone_texts"] == 0


def test_texts_without_a_parent_by_right_are_no_errors(
    tiny_engine: LateChunkEngine, tiny_model_path: Path
) -> None:
    """Selectors, memories and tools ask for texts: counted under ``strict`` too, or plain."""
    strict = LateChunkEmbedding(model_name=str(tiny_model_path), dtype="float32", strict=True)
    right = tiny_engine.embed_texts(["a tool", "another"])
    np.testing.assert_allclose(
        strict.get_text_embedding_batch(["a tool", "another"]), right, atol=1e-6
    )
    assert counted(strict, "standalone_texts") == [2]
    plain = strict.plain()
    np.testing.assert_allclose(plain.get_text_embedding("another"), right[1], atol=1e-6)
    assert plain.get_query_embedding("a query") == strict.get_query_embedding("a query")
    assert counted(strict, "standalone_texts") == [2]
    nodes = plain([TextNode(text="a tool")])
    assert marks_of(nodes[0]) == {}


def test_sourceless_nodes_by_a_key_are_one_parent(tiny_engine: LateChunkEngine) -> None:
    """Messages that know their thread and nothing else."""
    model = LateChunkEmbedding(engine=tiny_engine, parent_by="thread")
    nodes = [
        TextNode(text=f"Message {n}.", metadata={"thread": n % 2}, id_=str(n)) for n in range(6)
    ]
    model(nodes)
    assert counted(model, "parents", "sourceless_nodes") == [2, 0]
    assert nodes[0].metadata["late_parent"] == nodes[4].metadata["late_parent"]
    assert NodeRelationship.SOURCE not in nodes[0].relationships


def test_an_index_over_kept_nodes_embeds_nothing(
    embed_model: LateChunkEmbedding, parser: LateChunkNodeParser, documents: list[Document]
) -> None:
    nodes = parser.get_nodes_from_documents(documents[:3])
    before = embed_model.stats
    VectorStoreIndex(nodes, embed_model=embed_model)
    assert embed_model.stats == before
