"""Stored chunks in the text of their source file: only where it is certain."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from latechunk_integrations.bulk.migration.stored_chunks import StoredChunk


class Placed(NamedTuple):
    """A chunk, and where it is: half-open, in code points."""

    chunk: StoredChunk
    start: int
    end: int


class Placement(NamedTuple):
    """Which chunks are where, and why others have no place."""

    placed: list[Placed]
    unplaced: list[tuple[StoredChunk, str]]


def place_in_text(text: str, chunks: Sequence[StoredChunk], *, is_ordered: bool) -> Placement:
    """Find chunks verbatim.

    A text that occurs once is placed there. Of several places, the only one between the chunk's
    neighbours is taken, where the order is known. Else it is the one at the chunk's own offset.
    Inside another chunk that one does not count: a search may have found it there by mistake.
    What this does not decide has no place.
    """
    starts: dict[int, int] = {}
    reasons: dict[int, str] = {}
    for at, chunk in enumerate(chunks):
        first = text.find(chunk.text)
        if first < 0:
            reasons[at] = "not_in_the_source_file"
        elif text.find(chunk.text, first + 1) < 0:
            starts[at] = first
    open_ = [at for at in range(len(chunks)) if at not in starts and at not in reasons]
    if is_ordered:
        starts |= _between_neighbours(text, chunks, open_, starts)
    starts |= _by_own_offset(text, chunks, [at for at in open_ if at not in starts], starts)
    reasons |= {at: "stands_at_several_places" for at in open_ if at not in starts}
    placed = [
        Placed(chunks[at], start, start + len(chunks[at].text)) for at, start in starts.items()
    ]
    return Placement(placed, [(chunks[at], reason) for at, reason in sorted(reasons.items())])


def _between_neighbours(
    text: str, chunks: Sequence[StoredChunk], open_: Sequence[int], known: dict[int, int]
) -> dict[int, int]:
    """Places that the placed chunks before and after leave no choice about."""
    certain = sorted(known)
    if [known[at] for at in certain] != sorted(known.values()):
        return {}  # the order is not that of the file
    found = {}
    for at in open_:
        turn = bisect_left(certain, at)
        low = known[certain[turn - 1]] + 1 if turn else 0
        high = len(text)
        if turn < len(certain):
            high = known[certain[turn]] + len(chunks[certain[turn]].text) - 1
        sought = chunks[at].text
        first = text.find(sought, low, high)
        if first >= 0 and text.find(sought, first + 1, high) < 0:
            found[at] = first
    # Equal texts beside each other may have been given one place.
    taken = Counter(found.values())
    return {at: start for at, start in found.items() if taken[start] == 1}


def _by_own_offset(
    text: str, chunks: Sequence[StoredChunk], open_: Sequence[int], known: dict[int, int]
) -> dict[int, int]:
    """Places that chunks name themselves, where nothing speaks against them."""
    spans = sorted((start, start + len(chunks[at].text)) for at, start in known.items())
    claimed = Counter(chunks[at].start for at in open_)
    found = {}
    for at in open_:
        start, sought = chunks[at].start, chunks[at].text
        if start is None or not text.startswith(sought, start) or claimed[start] > 1:
            continue
        end = start + len(sought)
        if not any(
            low <= start and end <= high
            for low, high in spans[: bisect_left(spans, (start + 1, 0))]
        ):
            found[at] = start
    return found
