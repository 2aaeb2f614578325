"""Published layouts as data, and tiny models with random weights written in them.

Every file stands where the real repository has it: ``config.json``, ``model.safetensors``, the
tokenizer, ``modules.json``, ``1_Pooling/config.json``, ``config_sentence_transformers.json`` with
the real prompts. Only the sizes are small.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file

from tests.tiny_tokenizers import TokenizerKind, write_tokenizer

_WINDOW = 64
_RANK = 4
_ADAPTED = ("q_proj", "v_proj", "o_proj", "fc1", "word_embeddings")


@dataclass(frozen=True)
class Layout:
    """How one model is published.

    Args:
        name: Name of its repository, and of the folder that is written.
        model: Class of transformers.
        tokenizer: Tokenizer family.
        config: Fields of ``config.json`` that are not the sizes of all.
        pooling: Pooling mode in ``1_Pooling/config.json``; None: no ``modules.json`` at all.
        heads: Modules after pooling.
        prompts: ``config_sentence_transformers.json``; None: the file is not there.
        asked: What the model's card asks for as prompts, as ``(document, query)``.
        loras: LoRAs in folders beside the model.
        width: ``hidden_size``.
        output: Width of a token embedding, where it is another one.
        positions: ``max_position_embeddings``.
        causal: Whether tokens see only what stands before them.
    """

    name: str
    model: str
    tokenizer: TokenizerKind
    config: dict[str, Any] = field(default_factory=dict)
    pooling: str | None = "mean"
    heads: tuple[str, ...] = ()
    prompts: dict[str, str] | None = None
    asked: tuple[str, str] = ("", "")
    loras: tuple[str, ...] = ()
    width: int = 32
    output: int | None = None
    positions: int = 256
    causal: bool = False

    @property
    def trained_pooling(self) -> str:
        """The pooling mode, `mean` where no file names one."""
        return self.pooling or "mean"


_BERT: tuple[str, TokenizerKind] = ("BertModel", "bert")
_NOMIC_PROMPTS = ("search_document: ", "search_query: ")
_E5_PROMPTS = ("passage: ", "query: ")
_SEARCH_QUERY = "Represent this sentence for searching relevant passages: "
_QWEN_QUERY = (
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
)
_JINA_PROMPTS = (
    "Represent the document for retrieval: ",
    "Represent the query for retrieving evidence documents: ",
)

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(
            "nomic-embed-text-v1",
            "NomicBertModel",
            "bert",
            heads=("Normalize",),
            prompts={},
            asked=_NOMIC_PROMPTS,
        ),
        Layout(
            "nomic-embed-text-v1.5",
            "NomicBertModel",
            "bert",
            prompts={},
            asked=_NOMIC_PROMPTS,
            width=128,
        ),
        Layout(
            "modernbert-embed-base",
            "ModernBertModel",
            "modernbert",
            {"local_attention": 16},
            heads=("Normalize",),
            prompts={},
            asked=_NOMIC_PROMPTS,
        ),
        Layout("e5-base-v2", *_BERT, heads=("Normalize",), asked=_E5_PROMPTS),
        Layout(
            "multilingual-e5-base",
            "XLMRobertaModel",
            "xlm_roberta",
            heads=("Normalize",),
            asked=_E5_PROMPTS,
            positions=258,
        ),
        Layout(
            "bge-m3",
            "XLMRobertaModel",
            "xlm_roberta",
            pooling="cls",
            heads=("Normalize",),
            prompts={},
            positions=258,
        ),
        Layout("ModernBERT-base", "ModernBertModel", "modernbert", pooling=None),
        Layout("EuroBERT-210m", "EuroBertModel", "llama3", {"num_key_value_heads": 1}, None),
        Layout("all-mpnet-base-v2", "MPNetModel", "mpnet", heads=("Normalize",), positions=258),
        Layout(
            "embeddinggemma-300m",
            "Gemma3TextModel",
            "gemma",
            {
                "head_dim": 16,
                "num_key_value_heads": 1,
                "query_pre_attn_scalar": 16,
                "sliding_window": 16,
                "layer_types": ["sliding_attention", "full_attention"],
                "use_bidirectional_attention": True,
            },
            heads=("Dense 32 512", "Dense 512 256", "Normalize"),
            prompts={
                "query": "task: search result | query: ",
                "document": "title: none | text: ",
                "Retrieval-query": "task: search result | query: ",
                "Retrieval-document": "title: none | text: ",
            },
            asked=("title: none | text: ", "task: search result | query: "),
        ),
        Layout(
            "embeddinggemma-2-text",
            "EmbeddingGemma2TextModel",
            "gemma",
            {
                "head_dim": 16,
                "num_key_value_heads": 1,
                "global_head_dim": 32,
                "hidden_size_per_layer_input": 16,
                "embedding_dim": 256,
                "sliding_window": 8,
                "layer_types": ["sliding_attention", "full_attention"],
            },
            heads=("Normalize",),
            prompts={
                "Document": "title: none | text: ",
                "Retrieval-query": "task: search result | query: ",
                "query": "task: search result | query: ",
                "document": "title: none | text: ",
            },
            asked=("title: none | text: ", "task: search result | query: "),
            output=256,
        ),
        Layout(
            "Qwen3-Embedding-0.6B",
            "Qwen3Model",
            "qwen2",
            {"head_dim": 16, "num_key_value_heads": 1},
            pooling="lasttoken",
            heads=("Normalize",),
            prompts={"query": _QWEN_QUERY, "document": ""},
            asked=("", _QWEN_QUERY),
            width=64,
            causal=True,
        ),
        Layout(
            "gte-multilingual-base",
            "GteModel",
            "xlm_roberta",
            pooling="cls",
            heads=("Normalize",),
            prompts={},
        ),
        Layout("gte-modernbert-base", "ModernBertModel", "modernbert", pooling="cls", prompts={}),
        Layout(
            "bge-small-en-v1.5",
            *_BERT,
            pooling="cls",
            heads=("Normalize",),
            prompts={},
            asked=("", _SEARCH_QUERY),
        ),
        Layout(
            "snowflake-arctic-embed-m-v1.5",
            *_BERT,
            pooling="cls",
            heads=("Normalize",),
            prompts={"query": _SEARCH_QUERY},
            asked=("", _SEARCH_QUERY),
        ),
        Layout(
            "jina-embeddings-v3-hf",
            "JinaEmbeddingsV3Model",
            "xlm_roberta",
            pooling=None,
            asked=_JINA_PROMPTS,
            loras=(
                "retrieval_query",
                "retrieval_passage",
                "separation",
                "classification",
                "text_matching",
            ),
            width=64,
        ),
    )
    # Of transformers for Python 3.10, which has no releases with the latest architectures.
    if hasattr(transformers, layout.model)
}


def write_model(folder: Path, layout: Layout, *, window: int = _WINDOW, seed: int = 0) -> Path:
    """The folder of a tiny model in its published layout.

    Args:
        folder: Where the folder is made; it gets the model's name.
        layout: The layout.
        window: ``max_seq_length``.
        seed: Of the random weights.
    """
    torch.manual_seed(seed)
    folder = folder / layout.name
    folder.mkdir(parents=True)
    tokenizer = write_tokenizer(folder, layout.tokenizer, window)
    model = _random_model(layout, tokenizer.get_vocab_size())
    model.save_pretrained(folder)
    for lora in layout.loras:
        _write_lora(folder / lora, model)
    if layout.pooling is None:
        return folder
    _write_json(folder / "sentence_bert_config.json", {"max_seq_length": window})
    modes = ("cls_token", "mean_tokens", "max_tokens", "lasttoken")
    pooling: dict[str, Any] = {
        f"pooling_mode_{mode}": mode.startswith(layout.pooling) for mode in modes
    }
    pooling["word_embedding_dimension"] = layout.output or layout.width
    _write_json(folder / "1_Pooling/config.json", pooling)
    if layout.prompts is not None:
        content = {"prompts": layout.prompts, "default_prompt_name": None}
        _write_json(folder / "config_sentence_transformers.json", content)
    kinds = ["Transformer", "Pooling", *layout.heads]
    modules = [_write_module(folder, i, kind) for i, kind in enumerate(kinds)]
    _write_json(folder / "modules.json", modules)
    return folder


def _random_model(layout: Layout, n_tokens: int) -> Any:
    model_class = getattr(transformers, layout.model)
    config = model_class.config_class(
        vocab_size=n_tokens,
        hidden_size=layout.width,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=layout.positions,
        **_special_ids(layout.tokenizer),
        **layout.config,
    )
    model = model_class(config)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def _special_ids(kind: TokenizerKind) -> dict[str, int]:
    return {
        "bert": {"pad_token_id": 0},
        "mpnet": {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2},
        "modernbert": {
            "pad_token_id": 0,
            "cls_token_id": 2,
            "sep_token_id": 3,
            "bos_token_id": 2,
            "eos_token_id": 3,
        },
        "llama3": {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 1, "mask_token_id": 1},
        "qwen2": {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 2},
        "xlm_roberta": {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2},
        "gemma": {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1},
    }[kind]


def _write_module(folder: Path, index: int, kind: str) -> dict[str, Any]:
    """One entry of ``modules.json``, and the files of its module."""
    name, *widths = kind.split()
    path = "" if index == 0 else f"{index}_{name}"
    if name == "Dense":
        columns, rows = map(int, widths)
        config = {
            "in_features": columns,
            "out_features": rows,
            "bias": False,
            "activation_function": "torch.nn.modules.linear.Identity",
        }
        _write_json(folder / path / "config.json", config)
        weight = torch.randn(rows, columns) / columns**0.5
        save_file({"linear.weight": weight}, folder / path / "model.safetensors")
    module = f"sentence_transformers.models.{name}"
    return {"idx": index, "name": str(index), "path": path, "type": module}


def _write_lora(folder: Path, model: torch.nn.Module) -> None:
    """A LoRA with random weights, as PEFT saves it."""
    from peft import LoraConfig

    config = LoraConfig(r=_RANK, lora_alpha=_RANK, target_modules=list(_ADAPTED))
    config.save_pretrained(str(folder))
    weights = {}
    for name, module in model.named_modules():
        if not name.endswith(_ADAPTED):
            continue
        rows, columns = module.weight.shape
        key = f"base_model.model.{name}.lora_"
        if isinstance(module, torch.nn.Embedding):
            weights[f"{key}embedding_A"] = torch.randn(_RANK, rows) * 0.3
            weights[f"{key}embedding_B"] = torch.randn(columns, _RANK) * 0.3
        else:
            weights[f"{key}A.weight"] = torch.randn(_RANK, columns) * 0.3
            weights[f"{key}B.weight"] = torch.randn(rows, _RANK) * 0.3
    save_file(weights, folder / "adapter_model.safetensors")


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")
