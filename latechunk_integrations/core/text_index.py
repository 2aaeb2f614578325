"""A parent's text, ready for many searches."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

# Text that is turned into numbers at once, in characters.
_BLOCK = 1 << 18
# Length of the runs of characters that tell that a chunk is nowhere, without a search.
_GRAM = 8
# So many non-space characters agree by more than chance, even with the words divided differently.
_LONG_CHARS = 32
_SPACES = [code for code in range(0x3001) if chr(code).isspace()]


class TextIndex:
    """A parent, and what the search needs of it beyond the text, built when first needed."""

    def __init__(self, text: str) -> None:
        self.verbatim = text

    @cached_property
    def n_before(self) -> NDArray[np.int32]:
        """Non-space characters before each position, int32, shape ``(len(text) + 1,)``."""
        counts = np.zeros(len(self.verbatim) + 1, np.int32)
        is_text = np.ones(_SPACES[-1] + 2, np.int32)
        is_text[_SPACES] = 0
        for start in range(0, len(self.verbatim), _BLOCK):  # blocks: no copies of the whole text
            codes = np.minimum(_read_codes(self.verbatim[start : start + _BLOCK]), _SPACES[-1] + 1)
            counts[start + 1 : start + 1 + len(codes)] = is_text[codes]
        return np.cumsum(counts, dtype=np.int32, out=counts)

    @cached_property
    def squeezed(self) -> str:
        """The text without any white space."""
        return "".join(self.verbatim.split())

    @cached_property
    def positions(self) -> NDArray[np.int32]:
        """Position of each non-space character, int32, shape ``(len(squeezed),)``."""
        return np.flatnonzero(np.diff(self.n_before)).astype(np.int32)

    @cached_property
    def grams(self) -> NDArray[np.bool_]:
        """Which hashes the grams of the squeezed text have; at most one in four is set."""
        known = np.zeros(1 << (4 * len(self.squeezed)).bit_length(), np.bool_)
        for start in range(0, len(self.squeezed), _BLOCK):
            grams = _read_grams(self.squeezed[start : start + _BLOCK + _GRAM - 1])
            known[grams & np.uint64(len(known) - 1)] = True
        return known

    def may_hold(self, chunk: str) -> bool:
        """False where a chunk is certainly nowhere, whatever the white space."""
        grams = _read_grams("".join(chunk.split()))
        return bool(self.grams[grams & np.uint64(len(self.grams) - 1)].all())

    def skipped(self, start: int, end: int) -> int:
        """Non-space characters in ``[start, end)``."""
        return max(0, int(self.n_before[max(start, end)] - self.n_before[start]))

    def unsqueeze(self, start: int, end: int) -> tuple[int, int]:
        """A non-empty range of the squeezed text as one of the text."""
        return int(self.positions[start]), int(self.positions[end - 1]) + 1

    def spans(
        self, chunk: str, needle: str, hits: list[int], *, verbatim: bool
    ) -> list[tuple[int, int]]:
        """Hits as spans, without those that are the chunk only when both are squeezed."""
        if verbatim:
            return [(hit, hit + len(needle)) for hit in hits]
        spans = [self.unsqueeze(hit, hit + len(needle)) for hit in hits]
        if len(needle) >= _LONG_CHARS:
            return spans
        words = chunk.split()  # "now here" is not "nowhere"
        return [span for span in spans if self.verbatim[slice(*span)].split() == words]


def _read_codes(text: str) -> NDArray[np.uint32]:
    """Code points, uint32, shape ``(len(text),)``."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def _read_grams(text: str) -> NDArray[np.uint64]:
    """A hash of each run of `_GRAM` characters, uint64, wrapping around."""
    codes = _read_codes(text).astype(np.uint64)
    n_grams = max(0, len(codes) - _GRAM + 1)
    grams = np.zeros(n_grams, np.uint64)
    for offset in range(_GRAM if n_grams else 0):
        grams = grams * np.uint64(0x9E3779B97F4A7C15) + codes[offset : offset + n_grams]
    return grams ^ (grams >> np.uint64(32))
