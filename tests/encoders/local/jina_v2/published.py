"""Tiny random checkpoints, in the layout in which jina-embeddings-v2 is published."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from transformers import PreTrainedTokenizerFast

from tests.tiny_models import wordpiece_tokenizer

Weights = dict[str, NDArray[np.float32]]

REMOTE_CODE = "modeling_bert.py"


def published_config(**changes: Any) -> dict[str, Any]:
    """The config.json of jina-embeddings-v2-base-en, with small sizes."""
    return {
        "_name_or_path": "jinaai/jina-embeddings-v2-base-en",
        "model_max_length": 8192,
        "architectures": ["JinaBertForMaskedLM"],
        "attention_probs_dropout_prob": 0.1,
        "auto_map": {
            "AutoConfig": "configuration_bert.JinaBertConfig",
            "AutoModel": "modeling_bert.JinaBertModel",
        },
        "classifier_dropout": None,
        "emb_pooler": "mean",
        "feed_forward_type": "geglu",
        "gradient_checkpointing": False,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": 48,
        "initializer_range": 0.02,
        "intermediate_size": 64,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 8192,
        "model_type": "bert",
        "num_attention_heads": 12,
        "num_hidden_layers": 2,
        "pad_token_id": 0,
        "position_embedding_type": "alibi",
        "torch_dtype": "float32",
        "transformers_version": "4.26.0",
        "type_vocab_size": 2,
        "use_cache": True,
        "vocab_size": 320,
    } | changes


def random_weights(
    config: Mapping[str, Any], *, qk_norm: bool = False, code: bool = False, seed: int = 0
) -> Weights:
    """Random weights by their published names, without a prefix.

    Args:
        config: What `published_config` gives.
        qk_norm: Layer norms of queries and keys.
        code: The other layers of jina-embeddings-v2-base-code.
        seed: Of the random numbers.
    """
    random = np.random.default_rng(seed)
    weights: Weights = {}

    def matrix(name: str, *shape: int) -> None:
        weights[f"{name}.weight"] = random.normal(0, 0.3, shape).astype(np.float32)

    def linear(name: str, n_out: int, n_in: int) -> None:
        matrix(name, n_out, n_in)
        weights[f"{name}.bias"] = random.normal(0, 0.2, n_out).astype(np.float32)

    def norm(name: str) -> None:
        weights[f"{name}.weight"] = random.uniform(0.5, 1.5, width).astype(np.float32)
        weights[f"{name}.bias"] = random.normal(0, 0.2, width).astype(np.float32)

    width, wide = config["hidden_size"], config["intermediate_size"]
    matrix("embeddings.word_embeddings", config["vocab_size"], width)
    matrix("embeddings.token_type_embeddings", config["type_vocab_size"], width)
    norm("embeddings.LayerNorm")
    for layer in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            linear(f"{at}.attention.self.{part}", width, width)
        linear(f"{at}.attention.output.dense", width, width)
        norm(f"{at}.attention.output.LayerNorm")
        if qk_norm:
            norm(f"{at}.attention.self.layer_norm_q")
            norm(f"{at}.attention.self.layer_norm_k")
        if code:
            norm(f"{at}.layer_norm_1")
            norm(f"{at}.layer_norm_2")
            matrix(f"{at}.mlp.up_gated_layer", 2 * wide, width)
            linear(f"{at}.mlp.down_layer", width, wide)
        else:
            matrix(f"{at}.mlp.gated_layers", 2 * wide, width)
            linear(f"{at}.mlp.wo", width, wide)
            norm(f"{at}.mlp.layernorm")
    linear("pooler.dense", width, width)
    return weights


def save_checkpoint(
    folder: Path,
    config: Mapping[str, Any],
    weights: Mapping[str, NDArray[np.float32]],
    *,
    prefix: str = "",
    n_shards: int = 1,
    sentence_transformers: bool = True,
) -> Path:
    """Write a folder as the hub has it.

    Args:
        folder: Where to.
        config: What `published_config` gives.
        weights: By published names.
        prefix: Put before each name.
        n_shards: Files that the weights are spread over, with an index if more than one.
        sentence_transformers: Whether modules.json and its kin are there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _tokenizer().save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(config))
    # Whoever imports the code that auto_map names leaves a trace and fails.
    trap = "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\nraise SystemExit\n"
    for name in (REMOTE_CODE, "configuration_bert.py"):
        (folder / name).write_text(trap)
    _save_weights(folder, {prefix + name: value for name, value in weights.items()}, n_shards)
    if sentence_transformers:
        _save_modules(folder, config["hidden_size"])
    return folder


@lru_cache
def _tokenizer() -> PreTrainedTokenizerFast:
    """One for all folders: equal merges are broken by chance in training."""
    tokenizer = wordpiece_tokenizer()
    tokenizer.model_max_length = 2**31
    return tokenizer


def _save_weights(folder: Path, weights: Weights, n_shards: int) -> None:
    if n_shards == 1:
        save_file(weights, folder / "model.safetensors")
        return
    names = list(weights)
    weight_map: dict[str, str] = {}
    for shard in range(n_shards):
        file = f"model-{shard + 1:05}-of-{n_shards:05}.safetensors"
        save_file({name: weights[name] for name in names[shard::n_shards]}, folder / file)
        weight_map |= dict.fromkeys(names[shard::n_shards], file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _save_modules(folder: Path, width: int) -> None:
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {
            "idx": 1,
            "name": "1",
            "path": "1_Pooling",
            "type": "sentence_transformers.models.Pooling",
        },
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(
        json.dumps({"max_seq_length": 1024, "do_lower_case": False})
    )
    pooling = {
        "word_embedding_dimension": width,
        "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    }
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
