"""Windows to chunk sums: batches through the encoder, one under way while another comes in."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from latechunk_integrations.core.batching import pack
from latechunk_integrations.core.passages import Window
from latechunk_integrations.core.pooling import join_bags, row_starts, sum_bags
from latechunk_integrations.core.transfer import HostCopy
from latechunk_integrations.encoders.base import TokenEncoder
from latechunk_integrations.errors import naming
from latechunk_integrations.stats import EngineStats

__all__ = ["WindowRunner"]


@dataclass(frozen=True)
class _Batch:
    """A batch whose sums are on their way to the host."""

    windows: Sequence[Window]
    sums: HostCopy
    weights: NDArray[np.float32]

    def collect(self) -> None:
        """Wait for the sums, and add them to the tables of their parents."""
        sums = self.sums.numpy()
        end = 0
        for window in self.windows:
            start, end = end, end + len(window.bags.chunks)
            window.table.add(window.rows, sums[start:end], self.weights[start:end])


class WindowRunner:
    """Sends windows through the encoder and adds their sums up.

    Args:
        encoder: Gives token embeddings.
        batch_tokens: Most padded tokens of a forward pass; fewer once memory ran out.
        stats: Where windows, tokens and what went wrong are counted.
    """

    def __init__(self, encoder: TokenEncoder, batch_tokens: int, stats: EngineStats) -> None:
        self._encoder = encoder
        self.batch_tokens = batch_tokens
        self._stats = stats

    def run(self, windows: Sequence[Window]) -> None:
        """Encode windows in batches; when memory runs out, halve the batches and go on."""
        lengths = np.array([window.length for window in windows], dtype=np.int64)
        batches = deque(pack(lengths, self.batch_tokens))
        under_way: _Batch | None = None
        while batches:
            batch = batches[0]
            try:
                launched = self._launch([windows[i] for i in batch])
            except torch.OutOfMemoryError:
                if len(batch) == 1:
                    raise
                self.batch_tokens = int(lengths[batch].max()) * len(batch) // 2
                self._stats.report(
                    "out_of_memory",
                    f"out of memory: batches are cut to {self.batch_tokens} tokens from here on",
                )
                left = np.concatenate(list(batches))
                batches = deque(left[b] for b in pack(lengths[left], self.batch_tokens))
                continue
            batches.popleft()
            # A GPU computes the batch just launched while the sums of the one before come in.
            # What is there already is taken at once: kept, it would lie between large buffers.
            if under_way is not None:
                under_way.collect()
            under_way = launched
            if not launched.sums.under_way:
                launched.collect()
                under_way = None
        if under_way is not None:
            under_way.collect()
        self._stats.count("windows", len(windows))
        self._stats.count("tokens", int(lengths.sum()))

    def _launch(self, windows: Sequence[Window]) -> _Batch:
        lengths = np.array([window.length for window in windows], dtype=np.int64)
        ids = np.full((len(windows), int(lengths.max())), self._encoder.pad_id, np.int64)
        for row, window in zip(ids, windows, strict=True):
            row[: window.length] = window.ids
        with naming([window.table.parent_id for window in windows]):
            embeddings = self._encoder.forward(ids, lengths)
        bags = join_bags([w.bags for w in windows], row_starts(lengths, embeddings.shape))
        sums, weights = sum_bags(embeddings, bags)
        return _Batch(windows, HostCopy(sums), weights)
