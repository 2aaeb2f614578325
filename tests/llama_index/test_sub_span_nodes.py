"""Sub-spans in LlamaIndex: real stores hold the engine's vectors, and give chunks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import BaseNode, MetadataMode, TextNode
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.errors import OptionError, UnknownSubSpanError
from latechunk_integrations.llama_index import (
    LateChunkEmbedding,
    SubSpanNodeParser,
    SubSpanNodeRetriever,
)
from tests.llama_index.support import SPLITTER
from tests.llama_index.test_stores import Stored

QUERY = "How fast does the supplier deliver?"
Place = tuple[str | None, int, int]


@pytest.fixture(scope="module")
def engine(tiny_model_path: Path) -> LateChunkEngine:
    return LateChunkEngine.from_pretrained(
        str(tiny_model_path), dtype="float32", device="cpu", sub_span_tokens=8
    )


@pytest.fixture
def embed_model(engine: LateChunkEngine) -> LateChunkEmbedding:
    return LateChunkEmbedding(engine=engine)


@pytest.fixture
def parser(embed_model: LateChunkEmbedding) -> SubSpanNodeParser:
    return SubSpanNodeParser(embed_model=embed_model, splitter=SPLITTER)


def truth(
    engine: LateChunkEngine, documents: list[Document]
) -> tuple[dict[Place, Any], dict[Place, int]]:
    """The engine's sub-spans by document and place, and where the chunk of each begins."""
    vectors: dict[Place, Any] = {}
    chunks: dict[Place, int] = {}
    for document in documents:
        if not document.text:
            continue
        spans, end = [], 0
        header = document.get_metadata_str(mode=MetadataMode.EMBED)
        for text in SPLITTER.split_text_metadata_aware(document.text, header):
            start = document.text.index(text, end)
            end = start + len(text)
            spans.append((start, end))
        title = str(document.metadata.get("title", ""))
        found = engine.embed([Parent(document.text, spans, header=title)])[0].sub_spans
        assert found is not None
        rows = zip(found.vectors, found.chunks.tolist(), found.spans.array.tolist(), strict=True)
        for vector, chunk, (a, b) in rows:
            vectors[document.doc_id, a, b] = vector
            chunks[document.doc_id, a, b] = spans[chunk][0]
    return vectors, chunks


def places(nodes: list[BaseNode]) -> dict[Place, BaseNode]:
    nodes = [node for node in nodes if node.get_content()]  # a document may be empty
    found = {
        (n.ref_doc_id, n.metadata["late_sub_start"], n.metadata["late_sub_end"]): n for n in nodes
    }
    assert len(found) == len(nodes)
    return found


def test_nodes_are_the_engines_sub_spans_of_their_chunks(
    engine: LateChunkEngine, parser: SubSpanNodeParser, documents: list[Document]
) -> None:
    nodes = places(parser.get_nodes_from_documents(documents))
    vectors, chunks = truth(engine, documents)
    assert nodes.keys() == vectors.keys()
    assert len({node.node_id for node in nodes.values()}) == len(nodes)
    by_chunk: dict[str, set[tuple[Any, ...]]] = {}
    for place, node in nodes.items():
        np.testing.assert_allclose(node.get_embedding(), vectors[place], atol=1e-6)
        assert isinstance(node, TextNode)
        assert node.start_char_idx == chunks[place]
        assert node.parent_node is not None
        same = (node.ref_doc_id, node.start_char_idx, node.text)
        by_chunk.setdefault(node.parent_node.node_id, set()).add(same)
        for mode in (MetadataMode.EMBED, MetadataMode.LLM):
            assert "late_" not in node.get_content(metadata_mode=mode)
    assert all(len(found) == 1 for found in by_chunk.values())
    assert len(by_chunk) < len(nodes)


