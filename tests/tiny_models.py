"""Tiny random models with real trained tokenizers, saved as a user would find them on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertModel,
    ModernBertConfig,
    ModernBertModel,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaModel,
)

Family: TypeAlias = Literal["wordpiece", "byte_bpe", "unigram"]
FAMILIES: tuple[Family, ...] = ("wordpiece", "byte_bpe", "unigram")
# Where each takes a second: `make test-fast` has the first.
FAMILIES_ONE_FAST = [
    FAMILIES[0],
    *(pytest.param(each, marks=pytest.mark.slow) for each in FAMILIES[1:]),
]

WIDTH = 32
_LAYERS: dict[str, Any] = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
CORPUS = [
    "The supplier delivers every part within thirty days, unless Section 1.3 says otherwise.",
    "Berlin is the capital of Germany; its 3.85 million inhabitants are proud of the café.",
    "naïve façade Ångström ﬁne ½ 日本語 東京タワー 한국어 emoji 🎉🚀 don't stop-at (all)",
    "query: passage: search_document: Title heading path of a long handbook",
] * 8


def _fast(**parts: Any) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(**parts)  # type: ignore[no-untyped-call]  # transformers has no types here


def wordpiece_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=special)
    tokenizer.train_from_iterator(CORPUS, trainer)
    pair = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=pair
    )
    return _fast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    )


def _byte_bpe() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["[PAD]", "[CLS]", "[SEP]"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    # RobertaProcessing trims offsets, so that a lone space becomes a token without text.
    tokenizer.post_processor = processors.RobertaProcessing(
        sep=("[SEP]", 2),
        cls_token=("[CLS]", 1),
        trim_offsets=True,
        add_prefix_space=False,
    )
    return _fast(
        tokenizer_object=tokenizer, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )


def _unigram() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=250, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], unk_token="<unk>"
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    pair = [(name, tokenizer.token_to_id(name)) for name in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=pair
    )
    return _fast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        cls_token="<s>",
        sep_token="</s>",
    )


def _transformer(
    family: Family, positions: int, width: int
) -> tuple[torch.nn.Module, PreTrainedTokenizerFast]:
    layers = {**_LAYERS, "hidden_size": width}
    if family == "wordpiece":
        tokenizer = wordpiece_tokenizer()
        bert = BertConfig(
            vocab_size=len(tokenizer),
            intermediate_size=64,
            max_position_embeddings=positions,
            **layers,
        )
        return BertModel(bert), tokenizer
    if family == "byte_bpe":
        tokenizer = _byte_bpe()
        modern = ModernBertConfig(
            vocab_size=len(tokenizer),
            intermediate_size=48,
            max_position_embeddings=positions,
            pad_token_id=tokenizer.pad_token_id,
            cls_token_id=tokenizer.cls_token_id,
            sep_token_id=tokenizer.sep_token_id,
            bos_token_id=tokenizer.cls_token_id,
            eos_token_id=tokenizer.sep_token_id,
            local_attention=16,
            **layers,
        )
        return ModernBertModel(modern), tokenizer
    tokenizer = _unigram()
    roberta = XLMRobertaConfig(
        vocab_size=len(tokenizer),
        intermediate_size=64,
        max_position_embeddings=positions + 2,
        pad_token_id=tokenizer.pad_token_id,
        **layers,
    )
    return XLMRobertaModel(roberta), tokenizer


def save_tiny_model(
    folder: Path,
    family: Family,
    *,
    window: int = 64,
    prompts: Mapping[str, str] | None = None,
    pooling: str = "mean",
    include_prompt: bool = True,
    heads: Sequence[Literal["dense", "normalize"]] = (),
    seed: int = 0,
    width: int = WIDTH,
) -> Path:
    """A sentence-transformers folder whose random weights tell tokens apart."""
    torch.manual_seed(seed)
    model, tokenizer = _transformer(family, positions=512, width=width)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    raw = folder / "transformer"
    model.save_pretrained(raw)  # type: ignore[operator]  # a PreTrainedModel
    tokenizer.model_max_length = window
    tokenizer.save_pretrained(raw)
    modules: list[torch.nn.Module] = [
        Transformer(str(raw)),
        Pooling(width, pooling, include_prompt=include_prompt),
    ]
    modules += [Dense(width, 24) if head == "dense" else Normalize() for head in heads]
    sentence_model = SentenceTransformer(modules=modules, prompts=dict(prompts or {}))
    sentence_model.max_seq_length = window
    sentence_model.save(str(folder / "model"), create_model_card=False)
    return folder / "model"
