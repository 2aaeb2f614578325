"""Models for real servers: a causal one with random weights, and GGUF files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

from latechunk_integrations import LateChunkEngine
from tests.real_servers.places import CONVERTER
from tests.tiny_models import CORPUS

__all__ = ["CAUSAL_WINDOW", "convert_to_gguf", "load_here", "save_causal_model"]

CAUSAL_WINDOW = 256
_WIDTH = 64
_END = "<|endoftext|>"


def load_here(folder: Path, **options: Any) -> LateChunkEngine:
    """An engine over a model on this machine, in float32, which reads as servers do.

    Servers give token embeddings of running text, without focus.
    """
    return LateChunkEngine.from_pretrained(
        str(folder), dtype="float32", device="cpu", layout="text", focus=0.0, **options
    )


def save_causal_model(folder: Path) -> Path:
    """A sentence-transformers folder of a tiny Qwen3, as Qwen3-Embedding has it but pooled by mean.

    Its texts end with a special token and begin with none, its pre-tokenizer is GPT-2's, and its
    heads have 32 numbers, the fewest that vLLM's attention on a CPU takes.
    """
    torch.manual_seed(0)
    tokenizer = _tokenizer()
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=_WIDTH,
        intermediate_size=2 * _WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=1_024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen3Model(config)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    raw = folder / "transformer"
    model.save_pretrained(raw)
    tokenizer.save_pretrained(raw)
    modules: list[torch.nn.Module] = [Transformer(str(raw)), Pooling(_WIDTH, "mean")]
    sentence_model = SentenceTransformer(modules=modules)
    sentence_model.max_seq_length = CAUSAL_WINDOW
    sentence_model.save(str(folder / "model"), create_model_card=False)
    return folder / "model"


def _tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=[_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {_END}", pair=f"$A {_END} $B {_END}", special_tokens=[(_END, 0)]
    )
    parts: dict[str, Any] = {"eos_token": _END, "pad_token": _END}
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **parts)  # type: ignore[no-untyped-call]  # transformers has no types here
    made.model_max_length = CAUSAL_WINDOW
    return made


# The converter knows pre-tokenizers by what known vocabularies make of a text; ours is none.
_AS_GPT2 = """
import runpy, sys
sys.path[:0] = {paths!r}
import conversion
from conversion.base import TextModel
TextModel.get_vocab_base_pre = lambda self, tokenizer: "gpt-2"
sys.argv = {argv!r}
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def convert_to_gguf(
    folder: Path, target: Path, precision: Literal["f32", "q8_0"], *, gpt2: bool = False
) -> Path:
    """Write a model as GGUF, with llama.cpp's own converter.

    Args:
        folder: The model.
        target: The file to write.
        precision: Of its matrices.
        gpt2: Whether it is to be told that the pre-tokenizer is GPT-2's.
    """
    script = str(CONVERTER / "convert_hf_to_gguf.py")
    argv = [script, str(folder), "--outfile", str(target), "--outtype", precision]
    command = [sys.executable, *argv]
    if gpt2:
        paths = [str(CONVERTER / "gguf-py"), str(CONVERTER)]
        command = [sys.executable, "-c", _AS_GPT2.format(paths=paths, argv=argv)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the converter failed:\n{done.stderr[-3_000:]}")
    return target
