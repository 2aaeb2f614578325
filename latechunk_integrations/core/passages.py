"""A tokenized text, its windows, and the sums that they add up to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.pooling import Bags, PoolingMode, WindowLayout, chunk_bags
from latechunk_integrations.core.windows import WindowPlan
from latechunk_integrations.schema import TokenSpans

__all__ = ["Passage", "SumTable", "Window", "passage_windows"]


class SumTable:
    """Running chunk sums of one parent, kept on the host.

    Args:
        n_chunks: Rows.
        dim: Columns.
    """

    def __init__(self, n_chunks: int, dim: int) -> None:
        # np.zeros maps pages lazily: rows of a huge parent cost memory once they are filled.
        self.sums: NDArray[np.float32] = np.zeros((n_chunks, dim), np.float32)
        self.weights: NDArray[np.float32] = np.zeros(n_chunks, np.float32)
        self.n_open = 0

    def add(
        self,
        chunks: NDArray[np.int64],
        sums: NDArray[np.float32],
        weights: NDArray[np.float32],
    ) -> None:
        """Add the sums of one window, in which no chunk stands twice."""
        self.sums[chunks] += sums
        self.weights[chunks] += weights
        self.n_open -= 1

    def means(self) -> NDArray[np.float32]:
        """The weighted means, in place: the sums are gone afterwards."""
        np.divide(self.sums, np.maximum(self.weights, 1e-9)[:, None], out=self.sums)
        return self.sums


@dataclass(frozen=True)
class Passage:
    """A tokenized text whose windows fill rows of a `SumTable`.

    Args:
        lead: Special and prompt tokens in front of every window, int32.
        lead_pooled: First of the lead tokens that the model's own pooling would pool.
        header: Header tokens that are kept, int32.
        ids: Tokens of the text, int32, shape ``(n_tokens,)``.
        tail: Special tokens behind every window, int32.
        spans: Token ranges of the chunks.
        rows: Row of each chunk in the table, int64, shape ``(n_chunks,)``.
        table: Where the sums go.
    """

    lead: NDArray[np.int32]
    lead_pooled: int
    header: NDArray[np.int32]
    ids: NDArray[np.int32]
    tail: NDArray[np.int32]
    spans: TokenSpans
    rows: NDArray[np.int64]
    table: SumTable


@dataclass(frozen=True)
class Window:
    """What goes through the encoder as one row of a batch.

    Args:
        passage: The text that the window is a part of.
        preamble: Tokens of the preamble.
        layout: Where things stand.
        bags: What is pooled from it.
    """

    passage: Passage
    preamble: int
    layout: WindowLayout
    bags: Bags

    @property
    def length(self) -> int:
        """Tokens, special tokens included."""
        return self.layout.length

    def fill(self, row: NDArray[np.int64]) -> None:
        """Write the token ids into the first `length` places of ``row``."""
        passage = self.passage
        start, end = self.layout.run
        parts = (
            passage.lead,
            passage.header,
            passage.ids[: self.preamble],
            passage.ids[start:end],
            passage.tail,
        )
        np.concatenate(parts, out=row[: self.length], casting="same_kind")


def passage_windows(passage: Passage, plan: WindowPlan, mode: PoolingMode) -> Iterator[Window]:
    """The windows of a passage that hold a token of some chunk, in text order.

    Args:
        passage: The tokenized text.
        plan: Its windows.
        mode: How chunks are pooled.
    """
    n_tokens = len(passage.ids)
    fixed = len(passage.lead) + len(passage.header)
    for (start, end), preamble in zip(plan.runs.tolist(), plan.preambles.tolist(), strict=True):
        layout = WindowLayout(
            lead=len(passage.lead),
            lead_pooled=passage.lead_pooled,
            run_at=fixed + preamble,
            run=(start, end),
            tail=len(passage.tail),
            is_first=start == 0,
            is_last=end == n_tokens,
        )
        bags = chunk_bags(passage.spans, n_tokens, layout, mode)
        if len(bags.chunks):
            yield Window(passage, preamble, layout, bags)
