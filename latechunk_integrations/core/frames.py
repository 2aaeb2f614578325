"""Tokenized texts, and the frames that their runs are put into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.ranges import count_ranges, to_bounds
from latechunk_integrations.core.windows import Runs, WindowBudgets

_SEGMENTS = 6
_LEAD, _FRONT, _HEADER, _BACK, _RUN, _TAIL = range(_SEGMENTS)
HEADER_SEGMENT = _HEADER
"""The segment of a frame that its header is in."""


@dataclass(frozen=True)
class Passages:
    """Texts that windows are cut from, as flat arrays: parents, or chunks alone.

    Token ids of all of them lie in one pool; each part of a text is a range of it.

    Args:
        pool: Token ids, two or four bytes each, shape ``(n_pool,)``.
        lead: Range of the special tokens in front of every text.
        tail: Range of those at the end.
        front: Start and length in the pool of the prompt's part before the header, int64, shape
            ``(n_texts, 2)``.
        header: The same of the header.
        back: The same of the prompt's part after the header.
        text: The same of the text.
        edges_pooled: Whether special tokens and prompt are pooled with a chunk at the text's
            edge, bool, shape ``(n_texts,)``.
        front_pooled: Whether those in front are; sentence-transformers leaves them out along
            with a prompt that is not pooled.
        edges: For each text the tokens before which a window may begin or end; None: any.
    """

    pool: NDArray[np.integer]
    lead: tuple[int, int]
    tail: tuple[int, int]
    front: NDArray[np.int64]
    header: NDArray[np.int64]
    back: NDArray[np.int64]
    text: NDArray[np.int64]
    edges_pooled: NDArray[np.bool_]
    front_pooled: NDArray[np.bool_]
    edges: Sequence[NDArray[np.int64] | None] | None = None

    def __len__(self) -> int:
        return len(self.text)

    @property
    def n_tokens(self) -> NDArray[np.int64]:
        """Tokens of each text."""
        return self.text[:, 1]

    @property
    def fixed(self) -> NDArray[np.int64]:
        """Special and prompt tokens of each text."""
        return self.lead[1] + self.front[:, 1] + self.back[:, 1] + self.tail[1]


@dataclass(frozen=True)
class Frames:
    """Runs between what is put around them: special tokens, prompt, header.

    A frame is a window of its own in layout ``text``, a unit in layout ``units``.

    Args:
        texts: The text of each frame, ascending, int64, shape ``(n_frames,)``.
        runs: The run in the tokens of its text, half-open, int64, shape ``(n_frames, 2)``.
        starts: Where each of the six segments begins in the pool, int64, ``(n_frames, 6)``.
        lengths: Its tokens, same shape.
        n_text_tokens: Tokens of each text, int64, shape ``(n_texts,)``.
        front_pooled: See `Passages`; for each frame.
        tail_pooled: The same of the special tokens at the end.
        header_weight: Weight of a header's tokens where they are pooled, from 0 to 1.
    """

    texts: NDArray[np.int64]
    runs: NDArray[np.int64]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    n_text_tokens: NDArray[np.int64]
    front_pooled: NDArray[np.bool_]
    tail_pooled: NDArray[np.bool_]
    header_weight: float = 0.0

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Tokens of each frame, int64, shape ``(n_frames,)``."""
        total: NDArray[np.int64] = self.lengths.sum(axis=1)
        return total

    @property
    def n_tokens(self) -> NDArray[np.int64]:
        """Tokens of the text of each frame."""
        return self.n_text_tokens[self.texts]

    @property
    def text_bases(self) -> NDArray[np.int64]:
        """Where each text begins when all lie on one line, a place apart."""
        return to_bounds(np.maximum(self.n_text_tokens, 1) + 1)[:-1]

    @property
    def front(self) -> NDArray[np.int64]:
        """Special and prompt tokens in front of each frame's run."""
        front: NDArray[np.int64] = self.lengths[:, [_LEAD, _FRONT, _BACK]].sum(axis=1)
        return front

    def take(self, frames: NDArray[np.int64]) -> Frames:
        """Some of the frames, ascending."""
        return replace(
            self,
            texts=self.texts[frames],
            runs=self.runs[frames],
            starts=self.starts[frames],
            lengths=self.lengths[frames],
            front_pooled=self.front_pooled[frames],
            tail_pooled=self.tail_pooled[frames],
        )

    def ranges(self, frames: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where what can be pooled lies in some frames.

        Returns:
            First position and length of five ranges (special tokens and prompt in front of the
            header, header, prompt after it, run, special tokens at the end), int64, shape
            ``(n, 5)`` each.
        """
        sizes = self.lengths[frames]
        begins = np.cumsum(sizes, axis=1) - sizes
        kept = [_LEAD, _HEADER, _BACK, _RUN, _TAIL]
        lengths = sizes[:, kept]
        lengths[:, 0] += sizes[:, _FRONT]
        return begins[:, kept], lengths

    def gather(
        self, frames: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
        """Where the tokens of some frames lie in the pool.

        Returns:
            Their places, int64, shape ``(n_tokens,)``, frame after frame; whether each is of a
            header, and whether it is of the text, bool, same shape.
        """
        lengths = self.lengths[frames].ravel()
        places = count_ranges(self.starts[frames].ravel(), lengths)
        segments = np.repeat(np.tile(np.arange(_SEGMENTS, dtype=np.int8), len(frames)), lengths)
        return places, segments == _HEADER, segments == _RUN


def frame_runs(
    passages: Passages, budgets: WindowBudgets, runs: Runs, header_weight: float
) -> Frames:
    """Put each run between special tokens, prompt and header.

    Args:
        passages: The texts.
        budgets: How much of each header is kept.
        runs: The runs of all texts.
        header_weight: Weight of a header's tokens where they are pooled.
    """
    texts, n = runs.texts, len(runs)
    starts = np.empty((n, _SEGMENTS), np.int64)
    lengths = np.empty((n, _SEGMENTS), np.int64)
    starts[:, _LEAD], lengths[:, _LEAD] = passages.lead
    starts[:, _TAIL], lengths[:, _TAIL] = passages.tail
    parts = ((_FRONT, passages.front), (_HEADER, passages.header), (_BACK, passages.back))
    for segment, part in parts:
        starts[:, segment], lengths[:, segment] = part[texts].T
    lengths[:, _HEADER] = budgets.header[texts]
    starts[:, _RUN] = passages.text[texts, 0] + runs.bounds[:, 0]
    lengths[:, _RUN] = runs.bounds[:, 1] - runs.bounds[:, 0]
    edges = passages.edges_pooled[texts]
    return Frames(
        texts,
        runs.bounds,
        starts,
        lengths,
        passages.n_tokens,
        edges & passages.front_pooled[texts],
        edges,
        header_weight,
    )
