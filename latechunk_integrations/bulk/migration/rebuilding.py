"""The parent of stored chunks, and the place of each in it: proved, or reported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from latechunk_integrations.bulk.migration.placing import Placed, place_in_text
from latechunk_integrations.bulk.migration.stored_chunks import StoredChunk

How: TypeAlias = Literal["file", "offset", "order", "nothing"]
"""What a parent was rebuilt from."""

# A shorter common end and beginning may be chance.
_LEAST_OVERLAP = 12
# Chunks over one place that are compared with the next: bounds the work for absurd offsets.
_MOST_COMPARED = 32
_PARAGRAPH = "\n\n"


class Unplaced(NamedTuple):
    """A chunk whose place is not known."""

    chunk: StoredChunk
    reason: str


@dataclass(frozen=True)
class RebuiltParent:
    """A parent and its chunks.

    Args:
        source: What the chunks share.
        how: What it was rebuilt from.
        text: The parent; ``""`` where no chunk could be placed.
        placed: Chunks in reading order, with start and end in the text, which holds each there.
        unplaced: The others, with the reason.
        n_gap_chars: Characters of the source that no chunk holds, as far as offsets tell; white
            space is in their place.
        n_unmerged: Neighbours whose overlap could not be told, so that both are kept whole.
    """

    source: str
    how: How
    text: str = ""
    placed: tuple[Placed, ...] = ()
    unplaced: tuple[Unplaced, ...] = ()
    n_gap_chars: int = 0
    n_unmerged: int = 0


def rebuild_parent(
    source: str, chunks: Sequence[StoredChunk], text: str | None = None
) -> RebuiltParent:
    """Rebuild a parent: from its text where that is given, else by offsets, else by the order.

    Args:
        source: What the chunks share.
        chunks: All of them, in any order.
        text: The text of the source file; None: is not known.
    """
    empty = [Unplaced(chunk, "no_text") for chunk in chunks if not chunk.text.strip()]
    chunks = _in_order([chunk for chunk in chunks if chunk.text.strip()])
    if text is not None:
        placed = place_in_text(text, chunks, is_ordered=_has_order(chunks))
        lost = [Unplaced(chunk, reason) for chunk, reason in placed.unplaced]
        kept = tuple(sorted(placed.placed, key=lambda each: (each.start, -each.end)))
        return RebuiltParent(source, "file", text if kept else "", kept, (*empty, *lost))
    if any(chunk.start is not None for chunk in chunks):
        return _by_offset(source, chunks, empty)
    if _has_order(chunks):
        return _by_order(source, chunks, empty)
    reason = "no_offset_and_no_order"
    lost = [Unplaced(chunk, reason) for chunk in chunks]
    return RebuiltParent(source, "nothing", unplaced=(*empty, *lost))


def _has_order(chunks: Sequence[StoredChunk]) -> bool:
    """Whether each chunk has a place of its own in the order, after `_in_order`."""
    orders = [chunk.order for chunk in chunks]
    return None not in orders and len(set(orders)) == len(orders) and bool(orders)


def _in_order(chunks: Sequence[StoredChunk]) -> list[StoredChunk]:
    """By the numbers they have, or by the links from each to the next; else as they came."""
    numbered = chunks if _has_order(chunks) else _number_by_links(chunks)
    return sorted(numbered, key=lambda chunk: chunk.order or 0) if numbered else list(chunks)


def _number_by_links(chunks: Sequence[StoredChunk]) -> list[StoredChunk]:
    """Chunks numbered along one chain that holds all of them; none where there is no such."""
    by_key = {str(chunk.key): chunk for chunk in chunks}
    led_to = {chunk.follower for chunk in chunks}
    firsts = [key for key in by_key if key not in led_to]
    if len(firsts) != 1 or len(by_key) != len(chunks):
        return []
    chain: list[StoredChunk] = []
    at: str | None = firsts[0]
    while at in by_key and len(chain) < len(chunks):
        chunk = by_key[at]
        chain.append(StoredChunk(**{**vars(chunk), "order": float(len(chain))}))
        at = chunk.follower
    return chain if len(chain) == len(chunks) else []


# --- by offset ---------------------------------------------------------------------------------


def _by_offset(
    source: str, chunks: Sequence[StoredChunk], unplaced: list[Unplaced]
) -> RebuiltParent:
    known, lost = _with_offsets(chunks)
    known, doubtful = _without_doubt(known)
    text, placed, n_gap_chars = _lay_out(known)
    how: How = "offset" if placed else "nothing"
    return RebuiltParent(source, how, text, placed, (*unplaced, *lost, *doubtful), n_gap_chars)


def _with_offsets(chunks: Iterable[StoredChunk]) -> tuple[list[Placed], list[Unplaced]]:
    known, lost = [], []
    for chunk in chunks:
        if chunk.start is None:
            lost.append(Unplaced(chunk, "no_offset"))
        elif chunk.end is not None and chunk.end - chunk.start != len(chunk.text):
            lost.append(Unplaced(chunk, "offsets_of_another_length"))
        else:
            known.append(Placed(chunk, chunk.start, chunk.start + len(chunk.text)))
    return sorted(known, key=lambda each: (each.start, -each.end)), lost


def _without_doubt(known: list[Placed]) -> tuple[list[Placed], list[Unplaced]]:
    """Leave out chunks whose offsets contradict others, or may be those of an equal text.

    Frameworks find offsets by a search, which takes a text that is also inside an earlier
    chunk for that place. Such a chunk lies inside another, and its own place is a gap.
    """
    reasons: dict[int, str] = {}
    active: list[int] = []
    gaps: list[int] = []
    reach = known[0].start if known else 0
    for at, each in enumerate(known):
        active = [other for other in active if known[other].end > each.start]
        for other in active:
            if not _agree(known[other], each):
                reasons[at] = reasons[other] = "contradicts_a_neighbour"
        if each.start > reach:
            gaps.append(each.start - reach)
        reach = max(reach, each.end)
        active = sorted([*active, at], key=lambda other: known[other].end)[-_MOST_COMPARED:]
    widest = max(gaps, default=0)
    spans = Counter((each.start, each.end) for each in known)
    least = min(spans.values(), default=0)
    reach = -1
    for at, each in enumerate(known):
        is_inside = each.end <= reach
        repeated = spans[each.start, each.end] > least  # of all of them: indexed twice
        if (is_inside and each.end - each.start <= widest) or repeated:
            reasons.setdefault(at, "offset_in_doubt")
        reach = max(reach, each.end)
    lost = [Unplaced(known[at].chunk, reason) for at, reason in sorted(reasons.items())]
    return [each for at, each in enumerate(known) if at not in reasons], lost


def _agree(one: Placed, other: Placed) -> bool:
    """Whether two chunks hold the same characters where they overlap; ``other`` starts later."""
    end = min(one.end, other.end)
    mine = one.chunk.text[other.start - one.start : end - one.start]
    return mine == other.chunk.text[: end - other.start]


def _lay_out(known: Sequence[Placed]) -> tuple[str, tuple[Placed, ...], int]:
    """The text that chunks with agreeing offsets make up; gaps are closed with white space."""
    pieces: list[str] = []
    placed: list[Placed] = []
    length, shift, reach, n_gap_chars = 0, 0, 0, 0
    for each in known:
        if not placed:
            shift = -each.start
        elif each.start > reach:
            gap = _PARAGRAPH if each.start - reach >= len(_PARAGRAPH) else " "
            n_gap_chars += each.start - reach
            shift -= each.start - reach - len(gap)
            pieces.append(gap)
            length += len(gap)
        start = each.start + shift
        fresh = each.chunk.text[length - start :]
        pieces.append(fresh)
        length += len(fresh)
        placed.append(Placed(each.chunk, start, start + len(each.chunk.text)))
        reach = max(reach, each.end)
    return "".join(pieces), tuple(placed), n_gap_chars


# --- by order ----------------------------------------------------------------------------------


def _by_order(
    source: str, chunks: Sequence[StoredChunk], unplaced: list[Unplaced]
) -> RebuiltParent:
    """Chunks one after the other; an end that the next one begins with is kept once."""
    pieces: list[str] = []
    placed: list[Placed] = []
    length, n_unmerged = 0, 0
    for chunk in chunks:
        text, shared = chunk.text, 0
        if placed:
            overlaps = _find_overlaps(placed[-1].chunk.text, text)
            shared = overlaps[0] if len(overlaps) == 1 else 0
            n_unmerged += len(overlaps) > 1
            if not shared and not (pieces[-1][-1:].isspace() or text[0].isspace()):
                pieces.append(" ")
                length += 1
        pieces.append(text[shared:])
        start = length - shared
        length += len(text) - shared
        placed.append(Placed(chunk, start, start + len(text)))
    how: How = "order" if placed else "nothing"
    return RebuiltParent(
        source, how, "".join(pieces), tuple(placed), tuple(unplaced), n_unmerged=n_unmerged
    )


def _find_overlaps(before: str, after: str) -> list[int]:
    """Lengths of the ends of one text that the other begins with, and goes on after."""
    if len(after) <= _LEAST_OVERLAP:
        return []
    found = []
    at = before.find(after[:_LEAST_OVERLAP], max(0, len(before) - len(after) + 1))
    while at >= 0:
        if after.startswith(before[at:]):
            found.append(len(before) - at)
        at = before.find(after[:_LEAST_OVERLAP], at + 1)
    return found
