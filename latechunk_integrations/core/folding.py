"""Texts that say the same: case, accents, white space and a known prefix aside (pure)."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.spans import LocatedBy, locate

_WHOLE = (LocatedBy.EXACT, LocatedBy.WHITESPACE)


def fold(text: str) -> str:
    """The text in small letters without accents, of the same length.

    What lower-casing tokenizers give back is found by it.
    """
    return text.lower() if text.isascii() else "".join(map(_fold_character, text))


def says_the_same(text: str, other: str, known: Iterable[str] = ()) -> bool:
    """Whether both are equal but for case, accents, white space and a prefix of the first.

    Args:
        text: The text that may have a prefix.
        other: The text without.
        known: What a prefix is made of beside punctuation, such as a title.
    """
    if text == other:
        return True
    squeezed, ending = _squeeze(text), _squeeze(other)
    if not ending or not squeezed.endswith(ending):
        return False
    front = squeezed[: len(squeezed) - len(ending)]
    if front:
        for part in sorted({_squeeze(one) for one in known} - {""}, key=len, reverse=True):
            front = front.replace(part, " ")
    return not any(map(str.isalnum, front))


def find_spans(
    text: str, pieces: Sequence[str], *, overlap: int | None = None
) -> NDArray[np.int64]:
    """Where the pieces of a text are in it, also those that a splitter lower-cased.

    Args:
        text: The parent.
        pieces: What a splitter made of it, in reading order.
        overlap: See `locate`.

    Returns:
        Half-open ranges, -1 where a piece is not in it. Int64, shape ``(n_pieces, 2)``.
    """
    chain = _chain(text, pieces)
    if chain is not None:
        return chain
    located = locate(text, pieces, overlap=overlap)
    spans = located.spans.astype(np.int64)
    if all(how in _WHOLE for how in located.how):
        return spans
    folded = locate(fold(text), [fold(piece) for piece in pieces], overlap=overlap).spans
    for row, how in enumerate(located.how):
        if how not in _WHOLE and np.ptp(folded[row]) > np.ptp(spans[row]):  # more of it is found
            spans[row] = folded[row]
    return spans


def _chain(text: str, pieces: Sequence[str]) -> NDArray[np.int64] | None:
    """The places of pieces that cover the whole text in the one way that leaves nothing out.

    What most splitters make, and `locate` would find too, at several times the cost. None: a
    piece is nowhere between the start of the one before and what follows it, or twice.
    """
    spans = np.empty((len(pieces), 2), np.int64)
    start, end, last = 0, _skip_space(text, 0), ""
    for row, piece in enumerate(pieces):
        first = start + (piece == last) if row else 0
        until = end + len(piece)
        found = text.find(piece, first, until) if piece else -1
        if found < 0 or text.find(piece, found + 1, until) >= 0:
            return None
        start, last = found, piece
        stop = found + len(piece)
        spans[row] = start, stop
        end = _skip_space(text, stop)
    return spans if pieces and end == len(text) else None


def _skip_space(text: str, start: int) -> int:
    """The first place from here on that is no white space."""
    while start < len(text) and text[start].isspace():
        start += 1
    return start


def _squeeze(text: str) -> str:
    return "".join(fold(text).split())


@lru_cache(maxsize=1 << 16)
def _fold_character(character: str) -> str:
    base = unicodedata.normalize("NFD", character)[0].lower()
    return base if len(base) == 1 else character
