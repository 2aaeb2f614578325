"""Attention with linear biases that never builds the biases of a whole window.

ALiBi (`Press et al., 2022`_) adds ``-slope * |i - j|`` to the score of query ``i`` and key
``j``; JinaBERT takes the symmetric form, without a causal mask. For 8,192 tokens and 12 heads
these biases alone would be 3.2 GB.

.. _Press et al., 2022: https://arxiv.org/abs/2108.12409
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.linalg import vector_norm
from torch.nn.functional import scaled_dot_product_attention

from latechunk_integrations.encoders.local.focus_attention import FocusBias

# Biases that are built at once where the device needs them in memory.
_BIAS_BYTES = 256 << 20

# Keys that together weigh less than float32 resolves are left out where that saves work: a
# head with a steep slope reads its neighbourhood only. 256 queries at a time were the fastest.
_NEGLIGIBLE = 2.0**-24
_NEAR_BLOCK = 256
_NEAR_SHARE = 0.7


def alibi_slopes(n_heads: int) -> list[float]:
    """The slope of each head, as the ALiBi paper sets them (section 3).

    For a power of two ``n`` they are ``2^(-8/n), 2^(-16/n), ...``. Other counts take those of
    the next lower power of two, then every second one of the next higher.

    >>> alibi_slopes(4)
    [0.25, 0.0625, 0.015625, 0.00390625]
    >>> alibi_slopes(3)
    [0.0625, 0.00390625, 0.25]
    """
    lower: int = 1 << (n_heads.bit_length() - 1)
    slopes = [2.0 ** (-8.0 * head / lower) for head in range(1, lower + 1)]
    between = [2.0 ** (-4.0 * head / lower) for head in range(1, 2 * lower, 2)]
    return slopes + between[: n_heads - lower]


class AlibiRows(Protocol):
    """A batch of rows: how its tokens are laid out, and their attention to each other."""

    def pack(self, values: Tensor) -> Tensor:
        """Lay out what belongs to tokens. *Shape:* ``(n_rows, row_length)``."""

    def unpack(self, hidden: Tensor) -> Tensor:
        """The way back. *Shape of the result:* ``(n_rows, row_length, width)``."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention within each row; all shapes are ``(..., width)``, as laid out."""


def alibi_rows(mask: Tensor, n_heads: int, focus: FocusBias | None = None) -> AlibiRows:
    """The layout that suits the device.

    Args:
        mask: True where a token is. *Shape:* ``(n_rows, row_length)``.
        n_heads: Number of attention heads.
        focus: What is added besides. Distances count through the whole window: inside of a unit
            they are those of the unit alone.
    """
    if focus is not None:
        return PaddedRows(mask, n_heads, focus=focus)
    return (PackedRows if mask.device.type == "cpu" else PaddedRows)(mask, n_heads)


class _RowGroup(NamedTuple):
    """Neighbouring rows of one length; biases by distance, ``(n_heads, 2 * length - 1)``."""

    n_rows: int
    length: int
    biases: Tensor


