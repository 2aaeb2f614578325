"""Chunk rows into a Chroma collection, in a folder or on a server."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from latechunk_integrations.bulk.rows import DocumentRows
from latechunk_integrations.bulk.writers.writer import StoreWriter, check_width, repeated
from latechunk_integrations.errors import MissingTargetError
from latechunk_integrations.plugins import import_extra

_ROWS = 256
_TOKEN_VARIABLE = "CHROMA_TOKEN"  # noqa: S105  # the name of a variable, not a token


class ChromaAccess:
    """A collection in a folder or on a server.

    Args:
        place: A folder, or the URL of a server, whose token is read from the environment variable
            ``CHROMA_TOKEN``.
        name: Name of the collection.
        must_exist: Make no folder.

    Raises:
        MissingExtraError: chromadb is not installed.
        WriterError: There is no such folder, or the server does not answer.
    """

    def __init__(self, place: str, name: str, *, must_exist: bool) -> None:
        errors = import_extra("chromadb.errors", extra="chroma")
        self._lasting = (errors.InvalidArgumentError, errors.NotFoundError)
        self._failures = (errors.ChromaError, OSError, ValueError)
        self._name = name
        self._client = _open_client(place, self._failures, must_exist=must_exist)

    def close(self) -> None:
        """Let go of the folder, or close the connection."""
        getattr(self._client, "close", lambda: None)()  # older clients have none

    def _find_width(self, collection: Any) -> int:
        """Width of the vectors in a collection; 0 where there are none."""
        found = self._repeat(lambda: collection.get(limit=1, include=["embeddings"]), "reading")
        return len(found["embeddings"][0]) if len(found["embeddings"]) else 0

    def _repeat(self, call: Any, what: str) -> Any:
        return repeated(
            call,
            f"{what} the collection {self._name!r}",
            errors=self._failures,
            is_transient=lambda error: not isinstance(error, self._lasting),
        )


class ChromaWriter(ChromaAccess, StoreWriter):
    """Upserts rows named by ``chunk_id``; makes the collection if need be.

    Vectors are compared by their inner product, which is the cosine of vectors of unit length.

    Args:
        place: See `ChromaAccess`.
        collection: Name of the collection.
        dimensions: Width of a vector; ``None``: the collection is only read.

    Raises:
        MissingExtraError: chromadb is not installed.
        WriterError: Chroma does not answer, or the collection holds other vectors.
    """

    def __init__(self, place: str, collection: str, dimensions: int | None) -> None:
        super().__init__(place, collection, must_exist=dimensions is None)
        if dimensions is None:
            self._collection = self._repeat(lambda: self._open(place), "opening")
            return
        self._collection = self._repeat(
            lambda: self._client.get_or_create_collection(
                collection, configuration={"hnsw": {"space": "ip"}}, embedding_function=None
            ),
            "making",
        )
        width = self._find_width(self._collection)
        if width:
            place = f"the collection {collection!r}"
            check_width(place, width, dimensions, "name another collection")

    def write(self, documents: Sequence[DocumentRows], number: int) -> str:
        """Upsert the rows, then delete those of former versions."""
        rows = (row for document in documents for row in document.rows())
        while batch := list(islice(rows, _ROWS)):
            self._repeat(
                lambda batch=batch: self._collection.upsert(
                    ids=[row["chunk_id"] for row in batch],
                    embeddings=[row["vector"] for row in batch],
                    documents=[row["text"] for row in batch],
                    metadatas=[_metadata(row) for row in batch],
                ),
                "an upsert into",
            )
        if documents:
            former: Any = {
                "$and": [
                    {"document_id": {"$in": [document.document_id for document in documents]}},
                    {"version": {"$nin": [document.version for document in documents]}},
                ]
            }
            self._repeat(lambda: self._collection.delete(where=former), "a deletion from")
        return ""

    def count(self) -> int:
        """Rows of the collection."""
        return int(self._repeat(self._collection.count, "counting"))

    def scan(self) -> Iterator[Mapping[str, Any]]:
        """Every row."""
        what, offset = ["embeddings", "documents", "metadatas"], 0
        while True:
            which = {"limit": _ROWS, "offset": offset, "include": what}
            found = self._repeat(lambda which=which: self._collection.get(**which), "reading")
            if not found["ids"]:
                return
            offset += len(found["ids"])
            columns = (found[name] for name in ("ids", "documents", "metadatas", "embeddings"))
            for key, text, metadata, vector in zip(*columns, strict=True):
                yield {
                    **(metadata or {}),
                    "chunk_id": key,
                    "text": text,
                    "vector": np.asarray(vector, np.float32),
                }

    def _open(self, place: str) -> Any:
        try:
            return self._client.get_collection(self._name, embedding_function=None)
        except self._lasting[1] as error:
            raise MissingTargetError(f"there is no collection {self._name!r} in {place}") from error


def _open_client(place: str, failures: tuple[type[Exception], ...], *, must_exist: bool) -> Any:
    chroma = import_extra("chromadb", extra="chroma")
    if "://" not in place:
        if must_exist and not Path(place).is_dir():
            raise MissingTargetError(f"there is no folder {place} with a Chroma store")
        return repeated(
            # Settings of our own would be refused where this process has the folder open already.
            lambda: chroma.PersistentClient(place),
            f"opening {place}",
            errors=(Exception,),  # of a damaged folder the client raises anything
            is_transient=lambda error: isinstance(error, failures),
        )
    url = urlsplit(place)
    token = os.environ.get(_TOKEN_VARIABLE)
    return repeated(
        lambda: chroma.HttpClient(
            host=url.hostname or "",
            port=url.port or 8000,
            ssl=url.scheme == "https",
            headers={"Authorization": f"Bearer {token}"} if token else None,
        ),
        f"opening {place}",
        errors=failures,
    )


def _metadata(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in row.items() if name not in ("chunk_id", "text", "vector")
    }
