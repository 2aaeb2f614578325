"""Sub-spans by their definition: float64, plain loops, over the oracle of units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.testing.oracle import Pair
from tests.units_oracle import UnitsOracle

_SCRIPTS_WITHOUT_SPACES = (
    *((0x3040, 0x30FF), (0x3400, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)),
)


@dataclass(frozen=True)
class SubSpanSums:
    """What one sub-span pools.

    Args:
        chunk: The chunk that it is a part of.
        span: Its characters in the parent.
        total: The sum of its token embeddings.
        weight: How many they are.
        late: Whether they come from a window that it shares.
    """

    chunk: int
    span: Pair
    total: NDArray[np.float64]
    weight: float
    late: bool


class SubSpanOracle(UnitsOracle):
    """The oracle of sub-spans in layout ``units``; build it with ``pool_edges=False``."""

    def sub_spans(
        self, text: str, spans: Sequence[Pair], headers: Sequence[str], size: int
    ) -> list[SubSpanSums]:
        """The sub-spans of all chunks, chunk after chunk."""
        cut = [(c, part) for c in range(len(spans)) for part in self.cut(text, spans[c], size)]
        texts = [text[start:end] for _, (start, end) in cut]
        units = [self._unit(piece, headers[c]) for piece, (c, _) in zip(texts, cut, strict=True)]
        found: dict[int, tuple[NDArray[np.float64], float]] = {}
        for part in self._parts(spans, cut, units):
            for window in self._windows_of_units([len(units[i][0]) for i in part]):
                members = [part[i] for i in window]
                sums = self._sum_window([units[i] for i in members])
                found.update(zip(members, sums, strict=True))
        return [
            SubSpanSums(
                chunk,
                span,
                *(found.get(i) or self._sum_divided(texts[i], headers[chunk])),
                late=bool(units[i][2]),
            )
            for i, (chunk, span) in enumerate(cut)
        ]

    def pool(self, sums: Sequence[SubSpanSums]) -> NDArray[np.float64]:
        """The unit vector of some sub-spans together, of a chunk or of joined ones."""
        late = [one for one in sums if one.late] or list(sums)
        total = np.sum([one.total for one in late], axis=0)
        vector = self._headed(total / sum(one.weight for one in late))
        unit: NDArray[np.float64] = vector / np.linalg.norm(vector)
        return unit

    def cut(self, text: str, span: Pair, size: int) -> list[Pair]:
        """Where one chunk is divided, by trying every place."""
        chunk = text[span[0] : span[1]]
        _, _, offsets = replace(self, prompt="").tokens(chunk)
        offsets = [(a, b) for a, b in offsets if chunk[a:b].strip()]
        n_parts = max(1, round(len(offsets) / size))
        cuts: list[int] = []
        for part in range(1, n_parts):
            target = round(part * len(offsets) / n_parts)
            places = [
                i
                for i in range(1, len(offsets))
                if offsets[i][1] > offsets[i][0] >= max(1, *(b for _, b in offsets[:i]))
            ]
            nearest = min(
                (i for i in places if self._is_word_border(chunk, offsets[i][0])),
                key=lambda i: (abs(i - target), i),
                default=None,
            )
            if nearest is None or abs(nearest - target) > size / 2:
                nearest = min(places, key=lambda i: (abs(i - target), i), default=None)
            if nearest is not None:
                cuts.append(span[0] + offsets[nearest][0])
        borders = [span[0], *sorted(set(cuts)), span[1]]
        return [(borders[i], borders[i + 1]) for i in range(len(borders) - 1)]

    @staticmethod
    def _is_word_border(text: str, place: int) -> bool:
        return any(
            text[i].isspace() or any(a <= ord(text[i]) <= b for a, b in _SCRIPTS_WITHOUT_SPACES)
            for i in (place - 1, place)
        )

    def _parts(
        self, spans: Sequence[Pair], cut: Sequence[tuple[int, Pair]], units: Sequence[object]
    ) -> list[list[int]]:
        """What may share windows: sub-spans of chunks of one level, up to one that is too long."""
        every = list(range(len(spans)))
        parts: list[list[int]] = []
        for level in self._levels(spans, every, [True] * len(spans)):
            parts.append([])
            for chunk in level:
                for i in (i for i, (own, _) in enumerate(cut) if own == chunk):
                    ids, n_tokens = units[i][0], units[i][2]  # type: ignore[index]  # a tuple
                    if n_tokens and len(ids) <= self.max_tokens:
                        parts[-1].append(i)
                    elif n_tokens:
                        parts.append([])
        return [part for part in parts if part]
