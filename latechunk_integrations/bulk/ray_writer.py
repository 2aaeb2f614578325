"""The writers to vector stores as a sink of Ray Data."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from latechunk_integrations.bulk.rows import COLUMNS, DocumentRows
from latechunk_integrations.bulk.targets import Target
from latechunk_integrations.errors import OptionError
from latechunk_integrations.plugins import import_extra

if TYPE_CHECKING:
    from ray.data import Dataset


def write_chunks(dataset: Dataset, target: str, *, concurrency: int | None = None) -> None:
    """Write the rows of `embed_dataset` into a vector store, from Ray's tasks.

    Rows are upserted by ``chunk_id``, and rows of former versions of their documents deleted, so
    writing again changes nothing. For files there are Ray's own writers.

    Args:
        dataset: As `embed_dataset` gives it.
        target: ``milvus:``, ``qdrant:`` or ``chroma:http://HOST:PORT#COLLECTION``; PostgreSQL and
            folders of a store take one task at a time: ``concurrency=1``.
        concurrency: Most tasks that write at once.

    Raises:
        OptionError: The target is no vector store, or one that tasks cannot share.
        WriterError: The target does not answer.
        MissingExtraError: Ray or the store's client is not installed.
    """
    where = Target.parse(target)
    if where.kind in ("parquet", "jsonl"):
        raise OptionError(f"use dataset.write_parquet or write_json for {target!r}")
    if not where.place.startswith("http"):
        if where.kind == "milvus":  # Milvus Lite locks its file until the process ends
            raise OptionError(f"{target!r} is a file, which tasks cannot share; name a server")
        if concurrency != 1:
            raise OptionError(f"one task at a time writes to {target!r}: give concurrency=1")
    dataset.write_datasink(_make_datasink(where), concurrency=concurrency)


def _make_datasink(where: Target) -> Any:
    base = import_extra("ray.data", extra="ray").Datasink

    class ChunkDatasink(base):  # type: ignore[misc, valid-type]  # Ray is imported only here
        """Opens the target in each task."""

        def write(self, blocks: Iterable[Any], ctx: Any) -> int:
            """Write blocks; returns the number of rows."""
            n_rows = 0
            for block in blocks:
                table = import_extra("ray.data.block", extra="ray").BlockAccessor.for_block(block)
                n_rows += _write(table.to_arrow(), where)
            return n_rows

    return ChunkDatasink()


def _write(table: Any, where: Target) -> int:
    if not table.num_rows:
        return 0
    documents = _read_documents(table)
    with closing(where.open(documents[0].vectors.shape[1], "")) as writer:
        for document in documents:
            writer.check(document)
        writer.write(documents, 0)
    return int(table.num_rows)


def _read_documents(table: Any) -> list[DocumentRows]:
    """The documents that rows belong to, in any order; a block may hold a part of one."""
    columns = {name: table[name].to_pylist() for name in COLUMNS}
    places: dict[tuple[str, str], list[int]] = {}
    for row, key in enumerate(zip(columns["document_id"], columns["version"], strict=True)):
        places.setdefault(key, []).append(row)
    documents = []
    for key, at in places.items():
        spans, pages = (
            np.array([(columns[first][row], columns[last][row]) for row in at], np.int64)
            for first, last in (("start", "end"), ("first_page", "last_page"))
        )
        documents.append(
            DocumentRows(
                *key,
                columns["late_parent"][at[0]],
                spans,
                tuple(columns["text"][row] for row in at),
                np.array([columns["vector"][row] for row in at], np.float32),
                tuple(columns["mode"][row] for row in at),
                engine=columns["late_engine"][at[0]],
                pages=pages,
            )
        )
    return documents
