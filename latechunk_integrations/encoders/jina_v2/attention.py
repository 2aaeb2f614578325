"""Attention with linear biases that never builds the biases of a whole window.

ALiBi (`Press et al., 2022`_) adds ``-slope * |i - j|`` to the score of query ``i`` and key
``j``; JinaBERT takes the symmetric form, without a causal mask. For 8,192 tokens and 12 heads
these biases alone would be 3.2 GB.

.. _Press et al., 2022: https://arxiv.org/abs/2108.12409
"""

from __future__ import annotations

import itertools
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

__all__ = ["AlibiRows", "PackedRows", "PaddedRows", "alibi_rows", "alibi_slopes"]

# Biases that are built at once where the device needs them in memory.
_BIAS_BYTES = 128 << 20


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
        ...

    def unpack(self, hidden: Tensor) -> Tensor:
        """The way back. *Shape of the result:* ``(n_rows, row_length, width)``."""
        ...

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention within each row; all shapes are ``(..., width)``, as laid out."""
        ...


def alibi_rows(mask: Tensor, n_heads: int) -> AlibiRows:
    """The layout that suits the device.

    Args:
        mask: True where a token is. *Shape:* ``(n_rows, row_length)``.
        n_heads: Number of attention heads.
    """
    return (PackedRows if mask.device.type == "cpu" else PaddedRows)(mask, n_heads)


class _Group(NamedTuple):
    """Neighbouring rows of one length."""

    n_rows: int
    length: int
    biases: Tensor


class PackedRows:
    """Tokens of all rows one behind the other: padding costs nothing. For CPUs.

    The bias depends on ``i - j`` alone. With the queries in reverse order, row ``i`` of the
    biases is row ``i - 1`` moved by one; so all of them are a view of one vector of
    ``2 * length - 1`` values for each head, which PyTorch's CPU kernel reads in place.

    Args:
        mask: True where a token is, without gaps inside of a row.
            *Shape:* ``(n_rows, row_length)``.
        n_heads: Number of attention heads.
    """

    def __init__(self, mask: Tensor, n_heads: int) -> None:
        self._mask = mask
        self._n_heads = n_heads
        lengths = [length for length in mask.sum(dim=1).tolist() if length]
        biases = {length: _reversed_biases(length, n_heads, mask.device) for length in set(lengths)}
        # Batches are sorted by length, so equal ones stand together.
        self._groups = [
            _Group(len(list(rows)), length, biases[length])
            for length, rows in itertools.groupby(lengths)
        ]

    def pack(self, values: Tensor) -> Tensor:
        """*Shape of the result:* ``(n_tokens,)``."""
        return values[self._mask]

    def unpack(self, hidden: Tensor) -> Tensor:
        """Zeros stand where no token is."""
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
            heads = (tokens[rows].view(shape).transpose(1, 2) for tokens in (query, key, value))
            queries, keys, values = heads
            attended = scaled_dot_product_attention(queries.flip(2), keys, values, attn_mask=biases)
            context[rows].view(shape).copy_(attended.flip(2).transpose(1, 2))
        return context


class PaddedRows:
    """Rows as they come, with the biases of a block of queries at a time. For accelerators.

    Args:
        mask: True where a token is. *Shape:* ``(n_rows, row_length)``.
        n_heads: Number of attention heads.
        block: Queries of a block; None: as many as `_BIAS_BYTES` allows.
    """

    def __init__(self, mask: Tensor, n_heads: int, *, block: int | None = None) -> None:
        n_rows, self._length = mask.shape
        self._n_heads = n_heads
        self._slopes = torch.tensor(alibi_slopes(n_heads), device=mask.device)[:, None, None]
        self._hidden: Tensor | None = None
        if not bool(mask.all()):
            self._hidden = ~mask[:, None, None, :]
        n_biases = (1 if self._hidden is None else n_rows) * n_heads * self._length
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
                attn_mask=self._biases(start, query.dtype),
            )
            for start in range(0, self._length, self._block)
        ]
        return torch.cat(blocks, dim=2).transpose(1, 2).reshape(query.shape)

    def _biases(self, start: int, dtype: torch.dtype) -> Tensor:
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
        if self._hidden is not None:
            biases = biases.masked_fill(self._hidden, torch.finfo(dtype).min)
        if self._block == self._length:
            self._kept = biases
        return biases


def _reversed_biases(length: int, n_heads: int, device: torch.device) -> Tensor:
    """Biases for queries in reverse order, float32, as a view.

    *Shape:* ``(1, n_heads, length, length)``, of ``n_heads * (2 * length - 1)`` values.
    """
    distances = torch.arange(1 - length, length, device=device).abs()
    slopes = torch.tensor(alibi_slopes(n_heads), device=device)
    biases = -slopes[:, None] * distances
    return biases.as_strided((1, n_heads, length, length), (0, 2 * length - 1, 1, 1))
