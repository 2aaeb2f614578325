"""What is kept of parents in memory: bounded, the newest, under the contract of a BaseStore."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_tests.integration_tests.base_store import BaseStoreAsyncTests, BaseStoreSyncTests
from langchain_text_splitters import RecursiveCharacterTextSplitter

from latechunk_integrations import Parent
from latechunk_integrations.langchain import BoundedStore, LateChunkEmbeddings, late_chunking

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


def test_it_serves_as_the_store_that_several_embeddings_share(tiny_model_path: Path) -> None:
    shared, document = BoundedStore(), Document("Cats are allowed. Dogs are not.")
    inner = RecursiveCharacterTextSplitter(chunk_size=20, chunk_overlap=0)
    splitter, there = late_chunking(str(tiny_model_path), inner, parent_store=shared)
    chunks = splitter.split_documents([document])
    right = there.embed_documents([chunk.page_content for chunk in chunks])
    keys = list(shared.yield_keys())
    assert keys
    assert all(isinstance(value, bytes) for value in shared.mget(keys))
    worker = LateChunkEmbeddings(str(tiny_model_path), parent_store=shared)
    found = worker.embed_documents([chunk.page_content for chunk in chunks])
    np.testing.assert_array_equal(right, found)
    assert not worker.stats.get("windows"), "the vectors are in the store"
