"""The contract of a loaded model: what its modules and configuration say."""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize
from sentence_transformers.sentence_transformer.modules import (
    Dropout,
    Pooling,
    Transformer,
    WeightedLayerPooling,
)

from latechunk_integrations.encoders.local.probe import TransformerProbe
from latechunk_integrations.encoders.model.contract import POOLING_MODES, ModelContract
from latechunk_integrations.encoders.model.families import ModelCard
from latechunk_integrations.encoders.model.prompts import ModelPrompts
from latechunk_integrations.encoders.model.vector_contract import HeadContract
from latechunk_integrations.errors import ContractError

_MODES_WITHOUT_COUNTERPART = ("mean_sqrt_len_tokens", "max")
# Modules between transformer and pooling that see one token at a time.
_TOKEN_MODULES = (Transformer, Dense, Normalize, Dropout, WeightedLayerPooling)
# Rotary scaling that goes by the longest text of a batch.
_STRETCHED_BY_OTHERS = ("dynamic", "longrope")
# Tokenizers without a limit of their own report a number of this kind.
_NO_LIMIT = 10**9


def check_modules(model: SentenceTransformer) -> None:
    """Refuse a model that late chunking has no counterpart for.

    Raises:
        ContractError: The model is not a transformer followed by one pooling module, or reads
            texts in another way than token by token.
    """
    _transformer_and_pooling(list(model))


def read_contract(
    model: SentenceTransformer,
    probe: TransformerProbe,
    card: ModelCard | None,
    prompts: ModelPrompts,
    loras: tuple[str, ...],
) -> ModelContract:
    """Read the contract of a loaded model.

    Raises:
        ContractError: The model is not a transformer followed by one pooling module, or reads
            texts in another way than token by token.
    """
    modules = list(model)
    transformer, pooling, at = _transformer_and_pooling(modules)
    width, heads = _token_width(probe.width, modules[1:at], pooling), []
    for module in modules[at + 1 :]:
        before, width = width, _width_behind(module, width)
        heads.append(HeadContract(type(module).__name__, before, width))
    limit = _position_limit(transformer)
    trained = _trained_dimensions(transformer, card)
    return ModelContract(
        architecture=str(transformer.config.model_type),
        causal=probe.causal,
        max_seq_length=_declared_length(model, transformer, limit),
        max_positions=limit,
        padding_side=str(model.tokenizer.padding_side),
        pooling_mode=str(pooling.pooling_mode),
        prompt_pooled=bool(pooling.include_prompt),
        document_prompt=prompts.document,
        query_prompt=prompts.query,
        prompt_source=prompts.source,
        prompt_names=prompts.names,
        title_template=prompts.slot.template if prompts.slot else None,
        empty_title=prompts.slot.empty if prompts.slot else "",
        heads=tuple(heads),
        dimensions=model.get_embedding_dimension() or width,
        matryoshka=trained,
        least_dimensions=card.least_dimensions if card else None,
        truncation_layer_norm=_norm_before_truncation(transformer, heads, card),
        similarity=str(model.similarity_fn_name),
        loras=loras,
    )


def _transformer_and_pooling(modules: list[torch.nn.Module]) -> tuple[Transformer, Pooling, int]:
    names = ", ".join(type(module).__name__ for module in modules)
    found = [(i, module) for i, module in enumerate(modules) if isinstance(module, Pooling)]
    transformer = modules[0]
    if not isinstance(transformer, Transformer) or len(found) != 1:
        raise ContractError(
            f"late chunking needs a transformer followed by one Pooling module; this model has "
            f"{names}"
        )
    ((at, pooling),) = found
    if not all(isinstance(module, _TOKEN_MODULES) for module in modules[:at]):
        raise ContractError(
            f"a module before pooling looks at more than one token of a text at a time; this "
            f"model has {names}"
        )
    if "message" in transformer.modality_config:
        raise ContractError(
            "this model reads texts through a chat template, whose tokens belong to no text; "
            "late chunking needs a model that reads plain text"
        )
    if pooling.pooling_mode not in (*POOLING_MODES, *_MODES_WITHOUT_COUNTERPART):
        raise ContractError(f"pooling mode {pooling.pooling_mode!r} cannot be done per chunk")
    return transformer, pooling, at


