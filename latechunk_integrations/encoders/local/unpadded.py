"""Batches without padding on a GPU: the variable-length kernels of flash attention.

With a flash attention package sentence-transformers decides whether a model can take such batches
(its Transformer module's ``can_flatten_inputs``) and defines what they look like. Its own batches
come from lists of Python numbers; ours are built from arrays. Without one, PyTorch's own kernel
takes the same batches.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from transformers.utils import import_utils

from latechunk_integrations.core.transfer import to_device
from latechunk_integrations.encoders.base import TokenBatch
from latechunk_integrations.encoders.local import varlen
from latechunk_integrations.encoders.local.unit_focus import UnitFocus

logger = logging.getLogger(__name__)

_HALF = (torch.float16, torch.bfloat16)
_PACKAGES = (4, 3, 2)


def allow_unpadded(model: SentenceTransformer, *, with_focus: bool) -> None:
    """Switch a model to attention without padding where device, dtype and architecture allow it.

    Otherwise the model stays as it is: PyTorch's scaled dot product attention, with padding.

    Args:
        model: The model.
        with_focus: Some batches have a focus, which the kernels of flash attention packages
            do not know.
    """
    transformer: Any = model[0]
    inner = getattr(transformer, "model", None)
    fits = model.device.type == "cuda" and model.dtype in _HALF
    if not fits or not getattr(inner, "_supports_flash_attn", False):
        return
    if not with_focus and _use_package(transformer):
        return
    if varlen.has_varlen(model.device) and varlen.use_varlen(transformer):
        logger.info("batches go without padding, with PyTorch's own flash attention")


def takes_unpadded(transformer: Any) -> bool:
    """Whether a first module takes batches without padding."""
    config = getattr(getattr(transformer, "model", None), "config", None)
    ours = getattr(config, "_attn_implementation", None) == varlen.IMPLEMENTATION
    return ours or bool(getattr(transformer, "can_flatten_inputs", False))


def _use_package(transformer: Any) -> bool:
    """Whether an installed flash attention package took the model, the newest first."""
    for version in _PACKAGES:
        is_there = getattr(import_utils, f"is_flash_attn_{version}_available", None)
        if is_there is None or not is_there():
            continue
        before = transformer.model.config._attn_implementation  # noqa: SLF001  # transformers' name
        try:
            transformer.model.set_attn_implementation(f"flash_attention_{version}")
            # None: sentence-transformers looks again whether batches can do without padding.
            transformer.unpad_inputs = None
        except (ImportError, ValueError) as error:
            logger.info("flash attention %d is not used: %s", version, error)
        if transformer.can_flatten_inputs:
            return True
        transformer.model.set_attn_implementation(before)
    return False


def flat_features(
    transformer: Any, batch: TokenBatch, device: torch.device, focus: UnitFocus | None = None
) -> dict[str, Any]:
    """A padded batch as one row without padding, with the bounds of its windows.

    Returns:
        What the module's ``forward`` wants. It gives token embeddings of shape
        ``(1, lengths.sum(), dim)``.
    """
    ids, lengths = batch.ids, batch.lengths
    inside = np.arange(ids.shape[1]) < lengths[:, None]
    counted = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    given = counted if batch.positions is None else batch.positions
    positions = position_ids(transformer.model, ids, given)[inside]
    bounds = to_device(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32), device)
    longest = int(lengths.max())
    features = {
        "input_ids": to_device(ids[inside][None], device),
        "position_ids": to_device(positions[None], device),
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": longest,
        "max_length_k": longest,
    }
    return features if focus is None else {**features, "unit_focus": focus}


def position_ids(
    model: torch.nn.Module, ids: NDArray[np.int64], positions: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Positions as the model itself counts them, int64, shape of ``ids``.

    RoBERTa and its kin count from after the padding index. A padding token that is in the text
    has the padding's position there, and is not counted.

    Args:
        model: The transformer.
        ids: Token ids, shape ``(n_windows, max_len)``.
        positions: From 0 in each unit, same shape.
    """
    padding = _padding_position(model)
    if padding is None:
        return positions
    is_padding = ids == padding
    if not is_padding.any():
        return positions + padding + 1
    before = np.cumsum(is_padding, axis=1) - is_padding
    # Of those before a token, those of its own unit: what there was at its beginning is set aside.
    before -= np.maximum.accumulate(np.where(positions == 0, before, 0), axis=1)
    return np.where(is_padding, padding, positions - before + padding + 1)


def _padding_position(model: torch.nn.Module) -> int | None:
    """The id of padding in RoBERTa and its kin, which is its position too; None of others."""
    for module in model.modules():
        padding = getattr(module, "padding_idx", None)
        table = getattr(module, "position_embeddings", None)
        if isinstance(padding, int) and isinstance(table, torch.nn.Embedding):
            return padding
    return None
