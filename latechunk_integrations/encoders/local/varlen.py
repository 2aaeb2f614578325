"""Attention over sequences laid end to end, with the kernel that PyTorch itself brings.

PyTorch from 2.11 on has flash attention for sequences of different lengths
(`torch.nn.attention.varlen`), so that a GPU needs no further package to do without padding.
transformers takes it as one more attention implementation.
"""

from __future__ import annotations

import inspect
import logging
from functools import partial
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface

from latechunk_integrations.encoders.local.focus_attention import attend, make_mask
from latechunk_integrations.encoders.local.unit_focus import Bounds, UnitFocus, attend_in_units

logger = logging.getLogger(__name__)

IMPLEMENTATION = "latechunk_varlen"
# The kernel's own limits.
_HEAD_DIM_MULTIPLE, _MAX_HEAD_DIM = 8, 256
_MIN_CAPABILITY = (8, 0)
# What a model passes through to its attention layers, beside what it knows by name.
_ARGUMENTS = frozenset(
    {"cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "unit_focus"}
)


def _find_kernel() -> Any:
    try:
        from torch.nn.attention.varlen import AuxRequest, varlen_attn  # noqa: PLC0415  # newer than our oldest torch
    except ImportError:
        return None
    # The first release had no windows, which ModernBERT's layers need.
    known = inspect.signature(varlen_attn).parameters
    if not {"scale", "window_size", "return_aux"} <= set(known):
        return None
    return partial(varlen_attn, return_aux=AuxRequest(lse=True))


_kernel = _find_kernel()


def has_varlen(device: torch.device) -> bool:
    """Whether PyTorch's kernel runs on a device."""
    if _kernel is None or device.type != "cuda" or torch.version.hip is not None:
        return False
    return torch.cuda.get_device_capability(device) >= _MIN_CAPABILITY


def use_varlen(transformer: Any) -> bool:
    """Switch a sentence-transformers module to this attention; False: its heads do not fit.

    Padded batches, such as those of queries, go on through scaled dot product attention.
    """
    config = transformer.model.config.get_text_config()
    heads = config.num_attention_heads
    try:
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    except Exception:  # noqa: BLE001  # transformers refuses to say where layers differ in it
        return False
    if head_dim % _HEAD_DIM_MULTIPLE or head_dim > _MAX_HEAD_DIM:
        return False
    AttentionInterface.register(IMPLEMENTATION, _attend)
    AttentionMaskInterface.register(IMPLEMENTATION, _make_mask)
    transformer.model.set_attn_implementation(IMPLEMENTATION)
    if transformer.model_forward_params is not None:
        transformer.model_forward_params |= _ARGUMENTS
    return True


def _make_mask(attention_mask: torch.Tensor | None = None, **sizes: Any) -> Any:
    """Batches without padding come without a mask, and need none: the bounds say it all."""
    if attention_mask is None:
        return None
    return make_mask(attention_mask=attention_mask, **sizes)


def _attend(  # noqa: PLR0913  # the signature that transformers calls
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    is_causal: bool | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    unit_focus: UnitFocus | None = None,
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of ``(1, heads, tokens, head_dim)``, sequences end to end; padded ones as SDPA."""
    if cu_seq_lens_q is None or max_length_q is None:
        return attend(
            module,
            query,
            key,
            value,
            attention_mask,
            scaling=scaling,
            is_causal=is_causal,
            sliding_window=sliding_window,
            **rest,
        )
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    # transformers counts the token itself in, the kernel does not; -1 is no limit.
    reach = -1 if sliding_window is None else sliding_window - 1
    # Heads of keys and values that several heads of queries share.
    shared = query.shape[1] // key.shape[1]
    heads = _tokens_first(query), _tokens_first(key, shared), _tokens_first(value, shared)
    run = partial(_run_kernel, scale=scaling, window_size=(reach, 0 if causal else reach))
    if unit_focus is not None:
        return attend_in_units(*heads, unit_focus, run)[None], None
    return run(*heads, Bounds(cu_seq_lens_q, max_length_q))[0][None], None


def _run_kernel(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bounds: Bounds, **rest: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention within bounds, and the logarithms of its denominators."""
    edges, longest = bounds.edges, bounds.longest
    attended: tuple[torch.Tensor, torch.Tensor] = _kernel(
        query, key, value, edges, edges, longest, longest, **rest
    )
    return attended


def _tokens_first(states: torch.Tensor, repeats: int = 1) -> torch.Tensor:
    """``(1, heads, tokens, head_dim)`` as ``(tokens, heads * repeats, head_dim)``."""
    heads = states[0] if repeats == 1 else states[0].repeat_interleave(repeats, dim=0)
    return heads.transpose(0, 1)
