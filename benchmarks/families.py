"""Models to measure on: the real MiniLM, and other architectures with random weights.

Speed does not depend on weights. All have MiniLM's tokenizer, so that they read the same tokens.
A further architecture is one more function here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import AutoTokenizer, ModernBertConfig, ModernBertModel
from transformers.models.nomic_bert import NomicBertConfig, NomicBertModel

from benchmarks.harness import minilm
from tests.encoders.local.jina_v2.published import published_config, random_weights, save_checkpoint

_WIDTH = 384
_LAYERS = 6
_SHAPE: dict[str, Any] = {
    "hidden_size": _WIDTH,
    "num_hidden_layers": _LAYERS,
    "num_attention_heads": 6,
    "vocab_size": 30_522,
}
_WINDOW = 2_048


def _nomic() -> torch.nn.Module:
    return NomicBertModel(
        NomicBertConfig(intermediate_size=1_536, max_position_embeddings=_WINDOW, **_SHAPE)
    )


def _modern() -> torch.nn.Module:
    special = {"pad_token_id": 0, "cls_token_id": 101, "sep_token_id": 102}
    ends = {"bos_token_id": 101, "eos_token_id": 102}
    return ModernBertModel(
        ModernBertConfig(
            intermediate_size=768, max_position_embeddings=8_192, **special, **ends, **_SHAPE
        )
    )


def _jina(folder: Path) -> str:
    width = {"hidden_size": _WIDTH, "intermediate_size": 1_536}
    config = published_config(
        num_hidden_layers=_LAYERS, num_attention_heads=6, vocab_size=30_522, **width
    )
    path = save_checkpoint(folder / "model", config, random_weights(config))
    _tokenizer().save_pretrained(path)
    return str(path)


def _tokenizer() -> Any:
    tokenizer = AutoTokenizer.from_pretrained(minilm())
    tokenizer.model_max_length = _WINDOW
    return tokenizer


def _saved(build: Callable[[], torch.nn.Module], folder: Path) -> str:
    torch.manual_seed(0)
    raw = folder / "transformer"
    build().save_pretrained(raw)  # type: ignore[operator]  # a PreTrainedModel
    _tokenizer().save_pretrained(raw)
    model = SentenceTransformer(modules=[Transformer(str(raw)), Pooling(_WIDTH, "mean")])
    model.max_seq_length = _WINDOW
    model.save(str(folder / "model"), create_model_card=False)
    return str(folder / "model")


FAMILIES: dict[str, Callable[[Path], str]] = {
    "minilm": lambda _: minilm(),
    "nomic_bert": partial(_saved, _nomic),
    "modernbert": partial(_saved, _modern),
    "jina_v2": _jina,
}
"""From a name to a function that makes the model in a folder and gives its path."""


def model_path(name: str, folder: Path) -> str:
    """The model of a family, made in a folder; what is no family is a model's own folder."""
    return FAMILIES[name](folder) if name in FAMILIES else name
