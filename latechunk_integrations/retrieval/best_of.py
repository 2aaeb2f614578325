"""From sub-spans that were found to the chunks that they are parts of: a chunk scores as its best.

Neither a framework nor a store is known here.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Sequence
from typing import TypeVar

from latechunk_integrations.errors import OptionError

__all__ = ["MOST_FETCHED", "afetch_best", "fetch_best", "fetch_sizes", "keep_best"]

_Hit = TypeVar("_Hit")

MOST_FETCHED = 10_000
"""Hits that a store is asked for at most; some refuse more."""


def keep_best(hits: Iterable[_Hit], key: Callable[[_Hit], Hashable]) -> list[_Hit]:
    """The best hit of each chunk.

    Args:
        hits: Sub-spans, best first.
        key: The chunk that a hit is a part of.

    Returns:
        The first hit of each chunk, in their order.

    >>> keep_best(["b2", "a1", "b1"], key=lambda hit: hit[0])
    ['b2', 'a1']
    """
    best: dict[Hashable, _Hit] = {}
    for hit in hits:
        best.setdefault(key(hit), hit)
    return list(best.values())


def fetch_sizes(k: int, per_chunk: float = 3.0, most: int = MOST_FETCHED) -> Iterator[int]:
    """How many hits to ask a store for, each time that the ones before held too few chunks.

    Args:
        k: Chunks that are wanted.
        per_chunk: Sub-spans of a typical chunk.
        most: Hits to ask for at most.

    Raises:
        OptionError: ``k`` is less than 1.
    """
    if k < 1:
        raise OptionError(f"k must be at least 1, not {k}")
    size = min(most, math.ceil(k * max(1.0, per_chunk)))
    yield size
    while size < most:
        size = min(most, 2 * size)
        yield size


def fetch_best(
    search: Callable[[int], Sequence[_Hit]],
    key: Callable[[_Hit], Hashable],
    k: int,
    *,
    per_chunk: float = 3.0,
    most: int = MOST_FETCHED,
) -> list[_Hit]:
    """The best hit of each of the ``k`` best chunks.

    The store is asked for more and more hits until they hold as many chunks, or it has no more.
    The result is exact: the first hit of a chunk is its best.

    Args:
        search: Gives the best ``n`` hits, best first.
        key: The chunk that a hit is a part of.
        k: Chunks that are wanted.
        per_chunk: Sub-spans of a typical chunk.
        most: Hits to ask for at most.

    Raises:
        OptionError: ``k`` is less than 1.
    """
    best: list[_Hit] = []
    for size in fetch_sizes(k, per_chunk, most):
        hits = search(size)
        best = keep_best(hits, key)
        if len(best) >= k or len(hits) < size:
            break
    return best[:k]


async def afetch_best(
    search: Callable[[int], Awaitable[Sequence[_Hit]]],
    key: Callable[[_Hit], Hashable],
    k: int,
    *,
    per_chunk: float = 3.0,
    most: int = MOST_FETCHED,
) -> list[_Hit]:
    """The same as `fetch_best` with a search that is awaited."""
    best: list[_Hit] = []
    for size in fetch_sizes(k, per_chunk, most):
        hits = await search(size)
        best = keep_best(hits, key)
        if len(best) >= k or len(hits) < size:
            break
    return best[:k]
