"""The model contract: what the model's own files say about windows, pooling and prompts."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import Any

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

from latechunk_integrations.core.pooling import PoolingMode
from latechunk_integrations.errors import ContractError, OptionError
from latechunk_integrations.options import PoolingChoice

__all__ = ["ModelContract", "read_contract", "resolve_pooling"]

logger = logging.getLogger(__name__)

# The order in which sentence-transformers looks for a prompt, `encode_document`.
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")
_QUERY_PROMPTS = ("query",)

_MODES: dict[str, PoolingMode] = {
    "mean": "mean",
    "lasttoken": "last",
    "cls": "cls",
    "weightedmean": "weighted",
}
# Tokenizers without a limit of their own report a number of this kind.
_NO_LIMIT = 10**9


@dataclass(frozen=True)
class ModelContract:
    """What a vector of this model is, read from the model's own files.

    Args:
        architecture: ``model_type`` of the transformer.
        max_seq_length: Window length that the model declares; None if it declares none.
        max_positions: Positions that the transformer can count; None if there is no limit.
        pooling_mode: Pooling mode as sentence-transformers names it.
        prompt_pooled: Whether the prompt is pooled.
        document_prompt: Prefix of passages.
        query_prompt: Prefix of queries.
        heads: Class names of the modules after pooling, in order.
        dimensions: Width of a vector before truncation.
        similarity: Similarity that the model was trained for.
    """

    architecture: str
    max_seq_length: int | None
    max_positions: int | None
    pooling_mode: str
    prompt_pooled: bool
    document_prompt: str
    query_prompt: str
    heads: tuple[str, ...]
    dimensions: int
    similarity: str

    def to_dict(self) -> dict[str, Any]:
        """The contract as plain values."""
        return asdict(self)


def read_contract(model: SentenceTransformer) -> ModelContract:
    """Read the contract of a loaded model.

    Raises:
        ContractError: The model is not a transformer followed by one pooling module.
    """
    modules = list(model)
    pooling_at = [i for i, module in enumerate(modules) if isinstance(module, Pooling)]
    if not isinstance(modules[0], Transformer) or len(pooling_at) != 1:
        names = ", ".join(type(module).__name__ for module in modules)
        raise ContractError(
            f"late chunking needs a transformer followed by one Pooling module; this model has "
            f"{names}"
        )
    pooling = next(module for module in modules if isinstance(module, Pooling))
    if not isinstance(pooling.pooling_mode, str) or pooling.pooling_mode not in (
        *_MODES,
        "mean_sqrt_len_tokens",
        "max",
    ):
        raise ContractError(f"pooling mode {pooling.pooling_mode!r} cannot be done per chunk")
    return ModelContract(
        architecture=str(modules[0].config.model_type),
        max_seq_length=_declared_length(model),
        max_positions=_position_limit(modules[0]),
        pooling_mode=pooling.pooling_mode,
        prompt_pooled=bool(pooling.include_prompt),
        document_prompt=_prompt(model, _DOCUMENT_PROMPTS),
        query_prompt=_prompt(model, _QUERY_PROMPTS),
        heads=tuple(type(module).__name__ for module in modules[pooling_at[0] + 1 :]),
        dimensions=model.get_embedding_dimension() or pooling.get_embedding_dimension(),
        similarity=str(model.similarity_fn_name),
    )


def resolve_pooling(choice: PoolingChoice, contract: ModelContract) -> PoolingMode:
    """The pooling mode to use, with a warning where late chunking breaks the contract.

    Raises:
        OptionError: ``auto`` and the model pools in a way that has no counterpart per chunk.
    """
    own = _MODES.get(contract.pooling_mode)
    if choice != "auto":
        if choice == "cls":
            logger.warning(
                "pooling='cls': all chunks of one window share a vector; use it for ablation only"
            )
        return choice
    if own is None:
        raise OptionError(
            f"this model pools by {contract.pooling_mode!r}, which has no counterpart for a "
            "chunk; choose pooling='mean' to accept the difference"
        )
    if own == "cls":
        logger.warning(
            "this model was trained with CLS pooling: late chunking pools the mean of a chunk's "
            "tokens, off its training. Accept it with pooling='mean', lower context_weight, or "
            "choose a model with mean pooling"
        )
        return "mean"
    return own


def _declared_length(model: SentenceTransformer) -> int | None:
    length = model.max_seq_length
    return None if length is None or length > _NO_LIMIT else int(length)


def _position_limit(transformer: Transformer) -> int | None:
    """Tokens that the position table or the rotary range of the transformer can count."""
    config = transformer.config
    limit = getattr(config, "max_position_embeddings", None)
    if not isinstance(limit, int) or limit <= 0:
        return None
    for module in transformer.model.modules():
        # RoBERTa and its kin count positions from behind the padding index.
        padding = getattr(module, "padding_idx", None)
        table = getattr(module, "position_embeddings", None)
        if isinstance(padding, int) and getattr(table, "padding_idx", None) == padding:
            return limit - padding - 1
    return limit


def _prompt(model: SentenceTransformer, names: tuple[str, ...]) -> str:
    for name in names:
        if name in model.prompts:
            return str(model.prompts[name] or "")
    default = model.default_prompt_name
    return str(model.prompts.get(default) or "") if default else ""
