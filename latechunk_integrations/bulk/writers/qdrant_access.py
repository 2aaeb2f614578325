"""Opening a Qdrant store, and calls to it that are made again where that may help."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from latechunk_integrations.bulk.writers.writer import repeated
from latechunk_integrations.errors import MissingTargetError, WriterError
from latechunk_integrations.plugins import import_extra

_SERVER_ERROR = 500
_TOO_MANY_REQUESTS = 429
_TIMEOUT_SECONDS = 60
_KEY_VARIABLE = "QDRANT_API_KEY"

T = TypeVar("T")


def open_qdrant(place: str, *, make_folder: bool) -> Any:
    """A client of a folder (local mode) or of a server.

    Args:
        place: A folder, or the URL of a server, whose key is read from the environment variable
            ``QDRANT_API_KEY``.
        make_folder: Whether a folder that is not there is made.

    Raises:
        MissingExtraError: qdrant-client is not installed.
        MissingTargetError: There is no such folder.
        WriterError: It cannot be opened.
    """
    qdrant = import_extra("qdrant_client", extra="qdrant")
    is_server = place.startswith(("http://", "https://"))
    if not is_server and not make_folder and not Path(place).is_dir():
        raise MissingTargetError(f"there is no folder {place}")
    try:
        if not is_server:
            return qdrant.QdrantClient(path=place)
        return qdrant.QdrantClient(
            url=place,
            api_key=os.environ.get(_KEY_VARIABLE),
            timeout=_TIMEOUT_SECONDS,
            check_compatibility=False,  # the first call shows whether they get on
        )
    # Another process holds the folder, or a file in it is damaged, foreign or cannot be written:
    # the local mode reads JSON and pickles, and raises whatever these make it raise.
    except Exception as error:
        raise WriterError(f"Qdrant cannot open {place}: {error}") from error


def call_qdrant(call: Callable[[], T], what: str) -> T:
    """Call Qdrant, and again where it does not answer; ``what`` names the call in the error.

    Raises:
        WriterError: It refused, or the last attempt failed too.
    """
    errors = import_extra("qdrant_client.http.exceptions", extra="qdrant")
    return repeated(
        call,
        what,
        errors=(
            errors.UnexpectedResponse,
            errors.ResponseHandlingException,
            OSError,  # a connection, or a full disk under the local mode
            sqlite3.Error,
        ),
        is_transient=may_pass,
    )


def may_pass(error: BaseException) -> bool:
    """Whether the same call may succeed later."""
    if isinstance(error, (OSError, sqlite3.Error)):
        return isinstance(error, ConnectionError)
    status = getattr(error, "status_code", None) or _SERVER_ERROR
    return status >= _SERVER_ERROR or status == _TOO_MANY_REQUESTS
