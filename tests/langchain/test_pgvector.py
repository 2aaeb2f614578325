"""PGVector on a real PostgreSQL that the test itself starts, on a socket in its own folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, NullPool, create_engine, text

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.langchain import LateChunkVectorStore, add_late_chunks
from tests.langchain.support import (
    Vectors,
    assert_same,
    corpus,
    pair_of_lines,
    rebuilt,
    rows_as_vectors,
    true_vectors,
)
from tests.postgres import running_postgres

pytestmark = [pytest.mark.store, pytest.mark.slow]

_COLLECTION = (
    "select e.cmetadata, e.embedding::text from langchain_pg_embedding e "
    "join langchain_pg_collection c on c.uuid = e.collection_id where c.name = :name"
)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A connection string to a fresh database with pgvector."""
    with running_postgres() as url:
        yield url


@pytest.fixture
def database(server: str) -> Iterator[Engine]:
    """Connections that are closed after each use: an idle one left open is a warning."""
    engine = create_engine(server, poolclass=NullPool)
    yield engine
    engine.dispose()


def _rows(database: Engine, query: str, **values: str) -> Vectors:
    """Metadata and vectors that a query gives, the vectors as pgvector prints them."""
    with database.connect() as session:
        rows = session.execute(text(query), values).all()
    return rows_as_vectors([(metadata, json.loads(vector)) for metadata, vector in rows])


@pytest.mark.parametrize("path", ["from_documents", "batches", "proxy", "add_late_chunks"])
def test_pgvector_holds_the_engines_vectors(
    database: Engine, tiny_engine: LateChunkEngine, path: str
) -> None:
    from langchain_postgres import PGVector

    documents = corpus(5)
    pair = pair_of_lines(tiny_engine)
    chunks = pair.splitter.split_documents(documents)
    store = PGVector(pair.embeddings, connection=database, collection_name=path, use_jsonb=True)
    if path == "from_documents":
        PGVector.from_documents(
            chunks, pair.embeddings, connection=database, collection_name=path, use_jsonb=True
        )
    elif path == "batches":
        for start in range(0, len(chunks), 7):
            store.add_documents(chunks[start : start + 7])
    elif path == "proxy":
        LateChunkVectorStore(store).add_documents(rebuilt(chunks)[::-1])
    else:
        add_late_chunks(store, rebuilt(chunks), parents=pair.splitter.parents(documents))
    assert_same(_rows(database, _COLLECTION, name=path), true_vectors(tiny_engine, documents))
    assert pair.embeddings.stats["unknown"] == 0
    assert len(store.similarity_search("Who pays?", k=3)) == 3


@pytest.mark.parametrize(
    ("cleanup", "seed"), [("incremental", 11), ("full", 12), ("scoped_full", 13)]
)
def test_index_follows_edits_and_deletions(
    database: Engine, tiny_engine: LateChunkEngine, cleanup: Any, seed: int
) -> None:
    """Each in documents of its own: PGVector's ids are those of all collections."""
    from langchain_core.indexing import InMemoryRecordManager, index
    from langchain_postgres import PGVector

    name = f"index {cleanup}"
    pair = pair_of_lines(tiny_engine)
    store = PGVector(pair.embeddings, connection=database, collection_name=name, use_jsonb=True)
    records = InMemoryRecordManager(name)
    records.create_schema()
    documents = corpus(5, seed=seed)
    edited = [document.model_copy(deep=True) for document in documents]
    edited[2].page_content += "\nOne more clause was added."
    for version in (documents, edited, edited[:4] if cleanup == "full" else edited):
        index(
            pair.splitter.split_documents(version),
            records,
            LateChunkVectorStore(store),
            cleanup=cleanup,
            source_id_key="source",
            key_encoder="sha256",
        )
        stored = _rows(database, _COLLECTION, name=name)
        assert_same(stored, true_vectors(tiny_engine, version))
    assert pair.embeddings.stats["unknown"] == 0


def test_the_newer_pgvector_store_holds_the_engines_vectors(
    server: str, database: Engine, tiny_engine: LateChunkEngine
) -> None:
    """PGVectorStore embeds on an event loop in a thread of its own."""
    from langchain_postgres import PGEngine, PGVectorStore

    documents = corpus(4)
    pair = pair_of_lines(tiny_engine)
    chunks = rebuilt(pair.splitter.split_documents(documents))
    engine = PGEngine.from_connection_string(server, poolclass=NullPool)
    engine.init_vectorstore_table("late_chunks", tiny_engine.dimensions)
    store = PGVectorStore.create_sync(engine, pair.embeddings, "late_chunks")
    half = len(chunks) // 2
    LateChunkVectorStore(store).add_documents(chunks[:half])
    assert pair.embeddings.stats["late"] == half
    add_late_chunks(store, chunks[half:], parents=pair.splitter.parents(documents))
    stored = _rows(database, "select langchain_metadata, embedding::text from late_chunks")
    assert_same(stored, true_vectors(tiny_engine, documents))
