"""What a loaded model does, tried once: its files can say something else.

Each trial is a forward pass over a dozen tokens. Its result is kept for the process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from latechunk_integrations.encoders.base import QueryEncoder, TokenBatch, TokenEncoder
from latechunk_integrations.encoders.model.served import pool_rows
from latechunk_integrations.errors import ContractError

PROBE_TEXT = "Late Chunking: the 1st Café"
"""Capitals, an accent and digits: what a tokenizer may normalise."""

# Of the largest number: a token that another one does not reach differs by nothing at all.
_SAME = 1e-6
# Cosine to the model's own vector; half precision rounds each of the two in its own order.
_LEAST_COSINE = 0.99999
_LEAST_COSINE_HALF = 0.995

_Result = TypeVar("_Result")
_done: dict[tuple[str, ...], Any] = {}
_lock = threading.Lock()


def once(key: tuple[str, ...], trial: Callable[[], _Result]) -> _Result:
    """The result of a trial, which is made once in this process for a key; errors are not kept."""
    with _lock:
        if key in _done:
            known: _Result = _done[key]
            return known
    result = trial()
    with _lock:
        _done[key] = result
    return result


@dataclass(frozen=True)
class TransformerProbe:
    """What the first module of a model was seen to do.

    Args:
        causal: A token sees only what comes before it.
        width: Width of its token embeddings.
    """

    causal: bool
    width: int


@torch.inference_mode()
def probe_transformer(model: SentenceTransformer, name: str) -> TransformerProbe:
    """Try the first module on two texts that differ in their last token.

    Raises:
        ContractError: It gives something that is no number in this dtype.
    """
    ids = [int(token) for token in model.tokenizer(PROBE_TEXT)["input_ids"]]
    others = (token for token in ids if token != ids[-1])
    one, other = (_token_embeddings(model, [*ids[:-1], last]) for last in (ids[-1], next(others)))
    _check_numbers(one, name, str(model.dtype))
    reached = float(np.abs(one[:-1] - other[:-1]).max())
    return TransformerProbe(
        causal=reached <= _SAME * float(np.abs(one).max()), width=int(one.shape[1])
    )


def check_own_vector(encoder: Any, pooling_mode: str, name: str) -> None:
    """Compare a chunk over a whole text with what the model's own ``encode_document`` gives.

    Args:
        encoder: A `TokenEncoder` and `QueryEncoder`.
        pooling_mode: The model's own, as sentence-transformers names it.
        name: How to name the model.

    Raises:
        ContractError: They differ, or the vector is no direction.
    """
    ours = _pooled_here(encoder, pooling_mode)
    if ours is None:
        return  # the model would cut the text
    (own,) = encoder.encode_documents([PROBE_TEXT])
    norms = float(np.linalg.norm(ours)) * float(np.linalg.norm(own))
    cosine = float(ours @ own) / norms if norms else 0.0
    least = _LEAST_COSINE if encoder.dtype == "float32" else _LEAST_COSINE_HALF
    if not cosine >= least:
        raise ContractError(
            f"{name!r} reads or pools a text in a way that late chunking does not follow: a chunk "
            f"over {PROBE_TEXT!r} and the model's own encode_document have cosine {cosine:.6f}. "
            "Embed with encode_document itself, or choose another model: the documentation lists "
            "those that are tested"
        )


def _token_embeddings(model: SentenceTransformer, ids: list[int]) -> NDArray[np.float32]:
    """Float32 token embeddings of one row, shape ``(n_tokens, width)``."""
    row = torch.tensor([ids], device=model.device)
    features = {"input_ids": row, "attention_mask": torch.ones_like(row)}
    rows: torch.Tensor = model[0](features)["token_embeddings"][0]
    found: NDArray[np.float32] = rows.float().cpu().numpy()
    return found


def _pooled_here(encoder: Any, pooling_mode: str) -> NDArray[np.float32] | None:
    """The probe's vector as the flow would make it; None where it is longer than a plain text."""
    tokens: TokenEncoder = encoder
    plain: QueryEncoder = encoder
    (text,) = tokens.tokenize([PROBE_TEXT], tokens.document_prompt)
    ids = np.concatenate([tokens.lead, text.prompt, text.ids, tokens.tail]).astype(np.int64)
    if plain.plain_tokens is not None and len(ids) > plain.plain_tokens:
        return None
    unpooled = len(text.prompt) and not tokens.prompt_pooled
    skipped = len(tokens.lead) + len(text.prompt) if unpooled else 0
    rows = tokens.forward(TokenBatch(ids[None], np.array([len(ids)])))[0].float().cpu().numpy()
    vectors = tokens.finish(pool_rows(rows, pooling_mode, skipped)[None])
    return np.asarray(vectors[0], np.float32)


def _check_numbers(rows: NDArray[np.float32], name: str, dtype: str) -> None:
    if np.isfinite(rows).all() and rows.any():
        return
    raise ContractError(
        f"{name!r} gives no finite vector in {dtype.removeprefix('torch.')}: load it with "
        "dtype='bfloat16' or dtype='float32'; if it already is, its weights are damaged"
    )