class PackedRows:
    """Tokens of all rows one after the other: padding costs nothing. For CPUs.

    The bias depends on ``i - j`` alone. With the queries in reverse order, row ``i`` of the
    biases is row ``i - 1`` moved by one. So all of them are a view of one vector of
    ``2 * length - 1`` values for each head. PyTorch's CPU kernel reads it in place.

    Args:
        mask: True where a token is, without gaps inside of a row.
            *Shape:* ``(n_rows, row_length)``.
        n_heads: Number of attention heads.
    """

    def __init__(self, mask: Tensor, n_heads: int) -> None:
        self._mask = mask
        self._n_heads = n_heads
        lengths = [length for length in mask.sum(dim=1).tolist() if length]
        slopes = torch.tensor(alibi_slopes(n_heads), device=mask.device)[:, None]
        biases = {
            length: -slopes * torch.arange(1 - length, length, device=mask.device).abs()
            for length in set(lengths)
        }
        # Batches are sorted by length, so equal ones are neighbours.
        self._groups = [
            _RowGroup(len(list(rows)), length, biases[length])
            for length, rows in itertools.groupby(lengths)
        ]

    def pack(self, values: Tensor) -> Tensor:
        """*Shape of the result:* ``(n_tokens,)``."""
        return values[self._mask]

    def unpack(self, hidden: Tensor) -> Tensor:
        """Zeros are where no token is."""
        rows = hidden.new_zeros(*self._mask.shape, hidden.shape[-1])
        rows[self._mask] = hidden
        return rows

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """*Shapes:* ``(n_tokens, width)``."""
        context = torch.empty_like(query)
        start = 0
        for n_rows, length, biases in self._groups:
            rows = slice(start, start + n_rows * length)
            start = rows.stop
            shape = (n_rows, length, self._n_heads, -1)
            queries, keys, values, contexts = (
                tokens[rows].view(shape).transpose(1, 2) for tokens in (query, key, value, context)
            )
            far, near = _far_and_near(queries, keys, biases)
            if far:
                contexts[:, far] = _attend_all(
                    queries[:, far], keys[:, far], values[:, far], biases[far]
                )
            for (head, reach), row in itertools.product(near.items(), range(n_rows)):
                contexts[row, head] = _attend_near(
                    queries[row, head], keys[row, head], values[row, head], biases[head], reach
                )
        return context


