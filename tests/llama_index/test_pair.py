"""The LlamaIndex pair: what lands in an index is what the engine gives for the document."""

from __future__ import annotations

import asyncio
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import MetadataMode, TransformComponent
from llama_index.vector_stores.milvus import MilvusVectorStore

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.llama_index import LateChunkEmbedding, LateChunkNodeParser
from tests.llama_index.support import SPLITTER, check, expected


@pytest.mark.rule(6)
def test_the_node_parser_gives_the_engines_vectors_at_exact_offsets(
    tiny_engine: LateChunkEngine, parser: LateChunkNodeParser, documents: list[Document]
) -> None:
    nodes = parser.get_nodes_from_documents(documents)
    check(nodes, expected(tiny_engine, documents))
    for node in nodes:
        if node.get_content():
            assert node.metadata["late_parent"]
            assert "late_parent" not in node.get_content(metadata_mode=MetadataMode.EMBED)


@pytest.mark.rule(6)
def test_shuffled_nodes_of_many_documents_get_the_same_vectors(
    tiny_engine: LateChunkEngine, embed_model: LateChunkEmbedding, documents: list[Document]
) -> None:
    nodes = [n for n in SPLITTER.get_nodes_from_documents(documents) if n.get_content()]
    random.Random(0).shuffle(nodes)  # a seed, not a secret
    order = [node.node_id for node in nodes]
    embedded = embed_model(nodes)
    assert [node.node_id for node in embedded] == order
    check(list(embedded), expected(tiny_engine, documents))


@pytest.mark.store
def test_milvus_holds_the_engines_vectors_and_finds_them(
    tmp_path: Path,
    tiny_engine: LateChunkEngine,
    embed_model: LateChunkEmbedding,
    parser: LateChunkNodeParser,
    documents: list[Document],
) -> None:
    store = MilvusVectorStore(
        uri=str(tmp_path / "nodes.db"),
        dim=tiny_engine.dimensions,
        use_async_client=False,
        similarity_metric="COSINE",
    )
    index = VectorStoreIndex.from_documents(
        documents[:3],
        transformations=[parser],
        embed_model=embed_model,
        storage_context=StorageContext.from_defaults(vector_store=store),
    )
    index.insert(documents[3])
    right = expected(tiny_engine, documents[:4])
    rows = store.client.query("llamacollection", filter="", limit=100, output_fields=["*"])
    assert len(rows) == len(right)
    vectors = np.array([row["embedding"] for row in rows])
    for vector in right.values():
        assert np.abs(vectors - vector).max(axis=1).min() <= 1e-5
    query = "How fast does the supplier deliver?"
    best = max(float(vector @ tiny_engine.embed_query(query)) for vector in right.values())
    (found,) = index.as_retriever(similarity_top_k=1).retrieve(query)
    assert found.score == pytest.approx(best, abs=1e-5)


def test_both_ways_through_a_pipeline_agree(
    tiny_engine: LateChunkEngine,
    embed_model: LateChunkEmbedding,
    parser: LateChunkNodeParser,
    documents: list[Document],
) -> None:
    right = expected(tiny_engine, documents)
    ways: list[list[TransformComponent]] = [[parser], [SPLITTER, embed_model]]
    for transformations in ways:
        nodes = IngestionPipeline(transformations=transformations).run(documents=documents)
        check(nodes, right)


def test_the_cache_notices_a_changed_option(
    tiny_model_path: Path, documents: list[Document]
) -> None:
    def stats_after(runs: list[dict[str, Any]]) -> list[Any]:
        pipeline, vectors = None, []
        for options in runs:
            model = LateChunkEmbedding(model_name=str(tiny_model_path), dtype="float32", **options)
            fresh = IngestionPipeline(transformations=[SPLITTER, model])
            if pipeline is not None:
                fresh.cache = pipeline.cache
            pipeline = fresh
            vectors.append(fresh.run(documents=documents)[0].get_embedding())
        return vectors

    first, again, other = stats_after([{}, {}, {"max_tokens": 32}])
    assert first == again
    assert first != other


async def test_async_paths_give_the_same(
    tiny_engine: LateChunkEngine,
    embed_model: LateChunkEmbedding,
    parser: LateChunkNodeParser,
    documents: list[Document],
) -> None:
    right = expected(tiny_engine, documents)
    ways: list[list[TransformComponent]] = [[parser], [SPLITTER, embed_model]]
    for transformations in ways:
        nodes = await IngestionPipeline(transformations=transformations).arun(documents=documents)
        check(nodes, right)
    query = await embed_model.aget_query_embedding("Berlin")
    np.testing.assert_allclose(query, tiny_engine.embed_query("Berlin"), atol=1e-6)


async def test_the_event_loop_goes_on_while_nodes_are_embedded(
    embed_model: LateChunkEmbedding, documents: list[Document]
) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    ticker = asyncio.create_task(tick())
    await embed_model.acall(SPLITTER.get_nodes_from_documents(documents))
    ticker.cancel()
    assert ticks > 1


def test_pickled_copies_load_the_model_again(
    tiny_model_path: Path, documents: list[Document]
) -> None:
    model = LateChunkEmbedding(model_name=str(tiny_model_path), dtype="float32")
    parser = LateChunkNodeParser(embed_model=model, splitter=SPLITTER)
    before = parser.get_nodes_from_documents(documents)
    dumped = pickle.dumps(parser)
    assert len(dumped) < 500_000
    after = pickle.loads(dumped).get_nodes_from_documents(documents)  # ours
    assert [node.embedding for node in before] == [node.embedding for node in after]


def test_plain_texts_are_standalone_and_that_is_said_once(
    tiny_engine: LateChunkEngine,
    embed_model: LateChunkEmbedding,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for _ in range(2):
        (vector,) = embed_model.get_text_embedding_batch(["no parent"])
    np.testing.assert_allclose(vector, tiny_engine.embed_texts(["no parent"])[0], atol=1e-6)
    assert caplog.text.count("embedded standalone") == 1
