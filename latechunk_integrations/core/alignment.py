"""Character spans to token spans, from the tokenizer's offset mapping (exact)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.ranges import to_bounds
from latechunk_integrations.errors import OffsetsError
from latechunk_integrations.schema import CharSpans, TokenSpans


class Aligner:
    """Aligns spans with the offset mappings of their texts, which may come in pieces.

    A token belongs to a span when their character ranges overlap, so a token that
    straddles two chunks is pooled into both. A token without text (an empty range) belongs
    to the spans that it lies strictly inside of. The token spans of the chunks that hold a
    text's first or last token with text reach to its first or last token of all, which is
    how later steps know them (the edge rule).

    Args:
        spans: Half-open character ranges in each text, shape ``(n_chunks, 2)`` each.
        n_chars: Code points of each text.
    """

    def __init__(self, spans: Sequence[CharSpans], n_chars: Sequence[int]) -> None:
        # All texts lie on one line, a place apart, so that one search finds the tokens of all.
        self._bases = to_bounds(np.array(n_chars, np.int64) + 1)
        self._texts = np.repeat(np.arange(len(spans)), [len(one) for one in spans])
        own = np.concatenate([one.array for one in spans]) if spans else np.zeros((0, 2), np.int64)
        self._spans = own + self._bases[self._texts, None]
        # With both columns of the offsets sorted, the tokens that overlap [s, e) are one run,
        # from the number of tokens that end by s to the number that start before e. Such
        # numbers add up over pieces, so that the offsets of a piece can go at once.
        self._first = np.zeros(len(own), np.int64)
        self._last = np.zeros(len(own), np.int64)
        self._inside = np.zeros(len(own), np.int64)
        self._reached = (-1, -1)
        self._first_with_text = np.full(len(spans), -1, np.int64)
        self._last_with_text = np.full(len(spans), -1, np.int64)
        self.n_tokens = np.zeros(len(spans), np.int64)

    def add(self, offsets: NDArray[np.integer], texts: NDArray[np.int64] | int = 0) -> None:
        """Take in the next tokens.

        Args:
            offsets: Half-open character ranges of tokens in their text, in text order, without
                special tokens, shape ``(n, 2)``.
            texts: The text of each token, ascending, int64, shape ``(n,)``; or of all of them.

        Raises:
            OffsetsError: The offsets go back in the text.
        """
        if not len(offsets):
            return
        of_tokens = np.broadcast_to(np.asarray(texts), len(offsets))
        moved = offsets + self._bases[of_tokens, None]
        starts, ends = moved[:, 0], moved[:, 1]
        back = starts[0] < self._reached[0] or ends[0] < self._reached[1]
        if back or (moved[1:] < moved[:-1]).any():
            raise OffsetsError("the tokenizer's offsets go back in the text: they cannot be used")
        self._reached = int(starts[-1]), int(ends[-1])
        first = np.searchsorted(ends, self._spans[:, 0], side="right")
        last = np.searchsorted(starts, self._spans[:, 1], side="left")
        self._first += first
        self._last += last
        has_text = ends > starts
        if not has_text.all():
            first = np.searchsorted(ends[has_text], self._spans[:, 0], side="right")
            last = np.searchsorted(starts[has_text], self._spans[:, 1], side="left")
        self._inside += last - first
        self._note_text(of_tokens, has_text)
        self.n_tokens += np.bincount(of_tokens, minlength=len(self.n_tokens))

    def _note_text(self, texts: NDArray[np.int64], has_text: NDArray[np.bool_]) -> None:
        """Remember the first and last token with text of each text."""
        before = int(self.n_tokens.sum())
        with_text = np.flatnonzero(has_text)
        if not len(with_text):
            return
        found, first = np.unique(texts[with_text], return_index=True)
        last = np.append(first[1:], len(with_text)) - 1
        new = self._first_with_text[found] < 0
        self._first_with_text[found[new]] = before + with_text[first[new]]
        self._last_with_text[found] = before + with_text[last]

    def token_spans(self) -> TokenSpans:
        """Half-open token ranges in each text, shape ``(n_chunks, 2)``, text after text.

        Returns:
            The ranges; ``start == end == 0`` when no token with text overlaps the span.
        """
        bases = to_bounds(self.n_tokens)[:-1]
        spans = np.stack([self._first, self._last], axis=1)
        at_start = spans[:, 0] <= self._first_with_text[self._texts]
        at_end = spans[:, 1] > self._last_with_text[self._texts]
        spans -= bases[self._texts, None]
        spans[at_start, 0] = 0
        spans[at_end, 1] = self.n_tokens[self._texts[at_end]]
        spans[self._inside <= 0] = 0
        return TokenSpans(spans)


def align(spans: CharSpans, offsets: NDArray[np.integer]) -> TokenSpans:
    """Token span of each character span of one text; see `Aligner`.

    Args:
        spans: Half-open character ranges in the text, shape ``(n_chunks, 2)``.
        offsets: Offset mapping of the text's tokens in text order, without special
            tokens, shape ``(n_tokens, 2)``.

    Returns:
        Half-open token ranges, shape ``(n_chunks, 2)``; ``start == end`` when no token with
        text overlaps the span.

    Raises:
        OffsetsError: The offsets go back in the text.
    """
    # One text alone needs no length: nothing comes after it.
    aligner = Aligner([spans], [0])
    aligner.add(offsets)
    return aligner.token_spans()
