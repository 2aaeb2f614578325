"""Migration in PostgreSQL: LangChain's two stores, and a table of LlamaIndex' shape."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from llama_index.core.vector_stores.utils import node_to_metadata_dict
from sqlalchemy import NullPool, create_engine

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.bulk import MigrationSettings, migrate, plan_migration, switch_vectors
from latechunk_integrations.errors import OptionError, WriterError
from tests.bulk import support
from tests.bulk.migration import collections
from tests.bulk.migration.collections import Held, Rows
from tests.bulk.migration.test_migrating import check_vectors, expected
from tests.postgres import running_postgres

pytestmark = [pytest.mark.store, pytest.mark.slow]

CORPUS = collections.texts(4)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_postgres() as url:
        with psycopg.connect(_plain(url), autocommit=True) as connection:
            connection.execute("create extension if not exists vector")
        yield url


def _plain(url: str) -> str:
    return url.replace("+psycopg", "")


def _write_pgvector(url: str, name: str) -> str:
    from langchain_postgres import PGVector

    engine = create_engine(url, poolclass=NullPool)
    PGVector.from_documents(
        collections.langchain_chunks(CORPUS),
        collections.early_embeddings(),
        connection=engine,
        collection_name=name,
        use_jsonb=True,
    )
    engine.dispose()
    return f"pgvector:{url}#{name}"


def _write_llama_index(url: str, table: str) -> str:
    """What LlamaIndex' PGVectorStore writes: its package does not go with our other pins."""
    with psycopg.connect(_plain(url)) as connection:
        connection.execute(
            f"create table {table} (id bigserial primary key, text varchar not null, "
            f"metadata_ json, node_id varchar, embedding vector({collections.DIMENSIONS}))".encode()
        )
        insert = (
            f"insert into {table} (text, metadata_, node_id, embedding) values (%s, %s, %s, %s)"  # noqa: S608
        )
        for node in collections.llama_index_nodes(CORPUS):
            metadata = node_to_metadata_dict(node, remove_text=True)
            connection.execute(
                insert.encode(),
                [node.text, json.dumps(metadata), node.node_id, str(node.embedding)],
            )
    return f"pgvector:{url}#{table}"


def _read(url: str, query: str) -> Rows:
    with psycopg.connect(_plain(url)) as connection:
        rows = connection.execute(query.encode()).fetchall()
    return {
        key: Held(
            text,
            json.loads(vector),
            str(made.get("source") or made.get("ref_doc_id")),
            made,
        )
        for key, text, vector, made in rows
        if vector is not None
    }


def _langchain_query(name: str, column: str) -> str:
    return (
        f"select e.id::text, document, e.{column}::text, e.cmetadata "  # noqa: S608
        "from langchain_pg_embedding e "
        f"join langchain_pg_collection c on c.uuid = e.collection_id where c.name = '{name}'"
    )


def _settings(framework: Any, **more: Any) -> MigrationSettings:
    return MigrationSettings(framework=framework, batch_parents=2, **more)


def test_one_of_langchains_collections_is_migrated_and_the_others_are_left(
    server: str, tmp_path: Path, tiny_engine: LateChunkEngine, tiny_model_path: Path
) -> None:
    address = _write_pgvector(server, "one")
    _write_pgvector(server, "other")
    before = _read(server, _langchain_query("one", "embedding"))
    given = _settings("langchain")
    plan = plan_migration(address, given)
    assert (plan.n_chunks, plan.n_placed, plan.n_parents) == (len(before), len(before), 4)
    migrate(address, support.options(tiny_model_path), tmp_path / "c", given)
    late = _read(server, _langchain_query("one", "late"))
    check_vectors(late, expected(tiny_engine, CORPUS, before))
    assert {row.metadata["late_engine"] for row in late.values()} == {tiny_engine.fingerprint}
    switch_vectors(address, tmp_path / "c", given)
    switch_vectors(address, tmp_path / "c", given)
    now = _read(server, _langchain_query("one", "embedding"))
    aside = _read(server, _langchain_query("one", "late_before"))
    assert {key: row.vector for key, row in now.items()} == {k: r.vector for k, r in late.items()}
    assert {k: r.vector for k, r in aside.items()} == {k: r.vector for k, r in before.items()}
    others = _read(server, _langchain_query("other", "embedding"))
    assert not _read(server, _langchain_query("other", "late"))
    assert not any("late_engine" in row.metadata for row in others.values())


