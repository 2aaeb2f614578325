"""Weighted sums of token embeddings, one kernel on their device."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from latechunk_integrations.core.pooling import Bags
from latechunk_integrations.core.transfer import to_device


def sum_bags(embeddings: torch.Tensor, bags: Bags, frame_starts: NDArray[np.int64]) -> torch.Tensor:
    """Weighted sums of token embeddings.

    Args:
        embeddings: Token embeddings, shape ``(n_rows, row_length, dim)``, any float dtype.
        bags: What is pooled, positions counted in frames.
        frame_starts: Where the frame of each bag begins, all rows counted as one, int64, shape
            ``(n_bags,)``.

    Returns:
        The sums, float32 on the device, shape ``(n_bags, dim)``.
    """
    device = embeddings.device
    starts, lengths = bags.starts + frame_starts[:, None], bags.lengths
    sizes = lengths.sum(axis=1)
    firsts = np.cumsum(sizes) - sizes
    kept = lengths.ravel() > 0
    # Ranges travel, positions are counted where they are needed.
    positions = _count_on(starts.ravel()[kept], lengths.ravel()[kept], device)
    return torch.nn.functional.embedding_bag(
        positions,
        embeddings.reshape(-1, embeddings.shape[-1]).float(),
        to_device(firsts, device),
        mode="sum",
        per_sample_weights=_weigh_tokens(bags, kept, device) if bags.weighted else None,
    )


def _weigh_tokens(bags: Bags, kept: NDArray[np.bool_], device: torch.device) -> torch.Tensor:
    lengths = bags.lengths.ravel()[kept]
    steps = np.repeat(bags.steps, bags.lengths.shape[1])[kept]
    nth = _count_on(np.zeros_like(lengths), lengths, device)
    of_ranges = np.stack([bags.weights.ravel()[kept], steps.astype(np.float32)])
    repeated = torch.repeat_interleave(
        to_device(of_ranges, device), to_device(lengths, device), dim=1, output_size=len(nth)
    )
    return repeated[0] + repeated[1] * nth


def _count_on(
    starts: NDArray[np.int64], lengths: NDArray[np.int64], device: torch.device
) -> torch.Tensor:
    """The ranges ``[start, start + length)`` one after the other, int64, on the device."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    moved = to_device(np.stack([starts - ends + lengths, lengths]), device)
    repeated = torch.repeat_interleave(moved[0], moved[1], output_size=total)
    return repeated + torch.arange(total, device=device)
