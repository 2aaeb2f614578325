"""A slow JinaBERT in float64, written from its papers alone: loops over heads and queries."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# From the ALiBi paper: a geometric sequence for 8 heads; 12 take four of the 16's in between.
SLOPES = {
    4: [1 / 4, 1 / 16, 1 / 64, 1 / 256],
    6: [1 / 4, 1 / 16, 1 / 64, 1 / 256, 1 / 2, 1 / 8],
    8: [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256],
    12: [
        *(1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256),
        *(2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5),
    ],
}


class Reference:
    """Token embeddings of one row of token ids.

    Args:
        config: The published config.json.
        weights: By published names, without a prefix.
        qk_norm: Layer norms of queries and keys.
        code: The layers of jina-embeddings-v2-base-code.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        weights: Mapping[str, Any],
        *,
        qk_norm: bool = False,
        code: bool = False,
    ) -> None:
        self.config = config
        self.weights = {name: np.asarray(value, np.float64) for name, value in weights.items()}
        self.qk_norm, self.code = qk_norm, code

    def encode(self, ids: Sequence[int]) -> Array:
        """Float64, shape ``(n_tokens, width)``."""
        words = self.weights["embeddings.word_embeddings.weight"]
        types = self.weights["embeddings.token_type_embeddings.weight"]
        rows = np.array([words[i] + types[0] for i in ids])
        hidden = self.norm("embeddings.LayerNorm", rows)
        for layer in range(self.config["num_hidden_layers"]):
            hidden = self.layer(f"encoder.layer.{layer}", hidden)
        return hidden

    def layer(self, at: str, hidden: Array) -> Array:
        context = self.attention(f"{at}.attention.self", hidden)
        dense = self.linear(f"{at}.attention.output.dense", context)
        attended = self.norm(f"{at}.attention.output.LayerNorm", dense + hidden)
        wide = self.config["intermediate_size"]
        if self.code:
            attended = self.norm(f"{at}.layer_norm_1", hidden + attended)
            both = attended @ self.weights[f"{at}.mlp.up_gated_layer.weight"].T
            product = both[:, :wide] * gelu(both[:, wide:])
            return self.norm(
                f"{at}.layer_norm_2", attended + self.linear(f"{at}.mlp.down_layer", product)
            )
        both = attended @ self.weights[f"{at}.mlp.gated_layers.weight"].T
        product = gelu(both[:, :wide]) * both[:, wide:]
        return self.norm(f"{at}.mlp.layernorm", attended + self.linear(f"{at}.mlp.wo", product))

    def attention(self, at: str, hidden: Array) -> Array:
        query, key, value = (self.linear(f"{at}.{part}", hidden) for part in _PARTS)
        if self.qk_norm:
            query = self.norm(f"{at}.layer_norm_q", query)
            key = self.norm(f"{at}.layer_norm_k", key)
        n_heads = self.config["num_attention_heads"]
        width = hidden.shape[1] // n_heads
        context = np.zeros_like(hidden)
        for head, slope in enumerate(SLOPES[n_heads]):
            part = slice(head * width, (head + 1) * width)
            for i in range(len(hidden)):
                distances = np.array([abs(i - j) for j in range(len(hidden))])
                scores = key[:, part] @ query[i, part] / math.sqrt(width) - slope * distances
                powers = np.exp(scores - scores.max())
                context[i, part] = (powers / powers.sum()) @ value[:, part]
        return context

    def linear(self, name: str, values: Array) -> Array:
        result: Array = values @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]
        return result

    def norm(self, name: str, values: Array) -> Array:
        centred = values - values.mean(axis=1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-12)
        scale, shift = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        result: Array = centred / deviation * scale + shift
        return result


_PARTS = ("query", "key", "value")


def gelu(values: Array) -> Array:
    """``x`` times the normal distribution up to ``x``."""
    result: Array = np.vectorize(lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2)(values)
    return result
