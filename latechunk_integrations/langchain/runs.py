"""Texts back to the places they came from, told apart by their neighbours (pure)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple, TypeAlias

__all__ = ["Match", "RunIndex", "Spot"]

# A text at more places than this is boilerplate: the places that continue a neighbour's are
# looked at, and two more, which is enough to notice that nothing decides. All of them would cost
# the square of the number of documents.
_MANY = 256


class Spot(NamedTuple):
    """One text of one recorded sequence.

    Args:
        sequence: Number of the sequence, counted in the order of recording.
        row: Which of its texts.
    """

    sequence: int
    row: int


class Match(NamedTuple):
    """Where a text came from.

    Args:
        spot: The place; None: the text is in no sequence.
        ambiguous: Other places explain the call as well, and they are not the same.
    """

    spot: Spot | None
    ambiguous: bool


_Scores: TypeAlias = "dict[Spot | None, int]"


class RunIndex:
    """Sequences of texts, and what a call for some of their texts is made of.

    The rule: of all ways to assign places to the texts of a call, the best ones keep most
    neighbours neighbours, that is have the most texts followed by the text behind them in their
    sequence. A call may go on where an earlier one left a sequence; its first text then counts
    as such a follower too. Of several best ways the one recorded first is taken, and a text on
    which they disagree is ambiguous.

    Args:
        identity: What a place stands for; places of equal identity are never ambiguous.
    """

    def __init__(self, identity: Callable[[Spot], Hashable]) -> None:
        self._identity = identity
        self._sequences: dict[int, Sequence[str]] = {}
        # Dicts as ordered sets: a text that stands in every document leaves in no time.
        self._spots: dict[str, dict[Spot, None]] = {}
        self._next_rows: dict[int, int] = {}
        self._n_recorded = 0

    def add(self, texts: Sequence[str]) -> int:
        """Record a sequence; returns its number."""
        number = self._n_recorded
        self._n_recorded += 1
        self._sequences[number] = texts
        for row, text in enumerate(texts):
            self._spots.setdefault(text, {})[Spot(number, row)] = None
        return number

    def remove(self, number: int) -> None:
        """Forget a sequence."""
        self._next_rows.pop(number, None)
        for row, text in enumerate(self._sequences.pop(number)):
            spots = self._spots[text]
            del spots[Spot(number, row)]
            if not spots:
                del self._spots[text]

    def __contains__(self, text: str) -> bool:
        return text in self._spots

    def text(self, spot: Spot) -> str:
        """The text at a place."""
        return self._sequences[spot.sequence][spot.row]

    def expect(self, number: int, row: int) -> None:
        """Let the next call begin at this row, if its texts agree."""
        self._next_rows[number] = row

    def resolve(self, texts: Sequence[str]) -> list[Match]:
        """The place of each text of a call."""
        layers = self._candidates(texts)
        if all(len(layer) == 1 for layer in layers):
            matches = [Match(layer[0], ambiguous=False) for layer in layers]
        else:
            matches = self._best(layers)
        self._leave(matches)
        return matches

    def _candidates(self, texts: Sequence[str]) -> list[list[Spot | None]]:
        """The places that each text may have come from, in the order of recording."""
        kept: list[set[Spot]] = [self._few(text) for text in texts]
        many = [i for i, text in enumerate(texts) if len(self._spots.get(text, ())) > _MANY]
        if many and many[0] == 0:
            kept[0].update(
                s for s in map(Spot._make, self._next_rows.items()) if self._is(s, texts[0])
            )
        for order, step in ((many, 1), (many[::-1], -1)):
            for i in order:
                if 0 <= i - step < len(texts):
                    next_to = (_neighbour(spot, step) for spot in kept[i - step])
                    kept[i].update(spot for spot in next_to if self._is(spot, texts[i]))
        return [[*sorted(spots)] or [None] for spots in kept]

    def _few(self, text: str) -> set[Spot]:
        spots = self._spots.get(text, {})
        if len(spots) <= _MANY:
            return set(spots)
        first = next(iter(spots))
        other = (spot for spot in spots if self._identity(spot) != self._identity(first))
        return {first, next(other, first)}

    def _is(self, spot: Spot, text: str) -> bool:
        return spot in self._spots.get(text, ())

    def _best(self, layers: list[list[Spot | None]]) -> list[Match]:
        before = self._links_before(layers)
        behind = _links_behind(layers)
        most = max(before[-1].values())
        matches: list[Match] = []
        spot, n_links = None, 0
        for i, layer in enumerate(layers):
            for candidate in layer:
                gain = self._is_link(spot, candidate, first=i == 0)
                if n_links + gain + behind[i][candidate] == most:
                    spot, n_links = candidate, n_links + gain
                    break
            best = [c for c in layer if before[i][c] + behind[i][c] == most]
            matches.append(Match(spot, ambiguous=self._differ(best)))
        return matches

    def _links_before(self, layers: list[list[Spot | None]]) -> list[_Scores]:
        """The most links of any way that ends in each candidate, for each text."""
        scores: list[_Scores] = []
        for i, layer in enumerate(layers):
            if not scores:
                scores.append({c: int(self._is_link(None, c, first=True)) for c in layer})
                continue
            last, most = scores[i - 1], max(scores[i - 1].values())
            scores.append({c: max(most, last.get(_neighbour(c, -1), -1) + 1) for c in layer})
        return scores

    def _is_link(self, spot: Spot | None, candidate: Spot | None, *, first: bool) -> bool:
        if candidate is None:
            return False
        if first:
            return self._next_rows.get(candidate.sequence) == candidate.row
        return spot is not None and _neighbour(spot, 1) == candidate

    def _differ(self, spots: list[Spot | None]) -> bool:
        if len(spots) == 1:
            return False
        kinds = (self._identity(spot) for spot in spots if spot is not None)
        first = next(kinds)
        return any(kind != first for kind in kinds)

    def _leave(self, matches: Sequence[Match]) -> None:
        """Note where the call leaves its last sequence; a guess is no place to go on from."""
        for spot, _ in matches:
            if spot is not None:
                self._next_rows.pop(spot.sequence, None)
        if not matches or matches[-1].ambiguous or matches[-1].spot is None:
            return
        number, row = matches[-1].spot
        if row + 1 < len(self._sequences[number]):
            self._next_rows[number] = row + 1


# No spot has this number, so nothing is linked to it.
_NOWHERE = Spot(-1, -1)


def _neighbour(spot: Spot | None, step: int) -> Spot:
    return _NOWHERE if spot is None else Spot(spot.sequence, spot.row + step)


def _links_behind(layers: list[list[Spot | None]]) -> list[_Scores]:
    """The most links of any way that goes on from each candidate, for each text."""
    scores: list[_Scores] = [dict.fromkeys(layers[-1], 0)]
    for layer in reversed(layers[:-1]):
        last, most = scores[-1], max(scores[-1].values())
        scores.append({c: max(most, last.get(_neighbour(c, 1), -1) + 1) for c in layer})
    return scores[::-1]
