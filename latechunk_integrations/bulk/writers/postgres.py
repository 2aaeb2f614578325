"""A connection to PostgreSQL with pgvector, as writers and migrations open it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.bulk.writers.writer import repeated
from latechunk_integrations.errors import WriterError
from latechunk_integrations.plugins import import_extra

_TIMEOUT_SECONDS = 30


class PostgresAccess:
    """A connection; the password comes from ``PGPASSWORD`` or libpq's own file.

    Args:
        place: ``postgresql://USER@HOST/DATABASE``; SQLAlchemy's ``postgresql+psycopg://`` will do.
        table: Names the table in errors.

    Raises:
        MissingExtraError: psycopg is not installed.
        WriterError: PostgreSQL does not answer, or has no pgvector.
    """

    def __init__(self, place: str, table: str) -> None:
        self._sql = import_extra("psycopg.sql", extra="pgvector")
        self._error = import_extra("psycopg", extra="pgvector").Error
        self._name = table
        self._connection = _connect(place)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        try:
            yield
        except self._error as error:
            if not self._connection.closed:
                self._connection.rollback()
            raise WriterError(
                f"PostgreSQL failed in {what} the table {self._name!r} ({error}); what is finished "
                "is in the checkpoint, start the same command again"
            ) from error


def _connect(place: str) -> Any:
    psycopg = import_extra("psycopg", extra="pgvector")
    scheme, separator, rest = place.partition("://")
    url = scheme.partition("+")[0] + separator + rest
    connection = repeated(
        lambda: psycopg.connect(url, connect_timeout=_TIMEOUT_SECONDS),
        "opening the database",
        errors=(psycopg.Error,),
        is_transient=lambda error: isinstance(error, psycopg.OperationalError),
    )
    try:
        connection.execute("select '[1]'::vector")
        connection.commit()
    except psycopg.Error as error:
        connection.close()
        raise WriterError(
            "this database has no pgvector: run CREATE EXTENSION vector in it"
        ) from error
    return connection


def format_vector(vector: NDArray[np.float32]) -> str:
    """A vector as pgvector reads it, shape ``(dim,)``; every float32 survives."""
    return "[" + ",".join(map(repr, vector.astype(np.float64).tolist())) + "]"
