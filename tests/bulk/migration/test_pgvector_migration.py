"""Migration in PostgreSQL: LangChain's two stores, and a table of LlamaIndex' shape."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.bulk import (
    MigrationSettings,
    audit,
    migrate,
    plan_migration,
    switch_vectors,
)
from latechunk_integrations.errors import OptionError, WriterError
from tests.bulk import support
from tests.bulk.migration import collections
from tests.bulk.migration.postgres_collections import (
    langchain_query,
    llama_index_query,
    plain,
    read,
    write_langchain,
    write_llama_index,
)
from tests.bulk.migration.test_migrating import check_vectors, expected
from tests.postgres import running_postgres

pytestmark = [pytest.mark.store, pytest.mark.slow]

CORPUS = collections.texts(4)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_postgres() as url:
        with psycopg.connect(plain(url), autocommit=True) as connection:
            connection.execute("create extension if not exists vector")
        yield url


def _settings(framework: Any, **more: Any) -> MigrationSettings:
    return MigrationSettings(framework=framework, batch_parents=2, **more)


def test_one_of_langchains_collections_is_migrated_and_the_others_are_left(
    server: str, tmp_path: Path, tiny_engine: LateChunkEngine, tiny_model_path: Path
) -> None:
    address = write_langchain(server, "one", CORPUS)
    write_langchain(server, "other", CORPUS)
    before = read(server, langchain_query("one", "embedding"))
    given = _settings("langchain")
    plan = plan_migration(address, given)
    assert (plan.n_chunks, plan.n_placed, plan.n_parents) == (len(before), len(before), 4)
    migrate(address, support.options(tiny_model_path), tmp_path / "c", given)
    late = read(server, langchain_query("one", "late"))
    check_vectors(late, expected(tiny_engine, CORPUS, before))
    assert {row.metadata["late_engine"] for row in late.values()} == {tiny_engine.fingerprint}
    switch_vectors(address, tmp_path / "c", given)
    switch_vectors(address, tmp_path / "c", given)
    now = read(server, langchain_query("one", "embedding"))
    aside = read(server, langchain_query("one", "late_before"))
    assert {key: row.vector for key, row in now.items()} == {k: r.vector for k, r in late.items()}
    assert {k: r.vector for k, r in aside.items()} == {k: r.vector for k, r in before.items()}
    audited = audit(f"pgvector:{server}#langchain_pg_embedding")
    assert audited.totals["late"] + audited.totals["windowed"] == len(late)
    assert audited.totals["unknown"] == len(before)  # those of the other collection
    others = read(server, langchain_query("other", "embedding"))
    assert not read(server, langchain_query("other", "late"))
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
    before = read(server, query.format("embedding"))
    address = f"pgvector:{server}#newer"
    migrate(address, support.options(tiny_model_path), tmp_path / "c", _settings("langchain"))
    late = read(server, query.format("late"))
    check_vectors(late, expected(tiny_engine, CORPUS, before))
    assert {row.metadata["late_mode"] for row in late.values()} <= {"late", "windowed"}


def test_a_table_of_llama_index_is_migrated(
    server: str, tmp_path: Path, tiny_engine: LateChunkEngine, tiny_model_path: Path
) -> None:
    address = write_llama_index(server, "data_nodes", CORPUS)
    query = partial(llama_index_query, "data_nodes")
    before = read(server, query("embedding"))
    given = _settings("llama-index")
    migrate(address, support.options(tiny_model_path), tmp_path / "c", given)
    late = read(server, query("late"))
    check_vectors(late, expected(tiny_engine, CORPUS, before))
    for row in late.values():
        inner = json.loads(row.metadata["_node_content"])
        assert inner["metadata"]["late_parent"] == row.metadata["late_parent"]
        assert "late_parent" in inner["excluded_embed_metadata_keys"]
    switch_vectors(address, tmp_path / "c", given)
    assert read(server, query("embedding")).keys() == before.keys()
    assert audit(address).totals.keys() <= {"late", "windowed"}


def test_a_table_by_hand_gets_a_column_for_marks(
    server: str, tmp_path: Path, tiny_model_path: Path
) -> None:
    with psycopg.connect(plain(server)) as connection:
        connection.execute(
            'create table "My-N" (id int primary key, body text, page text, at int, v vector(3))'
        )
        connection.execute(
            "insert into \"My-N\" values (1, 'First part.', 'a', 0, '[1,0,0]'), "
            "(2, 'Second part.', 'a', 12, '[0,1,0]'), (3, 'Lost part.', null, 0, '[0,0,1]')"
        )
    fields = {"text": "body", "source": "page", "start": "at", "end": ""}
    given = _settings(None, fields=fields)
    address = f"pgvector:{server}#My-N"
    summary = migrate(address, support.options(tiny_model_path), tmp_path / "c", given)
    assert dict(summary.plan.unplaced) == {"no_source": 1}
    with psycopg.connect(plain(server)) as connection:
        rows = connection.execute(
            "select id, late_marks ->> 'late_start', vector_dims(late) from \"My-N\" order by id"
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
