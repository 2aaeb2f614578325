"""Tables of PostgreSQL as each framework writes them, and what they hold."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import psycopg
from llama_index.core.vector_stores.utils import node_to_metadata_dict
from sqlalchemy import NullPool, create_engine

from tests.bulk.migration import collections
from tests.bulk.migration.collections import Held, Rows, Written

# Its one statement has five parameters for each chunk, 65,535 at most.
_MOST_AT_ONCE = 10_000


def plain(url: str) -> str:
    """The address as psycopg reads it."""
    return url.replace("+psycopg", "")


def write_langchain(url: str, name: str, corpus: dict[str, str]) -> str:
    from langchain_postgres import PGVector

    engine = create_engine(url, poolclass=NullPool)
    store = PGVector(
        collections.early_embeddings(), connection=engine, collection_name=name, use_jsonb=True
    )
    chunks = collections.langchain_chunks(corpus)
    for start in range(0, len(chunks), _MOST_AT_ONCE):
        store.add_documents(chunks[start : start + _MOST_AT_ONCE])
    engine.dispose()
    return f"pgvector:{url}#{name}"


def write_llama_index(url: str, table: str, corpus: dict[str, str]) -> str:
    """What LlamaIndex' PGVectorStore writes: its package does not go with our other pins."""
    with psycopg.connect(plain(url)) as connection:
        connection.execute(
            f"create table {table} (id bigserial primary key, text varchar not null, "
            f"metadata_ json, node_id varchar, embedding vector({collections.DIMENSIONS}))".encode()
        )
        insert = (
            f"insert into {table} (text, metadata_, node_id, embedding) values (%s, %s, %s, %s)"  # noqa: S608
        )
        for node in collections.llama_index_nodes(corpus):
            metadata = node_to_metadata_dict(node, remove_text=True)
            connection.execute(
                insert.encode(),
                [node.text, json.dumps(metadata), node.node_id, str(node.embedding)],
            )
    return f"pgvector:{url}#{table}"


def read(url: str, query: str) -> Rows:
    """The rows of a query for key, text, vector and metadata."""
    with psycopg.connect(plain(url)) as connection:
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


def langchain_query(name: str, column: str) -> str:
    return (
        f"select e.id::text, document, e.{column}::text, e.cmetadata "  # noqa: S608
        "from langchain_pg_embedding e "
        f"join langchain_pg_collection c on c.uuid = e.collection_id where c.name = '{name}'"
    )


def llama_index_query(name: str, column: str) -> str:
    return f"select node_id, text, {column}::text, metadata_ from {name}"  # noqa: S608


def ways(url: str) -> dict[str, Written]:
    """Both ways, in tables that are named like the folder that is given."""

    def way(framework: str) -> Written:
        write, query = {
            "langchain": (write_langchain, langchain_query),
            "llama-index": (write_llama_index, llama_index_query),
        }[framework]

        def read_column(column: str, folder: Path) -> Rows:
            return read(url, query(_name(folder), column))

        return Written(
            framework,
            lambda folder, corpus: write(url, _name(folder), corpus),
            partial(read_column, "embedding"),
            partial(read_column, "late"),
        )

    return {f"{name}-pgvector": way(name) for name in ("langchain", "llama-index")}


def _name(folder: Path) -> str:
    return folder.name.replace("-", "_")
