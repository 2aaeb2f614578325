"""A connection to PostgreSQL with pgvector, as writers and migrations open it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.bulk.writers.writer import repeated
from latechunk_integrations.errors import WriterError
from latechunk_integrations.plugins import import_extra

_TIMEOUT_SECONDS = 30


def connect_postgres(place: str) -> Any:
    """A connection; the password comes from ``PGPASSWORD`` or libpq's own file.

    Args:
        place: ``postgresql://USER@HOST/DATABASE``; SQLAlchemy's ``postgresql+psycopg://`` will do.

    Raises:
        MissingExtraError: psycopg is not installed.
        WriterError: PostgreSQL does not answer, or has no pgvector.
    """
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
