"""Character spans to token spans, from the tokenizer's offset mapping (exact)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.errors import OffsetsError
from latechunk_integrations.schema import CharSpans, TokenSpans

__all__ = ["Aligner", "align"]


class Aligner:
    """Aligns spans with a parent's offset mapping, which may come in pieces.

    A token belongs to a span when their character ranges overlap, so a token that
    straddles two chunks is pooled into both. A token without text (an empty range) belongs
    to the spans that it stands inside of. The token spans of the chunks that hold the
    parent's first or last token with text reach to the first or last token of all, which is
    how later steps know them (the edge rule).

    Args:
        spans: Half-open character ranges in the parent, shape ``(n_chunks, 2)``.
    """

    def __init__(self, spans: CharSpans) -> None:
        self._spans = spans
        # With both columns of the offsets sorted, the tokens that overlap [s, e) are one run,
        # from the number of tokens that end by s to the number that start before e. Such
        # numbers add up over pieces, so that the offsets of a piece can go at once.
        self._first = np.zeros(len(spans), np.int64)
        self._last = np.zeros(len(spans), np.int64)
        self._inside = np.zeros(len(spans), np.int64)
        self._reached = (0, 0)
        self._text_bounds: tuple[int, int] | None = None
        self.n_tokens = 0

    def add(self, offsets: NDArray[np.integer]) -> None:
        """Take in the next tokens.

        Args:
            offsets: Half-open character ranges of tokens in text order, without special
                tokens, shape ``(n, 2)``.

        Raises:
            OffsetsError: The offsets go back in the text.
        """
        if not len(offsets):
            return
        starts, ends = offsets[:, 0], offsets[:, 1]
        back = starts[0] < self._reached[0] or ends[0] < self._reached[1]
        if back or (offsets[1:] < offsets[:-1]).any():
            raise OffsetsError("the tokenizer's offsets go back in the text: they cannot be used")
        self._reached = int(starts[-1]), int(ends[-1])
        first = np.searchsorted(ends, self._spans.starts, side="right")
        last = np.searchsorted(starts, self._spans.ends, side="left")
        self._first += first
        self._last += last
        has_text = ends > starts
        if not has_text.all():
            first = np.searchsorted(ends[has_text], self._spans.starts, side="right")
            last = np.searchsorted(starts[has_text], self._spans.ends, side="left")
        self._inside += last - first
        with_text = has_text.nonzero()[0]
        if len(with_text):
            begin = self._text_bounds[0] if self._text_bounds else self.n_tokens + with_text[0]
            self._text_bounds = int(begin), int(self.n_tokens + with_text[-1])
        self.n_tokens += len(offsets)

    def token_spans(self) -> TokenSpans:
        """Half-open token ranges, shape ``(n_chunks, 2)``.

        Returns:
            The ranges; ``start == end == 0`` when no token with text overlaps the span.
        """
        spans = np.stack([self._first, self._last], axis=1)
        if self._text_bounds is not None:
            spans[spans[:, 0] <= self._text_bounds[0], 0] = 0
            spans[spans[:, 1] > self._text_bounds[1], 1] = self.n_tokens
        spans[self._inside <= 0] = 0
        return TokenSpans(spans)


def align(spans: CharSpans, offsets: NDArray[np.integer]) -> TokenSpans:
    """Token span of each character span, from one offset mapping; see `Aligner`.

    Args:
        spans: Half-open character ranges in the parent, shape ``(n_chunks, 2)``.
        offsets: Offset mapping of the parent's tokens in text order, without special
            tokens, shape ``(n_tokens, 2)``.

    Returns:
        Half-open token ranges, shape ``(n_chunks, 2)``; ``start == end`` when no token with
        text overlaps the span.

    Raises:
        OffsetsError: The offsets go back in the text.
    """
    aligner = Aligner(spans)
    aligner.add(offsets)
    return aligner.token_spans()
