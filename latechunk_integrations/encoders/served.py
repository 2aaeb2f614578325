"""What a vector of a served model is: from its files, without its weights."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sentence_transformers.util import load_file_path
from transformers import AutoTokenizer

from latechunk_integrations.core.pooling import PoolingMode
from latechunk_integrations.encoders.tokenization import OffsetTokenizer
from latechunk_integrations.errors import ContractError, ModelLoadError, OptionError
from latechunk_integrations.options import PoolingChoice

__all__ = ["ServedContract", "pool_rows", "read_served_model", "resolve_served_pooling"]

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
class ServedContract:
    """What a vector of a served model is.

    Args:
        pooling_mode: Pooling mode as sentence-transformers names it.
        prompt_pooled: Whether the prompt is pooled.
        document_prompt: Prefix of passages.
        query_prompt: Prefix of queries.
        max_seq_length: Window length that the model declares; None if it declares none.
        unit_length: The model's own vectors have unit length.
    """

    pooling_mode: str
    prompt_pooled: bool
    document_prompt: str
    query_prompt: str
    max_seq_length: int | None
    unit_length: bool

    def to_dict(self) -> dict[str, Any]:
        """The contract as plain values."""
        return asdict(self)


def read_served_model(name: str, revision: str | None) -> tuple[OffsetTokenizer, ServedContract]:
    """The tokenizer and the contract of a model, from its files without weights.

    Args:
        name: A hub name or a local folder; a folder needs the tokenizer's files, and
            ``modules.json`` with what it names, where the model has one.
        revision: Branch, tag or commit of a hub model.

    Raises:
        ModelLoadError: There is no tokenizer.
        ContractError: The model has modules that a server does not apply to chunks.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
    except Exception as error:
        raise ModelLoadError(
            f"cannot read the tokenizer of {name!r}, which the server's model is read with: point "
            f"tokenizer= at a local folder with its tokenizer.json. ({error})"
        ) from error
    modules = _json(name, "modules.json", revision) or []
    kinds = [str(module["type"]).rsplit(".", 1)[-1] for module in modules]
    others = [kind for kind in kinds if kind not in ("Transformer", "Pooling", "Normalize")]
    if others or (kinds and kinds[:2] != ["Transformer", "Pooling"]):
        raise ContractError(
            f"{name!r} consists of {', '.join(kinds)}: a server gives token embeddings, and "
            "nothing applies the others to chunks; load this model with encoder='local'"
        )
    pooling = _json(name, f"{modules[1]['path']}/config.json", revision) if modules else {}
    transformer = _json(name, "sentence_bert_config.json", revision) or {}
    length = transformer.get("max_seq_length") or tokenizer.model_max_length
    settings = _json(name, "config_sentence_transformers.json", revision) or {}
    contract = ServedContract(
        pooling_mode=_pooling_mode(pooling or {}),
        prompt_pooled=bool((pooling or {}).get("include_prompt", True)),
        document_prompt=_prompt(settings, _DOCUMENT_PROMPTS),
        query_prompt=_prompt(settings, _QUERY_PROMPTS),
        max_seq_length=int(length) if length and length < _NO_LIMIT else None,
        unit_length="Normalize" in kinds,
    )
    return OffsetTokenizer(tokenizer), contract


def resolve_served_pooling(choice: PoolingChoice, pooling_mode: str, model: str) -> PoolingMode:
    """The pooling mode of chunks, with a warning where late chunking breaks the contract.

    Raises:
        OptionError: ``auto`` and the model pools in a way that has no counterpart per chunk.
    """
    if choice != "auto":
        return choice
    own = _MODES.get(pooling_mode)
    if own is None:
        raise OptionError(
            f"{model!r} pools by {pooling_mode!r}, which has no counterpart for a chunk; choose "
            "pooling='mean' to accept the difference"
        )
    if own == "cls":
        logger.warning(
            "%r was trained with CLS pooling: chunks are mean-pooled, off its training. Accept it "
            "with pooling='mean', lower context_weight, or serve a model with mean pooling",
            model,
        )
        return "mean"
    return own


def pool_rows(
    matrix: NDArray[np.float32], pooling_mode: str, n_skipped: int
) -> NDArray[np.float32]:
    """A whole text's vector by the model's own pooling, float32, shape ``(dim,)``.

    Args:
        matrix: Token embeddings, shape ``(n_tokens, dim)``.
        pooling_mode: As sentence-transformers names it.
        n_skipped: Tokens in front that are not pooled.

    Raises:
        OptionError: There is no such mode.
    """
    rows = matrix[n_skipped:].astype(np.float64)
    if pooling_mode == "mean":
        vector = rows.mean(axis=0)
    elif pooling_mode == "weightedmean":
        weights = np.arange(n_skipped + 1, len(matrix) + 1, dtype=np.float64)
        vector = weights @ rows / weights.sum()
    elif pooling_mode in ("cls", "lasttoken"):
        vector = rows[0 if pooling_mode == "cls" else -1]
    else:
        raise OptionError(f"pooling mode {pooling_mode!r} is not known")
    return np.asarray(vector, dtype=np.float32)


def _json(name: str, file: str, revision: str | None) -> Any:
    path = load_file_path(name, file, revision=revision)
    if path is None:
        return None
    with open(path, encoding="utf-8") as content:  # noqa: PTH123  # the hub gives a str
        return json.load(content)


def _pooling_mode(pooling: dict[str, Any]) -> str:
    """The mode from either shape of the file; mean where a model has no such file."""
    if "pooling_mode" in pooling:
        return str(pooling["pooling_mode"])
    flags = [
        name for name, on in pooling.items() if name.startswith("pooling_mode_") and on is True
    ]
    if len(flags) > 1:
        raise ContractError(f"several pooling modes at once cannot be done per chunk: {flags}")
    names = {"mean_tokens": "mean", "cls_token": "cls", "max_tokens": "max"}
    mode = flags[0].removeprefix("pooling_mode_") if flags else "mean"
    return names.get(mode, mode.removesuffix("_tokens"))


def _prompt(settings: dict[str, Any], names: tuple[str, ...]) -> str:
    prompts = settings.get("prompts") or {}
    default = settings.get("default_prompt_name")
    found = [name for name in (*names, default) if name in prompts]
    return str(prompts[found[0]] or "") if found else ""
