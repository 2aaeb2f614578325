"""Collections as each framework's own code writes them, with early vectors, and what they hold."""

from __future__ import annotations

import hashlib
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_text_splitters import RecursiveCharacterTextSplitter
from llama_index.core import Document as Source
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import TextNode

NAME = "chunks"
DIMENSIONS = 32

_SENTENCES = (
    "the supplier delivers within seven days after the order unless a party objects in writing "
    "payment is due on receipt of goods and interest accrues from then the lender may terminate"
)
_WORDS = _SENTENCES.split()
_INDEX_BATCH = 2_048
"""As `VectorStoreIndex` adds them: Chroma takes some thousands at once."""


class Held(NamedTuple):
    """A chunk as the application reads it."""

    text: str
    vector: list[float]
    source: str
    metadata: dict[str, Any]


Rows = dict[str, Held]


def texts(n: int, seed: int = 0) -> dict[str, str]:
    """Texts by file name, words one space apart: a gap between chunks is known to be one."""
    draw = random.Random(seed)
    return {
        f"part-{number}.txt": " ".join(
            f"{draw.choice(_WORDS)}{draw.randrange(90) or ''}"
            for _ in range(90 + 20 * (number % 3))
        )
        for number in range(n)
    }


def langchain_chunks(corpus: dict[str, str], *, start: bool = True) -> list[Document]:
    """What a LangChain user gives a vector store."""
    splitter = RecursiveCharacterTextSplitter(
        chunk_size=120, chunk_overlap=30, add_start_index=start
    )
    return splitter.split_documents(
        [Document(text, metadata={"source": f"docs/{name}"}) for name, text in corpus.items()]
    )


def early_embeddings() -> DeterministicFakeEmbedding:
    return DeterministicFakeEmbedding(size=DIMENSIONS)


class EarlyEmbedding(BaseEmbedding):
    """LlamaIndex' side of the same: a vector that only depends on the text."""

    def _get_text_embedding(self, text: str) -> list[float]:
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
        vector = np.random.default_rng(seed).normal(size=DIMENSIONS)
        return [float(x) for x in vector / np.linalg.norm(vector)]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


def llama_index_nodes(corpus: dict[str, str]) -> list[TextNode]:
    """What a LlamaIndex user gives a vector store."""
    documents = [
        Source(
            text=text,
            id_=name,
            metadata={"file_path": f"/old/machine/docs/{name}", "title": f"Title of {name}"},
        )
        for name, text in corpus.items()
    ]
    nodes = SentenceSplitter(chunk_size=110, chunk_overlap=12)(documents)
    EarlyEmbedding()(nodes)
    return [node for node in nodes if isinstance(node, TextNode)]


def write_langchain_qdrant(folder: Path, corpus: dict[str, str]) -> str:
    from langchain_qdrant import QdrantVectorStore

    store = QdrantVectorStore.from_documents(
        langchain_chunks(corpus), early_embeddings(), path=str(folder / "q"), collection_name=NAME
    )
    store.client.close()
    return f"qdrant:{folder / 'q'}#{NAME}"


