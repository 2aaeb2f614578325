"""A tokenized text, its windows, and the sums that they add up to."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.pooling import Bags, WindowLayout, chunk_bags
from latechunk_integrations.core.windows import WindowPlan
from latechunk_integrations.schema import PoolingMode, TokenSpans

__all__ = ["Passage", "SumTable", "TokenBuffer", "Window", "passage_windows"]


class SumTable:
    """Running chunk sums of one parent, kept on the host.

    Args:
        n_chunks: Rows.
        dim: Columns.
        parent_id: Whose chunks they are.
    """

    def __init__(self, n_chunks: int, dim: int, parent_id: str = "") -> None:
        self.parent_id = parent_id
        # np.zeros maps pages lazily: rows of a huge parent cost memory once they are filled.
        self.sums: NDArray[np.float32] = np.zeros((n_chunks, dim), np.float32)
        self.weights: NDArray[np.float32] = np.zeros(n_chunks, np.float32)
        # Windows are given out by one thread and added by another, so each has its own counter.
        self._n_given = 0
        self._n_added = 0

    @property
    def n_open(self) -> int:
        """Windows given out whose sums are not added yet."""
        return self._n_given - self._n_added

    def expect(self) -> None:
        """Count a window whose sums will be added."""
        self._n_given += 1

    def add(
        self,
        rows: NDArray[np.int64],
        sums: NDArray[np.float32],
        weights: NDArray[np.float32],
    ) -> None:
        """Add the sums of one window, in which no row stands twice."""
        self.sums[rows] += sums
        self.weights[rows] += weights
        self._n_added += 1

    def means(self) -> NDArray[np.float32]:
        """The weighted means, in place: the sums are gone afterwards."""
        np.divide(self.sums, np.maximum(self.weights, 1e-9)[:, None], out=self.sums)
        return self.sums


class TokenBuffer:
    """The token ids of a text, which are let go as windows pass over them.

    Ids below 65,536 are kept in two bytes each: they are all of a huge parent's tokens that
    outlives the tokenizer.

    Args:
        pieces: Token ids in text order, int32.
    """

    def __init__(self, pieces: Iterable[NDArray[np.int32]]) -> None:
        self._pieces = deque(_narrow(piece) for piece in pieces if len(piece))
        self._start = 0
        self.n_tokens = sum(len(piece) for piece in self._pieces)

    def take(self, start: int, end: int) -> NDArray[np.int32]:
        """The ids of tokens ``[start, end)``; what stands before ``start`` is gone."""
        while self._pieces and self._start + len(self._pieces[0]) <= start:
            self._start += len(self._pieces.popleft())
        parts, at = [], self._start
        for piece in self._pieces:
            if at >= end:
                break
            parts.append(piece[max(0, start - at) : end - at])
            at += len(piece)
        return np.concatenate(parts, dtype=np.int32) if parts else np.zeros(0, np.int32)


@dataclass(frozen=True)
class Passage:
    """A tokenized text whose windows fill rows of a `SumTable`.

    Args:
        lead: Special and prompt tokens in front of every window, int32.
        lead_pooled: First of the lead tokens that the model's own pooling would pool.
        header: Header tokens that are kept, int32.
        tokens: Tokens of the text.
        tail: Special tokens behind every window, int32.
        spans: Token ranges of the chunks.
        first_row: Row of the first chunk in the table; the others follow.
        table: Where the sums go.
        tail_pooled: The chunk that holds the text's last token pools the tail too.
    """

    lead: NDArray[np.int32]
    lead_pooled: int
    header: NDArray[np.int32]
    tokens: TokenBuffer
    tail: NDArray[np.int32]
    spans: TokenSpans
    first_row: int
    table: SumTable
    tail_pooled: bool = True


@dataclass(frozen=True)
class Window:
    """What goes through the encoder as one row of a batch.

    Args:
        ids: Token ids, special tokens included, int32, shape ``(length,)``.
        bags: What is pooled from it.
        rows: Row in the table of each bag, int64, shape ``(n_bags,)``.
        table: Where the sums go.
    """

    ids: NDArray[np.int32]
    bags: Bags
    rows: NDArray[np.int64]
    table: SumTable

    @property
    def length(self) -> int:
        """Tokens, special tokens included."""
        return len(self.ids)


def passage_windows(passage: Passage, plan: WindowPlan, mode: PoolingMode) -> Iterator[Window]:
    """The windows of a passage that hold a token of some chunk, in text order.

    Args:
        passage: The tokenized text; its tokens are let go on the way.
        plan: Its windows.
        mode: How chunks are pooled.
    """
    n_tokens = passage.tokens.n_tokens
    first_ids = passage.tokens.take(0, int(plan.preambles.max(initial=0)))
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
            tail_pooled=passage.tail_pooled,
        )
        bags = chunk_bags(passage.spans, n_tokens, layout, mode)
        if not len(bags.chunks):
            continue
        run = passage.tokens.take(start, end)
        parts = (passage.lead, passage.header, first_ids[:preamble], run, passage.tail)
        passage.table.expect()
        yield Window(np.concatenate(parts), bags, bags.chunks + passage.first_row, passage.table)


def _narrow(ids: NDArray[np.int32]) -> NDArray[np.integer]:
    """A copy in as few bytes as the ids need, so that no larger array stays behind a view."""
    return ids.astype(np.uint16 if ids.max() <= np.iinfo(np.uint16).max else np.int32)
