"""Character spans to token spans, from the tokenizer's offset mapping (exact)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.errors import OffsetsError
from latechunk_integrations.schema import CharSpans, TokenSpans

__all__ = ["align"]


def align(spans: CharSpans, offsets: NDArray[np.integer]) -> TokenSpans:
    """Token span of each character span.

    A token belongs to a span when their character ranges overlap, so a token that
    straddles two chunks is pooled into both. A token without text (an empty range) belongs
    to the spans that it stands inside of. The token spans of the chunks that hold the
    parent's first or last token with text reach to the first or last token of all, which is
    how later steps know them (the edge rule).

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
    starts, ends = offsets[:, 0], offsets[:, 1]
    if np.any(starts[1:] < starts[:-1]) or np.any(ends[1:] < ends[:-1]):
        raise OffsetsError("the tokenizer's offsets go back in the text; they cannot be aligned")
    # With both columns sorted, the tokens that overlap [s, e) are one run:
    # from the first that ends after s to the last that starts before e.
    first = np.searchsorted(ends, spans.starts, side="right")
    last = np.searchsorted(starts, spans.ends, side="left")
    with_text = np.flatnonzero(ends > starts)
    inside = np.searchsorted(with_text, last) - np.searchsorted(with_text, first)
    first, last = np.minimum(first, last), last
    if len(with_text):
        first = np.where(first <= with_text[0], 0, first)
        last = np.where(last > with_text[-1], len(offsets), last)
    tokens = np.stack([first, last], axis=1)
    tokens[inside <= 0] = 0
    return TokenSpans(tokens)