@pytest.mark.store
@pytest.mark.filterwarnings("ignore:Payload indexes have no effect")
@pytest.mark.parametrize("name", ["simple", "qdrant", "chroma"])
def test_a_store_gives_the_best_chunks_by_their_best_sub_spans(
    name: str,
    tmp_path: Path,
    engine: LateChunkEngine,
    embed_model: LateChunkEmbedding,
    parser: SubSpanNodeParser,
    documents: list[Document],
) -> None:
    stored = Stored(name, tmp_path, engine.dimensions)
    index = VectorStoreIndex.from_documents(
        documents[:4],
        transformations=[parser],
        embed_model=embed_model,
        storage_context=StorageContext.from_defaults(vector_store=stored.store),
    )
    vectors, chunks = truth(engine, documents[:4])
    got, wanted = np.array(stored.vectors()), np.array(list(vectors.values()))
    assert len(got) == len(wanted)
    assert np.abs(got[:, None] - wanted[None]).max(axis=2).min(axis=1).max() <= 1e-5
    query = engine.embed_query(QUERY)
    best: dict[tuple[str | None, int], float] = {}
    for place, vector in vectors.items():
        chunk = (place[0], chunks[place])
        best[chunk] = max(best.get(chunk, -1), float(vector @ query))
    for k in (1, 3, len(best) + 5):
        found = SubSpanNodeRetriever(index, k).retrieve(QUERY)
        ids = [(hit.node.ref_doc_id, hit.node.start_char_idx) for hit in found]  # type: ignore[attr-defined]  # text nodes
        assert len(set(ids)) == len(ids) == min(k, len(best))
        scores = [best[one] for one in ids]
        np.testing.assert_allclose(scores, sorted(best.values(), reverse=True)[:k], atol=1e-5)
        assert all(hit.node.parent_node is None for hit in found)
    index.delete_ref_doc("report-0")
    left = SubSpanNodeRetriever(index, 100).retrieve(QUERY)
    assert {hit.node.ref_doc_id for hit in left} == {"report-1", "report-2", "report-3"}
    only = MetadataFilters(filters=[MetadataFilter(key="title", value="Report 2")])
    some = SubSpanNodeRetriever(index, 100, filters=only).retrieve(QUERY)
    assert {hit.node.ref_doc_id for hit in some} == {"report-2"}
    stored.close()


def test_the_chunk_comes_back_as_the_plain_parser_makes_it(
    embed_model: LateChunkEmbedding, parser: SubSpanNodeParser, documents: list[Document]
) -> None:
    nodes = parser.get_nodes_from_documents(documents[:2])
    index = VectorStoreIndex(nodes, embed_model=embed_model)
    (hit,) = SubSpanNodeRetriever(index, 1).retrieve(QUERY)
    part = next(n for n in nodes if n.parent_node and n.parent_node.node_id == hit.node.node_id)
    assert hit.node.get_content() == part.get_content()
    assert hit.node.source_node == part.source_node
    assert hit.node.next_node == part.next_node
    assert hit.node.embedding is None


async def test_chunks_can_be_awaited(
    embed_model: LateChunkEmbedding, parser: SubSpanNodeParser, documents: list[Document]
) -> None:
    nodes = parser.get_nodes_from_documents(documents)
    retriever = SubSpanNodeRetriever(VectorStoreIndex(nodes, embed_model=embed_model), 3)
    awaited = [hit.node.node_id for hit in await retriever.aretrieve(QUERY)]
    assert awaited == [hit.node.node_id for hit in retriever.retrieve(QUERY)]


def test_sub_spans_without_vectors_get_them_back(
    engine: LateChunkEngine,
    embed_model: LateChunkEmbedding,
    parser: SubSpanNodeParser,
    documents: list[Document],
) -> None:
    """What comes from a file or another engine is embedded anew, as the same sub-spans."""
    nodes = parser.get_nodes_from_documents(documents)
    vectors, _ = truth(engine, documents)
    rebuilt: list[BaseNode] = [TextNode.from_dict(node.to_dict()) for node in nodes]
    for node in rebuilt[3:]:
        node.embedding = None
    before = [node.node_id for node in rebuilt]
    found = IngestionPipeline(transformations=[embed_model]).run(nodes=rebuilt)
    assert [node.node_id for node in found] == before
    for place, node in places(list(found)).items():
        np.testing.assert_allclose(node.get_embedding(), vectors[place], atol=1e-6)


