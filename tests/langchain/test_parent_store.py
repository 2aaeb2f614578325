"""What is kept of parents in memory: bounded, the newest, under the contract of a BaseStore."""

from __future__ import annotations

import pytest
from langchain_tests.integration_tests.base_store import BaseStoreAsyncTests, BaseStoreSyncTests

from latechunk_integrations import Parent
from latechunk_integrations.langchain import BoundedStore

_PARENTS = [Parent(f"{number}" * 10_000) for number in range(5)]


class _Bounded:
    """What LangChain's standard suites are given."""

    @pytest.fixture
    def kv_store(self) -> BoundedStore:
        return BoundedStore()

    @pytest.fixture
    def three_values(self) -> tuple[Parent, Parent, Parent]:
        return _PARENTS[0], _PARENTS[1], _PARENTS[2]


class TestBoundedStore(_Bounded, BaseStoreSyncTests[Parent]):
    pass


class TestBoundedStoreAwaited(_Bounded, BaseStoreAsyncTests[Parent]):
    @pytest.fixture
    async def kv_store(self) -> BoundedStore:
        return BoundedStore()


def test_the_least_recently_used_go_first_and_the_newest_stays() -> None:
    store = BoundedStore(max_bytes=35_000)
    store.mset([(str(row), parent) for row, parent in enumerate(_PARENTS[:3])])
    assert store.mget(["0"]) == [_PARENTS[0]]  # used again
    store.mset([("3", _PARENTS[3])])
    assert sorted(store.yield_keys()) == ["0", "2", "3"]
    assert store.mget(["1", "3"]) == [None, _PARENTS[3]]
    tiny = BoundedStore(max_bytes=1)
    tiny.mset([("0", _PARENTS[0]), ("1", _PARENTS[1])])
    assert list(tiny.yield_keys()) == ["1"]


def test_a_value_written_again_counts_once() -> None:
    store = BoundedStore(max_bytes=25_000)
    for _ in range(5):
        store.mset([("0", _PARENTS[0]), ("1", _PARENTS[1])])
    assert list(store.yield_keys()) == ["0", "1"]
