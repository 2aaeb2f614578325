"""Real vector stores: what they hold and find is what the engine gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import chromadb
import faiss
import pytest
from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.vector_stores.chroma import ChromaVectorStore
from llama_index.vector_stores.faiss import FaissVectorStore
from llama_index.vector_stores.milvus import MilvusVectorStore
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import QdrantClient

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.llama_index import LateChunkEmbedding, LateChunkNodeParser
from tests.llama_index.support import SPLITTER, check_stored, expected

pytestmark = pytest.mark.store


class Stored:
    """A store, and how to read its vectors."""

    def __init__(self, name: str, folder: Path, dimensions: int) -> None:
        self.name = name
        self.dimensions = dimensions
        self.store: Any = getattr(self, f"_{name}")(folder)

    def _simple(self, _: Path) -> SimpleVectorStore:
        return SimpleVectorStore()

    def _milvus(self, folder: Path) -> MilvusVectorStore:
        return MilvusVectorStore(
            uri=str(folder / "nodes.db"),
            dim=self.dimensions,
            use_async_client=False,
            similarity_metric="COSINE",
        )

    def _qdrant(self, _: Path) -> QdrantVectorStore:
        return QdrantVectorStore("nodes", client=QdrantClient(":memory:"))

    def _chroma(self, folder: Path) -> ChromaVectorStore:
        client = chromadb.PersistentClient(str(folder / "chroma"))
        collection = client.create_collection("nodes", configuration={"hnsw": {"space": "cosine"}})
        return ChromaVectorStore(chroma_collection=collection)

    def _faiss(self, _: Path) -> FaissVectorStore:
        return FaissVectorStore(faiss.IndexFlatIP(self.dimensions))

    def vectors(self) -> list[Any]:
        store = self.store
        if self.name == "simple":
            return list(store.data.embedding_dict.values())
        if self.name == "milvus":
            rows = store.client.query("llamacollection", filter="", limit=100, output_fields=["*"])
            return [row["embedding"] for row in rows]
        if self.name == "qdrant":
            points, _ = store.client.scroll("nodes", limit=100, with_vectors=True)
            return [point.vector for point in points]
        if self.name == "faiss":
            index = store.client
            return list(index.reconstruct_n(0, index.ntotal))
        return list(store.client.get(include=["embeddings"])["embeddings"])

    def close(self) -> None:
        if self.name == "qdrant":
            self.store.client.close()


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect")  # local Qdrant says so
@pytest.mark.parametrize("hook", ["node parser", "embed model"])
@pytest.mark.parametrize("name", ["simple", "milvus", "qdrant", "chroma", "faiss"])
def test_a_store_holds_the_engines_vectors_and_finds_them(
    name: str,
    hook: str,
    tmp_path: Path,
    tiny_engine: LateChunkEngine,
    embed_model: LateChunkEmbedding,
    parser: LateChunkNodeParser,
    documents: list[Document],
) -> None:
    """from_documents and insert, both hooks; the best hit has the best cosine there is."""
    stored = Stored(name, tmp_path, tiny_engine.dimensions)
    index = VectorStoreIndex.from_documents(
        documents[:3],
        transformations=[parser] if hook == "node parser" else [SPLITTER, embed_model],
        embed_model=embed_model,
        storage_context=StorageContext.from_defaults(vector_store=stored.store),
    )
    index.insert(documents[3])
    right = expected(tiny_engine, documents[:4])
    check_stored(stored.vectors(), right)
    query = "How fast does the supplier deliver?"
    scores = {place: float(v @ tiny_engine.embed_query(query)) for place, v in right.items()}
    best = max(scores.values())
    (found,) = index.as_retriever(similarity_top_k=1).retrieve(query)
    place = (found.node.ref_doc_id, found.node.start_char_idx)  # type: ignore[attr-defined]  # a text node
    # The reports share sentences: which of two equal hits comes first is the processor's rounding.
    assert scores[place] == pytest.approx(best, abs=1e-5)
    if name != "chroma":  # it gives exp(-distance)
        assert found.score == pytest.approx(best, abs=1e-4)
    assert found.node.metadata["late_parent"]
    stored.close()
