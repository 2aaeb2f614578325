"""Attention without padding through PyTorch's kernel: the same vectors as with padding.

The kernel needs a GPU: on other machines a slow one, written from its documentation, stands in.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from latechunk_integrations import ChunkVectors, LateChunkEngine, Parent
from latechunk_integrations.encoders.local import focus_attention, varlen
from latechunk_integrations.encoders.local.encoder import LocalEncoder
from latechunk_integrations.encoders.local.unpadded import takes_unpadded
from tests.architectures import LAYOUTS

TEXT = "The supplier delivers every part within 30 days. Berlin has many inhabitants. naïve café. "
# MPNet has relative positions, which the kernel cannot add; transformers says so.
PACKED = [name for name in LAYOUTS if "mpnet" not in name]


class SlowKernel:
    """Attention of each sequence alone: softmax(scale * q k^T) v within the window, and the
    logarithms of what the softmax divides by, ``(n_heads, n_tokens)``."""

    def __init__(self) -> None:
        self.n_calls = 0

    def __call__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        cu_seq_q: torch.Tensor,
        cu_seq_k: torch.Tensor,
        max_q: int,
        max_k: int,
        *,
        scale: float | None,
        window_size: tuple[int, int],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.n_calls += 1
        assert query.shape == key.shape == value.shape
        bounds = cu_seq_q.tolist()
        assert bounds == cu_seq_k.tolist()
        assert max_q == max_k == max(np.diff(bounds))
        assert scale is not None
        attended, logarithms = zip(
            *(
                self._one(query[a:b], key[a:b], value[a:b], scale, window_size)
                for a, b in itertools.pairwise(bounds)
            ),
            strict=True,
        )
        return torch.cat(attended), torch.cat(logarithms, dim=1)

    def _one(
        self, q: Any, k: Any, v: Any, scale: float, window: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ahead = torch.arange(len(k))[None] - torch.arange(len(q))[:, None]
        left, right = window
        seen = torch.ones_like(ahead, dtype=torch.bool)
        if left >= 0:
            seen &= ahead >= -left
        if right >= 0:
            seen &= ahead <= right
        scores = torch.einsum("qhd,khd->hqk", q, k) * scale
        scores = scores.masked_fill(~seen, -torch.inf)
        attended = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v)
        return attended, scores.logsumexp(-1)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> SlowKernel:
    slow = SlowKernel()
    monkeypatch.setattr(varlen, "_kernel", slow)
    return slow


def _engine(path: Path, **options: Any) -> LateChunkEngine:
    given = {"dtype": "float32", "device": "cpu", "layout": "text", "focus": 0.0, **options}
    return LateChunkEngine.from_pretrained(str(path), **given)


@pytest.mark.parametrize("name", PACKED)
def test_windows_end_to_end_give_the_vectors_of_padded_ones(
    name: str, published: dict[str, Path], kernel: SlowKernel
) -> None:
    """Every architecture: sliding windows, causal ones, shared heads, positions from 0 or 2."""
    loras = (
        {"document_lora": "retrieval_passage", "query_lora": "retrieval_query"}
        if LAYOUTS[name].loras
        else {}
    )
    engine = _engine(published[name], pooling="mean", context_weight=0.5, **loras)
    parents = [Parent(TEXT * n, [(0, 20), (10, 60)], header="Title" * (n % 2)) for n in (1, 2, 3)]
    padded = engine.embed(parents)
    query = engine.embed_queries(["How fast?", "How fast does the supplier deliver every part?"])
    assert isinstance(engine.encoder, LocalEncoder)
    fits = varlen.use_varlen(engine.encoder.model[0])
    # Its layers have heads of two sizes: it goes on with padding.
    assert fits == (name != "embeddinggemma-2-text")
    if not fits:
        return
    for one, other in zip(padded, engine.embed(parents), strict=True):
        np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-5)
    assert kernel.n_calls
    kernel.n_calls = 0
    again = engine.embed_queries(["How fast?", "How fast does the supplier deliver every part?"])
    np.testing.assert_allclose(query, again, atol=1e-5)
    assert not kernel.n_calls, "queries come padded"


@pytest.mark.parametrize("focus", [0.0, 1.5, "auto", 100.0, float("inf")])
@pytest.mark.parametrize("name", PACKED)
def test_units_end_to_end_give_the_vectors_of_padded_ones(
    name: str, focus: float | str, published: dict[str, Path], kernel: SlowKernel
) -> None:
    """The focus from passes without one: causal models and sliding windows too."""
    loras = (
        {"document_lora": "retrieval_passage", "query_lora": "retrieval_query"}
        if LAYOUTS[name].loras
        else {}
    )
    engine = _engine(published[name], layout="units", focus=focus, max_tokens=120, **loras)
    spans = [(0, 20), (20, 45), (46, 70), (71, 88)]
    headers = ["Supply", "", "Berlin", "Berlin: people"]
    parents = [Parent(TEXT * n, spans, headers=headers) for n in (1, 2)]
    parents += [Parent(TEXT, [(0, 20)], header="Title"), Parent(TEXT, [(0, 30), (10, 60)])]
    padded = engine.embed(parents)
    assert isinstance(engine.encoder, LocalEncoder)
    if not varlen.use_varlen(engine.encoder.model[0]):
        return
    for one, other in zip(padded, engine.embed(parents), strict=True):
        np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-5)
    assert kernel.n_calls


@pytest.mark.parametrize("focus", [12.0, 100.0])
@pytest.mark.parametrize("header", ["", "Title"])
def test_a_large_focus_overflows_no_half_precision(
    focus: float, header: str, published: dict[str, Path], kernel: SlowKernel
) -> None:
    path = published["nomic-embed-text-v1.5"]
    parents = [Parent(TEXT, [(0, 20), (20, 45), (46, 70)], header=header)]
    right = _engine(path, layout="units", focus=focus).embed(parents)
    engine = _engine(path, layout="units", focus=focus, dtype="float16")
    assert isinstance(engine.encoder, LocalEncoder)
    assert varlen.use_varlen(engine.encoder.model[0])
    assert _worst(right, engine.embed(parents)) < 0.01
    assert kernel.n_calls


def test_a_focus_in_running_text_goes_padded(
    published: dict[str, Path], kernel: SlowKernel
) -> None:
    """Chunks nest there."""
    engine = _engine(published["nomic-embed-text-v1.5"], focus=2.0)
    parents = [Parent(TEXT, [(0, 20), (10, 60)], header="Title")]
    padded = engine.embed(parents)
    assert isinstance(engine.encoder, LocalEncoder)
    assert varlen.use_varlen(engine.encoder.model[0])
    np.testing.assert_allclose(padded[0].vectors, engine.embed(parents)[0].vectors, atol=1e-5)
    assert not kernel.n_calls


def _worst(right: list[ChunkVectors], found: list[ChunkVectors]) -> float:
    """Largest distance, one minus the cosine, between the vectors of a chunk."""
    pairs = zip(right, found, strict=True)
    return max(float((1 - (a.vectors * b.vectors).sum(axis=1)).max()) for a, b in pairs)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU; CI has none")
@pytest.mark.parametrize("layout", ["text", "units"])
@pytest.mark.parametrize("name", PACKED)
def test_pytorchs_own_kernel_is_as_exact_as_padding(
    name: str, layout: str, published: dict[str, Path]
) -> None:
    """Half precision moves vectors, of random weights up to 0.02: no farther without padding."""
    options: dict[str, Any] = {"layout": layout, "focus": 0.0 if layout == "text" else "auto"}
    if layout == "text":
        options["pooling"] = "mean"
    headers = {"header": "Title"} if layout == "units" else {}
    parents = [Parent(TEXT * n, [(0, 20), (20, 60)], **headers) for n in (1, 2, 3)]
    right = _engine(published[name], **options).embed(parents)
    engine = _engine(published[name], **options, dtype="bfloat16", device="cuda")
    assert isinstance(engine.encoder, LocalEncoder)
    transformer: Any = engine.encoder.model[0]
    assert takes_unpadded(transformer) == (name != "embeddinggemma-2-text")
    found = engine.embed(parents)
    transformer.model.set_attn_implementation(focus_attention.IMPLEMENTATION)
    assert not takes_unpadded(transformer)
    assert _worst(right, found) < 2 * _worst(right, engine.embed(parents)) + 0.005