def write_llama_index_qdrant(folder: Path, corpus: dict[str, str]) -> str:
    from llama_index.vector_stores.qdrant import QdrantVectorStore
    from qdrant_client import QdrantClient

    client = QdrantClient(path=str(folder / "q"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Payload indexes have no effect")
        QdrantVectorStore(NAME, client=client).add([*llama_index_nodes(corpus)])
    client.close()
    return f"qdrant:{folder / 'q'}#{NAME}"


def read_qdrant(folder: Path, vector: str = "", name: str = NAME) -> Rows:
    from qdrant_client import QdrantClient

    client = QdrantClient(path=str(folder / "q"))
    points, _ = client.scroll(name, limit=100_000, with_vectors=True)
    client.close()
    rows = {}
    for point in points:
        payload: Any = point.payload
        vectors: Any = point.vector
        if not isinstance(vectors, dict):
            vectors = {"": vectors}
        metadata = payload.get("metadata", payload)
        text = payload.get("page_content")
        if text is None:
            import json

            text = json.loads(payload["_node_content"])["text"]
        if vector in vectors:
            source = str(metadata.get("source") or metadata.get("ref_doc_id"))
            rows[str(point.id)] = Held(text, vectors[vector], source, metadata)
    return rows


def write_langchain_chroma(folder: Path, corpus: dict[str, str]) -> str:
    import chromadb
    from langchain_chroma import Chroma

    client = chromadb.PersistentClient(str(folder / "chroma"))
    Chroma.from_documents(
        langchain_chunks(corpus), early_embeddings(), client=client, collection_name=NAME
    )
    return f"chroma:{folder / 'chroma'}#{NAME}"


def write_llama_index_chroma(folder: Path, corpus: dict[str, str]) -> str:
    import chromadb
    from llama_index.vector_stores.chroma import ChromaVectorStore

    client = chromadb.PersistentClient(str(folder / "chroma"))
    collection = client.create_collection(NAME, configuration={"hnsw": {"space": "cosine"}})
    store, nodes = ChromaVectorStore(chroma_collection=collection), llama_index_nodes(corpus)
    for start in range(0, len(nodes), _INDEX_BATCH):
        store.add([*nodes[start : start + _INDEX_BATCH]])
    return f"chroma:{folder / 'chroma'}#{NAME}"


def read_chroma(folder: Path, name: str = NAME) -> Rows:
    import chromadb

    client = chromadb.PersistentClient(str(folder / "chroma"))
    held: Any = client.get_collection(name).get(include=["embeddings", "documents", "metadatas"])
    columns = (held[key] for key in ("ids", "documents", "embeddings", "metadatas"))
    return {
        key: Held(text, [float(x) for x in vector], _source_of(metadata), dict(metadata))
        for key, text, vector, metadata in zip(*columns, strict=True)
    }


def write_langchain_milvus(folder: Path, corpus: dict[str, str]) -> str:
    from langchain_milvus import Milvus

    uri = str(folder / "m.db")
    store = Milvus.from_documents(
        langchain_chunks(corpus),
        early_embeddings(),
        connection_args={"uri": uri},
        collection_name=NAME,
        index_params={"index_type": "FLAT", "metric_type": "COSINE"},
    )
    store.client.close()
    return f"milvus:{uri}#{NAME}"


def write_llama_index_milvus(folder: Path, corpus: dict[str, str]) -> str:
    from llama_index.vector_stores.milvus import MilvusVectorStore

    uri = str(folder / "m.db")
    store = MilvusVectorStore(
        uri=uri,
        dim=DIMENSIONS,
        collection_name=NAME,
        use_async_client=False,
        similarity_metric="COSINE",
    )
    store.add([*llama_index_nodes(corpus)])
    store.client.close()
    return f"milvus:{uri}#{NAME}"


def read_milvus(folder: Path, name: str = NAME) -> Rows:
    from pymilvus import MilvusClient

    client = MilvusClient(uri=str(folder / "m.db"))
    client.load_collection(name)
    held = client.query(name, filter="", limit=16_000, output_fields=["*"])
    client.close()
    rows = {}
    for row in map(dict, held):
        key = row.pop("pk", None) or row.pop("id", None)
        vector = row.pop("vector", None) or row.pop("embedding", None)
        text = row.pop("text")
        rows[str(key)] = Held(text, [float(x) for x in vector or ()], _source_of(row), row)
    return rows


def _source_of(metadata: Any) -> str:
    return str(metadata.get("source") or metadata.get("ref_doc_id"))


class Written(NamedTuple):
    """A way to write and read a collection."""

    framework: str
    write: Callable[[Path, dict[str, str]], str]
    read_old: Callable[[Path], Rows]
    read_late: Callable[[Path], Rows]


WAYS: dict[str, Written] = {
    "langchain-qdrant": Written(
        "langchain",
        write_langchain_qdrant,
        read_qdrant,
        lambda folder: read_qdrant(folder, "late"),
    ),
    "llama-index-qdrant": Written(
        "llama-index",
        write_llama_index_qdrant,
        read_qdrant,
        lambda folder: read_qdrant(folder, "late"),
    ),
    "langchain-chroma": Written(
        "langchain",
        write_langchain_chroma,
        read_chroma,
        lambda folder: read_chroma(folder, f"{NAME}-late"),
    ),
    "llama-index-chroma": Written(
        "llama-index",
        write_llama_index_chroma,
        read_chroma,
        lambda folder: read_chroma(folder, f"{NAME}-late"),
    ),
    "langchain-milvus": Written(
        "langchain",
        write_langchain_milvus,
        read_milvus,
        lambda folder: read_milvus(folder, f"{NAME}_late"),
    ),
    "llama-index-milvus": Written(
        "llama-index",
        write_llama_index_milvus,
        read_milvus,
        lambda folder: read_milvus(folder, f"{NAME}_late"),
    ),
}
