"""Real stores, each with a way to read back what it holds."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore

from tests.langchain.support import Vectors, rows_as_vectors


@dataclass(frozen=True)
class StoreKind:
    """A store: its class, what ``from_documents`` wants, how to read all of its vectors."""

    kind: type[VectorStore]
    arguments: dict[str, Any]
    read: Callable[[Any], Vectors]
    more: dict[str, Any] = field(default_factory=dict)
    """What the class itself wants, beside what ``from_documents`` does."""

    def empty(self, embeddings: Embeddings, width: int) -> VectorStore:
        """A store without documents."""
        made = _EMPTY.get(self.kind.__name__)
        if made is None:
            kind: Any = self.kind
            store: VectorStore = kind(embedding=embeddings, **{**self.arguments, **self.more})
            return store
        return made(embeddings, width, self.arguments)


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


def qdrant_hybrid(_: Path) -> StoreKind:
    from langchain_qdrant import QdrantVectorStore, RetrievalMode

    arguments = {
        "location": ":memory:",
        "collection_name": "chunks",
        "sparse_embedding": _word_counts(),
        "retrieval_mode": RetrievalMode.HYBRID,
    }
    return StoreKind(QdrantVectorStore, arguments, _read_qdrant)


def lancedb(folder: Path) -> StoreKind:
    from langchain_community.vectorstores import LanceDB

    arguments = {"uri": str(folder / "lance"), "table_name": "chunks", "mode": "append"}
    return StoreKind(LanceDB, arguments, _read_lancedb)


def duckdb(_: Path) -> StoreKind:
    import duckdb as library
    from langchain_community.vectorstores import DuckDB

    return StoreKind(DuckDB, {"connection": library.connect(":memory:")}, _read_duckdb)


def sklearn(_: Path) -> StoreKind:
    from langchain_community.vectorstores import SKLearnVectorStore

    return StoreKind(SKLearnVectorStore, {}, _read_sklearn)


def sqlite_vec(folder: Path) -> StoreKind:
    from langchain_community import vectorstores

    class SQLiteVec(vectorstores.SQLiteVec):
        """Python's own SQLite is often built without extensions."""

        @staticmethod
        def create_connection(db_file: str) -> Any:
            import pysqlite3
            import sqlite_vec as extension

            connection = pysqlite3.connect(db_file, check_same_thread=False)
            connection.row_factory = pysqlite3.Row
            connection.enable_load_extension(True)
            extension.load(connection)
            return connection

    arguments = {"table": "chunks", "db_file": str(folder / "chunks.db")}
    return StoreKind(SQLiteVec, arguments, _read_sqlite_vec, {"connection": None})


KINDS = {
    "in_memory": in_memory,
    "faiss": faiss,
    "chroma": chroma,
    "qdrant": qdrant,
    "milvus": milvus,
    "qdrant_hybrid": qdrant_hybrid,
    "lancedb": lancedb,
    "duckdb": duckdb,
    "sklearn": sklearn,
    "sqlite_vec": sqlite_vec,
}


def _word_counts() -> Any:
    """Sparse vectors without a model: a dimension for each length of a word."""
    from langchain_qdrant import SparseEmbeddings, SparseVector

    class WordCounts(SparseEmbeddings):
        def embed_documents(self, texts: list[str]) -> list[SparseVector]:
            return [self.embed_query(text) for text in texts]

        def embed_query(self, text: str) -> SparseVector:
            lengths = [len(word) for word in text.split()]
            sizes = sorted(set(lengths))
            return SparseVector(indices=sizes, values=[float(lengths.count(n)) for n in sizes])

    return WordCounts()


def _empty_faiss(embeddings: Embeddings, width: int, _: dict[str, Any]) -> VectorStore:
    import faiss as library
    from langchain_community.docstore import InMemoryDocstore
    from langchain_community.vectorstores import FAISS

    return FAISS(embeddings, library.IndexFlatL2(width), InMemoryDocstore(), {})


def _empty_qdrant(embeddings: Embeddings, width: int, arguments: dict[str, Any]) -> VectorStore:
    from langchain_qdrant import QdrantVectorStore
    from qdrant_client import QdrantClient
    from qdrant_client.models import Distance, SparseVectorParams, VectorParams

    client = QdrantClient(":memory:")
    name = arguments["collection_name"]
    sparse = {"langchain-sparse": SparseVectorParams()} if "sparse_embedding" in arguments else None
    dense = VectorParams(size=width, distance=Distance.COSINE)
    client.create_collection(name, dense, sparse_vectors_config=sparse)
    others = {key: arguments[key] for key in arguments if key.startswith(("sparse", "retrieval"))}
    return QdrantVectorStore(client, name, embeddings, **others)


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
    vectors = [point.vector for point in points]
    dense = [vector[""] if isinstance(vector, dict) else vector for vector in vectors]
    payloads = [point.payload["metadata"] for point in points]
    return rows_as_vectors(list(zip(payloads, dense, strict=True)))


def _read_milvus(store: Any) -> Vectors:
    rows = store.client.query(store.collection_name, filter="", limit=10_000, output_fields=["*"])
    return rows_as_vectors([(row, row["vector"]) for row in rows])


def _read_lancedb(store: Any) -> Vectors:
    rows = store.get_table().to_arrow().to_pylist()
    return rows_as_vectors([(row["metadata"], row["vector"]) for row in rows])


def _read_duckdb(store: Any) -> Vectors:
    rows = store._connection.execute(  # noqa: SLF001  # the wrapper reads by similarity alone
        "select metadata, embedding from embeddings"
    ).fetchall()
    return rows_as_vectors([(json.loads(metadata), vector) for metadata, vector in rows])


def _read_sklearn(store: Any) -> Vectors:
    rows = zip(store._metadatas, store._embeddings, strict=True)  # noqa: SLF001  # as above
    return rows_as_vectors(list(rows))


def _read_sqlite_vec(store: Any) -> Vectors:
    rows = store._connection.execute(  # noqa: SLF001  # as above
        "select metadata, text_embedding from chunks"
    ).fetchall()
    return rows_as_vectors(
        [(json.loads(row["metadata"]), np.frombuffer(row["text_embedding"], "<f4")) for row in rows]
    )
