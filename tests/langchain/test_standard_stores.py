"""LangChain's standard suite of vector stores, with our embeddings plugged in.

It asks for free choice of ids and for overwriting, which Qdrant (UUIDs alone), FAISS (no
overwriting) and Milvus Lite (integers that it makes itself) do not offer whatever they embed with.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from langchain_core.vectorstores import VectorStore
from langchain_tests.integration_tests import VectorStoreIntegrationTests

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.langchain import LateChunkEmbeddings, LateChunkVectorStore
from tests.langchain.stores import KINDS

pytestmark = pytest.mark.store


class _WithLateChunking(VectorStoreIntegrationTests):
    """The suite's texts are its own, so that they are embedded standalone."""

    late: ClassVar[LateChunkEmbeddings]
    store_name: ClassVar[str]

    @pytest.fixture(autouse=True)
    def _own_embeddings(self, tiny_engine: LateChunkEngine) -> None:
        type(self).late = LateChunkEmbeddings(engine=tiny_engine)

    @classmethod
    def get_embeddings(cls) -> LateChunkEmbeddings:
        return cls.late

    @pytest.fixture
    def vectorstore(self, tmp_path: Path, tiny_engine: LateChunkEngine) -> VectorStore:
        kind = KINDS[self.store_name](tmp_path)
        return self.wrapped(kind.empty(self.late, tiny_engine.dimensions))

    def wrapped(self, store: VectorStore) -> VectorStore:
        return store


class TestInMemory(_WithLateChunking):
    store_name = "in_memory"


class TestInMemoryBehindTheProxy(_WithLateChunking):
    store_name = "in_memory"

    def wrapped(self, store: VectorStore) -> VectorStore:
        return LateChunkVectorStore(store)


class TestChroma(_WithLateChunking):
    store_name = "chroma"


class TestChromaBehindTheProxy(TestInMemoryBehindTheProxy):
    store_name = "chroma"
