"""Real stores, each with a way to read back what it holds."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore

from tests.langchain.support import Vectors, rows_as_vectors


@dataclass(frozen=True)
class StoreKind:
    """A store: its class, what ``from_documents`` wants, how to read all of its vectors."""

    kind: type[VectorStore]
    arguments: dict[str, Any]
    read: Callable[[Any], Vectors]

    def empty(self, embeddings: Embeddings, width: int) -> VectorStore:
        """A store without documents."""
        return _EMPTY[self.kind.__name__](embeddings, width, self.arguments)


def in_memory(_: Path) -> StoreKind:
    return StoreKind(InMemoryVectorStore, {}, _read_in_memory)


def faiss(_: Path) -> StoreKind:
    from langchain_community.vectorstores import FAISS

    return StoreKind(FAISS, {}, _read_faiss)


def chroma(_: Path) -> StoreKind:
    from langchain_chroma import Chroma

    return StoreKind(Chroma, {"collection_name": f"c{uuid.uuid4().hex}"}, _read_chroma)


def qdrant(_: Path) -> StoreKind:
    from langchain_qdrant import QdrantVectorStore

    arguments = {"location": ":memory:", "collection_name": "chunks"}
    return StoreKind(QdrantVectorStore, arguments, _read_qdrant)


def milvus(folder: Path) -> StoreKind:
    from langchain_milvus import Milvus

    arguments = {
        "connection_args": {"uri": str(folder / "milvus.db")},
        "index_params": {"index_type": "FLAT", "metric_type": "COSINE"},
        "auto_id": True,
    }
    return StoreKind(Milvus, arguments, _read_milvus)


KINDS = {
    "in_memory": in_memory,
    "faiss": faiss,
    "chroma": chroma,
    "qdrant": qdrant,
    "milvus": milvus,
}


def _empty_faiss(embeddings: Embeddings, width: int, _: dict[str, Any]) -> VectorStore:
    import faiss as library
    from langchain_community.docstore import InMemoryDocstore
    from langchain_community.vectorstores import FAISS

    return FAISS(embeddings, library.IndexFlatL2(width), InMemoryDocstore(), {})


def _empty_qdrant(embeddings: Embeddings, width: int, arguments: dict[str, Any]) -> VectorStore:
    from langchain_qdrant import QdrantVectorStore
    from qdrant_client import QdrantClient
    from qdrant_client.models import Distance, VectorParams

    client = QdrantClient(":memory:")
    name = arguments["collection_name"]
    client.create_collection(name, VectorParams(size=width, distance=Distance.COSINE))
    return QdrantVectorStore(client, name, embeddings)


def _empty_chroma(embeddings: Embeddings, _: int, arguments: dict[str, Any]) -> VectorStore:
    from langchain_chroma import Chroma

    return Chroma(embedding_function=embeddings, **arguments)


def _empty_milvus(embeddings: Embeddings, _: int, arguments: dict[str, Any]) -> VectorStore:
    from langchain_milvus import Milvus

    return Milvus(embeddings, **arguments)


_EMPTY: dict[str, Callable[[Embeddings, int, dict[str, Any]], VectorStore]] = {
    "InMemoryVectorStore": lambda embeddings, _, __: InMemoryVectorStore(embeddings),
    "FAISS": _empty_faiss,
    "Chroma": _empty_chroma,
    "QdrantVectorStore": _empty_qdrant,
    "Milvus": _empty_milvus,
}


def _read_in_memory(store: Any) -> Vectors:
    return rows_as_vectors([(row["metadata"], row["vector"]) for row in store.store.values()])


def _read_faiss(store: Any) -> Vectors:
    return rows_as_vectors(
        [
            (store.docstore.search(id_).metadata, store.index.reconstruct(position))
            for position, id_ in store.index_to_docstore_id.items()
        ]
    )


def _read_chroma(store: Any) -> Vectors:
    rows = store.get(include=["embeddings", "metadatas"])
    return rows_as_vectors(list(zip(rows["metadatas"], rows["embeddings"], strict=True)))


def _read_qdrant(store: Any) -> Vectors:
    points, _ = store.client.scroll(
        store.collection_name, limit=10_000, with_vectors=True, with_payload=True
    )
    return rows_as_vectors([(point.payload["metadata"], point.vector) for point in points])


def _read_milvus(store: Any) -> Vectors:
    rows = store.client.query(store.collection_name, filter="", limit=10_000, output_fields=["*"])
    return rows_as_vectors([(row, row["vector"]) for row in rows])
