"""Opening a Qdrant store, and calls to it that are made again where that may help."""

from __future__ import annotations

import os
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

from latechunk_integrations.bulk.writers.writer import repeated
from latechunk_integrations.errors import MissingTargetError, WriterError
from latechunk_integrations.plugins import import_extra

_SERVER_ERROR = 500
_TOO_MANY_REQUESTS = 429
_TIMEOUT_SECONDS = 60
_KEY_VARIABLE = "QDRANT_API_KEY"


class QdrantAccess:
    """A collection in a folder (local mode) or on a server.

    Args:
        place: A folder, or the URL of a server, whose key is read from the environment variable
            ``QDRANT_API_KEY``.
        name: Name of the collection.
        make_folder: Whether a folder that is not there is made.

    Raises:
        MissingExtraError: qdrant-client is not installed.
        MissingTargetError: There is no such folder.
        WriterError: It cannot be opened.
    """

    def __init__(self, place: str, name: str, *, make_folder: bool) -> None:
        qdrant = import_extra("qdrant_client", extra="qdrant")
        self._models = qdrant.models
        self._name = name
        self._is_server = place.startswith(("http://", "https://"))
        if not self._is_server and not make_folder and not Path(place).is_dir():
            raise MissingTargetError(f"there is no folder {place}")
        given: dict[str, Any] = {"path": place}
        if self._is_server:
            key = os.environ.get(_KEY_VARIABLE)
            # Not its compatibility: the first call shows whether they get on.
            given = {"url": place, "api_key": key, "check_compatibility": False}
            given["timeout"] = _TIMEOUT_SECONDS
        try:
            self._client = qdrant.QdrantClient(**given)
        # Another process holds the folder, or a file in it is damaged, foreign or cannot be
        # written: the local mode reads JSON and pickles, and raises whatever these make it raise.
        except Exception as error:
            raise WriterError(f"Qdrant cannot open {place}: {error}") from error

    def close(self) -> None:
        """Close the connection, or let go of the folder."""
        self._client.close()

    def _call(self, what: str, method: str, *given: Any, **named: Any) -> Any:
        """Call the client, and again where Qdrant does not answer; ``what`` is for the error."""
        errors = import_extra("qdrant_client.http.exceptions", extra="qdrant")
        return repeated(
            partial(getattr(self._client, method), *given, **named),
            f"{what} the collection {self._name!r}",
            errors=(
                errors.UnexpectedResponse,
                errors.ResponseHandlingException,
                OSError,  # a connection, or a full disk under the local mode
                sqlite3.Error,
            ),
            is_transient=may_pass,
        )

    def _exists(self, name: str) -> bool:
        return bool(self._call("looking for", "collection_exists", name))

    def _count(self, name: str, **which: Any) -> int:
        return int(self._call("counting", "count", name, **which).count)


def may_pass(error: BaseException) -> bool:
    """Whether the same call may succeed later."""
    if isinstance(error, (OSError, sqlite3.Error)):
        return isinstance(error, ConnectionError)
    status = getattr(error, "status_code", None) or _SERVER_ERROR
    return status >= _SERVER_ERROR or status == _TOO_MANY_REQUESTS
