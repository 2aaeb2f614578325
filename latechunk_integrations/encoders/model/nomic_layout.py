"""nomic_bert with its sizes under the names of GPT-2, as nomic first published it.

transformers reads its own names only, and takes the sizes of nomic-embed-text-v1.5 for what it
does not find: the number of heads and the rotary base would be wrong without a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# As published on the left, what transformers reads on the right.
_NAMES = {
    "n_embd": "hidden_size",
    "n_head": "num_attention_heads",
    "n_inner": "intermediate_size",
    "n_layer": "num_hidden_layers",
    "layer_norm_epsilon": "layer_norm_eps",
    # Not n_positions: after the trained ones nomic stretches positions by the longest text.
    "max_trained_positions": "max_position_embeddings",
}
_HEAD_SIZES = ("hidden_size", "num_attention_heads")
# What the architecture of transformers computes, whatever config.json says.
_FIXED: dict[str, tuple[Any, ...]] = {
    "activation_function": ("swiglu",),
    "causal": (False, None),
    "mlp_fc1_bias": (False, None),
    "mlp_fc2_bias": (False, None),
    "parallel_block": (False, None),
    "prenorm": (False, None),
    "qkv_proj_bias": (False, None),
    "rotary_emb_fraction": (1.0,),
    "rotary_emb_interleaved": (False, None),
    "use_rms_norm": (False, None),
}


def native_sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a config.json says under the names of GPT-2 alone, under those of transformers.

    Of another model than nomic_bert nothing is read, as below.
    """
    if config.get("model_type") != "nomic_bert":
        return {}
    sizes = {
        native: config[name]
        for name, native in _NAMES.items()
        if config.get(name) is not None and native not in config
    }
    width, n_heads = ({**config, **sizes}.get(name) for name in _HEAD_SIZES)
    if sizes and width and n_heads and "head_dim" not in config:
        # transformers takes it from its own sizes before it reads these.
        sizes["head_dim"] = width // n_heads
    base = config.get("rotary_emb_base")
    if base is not None and not {"rope_parameters", "rope_theta"} & config.keys():
        sizes["rope_parameters"] = {"rope_type": "default", "rope_theta": float(base)}
    return sizes


def foreign_settings(config: Mapping[str, Any]) -> list[str]:
    """Settings that the architecture of transformers does not honour, as ``name=value``."""
    if config.get("model_type") != "nomic_bert":
        return []
    return [
        f"{name}={config[name]!r}"
        for name, fitting in _FIXED.items()
        if name in config and config[name] not in fitting
    ]