def test_sub_spans_that_other_options_cut_are_refused(
    tiny_model_path: Path, parser: SubSpanNodeParser, documents: list[Document]
) -> None:
    for size, said in ((4, "index the documents anew"), (None, "sub_span_tokens of the index")):
        nodes = parser.get_nodes_from_documents(documents[:1])
        other = LateChunkEmbedding(
            model_name=str(tiny_model_path), dtype="float32", sub_span_tokens=size
        )
        with pytest.raises(UnknownSubSpanError, match=said) as refused:
            other(nodes)
        assert any(repr(node.node_id) in str(refused.value) for node in nodes)


def test_a_model_that_cuts_none_is_refused(
    tiny_engine: LateChunkEngine, documents: list[Document]
) -> None:
    parser = SubSpanNodeParser(embed_model=LateChunkEmbedding(engine=tiny_engine))
    with pytest.raises(OptionError, match="sub_span_tokens=32"):
        parser.get_nodes_from_documents(documents)


@pytest.mark.slow
def test_early_sub_spans_and_a_cache_of_parents(
    tiny_model_path: Path, documents: list[Document]
) -> None:
    """`enabled=False` gives sub-spans embedded alone; a cache gives the same nodes again."""
    options: dict[str, Any] = {"dtype": "float32", "sub_span_tokens": 8}
    early = LateChunkEmbedding(model_name=str(tiny_model_path), enabled=False, **options)
    nodes = SubSpanNodeParser(embed_model=early, splitter=SPLITTER).get_nodes_from_documents(
        documents
    )
    found = places(nodes)
    assert {node.metadata["late_mode"] for node in found.values()} == {"standalone"}
    vectors, _ = truth(early.engine, documents)
    for place, node in found.items():
        np.testing.assert_allclose(node.get_embedding(), vectors[place], atol=1e-6)
    store = SimpleKVStore()
    cached = LateChunkEmbedding(model_name=str(tiny_model_path), embeddings_cache=store, **options)
    for _ in range(2):
        parser = SubSpanNodeParser(embed_model=cached, splitter=SPLITTER)
        again = places(parser.get_nodes_from_documents(documents))
        vectors, _ = truth(cached.engine, documents)
        for place, node in again.items():
            np.testing.assert_allclose(node.get_embedding(), vectors[place], atol=1e-6)
    assert cached.stats["cached_parents"] == 5


def test_early_chunks_and_early_sub_spans_in_one_call(
    tiny_model_path: Path, documents: list[Document]
) -> None:
    early = LateChunkEmbedding(
        model_name=str(tiny_model_path), dtype="float32", sub_span_tokens=8, enabled=False
    )
    parser = SubSpanNodeParser(embed_model=early, splitter=SPLITTER)
    parts = parser.get_nodes_from_documents(documents[:1])
    chunks: list[BaseNode] = list(SPLITTER.get_nodes_from_documents(documents[1:2]))
    for part in parts:
        part.embedding = None
    early([*parts, *chunks])
    vectors, _ = truth(early.engine, documents[:1])
    for place, node in places(parts).items():
        np.testing.assert_allclose(node.get_embedding(), vectors[place], atol=1e-6)
    texts = [chunk.get_content(metadata_mode=MetadataMode.EMBED) for chunk in chunks]
    wanted = early.engine.embed_texts(texts)
    np.testing.assert_allclose([chunk.get_embedding() for chunk in chunks], wanted, atol=1e-6)


def test_a_budget_makes_fewer_nodes(tiny_model_path: Path, documents: list[Document]) -> None:
    made = {}
    for budget in (None, 1.5, 1.0):
        model = LateChunkEmbedding(
            model_name=str(tiny_model_path),
            dtype="float32",
            sub_span_tokens=4,
            sub_spans_per_chunk=budget,
        )
        parser = SubSpanNodeParser(embed_model=model, splitter=SPLITTER)
        made[budget] = parser.get_nodes_from_documents(documents[:5])
    chunks = {node.parent_node.node_id for node in made[1.0] if node.parent_node}
    assert len(made[1.0]) == len(chunks)
    assert len(made[1.0]) < len(made[1.5]) <= 1.5 * len(chunks) < len(made[None])
