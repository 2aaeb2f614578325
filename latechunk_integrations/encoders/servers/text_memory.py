"""Texts read lately, to write token ids as text again."""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MEMORY_CHARS = 1 << 23
# Texts are found by as many tokens at their beginning, or by all if they have fewer.
_KEY_TOKENS = 8
# Most texts with the same beginning that are looked at.
_MOST_ALIKE = 64


@dataclass(frozen=True, eq=False)
class _Source:
    text: str
    ids: NDArray[np.int32]
    offsets: NDArray[np.int32]

    @property
    def key(self) -> bytes:
        return self.ids[:_KEY_TOKENS].tobytes()


class TextMemory:
    """Texts read lately, to write token ids as text again.

    What it gives is a proposal: a caller asks the server whether it reads it as these tokens.

    Args:
        max_chars: Bound on the texts that are kept; those not used for longest go. A huge text
            counts for half of it at most, so that what is in front of its windows stays.
    """

    def __init__(self, max_chars: int = _MEMORY_CHARS) -> None:
        self._max_chars = max_chars
        self._sources: OrderedDict[str, _Source] = OrderedDict()
        self._by_key: defaultdict[bytes, OrderedDict[str, _Source]] = defaultdict(OrderedDict)
        # Of many texts with the same beginning, the one that a window is as a whole.
        self._by_ids: dict[bytes, _Source] = {}
        self._n_chars = 0
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Callable[..., TextMemory], tuple[int]]:
        """A copy elsewhere remembers nothing."""
        return TextMemory, (self._max_chars,)

    def add(self, text: str, ids: NDArray[np.int32], offsets: NDArray[np.int32]) -> None:
        """Note a text and its tokens.

        Args:
            text: The text.
            ids: Token ids, shape ``(n_tokens,)``.
            offsets: Half-open code point ranges in the text, shape ``(n_tokens, 2)``.
        """
        if not len(ids):
            return
        with self._lock:
            self._forget(text)
            source = _Source(text, ids, offsets)
            self._sources[text] = self._by_key[source.key][text] = source
            self._by_ids[ids.tobytes()] = source
            self._n_chars += self._measure(text)
            while self._n_chars > self._max_chars and len(self._sources) > 1:
                self._forget(next(iter(self._sources)))

    def touch(self, text: str) -> bool:
        """Whether a text is there; it then counts as used."""
        with self._lock:
            if text not in self._sources:
                return False
            self._use(self._sources[text])
            return True

    def parts_of(self, ids: NDArray[np.int32]) -> list[str]:
        """Parts of texts that together read as these tokens, or seem to; none if none do.

        Args:
            ids: Token ids without special tokens, int32.
        """
        parts: list[str] = []
        at = 0
        with self._lock:
            while at < len(ids):
                wanted = ids[at:]
                whole = self._by_ids.get(wanted.tobytes())
                best = _find_best([whole] if whole else self._beginning_with(wanted), wanted)
                if not _is_sure(best, wanted):
                    best = _find_best(reversed(self._sources.values()), wanted)
                if best is None:
                    return []
                source, start, n_found = best
                self._use(source)
                parts.append(_slice(source, start, start + n_found))
                at += n_found
        return parts

    def _beginning_with(self, wanted: NDArray[np.int32]) -> list[_Source]:
        found: list[_Source] = []
        for n_tokens in range(min(_KEY_TOKENS, len(wanted)), 0, -1):
            alike: dict[str, _Source] = self._by_key.get(wanted[:n_tokens].tobytes(), {})
            found += list(alike.values())[-_MOST_ALIKE:]
        return found

    def _use(self, source: _Source) -> None:
        """Texts used last are looked at first, and go last."""
        self._sources.move_to_end(source.text)
        self._by_key[source.key].move_to_end(source.text)

    def _measure(self, text: str) -> int:
        return min(len(text), self._max_chars // 2)

    def _forget(self, text: str) -> None:
        source = self._sources.pop(text, None)
        if source is None:
            return
        self._n_chars -= self._measure(text)
        if self._by_ids.get(source.ids.tobytes()) is source:
            del self._by_ids[source.ids.tobytes()]
        alike = self._by_key[source.key]
        del alike[text]
        if not alike:
            del self._by_key[source.key]


def _is_sure(found: tuple[_Source, int, int] | None, wanted: NDArray[np.int32]) -> bool:
    """Whether a run is long enough, or a whole text, so that no other need be looked for."""
    if found is None:
        return False
    source, start, n_found = found
    whole = start == 0 and n_found == len(source.ids) and n_found > 1
    return whole or n_found >= min(_KEY_TOKENS, len(wanted))


def _find_best(
    sources: Iterable[_Source], wanted: NDArray[np.int32]
) -> tuple[_Source, int, int] | None:
    """The source with the longest run that ``wanted`` begins with, its place and length."""
    best: tuple[_Source, int, int] | None = None
    for source in sources:
        start, n_found = _find_longest(source.ids, wanted)
        # No text ends inside a character, such as after the mark that SentencePiece puts in front.
        while n_found and _shares_character(source, start + n_found):
            n_found -= 1
        if n_found > (best[2] if best else 0):
            best = source, start, n_found
            if n_found == len(wanted):
                break
    return best


def _shares_character(source: _Source, token: int) -> bool:
    """Whether a token begins before the one in front of it ends."""
    if token == len(source.ids):
        return False
    return bool(source.offsets[token, 0] < source.offsets[token - 1, 1])


def _find_longest(source: NDArray[np.int32], wanted: NDArray[np.int32]) -> tuple[int, int]:
    """Place and length of the longest run in the source that ``wanted`` begins with."""
    starts = np.flatnonzero(source == wanted[0])
    length = min(1, len(starts))
    while len(starts) > 1 and length < len(wanted):
        inside = starts[starts + length < len(source)]
        longer = inside[source[inside + length] == wanted[length]]
        if not len(longer):
            break
        starts, length = longer, length + 1
    if not len(starts):
        return 0, 0
    start = int(starts[0])
    n = min(len(source) - start, len(wanted))
    different = np.flatnonzero(source[start : start + n] != wanted[:n])
    return start, int(different[0]) if len(different) else n


def _slice(source: _Source, start: int, end: int) -> str:
    """The text of tokens, with the white space before them and, at the end, all that is left."""
    # A mark that SentencePiece puts in front has the range of the first character.
    first = int(min(source.offsets[start - 1, 1], source.offsets[start, 0])) if start else 0
    last = len(source.text) if end == len(source.ids) else int(source.offsets[end - 1, 1])
    return source.text[first:last]
