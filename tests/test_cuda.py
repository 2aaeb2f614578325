"""What only a GPU does: pinned transfers, a second stream, half precision, memory that runs out."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from latechunk_integrations import LateChunkEngine, Parent

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU; CI has none")

WORDS = ["the", "supplier", "delivers", "parts", "within", "30", "days,", "naïve", "café", "東京"]


def parents(n_parents: int, longest: int, seed: int = 0) -> list[Parent]:
    """Parents of one to many windows, with chunks of every length and now and then a header."""
    rng = random.Random(seed)
    made = []
    for n in range(n_parents):
        text = " ".join(rng.choices(WORDS, k=rng.randint(1, longest)))
        edges = sorted({0, len(text), *rng.choices(range(len(text)), k=len(text) // 60)})
        spans = [(a, b) for a, b in itertools.pairwise(edges) if text[a:b].strip()]
        made.append(Parent(text, spans, id=str(n), header="Berlin" * (n % 3 == 0)))
    return made


def vectors(path: Path, given: list[Parent], **options: Any) -> list[Any]:
    engine = LateChunkEngine.from_pretrained(str(path), **options)
    return [result.vectors for result in engine.embed(given)]


@pytest.mark.parametrize("family", ["wordpiece", "byte_bpe", "unigram"])
@pytest.mark.parametrize("batch_tokens", [None, 96])
def test_float32_gives_the_vectors_of_a_cpu(
    tiny_model_paths: dict[str, Path], family: str, batch_tokens: int | None
) -> None:
    """Many small batches too, whose sums come in while the next one is computed."""
    given = parents(60, 120)
    path = tiny_model_paths[family]
    options: dict[str, Any] = {"dtype": "float32", "context_weight": 0.7}
    right = vectors(path, given, device="cpu", **options)
    found = vectors(path, given, device="cuda", batch_tokens=batch_tokens, **options)
    for one, other in zip(right, found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("family", ["wordpiece", "byte_bpe", "unigram"])
def test_half_precision_stays_close(tiny_model_paths: dict[str, Path], family: str) -> None:
    given = parents(60, 120)
    right = vectors(tiny_model_paths[family], given, device="cpu", dtype="float32")
    found = vectors(tiny_model_paths[family], given, device="cuda", dtype="auto")
    for one, other in zip(right, found, strict=True):
        if len(one):
            assert (one * other).sum(axis=1).min() > 0.995


def test_when_memory_runs_out_batches_are_halved_and_nothing_is_lost(
    tiny_model_paths: dict[str, Path],
) -> None:
    given = parents(3_000, 60)
    path = tiny_model_paths["wordpiece"]
    right = vectors(path, given, device="cuda", dtype="float32", batch_tokens=2_048)
    engine = LateChunkEngine.from_pretrained(
        str(path), device="cuda", dtype="float32", batch_tokens=60_000
    )
    torch.cuda.empty_cache()
    room = torch.cuda.memory_reserved() + (24 << 20)
    try:
        torch.cuda.set_per_process_memory_fraction(
            room / torch.cuda.get_device_properties(0).total_memory
        )
        found = [result.vectors for result in engine.embed(given)]
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert engine.stats["out_of_memory"]
    for one, other in zip(right, found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_workers_on_every_gpu_give_the_vectors_of_one_process(
    tiny_model_paths: dict[str, Path],
) -> None:
    """Two on each, which share it."""
    given, path = parents(60, 120), tiny_model_paths["wordpiece"]
    devices = [f"cuda:{n}" for n in range(torch.cuda.device_count())]
    options: dict[str, Any] = {"devices": devices, "processes": 2 * len(devices)}
    with LateChunkEngine.from_pretrained(str(path), dtype="float32", **options) as engine:
        found = [result.vectors for result in engine.embed(given)]
    for one, other in zip(vectors(path, given, device="cuda", dtype="float32"), found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
