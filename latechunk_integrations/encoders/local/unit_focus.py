"""The focus of units in windows that lie end to end, without padding and without a bias.

In a window ``W`` a token of the unit ``U`` attends to key ``j`` with the weight ``exp(s_j + f_j)``,
where the focus ``f_j`` is 0 outside of ``U``. With ``M``, the largest focus in the unit or 0:

    sum_W exp(s_j + f_j) v_j  ~  exp(-M) sum_W exp(s_j) v_j  +  sum_U exp(s_j) e_j v_j
    e_j  =  exp(f_j - M) - exp(-M)

and the same without ``v_j`` for what it is divided by. So one pass of flash attention over windows
and two over units give the exact result: nothing is as large as a window times a window. Where
headers have the same focus, ``e_j`` is one number in a unit, and one pass over units is enough.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latechunk_integrations.core.transfer import to_device
from latechunk_integrations.encoders.base import TokenBatch

Attend = Callable[[Tensor, Tensor, Tensor, "Bounds"], tuple[Tensor, Tensor]]
"""Of queries, keys and values the attention, ``(n_tokens, n_heads, head_width)``, and the
logarithms of its denominators, float32, ``(n_heads, n_tokens)``."""


@dataclass(frozen=True)
class Bounds:
    """Where sequences begin and end that lie end to end.

    Args:
        edges: Int32, shape ``(n_sequences + 1,)``, on the device.
        longest: Tokens of the longest.
    """

    edges: Tensor
    longest: int

    @classmethod
    def of(cls, starts: NDArray[np.int64], end: int, device: torch.device) -> Bounds:
        """Bounds from where each sequence begins, and the end of the last."""
        edges = np.append(starts, end)
        return cls(to_device(edges.astype(np.int32), device), int(np.diff(edges).max()))


class UnitFocus:
    """The focus of a batch whose windows are whole units.

    Args:
        windows: Bounds of the windows; of the units where their focus is infinite.
        units: Bounds of the units.
        outside: ``-M`` of each token's unit, float32, shape ``(n_tokens,)``; None: there is no
            finite focus.
        inside: ``e_j`` of each token as a key, float32, same shape; None likewise.
        is_even: Whether a unit's keys have the same focus, those of headers too.
    """

    def __init__(
        self,
        windows: Bounds,
        units: Bounds,
        outside: NDArray[np.float32] | None = None,
        inside: NDArray[np.float32] | None = None,
        *,
        is_even: bool = True,
    ) -> None:
        self.windows = windows
        self.units = units
        device = units.edges.device
        self.outside = None if outside is None else to_device(outside, device)
        self.inside = None if inside is None else to_device(inside, device)
        self.is_even = is_even
        self._as_values: Tensor | None = None

    @classmethod
    def of(cls, batch: TokenBatch, device: torch.device) -> UnitFocus | None:
        """The focus of a batch; None where a token is of no unit, of several or of one apart."""
        units, is_header = batch.units, batch.is_header
        focus, header_focus = batch.focus, batch.header_focus
        if units is None or is_header is None or focus is None or header_focus is None:
            raise ValueError("a focus needs units, headers and both values")
        is_token = np.arange(units.shape[1]) < batch.lengths[:, None]
        own = units[is_token]
        n_tokens = len(own)
        rows = np.repeat(np.arange(len(units)), batch.lengths)
        new_row = np.append(True, rows[1:] != rows[:-1])
        step = np.append(0, np.diff(own))
        if (own < 0).any() or (step[~new_row] < 0).any():
            return None
        new_unit = new_row | (step != 0)
        alone = np.isinf(focus)
        header = np.where(alone | np.isinf(header_focus), 0, header_focus)
        added = np.where(is_header[is_token], header[rows], np.where(alone, 0, focus)[rows])
        windows = np.flatnonzero(new_row | (new_unit & alone[rows]))
        starts = np.flatnonzero(new_unit)
        bounds = Bounds.of(windows, n_tokens, device), Bounds.of(starts, n_tokens, device)
        if not added.any():
            return cls(*bounds)
        sizes = np.diff(starts, append=n_tokens)
        most = np.repeat(np.maximum(np.maximum.reduceat(added, starts), 0), sizes)
        weights = np.exp(added - most) - np.exp(-most)
        outside, inside = (values.astype(np.float32) for values in (-most, weights))
        is_even = bool((added[1:] == added[:-1])[~new_unit[1:]].all())
        return cls(*bounds, outside, inside, is_even=is_even)

    def inside_as_values(self, like: Tensor) -> Tensor:
        """The weights in the shape of ``like``, as if they were values; kept for all layers."""
        kept = self._as_values
        if kept is None or kept.shape != like.shape or kept.dtype != like.dtype:
            if self.inside is None:
                raise ValueError("no finite focus")
            kept = self.inside.to(like.dtype)[:, None, None].expand(like.shape).contiguous()
            self._as_values = kept
        return kept


def attend_in_units(
    query: Tensor, key: Tensor, value: Tensor, focus: UnitFocus, attend: Attend
) -> Tensor:
    """Attention with a focus, from attention without one.

    *Shape of query, key and value:* ``(n_tokens, n_heads, head_width)``.

    Args:
        query: The queries.
        key: The keys.
        value: The values.
        focus: The focus.
        attend: The model's own attention within bounds, causal or in a sliding window perhaps.
    """
    context, all_keys = attend(query, key, value, focus.windows)
    if focus.outside is None or focus.inside is None:
        return context
    if focus.is_even:
        own, own_keys = attend(query, key, value, focus.units)
        total = focus.inside[:, None, None]
        own = own * total
    else:
        weights = focus.inside_as_values(value)
        own, own_keys = attend(query, key, value * weights, focus.units)
        total = attend(query, key, weights, focus.units)[0][..., :1]
    # What both sums are worth, as logarithms: of the larger one 1 is left.
    near = (own_keys - all_keys).transpose(0, 1)[..., None]
    far = focus.outside[:, None, None]
    largest = torch.maximum(near, far)
    near, far = torch.exp(near - largest), torch.exp(far - largest)
    tiny = torch.finfo(torch.float32).tiny
    return ((far * context + near * own) / (far + near * total).clamp_min(tiny)).to(value.dtype)
