"""The focus in the attention of the models on this machine.

A chunk's tokens get ``focus`` nats added to their attention logits toward their own unit, in
every layer and head. One bias serves all heads, for a block of queries at a time where all of it
would be large. Transformers calls a registered attention function whatever mask a model builds. So
padding, causality and sliding windows stay the model's own. MPNet has an attention of its own,
and so has our JinaBERT.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from latechunk_integrations.core.transfer import to_device
from latechunk_integrations.encoders.base import NO_UNIT, SHARED, TokenBatch

IMPLEMENTATION = "latechunk_focus"
# Values of the bias that are kept for all layers; of a larger one a block of queries at a time.
_KEPT_VALUES = 1 << 23

_current: ContextVar[FocusBias | None] = ContextVar("latechunk_focus", default=None)


class FocusBias:
    """What is added to the attention logits of a batch.

    Args:
        batch: Windows with units and focus.
        device: Where the model is.
        dtype: What it computes in.
    """

    def __init__(self, batch: TokenBatch, device: torch.device, dtype: torch.dtype) -> None:
        units, is_header = batch.units, batch.is_header
        focus, header_focus = batch.focus, batch.header_focus
        if units is None or is_header is None or focus is None or header_focus is None:
            raise ValueError("a focus needs units, headers and both values")
        self.length = units.shape[1]
        self._dtype = dtype
        self._units = to_device(units, device)
        self._is_header = to_device(is_header, device)[:, None, :]
        own, header = (to_device(values, device)[:, None, None] for values in (focus, header_focus))
        # Infinite: what is outside is hidden, and nothing needs to be added inside.
        self._hidden = own.isinf()
        self._own = own.masked_fill(self._hidden, 0)
        self._header = header.masked_fill(self._hidden | header.isinf(), 0)
        self._masks: dict[int, tuple[Tensor | None, Tensor]] = {}
        self.block = self.length
        if units.size * self.length > _KEPT_VALUES:
            self.block = max(16, _KEPT_VALUES // units.size)

    def values(self, start: int = 0, end: int | None = None) -> Tensor:
        """The bias of a block of queries. *Shape:* ``(n_rows, 1, n_queries, row_length)``."""
        queries = self._units[:, start:end, None]
        keys = self._units[:, None, :]
        in_unit = queries > NO_UNIT
        is_own = in_unit & ((queries == keys) | (keys == SHARED))
        bias = torch.where(self._is_header, self._header, self._own)
        bias = torch.where(is_own, bias, torch.zeros_like(bias))
        bias = bias.masked_fill(self._hidden & in_unit & ~is_own, -torch.inf)
        return bias.to(self._dtype)[:, None]

    def mask(self, own_mask: Tensor | None, start: int, end: int) -> Tensor:
        """The bias with what the model's own mask hides, as an additive mask.

        Args:
            own_mask: Boolean, True where a key is seen, or additive; None: every key is seen.
            start: First query.
            end: One past the last.
        """
        if end - start < self.length:
            return _hide(self.values(start, end), own_mask, start, end)
        kept = self._masks.get(id(own_mask))
        if kept is None:
            # The mask is kept too, so that no other one gets its number.
            kept = own_mask, _hide(self.values(), own_mask, start, end)
            self._masks[id(own_mask)] = kept
        return kept[1]


def _hide(bias: Tensor, own_mask: Tensor | None, start: int, end: int) -> Tensor:
    if own_mask is None:
        return bias
    if own_mask.shape[-2] > 1:
        own_mask = own_mask[..., start:end, :]
    if own_mask.dtype == torch.bool:
        return bias.masked_fill(~own_mask, torch.finfo(bias.dtype).min)
    return bias + own_mask


def current_focus() -> FocusBias | None:
    """The focus of the batch that is going through a model, if it has one."""
    return _current.get()


@contextmanager
def with_focus(bias: FocusBias) -> Iterator[None]:
    """Let the models of this thread attend with a focus."""
    token = _current.set(bias)
    try:
        yield
    finally:
        _current.reset(token)


def takes_focus(transformer: Any) -> bool:
    """Whether a first module can be given positions and a focus."""
    model = getattr(transformer, "model", None)
    if model is None:
        return False
    if hasattr(model, "takes_focus"):  # our own architectures
        return bool(model.takes_focus)
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return False
    return _is_mpnet(model) or bool(getattr(model, "_supports_attention_backend", False))


def use_focus(transformer: Any) -> None:
    """Make a first module ready for batches with a focus; others go through it as before."""
    model = transformer.model
    if hasattr(model, "takes_focus"):
        return
    if _is_mpnet(model):
        _wrap_position_bias(model.encoder)
        return
    AttentionInterface.register(IMPLEMENTATION, attend)
    AttentionMaskInterface.register(IMPLEMENTATION, make_mask)
    model.set_attn_implementation(IMPLEMENTATION)


def _is_mpnet(model: torch.nn.Module) -> bool:
    return hasattr(getattr(model, "encoder", None), "compute_position_bias")


def _wrap_position_bias(encoder: Any) -> None:
    """MPNet adds one bias of positions to the scores of every layer: the focus joins it."""
    own = encoder.compute_position_bias
    if hasattr(own, "without_focus"):
        return

    def compute(hidden: Tensor, *rest: Any, **more: Any) -> Tensor:
        positions: Tensor = own(hidden, *rest, **more)
        focus = current_focus()
        return positions if focus is None else positions + focus.values()

    compute.without_focus = own  # type: ignore[attr-defined]  # so that it is wrapped once
    encoder.compute_position_bias = compute


def make_mask(**sizes: Any) -> Any:
    """The model's own mask; written out where causality would else be left to the kernel."""
    if current_focus() is not None:
        sizes["allow_is_causal_skip"] = False
    return sdpa_mask(**sizes)


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **rest: Any,
) -> tuple[Tensor, None]:
    """Scaled dot product attention, with the focus of the batch where it has one.

    *Shape of query, key and value:* ``(n_rows, n_heads, n_tokens, head_width)``.
    """
    focus = current_focus()
    if focus is None:
        return _attend_plainly(module, query, key, value, attention_mask, **rest)
    attended = [
        _attend_plainly(
            module,
            query[:, :, start : start + focus.block],
            key,
            value,
            focus.mask(attention_mask, start, min(start + focus.block, focus.length)),
            **rest,
        )[0]
        for start in range(0, focus.length, focus.block)
    ]
    return (attended[0] if len(attended) == 1 else torch.cat(attended, dim=1)), None


def _attend_plainly(
    module: torch.nn.Module, *tensors: Tensor | None, **rest: Any
) -> tuple[Tensor, None]:
    return sdpa_attention_forward(module, *tensors, **rest)  # type: ignore[no-any-return, no-untyped-call, arg-type, unused-ignore]  # transformers' types
