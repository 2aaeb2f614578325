"""PGVector on a real PostgreSQL that the test itself starts, on a socket in its own folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from sqlalchemy import Engine, NullPool, create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.langchain import (
    LateChunkEmbeddings,
    LateChunkVectorStore,
    add_late_chunks,
)
from tests.langchain.support import (
    WORDS,
    Vectors,
    assert_same,
    corpus,
    pair_of_lines,
    rebuilt,
    rows_as_vectors,
    sent,
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


@pytest.mark.parametrize(
    "path",
    ["from_documents", "1", "7", "100", "proxy 1", "proxy 7", "proxy 100", "add_late_chunks"],
)
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
    elif path == "add_late_chunks":
        add_late_chunks(store, rebuilt(chunks), parents=pair.splitter.parents(documents))
    else:
        target = LateChunkVectorStore(store) if path.startswith("proxy") else store
        given = rebuilt(chunks)[::-1] if path.startswith("proxy") else chunks
        size = int(path.removeprefix("proxy "))
        for start in range(0, len(chunks), size):
            target.add_documents(given[start : start + size])
    assert_same(_rows(database, _COLLECTION, name=path), true_vectors(tiny_engine, documents))
    assert pair.embeddings.stats["unknown"] == 0
    assert len(store.similarity_search("Who pays?", k=3)) == 3


@pytest.mark.parametrize("way", ["json", "checkpoint", "pickle"])
def test_pgvector_holds_chunks_that_another_process_split(
    split_elsewhere: tuple[Path, list[Document]], database: Engine, way: str
) -> None:
    from langchain_classic.storage import LocalFileStore
    from langchain_postgres import PGVector

    folder, chunks = split_elsewhere
    late = LateChunkEmbeddings("words", encoder=WORDS, parent_store=LocalFileStore(folder))
    store = PGVector(late, connection=database, collection_name=way, use_jsonb=True)
    target = store if way == "pickle" else LateChunkVectorStore(store)
    target.add_documents(sent(chunks, way))
    truth = true_vectors(late.engine, corpus(6))
    assert_same(_rows(database, _COLLECTION, name=way), truth)
    assert late.stats["late"] == len(chunks)


_CLEANUPS = [(None, 100), ("incremental", 3), ("full", 100), ("scoped_full", 3)]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(("cleanup", "batch_size"), _CLEANUPS)
async def test_index_follows_edits_and_deletions(
    server: str,
    database: Engine,
    tiny_engine: LateChunkEngine,
    cleanup: Any,
    batch_size: int,
    is_async: bool,
) -> None:
    """Each in documents of its own: PGVector's ids are those of all collections."""
    from langchain_core.indexing import InMemoryRecordManager, aindex, index
    from langchain_postgres import PGVector

    name = f"index {cleanup} {is_async}"
    pair = pair_of_lines(tiny_engine)
    connection: Any = create_async_engine(server, poolclass=NullPool) if is_async else database
    store = PGVector(
        pair.embeddings,
        connection=connection,
        collection_name=name,
        use_jsonb=True,
        async_mode=is_async,
        create_extension=not is_async,
    )
    records = InMemoryRecordManager(name)
    records.create_schema()
    documents = corpus(5, seed=20 + 2 * _CLEANUPS.index((cleanup, batch_size)) + is_async)
    for document in documents:  # ids are hashes of text and metadata
        document.metadata["source"] += name
    edited = [document.model_copy(deep=True) for document in documents]
    edited[2].page_content += "\nOne more clause was added."
    for version in (documents, edited, edited[:4] if cleanup == "full" else edited):
        chunks = pair.splitter.split_documents(version)
        options: Any = {"cleanup": cleanup, "source_id_key": "source", "key_encoder": "sha256"}
        options |= {"batch_size": batch_size}
        if is_async:
            await aindex(chunks, records, LateChunkVectorStore(store), **options)
        else:
            index(chunks, records, LateChunkVectorStore(store), **options)
        if cleanup is not None or version is documents:
            stored = _rows(database, _COLLECTION, name=name)
            assert_same(stored, true_vectors(tiny_engine, version))
    assert pair.embeddings.stats["unknown"] == 0
    if is_async:
        await connection.dispose()


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
