"""Real tokenizers trained in a moment, written as the published models keep them on disk."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from tests.tiny_models import CORPUS

TokenizerKind: TypeAlias = Literal[
    "bert", "mpnet", "modernbert", "llama3", "qwen2", "xlm_roberta", "gemma"
]

_QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# What stands in tokenizer_config.json besides the window length.
_CONFIGS: dict[TokenizerKind, dict[str, Any]] = {
    "bert": {"tokenizer_class": "BertTokenizer", "do_lower_case": True},
    "mpnet": {"tokenizer_class": "MPNetTokenizer", "do_lower_case": True},
    "modernbert": {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "unk_token": "[UNK]",
        "model_input_names": ["input_ids", "attention_mask"],
    },
    "llama3": {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|end_of_text|>",
        "pad_token": "<|end_of_text|>",
        "model_input_names": ["input_ids", "attention_mask"],
    },
    "qwen2": {
        "tokenizer_class": "Qwen2Tokenizer",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "padding_side": "left",
        "chat_template": "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
        "<|im_end|>\n{% endfor %}",
    },
    "xlm_roberta": {"tokenizer_class": "XLMRobertaTokenizer"},
    "gemma": {"tokenizer_class": "GemmaTokenizer", "padding_side": "right"},
}


def write_tokenizer(folder: Path, kind: TokenizerKind, window: int) -> Tokenizer:
    """``tokenizer.json`` and ``tokenizer_config.json`` of a family; returns the tokenizer."""
    tokenizer = Tokenizer.from_str(_trained(kind))
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {**_CONFIGS[kind], "model_max_length": window}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return tokenizer


@lru_cache
def _trained(kind: TokenizerKind) -> str:
    return {
        "bert": _bert,
        "mpnet": _mpnet,
        "modernbert": _modernbert,
        "llama3": _llama3,
        "qwen2": _qwen2,
        "xlm_roberta": _xlm_roberta,
        "gemma": _gemma,
    }[kind]().to_str()


def _around(tokenizer: Tokenizer, front: str | None, back: str | None) -> Tokenizer:
    """Special tokens in front of and behind a text."""
    names = [name for name in (front, back) if name]
    single = " ".join(part for part in (front, "$A", back) if part)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single,
        pair=f"{single} $B:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in names],
    )
    return tokenizer


def _word_piece(special: list[str], unknown: str) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token=unknown))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=special)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def _bert() -> Tokenizer:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return _around(_word_piece(special, "[UNK]"), "[CLS]", "[SEP]")


def _mpnet() -> Tokenizer:
    special = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"]
    return _around(_word_piece(special, "[UNK]"), "<s>", "</s>")


def _byte_level(special: list[str], words: str | None) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=words is None)
    tokenizer.pre_tokenizer = (
        last
        if words is None
        else pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(words), "isolated"), last])
    )
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def _modernbert() -> Tokenizer:
    return _around(_byte_level(["[PAD]", "[UNK]", "[CLS]", "[SEP]"], None), "[CLS]", "[SEP]")


def _llama3() -> Tokenizer:
    special = ["<|begin_of_text|>", "<|end_of_text|>"]
    return _around(_byte_level(special, _QWEN_WORDS), *special)


def _qwen2() -> Tokenizer:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    return _around(_byte_level(special, _QWEN_WORDS), None, "<|endoftext|>")


def _xlm_roberta() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always"),
        ]
    )
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.UnigramTrainer(vocab_size=250, special_tokens=special, unk_token="<unk>")
    tokenizer.train_from_iterator(CORPUS, trainer)
    return _around(tokenizer, "<s>", "</s>")


def _gemma() -> Tokenizer:
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    # A byte that no piece holds becomes a token such as <0xF0>.
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=special + byte_tokens)
    tokenizer.train_from_iterator(CORPUS, trainer)
    layout = json.loads(tokenizer.to_str())
    layout["added_tokens"] = [t for t in layout["added_tokens"] if t["content"] in special]
    plain = Tokenizer.from_str(json.dumps(layout))
    plain.add_special_tokens([AddedToken(name, normalized=False) for name in special])
    return _around(plain, "<bos>", "<eos>")
