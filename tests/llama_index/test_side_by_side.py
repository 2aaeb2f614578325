"""The README's diff: a pipeline with HuggingFace's embedding, and two changed lines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import TransformComponent
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import QdrantClient

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.llama_index import LateChunkEmbedding, LateChunkNodeParser

CONTRACT = Path(__file__).parents[2] / "examples" / "samples" / "contract.md"
SPLITTER = SentenceSplitter(chunk_size=64, chunk_overlap=0)


def ingest(embed_model: BaseEmbedding, transformations: list[TransformComponent]) -> list[str]:
    """What every pipeline does after its two lines: store, index, ask."""
    client = QdrantClient(":memory:")
    store = QdrantVectorStore("nodes", client=client)
    pipeline = IngestionPipeline(transformations=transformations, vector_store=store)
    pipeline.run(documents=[Document(text=CONTRACT.read_text(encoding="utf-8"))])
    index = VectorStoreIndex.from_vector_store(store, embed_model=embed_model)
    hits = index.as_retriever(similarity_top_k=100).retrieve("When are Kestrel's invoices due?")
    client.close()
    return [hit.node.get_content() for hit in hits]


@pytest.mark.store
@pytest.mark.filterwarnings("ignore:Payload indexes have no effect")  # local Qdrant says so
def test_two_lines_make_a_pipeline_late(minilm_path: Path, minilm_engine: LateChunkEngine) -> None:
    """The same chunks are found by both; queries get the same vector, and the answer rises."""
    early_model = HuggingFaceEmbedding(model_name=str(minilm_path), device="cpu")
    late_model = LateChunkEmbedding(engine=minilm_engine)
    parser = LateChunkNodeParser(embed_model=late_model, splitter=SPLITTER)
    early = ingest(early_model, [SPLITTER, early_model])
    late = ingest(late_model, [parser])
    assert sorted(early) == sorted(late)
    query = "When are Kestrel's invoices due?"
    similarity = np.dot(
        early_model.get_query_embedding(query), late_model.get_query_embedding(query)
    )
    assert similarity > 0.9999
    (answer,) = [text for text in early if "3.1 The Fee" in text]
    assert late.index(answer) < early.index(answer)