def test_the_newer_store_of_langchain_is_migrated(
    server: str, tmp_path: Path, tiny_engine: LateChunkEngine, tiny_model_path: Path
) -> None:
    from langchain_postgres import PGEngine, PGVectorStore

    engine = PGEngine.from_connection_string(server)
    engine.init_vectorstore_table("newer", collections.DIMENSIONS)
    store = PGVectorStore.create_sync(engine, collections.early_embeddings(), "newer")
    store.add_documents(collections.langchain_chunks(CORPUS))
    engine._run_as_sync(engine.close())  # noqa: SLF001  # it has no other close
    query = "select langchain_id::text, content, {}::text, langchain_metadata from newer"
    before = _read(server, query.format("embedding"))
    address = f"pgvector:{server}#newer"
    migrate(address, support.options(tiny_model_path), tmp_path / "c", _settings("langchain"))
    late = _read(server, query.format("late"))
    check_vectors(late, expected(tiny_engine, CORPUS, before))
    assert {row.metadata["late_mode"] for row in late.values()} <= {"late", "windowed"}


def test_a_table_of_llama_index_is_migrated(
    server: str, tmp_path: Path, tiny_engine: LateChunkEngine, tiny_model_path: Path
) -> None:
    address = _write_llama_index(server, "data_nodes")
    query = "select node_id, text, {}::text, metadata_ from data_nodes"
    before = _read(server, query.format("embedding"))
    given = _settings("llama-index")
    migrate(address, support.options(tiny_model_path), tmp_path / "c", given)
    late = _read(server, query.format("late"))
    check_vectors(late, expected(tiny_engine, CORPUS, before))
    for row in late.values():
        inner = json.loads(row.metadata["_node_content"])
        assert inner["metadata"]["late_parent"] == row.metadata["late_parent"]
        assert "late_parent" in inner["excluded_embed_metadata_keys"]
    switch_vectors(address, tmp_path / "c", given)
    assert _read(server, query.format("embedding")).keys() == before.keys()


def test_a_table_by_hand_gets_a_column_for_marks(
    server: str, tmp_path: Path, tiny_model_path: Path
) -> None:
    with psycopg.connect(_plain(server)) as connection:
        connection.execute(
            "create table notes (id int primary key, body text, page text, at int, v vector(3))"
        )
        connection.execute(
            "insert into notes values (1, 'First part.', 'a', 0, '[1,0,0]'), "
            "(2, 'Second part.', 'a', 12, '[0,1,0]'), (3, 'Lost part.', null, 0, '[0,0,1]')"
        )
    fields = {"text": "body", "source": "page", "start": "at", "end": ""}
    given = _settings(None, fields=fields)
    address = f"pgvector:{server}#notes"
    summary = migrate(address, support.options(tiny_model_path), tmp_path / "c", given)
    assert dict(summary.plan.unplaced) == {"no_source": 1}
    with psycopg.connect(_plain(server)) as connection:
        rows = connection.execute(
            "select id, late_marks ->> 'late_start', vector_dims(late) from notes order by id"
        ).fetchall()
    assert rows == [(1, "0", 32), (2, "12", 32), (3, None, None)]
    with pytest.raises(WriterError, match="1 of 3 chunks"):
        switch_vectors(address, tmp_path / "c", given)
    alone = _settings(None, fields=fields, unplaced="standalone")
    migrate(address, support.options(tiny_model_path), tmp_path / "c", alone)
    with pytest.raises(WriterError, match="is for 3 numbers"):
        switch_vectors(address, tmp_path / "c", alone)


def test_a_table_that_is_not_there_and_a_password_are_refused(server: str) -> None:
    with pytest.raises(WriterError, match="no table"):
        plan_migration(f"pgvector:{server}#nowhere")
    with pytest.raises(OptionError, match="password"):
        plan_migration("pgvector:postgresql://user:secret@host/db#t")
