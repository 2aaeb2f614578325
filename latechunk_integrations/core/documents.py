"""A parent as lists of texts, for encoders that take chunks in and give vectors out.

Such an encoder reads a *document*, a list of *elements*, and gives a vector for each. These
functions turn spans into elements: layers of spans that do not overlap, pieces that tile the
parent's text, groups of pieces that fit the encoder. Sizes are whatever the caller counts in.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CONTEXT = -1
"""The row of a piece that is attended and whose vector is dropped."""


class TextPiece(NamedTuple):
    """A run of the parent's text, in code points, half-open.

    Args:
        start: First code point.
        end: One past the last.
        row: The chunk that it belongs to, or `CONTEXT`.
    """

    start: int
    end: int
    row: int


class Rooms(NamedTuple):
    """What fits into a group.

    Args:
        size: Size of a group.
        overlap: Size that neighbouring groups share.
        pieces: Most pieces of a group.
    """

    size: int
    overlap: int
    pieces: int


def layers_of(spans: NDArray[np.int64]) -> list[list[int]]:
    """The rows of spans in as few layers as it takes that none overlaps another in its layer.

    Args:
        spans: Half-open, sorted by start, int64, shape ``(n, 2)``.

    Returns:
        Rows, ascending in each layer. Without overlaps there is one layer.
    """
    layers: list[list[int]] = []
    ends: list[tuple[int, int]] = []
    for row, (start, end) in enumerate(spans.tolist()):
        if ends and ends[0][0] <= start:
            layer = heapq.heapreplace(ends, (end, ends[0][1]))[1]
            layers[layer].append(row)
        else:
            heapq.heappush(ends, (end, len(layers)))
            layers.append([row])
    return layers


def tile(text: str, chunks: Sequence[TextPiece], *, joined: bool) -> list[TextPiece]:
    """The chunks of one layer with the text between them, in text order.

    Args:
        text: The parent's text.
        chunks: Pieces that do not overlap, ascending.
        joined: The encoder puts elements together as they are: the pieces cover the text
            without a gap, and white space between two chunks goes with the second. False:
            each element is a text of its own, and white space between them is left out.

    Returns:
        The chunks, and a piece of context for each gap that holds text.
    """
    pieces: list[TextPiece] = []
    at = 0
    for start, end, row in chunks:
        gap = text[at:start]
        if gap and not gap.isspace():
            pieces.append(TextPiece(at, start, CONTEXT))
        elif joined:
            start = at  # noqa: PLW2901  # the chunk takes in the white space in front of it
        pieces.append(TextPiece(start, end, row))
        at = end
    rest = text[at:]
    if rest and not rest.isspace():
        pieces.append(TextPiece(at, len(text), CONTEXT))
    elif rest and joined:
        pieces[-1] = pieces[-1]._replace(end=len(text))
    return pieces


def cut_piece(
    text: str, piece: TextPiece, size: int, measure: Callable[[str], int]
) -> Iterator[TextPiece]:
    """The parts of a piece that is too large, cut in halves until each fits.

    Args:
        text: The parent's text.
        piece: What is cut; its parts keep its row.
        size: The size that a part may have.
        measure: The size of a text.

    Yields:
        Parts that hold text, in order; cut at white space where there is some. A single
        character is never cut.
    """
    start, end, row = piece
    part = text[start:end]
    if len(part) == 1 or measure(part) <= size:
        if not part.isspace():
            yield piece
        return
    middle = start + _cut_at(part)
    yield from cut_piece(text, TextPiece(start, middle, row), size, measure)
    yield from cut_piece(text, TextPiece(middle, end, row), size, measure)


def group_pieces(sizes: Sequence[int], rooms: Rooms) -> list[tuple[int, int]]:
    """Cover pieces with as few overlapping groups as the rooms allow, of nearly equal size.

    Args:
        sizes: Size of each piece, at least one piece.
        rooms: What fits. A piece that is larger than its room gets a group of its own.

    Returns:
        Half-open ranges of pieces, ascending; one that holds all of them if they fit.
    """
    groups = _fill(sizes, rooms)
    # The last group of a greedy division is small; shrink all of them until one more is needed.
    low, high = rooms.size // 2, rooms.size
    while low < high:
        size = (low + high) // 2
        tried = _fill(sizes, rooms._replace(size=size))
        if len(tried) > len(groups):
            low = size + 1
        else:
            groups, high = tried, size
    return groups


def _fill(sizes: Sequence[int], rooms: Rooms) -> list[tuple[int, int]]:
    groups: list[tuple[int, int]] = []
    start = 0
    while True:
        end, filled = start + 1, sizes[start]
        while end < min(len(sizes), start + rooms.pieces) and filled + sizes[end] <= rooms.size:
            filled += sizes[end]
            end += 1
        groups.append((start, end))
        if end == len(sizes):
            return groups
        start = _step_back(sizes, rooms, start, end)


def _step_back(sizes: Sequence[int], rooms: Rooms, start: int, end: int) -> int:
    """Where the group after ``[start, end)`` begins: as far back as the overlap allows.

    One piece is shared even if it is larger than the overlap, where half of the room is left.
    """
    back, shared = end, 0
    while back - 1 > start and end - back + 1 < rooms.pieces:
        shared += sizes[back - 1]
        most = rooms.overlap if back < end else max(rooms.overlap, rooms.size // 2)
        if not rooms.overlap or shared > most or shared + sizes[end] > rooms.size:
            break
        back -= 1
    return back


def _cut_at(text: str) -> int:
    """A place to cut a text of at least two characters: white space near its middle."""
    middle = len(text) // 2
    reach = max(1, len(text) // 4)
    for distance in range(reach):
        for at in (middle - distance, middle + distance):
            if at > 0 and text[at].isspace():
                return at
    return middle
