"""From sub-spans that were found to the best chunks, whatever the store."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latechunk_integrations.errors import OptionError
from latechunk_integrations.retrieval.best_of import afetch_best, fetch_best, fetch_sizes

Hit = tuple[int, float]


def chunk_of(hit: Hit) -> int:
    return hit[0]


class Shelf:
    """A store that gives its best hits."""

    def __init__(self, hits: list[Hit]) -> None:
        self.hits = sorted(hits, key=lambda hit: -hit[1])
        self.asked: list[int] = []

    def search(self, n: int) -> list[Hit]:
        self.asked.append(n)
        return self.hits[:n]

    async def asearch(self, n: int) -> list[Hit]:
        return self.search(n)


@given(
    st.lists(st.tuples(st.integers(0, 6), st.floats(-1, 1)), max_size=60, unique_by=lambda h: h[1]),
    st.integers(1, 8),
    st.sampled_from([1.0, 3.0]),
)
def test_the_chunks_are_those_of_the_highest_maxima(
    hits: list[Hit], k: int, per_chunk: float
) -> None:
    """However many sub-spans of one chunk come first, there are k chunks where there are any."""
    best = {chunk: max(s for c, s in hits if c == chunk) for chunk in {c for c, _ in hits}}
    wanted = sorted(best.items(), key=lambda item: -item[1])[:k]
    shelf = Shelf(hits)
    assert fetch_best(shelf.search, chunk_of, k, per_chunk=per_chunk) == wanted
    awaited = afetch_best(Shelf(hits).asearch, chunk_of, k, per_chunk=per_chunk)
    assert asyncio.run(awaited) == wanted
    # More is asked for only where what came had too few chunks and the store may have others.
    for n in shelf.asked[:-1]:
        assert len({c for c, _ in shelf.hits[:n]}) < k
        assert len(shelf.hits) >= n


def test_a_store_that_gives_no_more_than_so_many_is_asked_for_no_more() -> None:
    shelf = Shelf([(0, 1.0 - i / 100) for i in range(100)] + [(1, 0.0)])
    assert fetch_best(shelf.search, chunk_of, 2, per_chunk=3, most=50) == [(0, 1.0)]
    assert shelf.asked == [6, 12, 24, 48, 50]


def test_no_chunk_at_all_is_refused() -> None:
    with pytest.raises(OptionError, match="at least 1"):
        next(fetch_sizes(0))