class PaddedRows:
    """Rows as they come, with the biases of a block of queries at a time. For accelerators.

    Args:
        mask: True where a token is. *Shape:* ``(n_rows, row_length)``.
        n_heads: Number of attention heads.
        block: Queries of a block; None: as many as `_BIAS_BYTES` allows.
        focus: What is added besides.
    """

    def __init__(
        self,
        mask: Tensor,
        n_heads: int,
        *,
        block: int | None = None,
        focus: FocusBias | None = None,
    ) -> None:
        n_rows, self._length = mask.shape
        self._n_heads = n_heads
        self._slopes = torch.tensor(alibi_slopes(n_heads), device=mask.device)[:, None, None]
        self._hidden: Tensor | None = None
        if not bool(mask.all()):
            self._hidden = ~mask[:, None, None, :]
        self._focus = focus
        alike = self._hidden is None and focus is None
        n_biases = (1 if alike else n_rows) * n_heads * self._length
        self._block = min(self._length, block or max(16, _BIAS_BYTES // (4 * n_biases)))
        self._kept: Tensor | None = None

    def pack(self, values: Tensor) -> Tensor:
        """Nothing is moved."""
        return values

    def unpack(self, hidden: Tensor) -> Tensor:
        """Nothing is moved."""
        return hidden

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """*Shapes:* ``(n_rows, row_length, width)``."""
        shape = (*query.shape[:2], self._n_heads, -1)
        queries, keys, values = (
            tokens.view(shape).transpose(1, 2) for tokens in (query, key, value)
        )
        blocks = [
            scaled_dot_product_attention(
                queries[:, :, start : start + self._block],
                keys,
                values,
                attn_mask=self._make_biases(start, query.dtype),
            )
            for start in range(0, self._length, self._block)
        ]
        return torch.cat(blocks, dim=2).transpose(1, 2).reshape(query.shape)

    def _make_biases(self, start: int, dtype: torch.dtype) -> Tensor:
        """Biases of a block of queries, kept for the next layer where one block is all.

        *Shape:* ``(1 or n_rows, n_heads, block, row_length)``.
        """
        if self._kept is not None:
            return self._kept
        device = self._slopes.device
        end = min(start + self._block, self._length)
        at = torch.arange(start, end, device=device)[:, None]
        distances = (at - torch.arange(self._length, device=device)).abs()
        # Products first: bfloat16 knows no odd number above 256.
        biases = (-self._slopes * distances)[None].to(dtype)
        if self._focus is not None:
            biases = biases + self._focus.values(start, end)
        if self._hidden is not None:
            biases = biases.masked_fill(self._hidden, torch.finfo(dtype).min)
        if self._block == self._length:
            self._kept = biases
        return biases


def _far_and_near(query: Tensor, key: Tensor, biases: Tensor) -> tuple[Any, dict[int, int]]:
    """Heads that read all keys, and for each other head how far it reads.

    Beside its own key, query ``i`` gives key ``j`` a weight of at most
    ``exp((|q_i| max|k| - q_i k_i) / sqrt(d) - slope * |i - j|)``. Summed over all distances
    beyond ``reach``, on both sides, that is less than ``2 exp(lead - slope * reach) / slope``.

    Args:
        query: *Shape:* ``(n_rows, n_heads, length, head_width)``.
        key: *Shape:* ``(n_rows, n_heads, length, head_width)``.
        biases: By distance. *Shape:* ``(n_heads, 2 * length - 1)``.

    Returns:
        An index of the first, and distances in tokens by head.
    """
    length = query.shape[2]
    if length <= 2 * _NEAR_BLOCK:
        return slice(None), {}
    longest = vector_norm(key, dim=-1, dtype=torch.float32).amax(dim=2, keepdim=True)
    most = vector_norm(query, dim=-1, dtype=torch.float32) * longest
    own = (query * key).sum(dim=-1, dtype=torch.float32)
    lead = ((most - own) / math.sqrt(query.shape[-1])).amax(dim=(0, 2))
    slopes = -biases[:, length]
    reach = (lead - torch.log(slopes * (_NEGLIGIBLE / 2))) / slopes
    # fmin: what is no number reads all keys.
    reaches = torch.fmin(reach.ceil(), torch.tensor(float(length))).int().tolist()
    pays = _NEAR_SHARE * length - _NEAR_BLOCK
    near = {head: reach for head, reach in enumerate(reaches) if 2 * reach < pays}
    far = [head for head in range(len(reaches)) if head not in near]
    return (far if near else slice(None)), near


def _attend_all(query: Tensor, key: Tensor, value: Tensor, biases: Tensor) -> Tensor:
    """Attention to all keys; *shapes:* ``(n_rows, n_heads, length, head_width)``."""
    mask = biases.unfold(1, query.shape[2], 1)[None]
    attended = scaled_dot_product_attention(query.flip(2), key, value, attn_mask=mask)
    return attended.flip(2)


def _attend_near(query: Tensor, key: Tensor, value: Tensor, biases: Tensor, reach: int) -> Tensor:
    """Attention of one head to the keys within reach.

    Inner blocks of queries see as many keys each and the same biases, so they are one batch.

    Args:
        query: *Shape:* ``(length, head_width)``.
        key: *Shape:* ``(length, head_width)``.
        value: *Shape:* ``(length, head_width)``.
        biases: By distance. *Shape:* ``(2 * length - 1,)``.
        reach: In tokens.
    """
    length = len(query)
    context = torch.empty_like(query)
    first = -(-reach // _NEAR_BLOCK) * _NEAR_BLOCK
    last = max(first, (length - reach) // _NEAR_BLOCK * _NEAR_BLOCK)
    inner = range(first, last, _NEAR_BLOCK)
    edges = [start for start in range(0, length, _NEAR_BLOCK) if start not in inner]
    for start, n_blocks in [*((edge, 1) for edge in edges), (first, len(inner))]:
        if not n_blocks:
            continue
        end = min(start + n_blocks * _NEAR_BLOCK, length)
        size = min(_NEAR_BLOCK, end - start)
        low, high = max(0, start - reach), min(length, end + reach)
        n_keys = high - low - (n_blocks - 1) * _NEAR_BLOCK
        queries = query[start:end].view(n_blocks, 1, size, -1).flip(2)
        keys, values = (
            heads[low:high].unfold(0, n_keys, _NEAR_BLOCK).transpose(1, 2)[:, None]
            for heads in (key, value)
        )
        # The last query of a block comes first; its distance to the first key leads.
        lead = length - 1 + low - (start + size - 1)
        mask = biases[lead : lead + size + n_keys - 1].unfold(0, n_keys, 1)[None, None]
        attended = scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        context[start:end] = attended.flip(2).reshape(end - start, -1)
    return context