def _token_width(width: int, between: list[torch.nn.Module], pooling: Pooling) -> int:
    """Width of what is pooled; what the files say of each module must fit the one before it."""
    stated = pooling.get_embedding_dimension()
    for module in between:
        width = _width_behind(module, width)
    if stated != width:
        raise ContractError(
            f"the Pooling module of this model reads vectors of {stated} numbers, and the modules "
            f"before it give {width}: its files do not belong together"
        )
    return width


def _width_behind(module: torch.nn.Module, width: int) -> int:
    read = getattr(module, "in_features", width)
    if read != width:
        raise ContractError(
            f"the {type(module).__name__} module of this model reads vectors of {read} numbers, "
            f"and the modules before it give {width}: its files do not belong together"
        )
    return int(getattr(module, "out_features", width))


def _declared_length(
    model: SentenceTransformer, transformer: Transformer, limit: int | None
) -> int | None:
    length = model.max_seq_length
    if length is None or length > _NO_LIMIT:
        return None
    # Behind the end of a position table the model would not cut a text but break.
    has_end = (
        _position_table(transformer) is not None
        or _find_unstretched(transformer.config.get_text_config()) is not None
    )
    return min(int(length), limit) if limit is not None and has_end else int(length)


def _position_limit(transformer: Transformer) -> int | None:
    """Tokens that the position table or the rotary range of the transformer can count."""
    config = transformer.config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None)
    if not isinstance(limit, int) or limit <= 0:
        return None
    owner = _position_table(transformer)
    if owner is None:
        unstretched = _find_unstretched(config)
        return limit if unstretched is None else min(limit, unstretched)
    # RoBERTa and its kin count positions from after the padding index.
    padding = getattr(owner, "padding_idx", None)
    own_padding = owner.position_embeddings.padding_idx  # type: ignore[union-attr]  # an Embedding
    if isinstance(padding, int) and own_padding == padding:
        return limit - padding - 1
    return limit


def _position_table(transformer: Transformer) -> torch.nn.Module | None:
    """The module that owns a table of learned positions; None where there is none."""
    for module in transformer.model.modules():
        if isinstance(getattr(module, "position_embeddings", None), torch.nn.Embedding):
            return module
    return None


def _find_unstretched(config: Any) -> int | None:
    """Positions up to which longer texts do not stretch the rotary range; None: they never do.

    By the longest text of a batch, and with ``dynamic`` for those that follow: a vector would
    depend on others, so that the model is kept within the range where nothing is stretched.
    """
    parameters = getattr(config, "rope_parameters", None) or {}
    # Some models have a set for each type of layer.
    by_layer = [value for value in parameters.values() if isinstance(value, dict)]
    limits = [
        entry.get("original_max_position_embeddings") or config.max_position_embeddings
        for entry in by_layer or [parameters]
        if entry.get("rope_type") in _STRETCHED_BY_OTHERS
    ]
    return min(limits, default=None)


def _trained_dimensions(transformer: Transformer, card: ModelCard | None) -> tuple[int, ...]:
    stated = getattr(transformer.config, "matryoshka_dimensions", None)
    if isinstance(stated, list) and all(isinstance(width, int) for width in stated):
        return tuple(stated)
    return card.dimensions if card else ()


def _norm_before_truncation(
    transformer: Transformer, heads: list[HeadContract], card: ModelCard | None
) -> bool:
    """nomic-embed-text-v1.5 wants a layer norm before truncation, and its files do not say it."""
    if any(head.name == "LayerNorm" for head in heads):
        return False
    if card is not None:
        return card.layer_norm
    return bool(transformer.config.model_type == "nomic_bert")
