"""What a vector of a served model is: from its files, without its weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.encoders.model.contract import warn_once
from latechunk_integrations.encoders.model.families import ModelCard
from latechunk_integrations.encoders.model.heads import Head, read_heads
from latechunk_integrations.encoders.model.prompts import own_prompts
from latechunk_integrations.encoders.model.published import PublishedFiles, as_mapping
from latechunk_integrations.encoders.model.tokenization import OffsetTokenizer
from latechunk_integrations.encoders.model.tokenizer_files import declared_length, read_tokenizer
from latechunk_integrations.encoders.model.vector_contract import VectorContract
from latechunk_integrations.errors import ContractError, ModelLoadError, OptionError


def read_served_model(
    name: str, revision: str | None, card: ModelCard | None, query_prompt_name: str | None = None
) -> tuple[OffsetTokenizer, VectorContract, tuple[Head, ...]]:
    """The tokenizer, the contract and the heads of a model, from its files.

    Args:
        name: A hub name or a local folder; a folder needs ``tokenizer.json``, and
            ``modules.json`` with what it names, where the model has one: not the transformer's
            weights, but those of the modules after pooling.
        revision: Branch, tag or commit of a hub model.
        card: What its card says where the files are silent.
        query_prompt_name: Name of the prompt that is to be the queries'; None: the model's own.

    Raises:
        ModelLoadError: There is no tokenizer.
        ContractError: The model has modules that a server does not apply to chunks, or says
            that it pools and not how.
        OptionError: The files state no prompt of that name.
    """
    files = PublishedFiles(name, revision)
    try:
        tokenizer = read_tokenizer(files)
    except ModelLoadError as error:
        raise ModelLoadError(
            f"{error}. The server's model is read with it: point tokenizer= at such a folder"
        ) from error
    _check_modules(files)
    pooling = _read_pooling(files)
    transformer = as_mapping(files.json("sentence_bert_config.json"))
    length = transformer.get("max_seq_length") or declared_length(files)
    settings = as_mapping(files.json("config_sentence_transformers.json"))
    stated = settings.get("prompts") or {}
    prompts = own_prompts(stated, card, query_prompt_name=query_prompt_name)
    trained = files.config.get("matryoshka_dimensions")
    # As `read_contract` has it for models of this process.
    by_layer_norm = card.layer_norm if card else files.config.get("model_type") == "nomic_bert"
    contract = VectorContract(
        pooling_mode=_pooling_mode(pooling),
        prompt_pooled=bool(pooling.get("include_prompt", True)),
        document_prompt=prompts.document,
        query_prompt=prompts.query,
        prompt_names=prompts.names,
        title_template=prompts.slot.template if prompts.slot else None,
        max_seq_length=int(length) if length else None,
        matryoshka=tuple(trained) if trained else (card.dimensions if card else ()),
        least_dimensions=card.least_dimensions if card else None,
        truncation_layer_norm=by_layer_norm,
    )
    return OffsetTokenizer(tokenizer), contract, read_heads(files)


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


def _check_modules(files: PublishedFiles) -> None:
    """Refuse a model whose token embeddings are not what its Pooling module reads."""
    kinds = [str(module.get("type")).rsplit(".", 1)[-1] for module in files.modules]
    if not kinds:
        warn_once(
            files.model,
            f"{files.model!r} has no modules.json: mean pooling and no prompts of its own are "
            "assumed. If the model has one, put modules.json, the folder 1_Pooling, "
            "config_sentence_transformers.json and sentence_bert_config.json beside the tokenizer",
        )
    elif kinds[:2] != ["Transformer", "Pooling"]:
        raise ContractError(
            f"{files.model!r} consists of {', '.join(kinds)}: a server gives token embeddings, and "
            "nothing applies what is between them and the pooling; load this model with "
            "encoder='local'"
        )


def _read_pooling(files: PublishedFiles) -> dict[str, Any]:
    if not files.modules:
        return {}
    folder = str(files.modules[1].get("path", ""))
    pooling = files.json("config.json", folder)
    if not isinstance(pooling, dict):
        raise ContractError(
            f"{files.model!r} names a Pooling module in modules.json, and {folder}/config.json "
            "cannot be read: put it beside the tokenizer"
        )
    return pooling


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
