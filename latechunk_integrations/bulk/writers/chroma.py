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
from latechunk_integrations.bulk.writers.writer import StoreWriter, repeated
from latechunk_integrations.errors import MissingTargetError, WriterError
from latechunk_integrations.plugins import import_extra

_ROWS = 256
_TOKEN_VARIABLE = "CHROMA_TOKEN"  # noqa: S105  # the name of a variable, not a token


class ChromaWriter(StoreWriter):
    """Upserts rows named by ``chunk_id``; makes the collection if need be.

    Vectors are compared by their inner product, which is the cosine of vectors of unit length.

    Args:
        place: A folder, or the URL of a server, whose token is read from the environment variable
            ``CHROMA_TOKEN``.
        collection: Name of the collection.
        dimensions: Width of a vector; ``None``: the collection is only read.

    Raises:
        MissingExtraError: chromadb is not installed.
        WriterError: Chroma does not answer, or the collection holds other vectors.
    """

    def __init__(self, place: str, collection: str, dimensions: int | None) -> None:
        self._name = collection
        errors = import_extra("chromadb.errors", extra="chroma")
        self._lasting = (errors.InvalidArgumentError, errors.NotFoundError)
        self._client, self._failures = open_chroma(place, must_exist=dimensions is None)
        if dimensions is None:
            self._collection = self._repeat(lambda: self._open(place), "opening")
            return
        self._collection = self._repeat(
            lambda: self._client.get_or_create_collection(
                collection, configuration={"hnsw": {"space": "ip"}}, embedding_function=None
            ),
            "making",
        )
        held = self._get(limit=1, include=["embeddings"])["embeddings"]
        if len(held) and len(held[0]) != dimensions:
            raise WriterError(
                f"the collection {collection!r} holds vectors of {len(held[0])} numbers, the model "
                f"gives {dimensions}; name another collection"
            )

    def check(self, document: DocumentRows) -> None:
        """Chroma has no narrow limits."""

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
            found = self._get(limit=_ROWS, offset=offset, include=what)
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

    def close(self) -> None:
        """Let go of the folder, or close the connection."""
        self._client.close()

    def _open(self, place: str) -> Any:
        try:
            return self._client.get_collection(self._name, embedding_function=None)
        except self._lasting[1] as error:
            raise MissingTargetError(f"there is no collection {self._name!r} in {place}") from error

    def _get(self, **what: Any) -> Any:
        return self._repeat(lambda: self._collection.get(**what), "reading")

    def _repeat(self, call: Any, what: str) -> Any:
        return repeated(
            call,
            f"{what} the collection {self._name!r}",
            errors=self._failures,
            is_transient=lambda error: not isinstance(error, self._lasting),
        )


def open_chroma(place: str, *, must_exist: bool) -> tuple[Any, tuple[type[Exception], ...]]:
    """A client, and what it raises.

    Args:
        place: A folder or a server's URL.
        must_exist: Make no folder.

    Raises:
        MissingExtraError: chromadb is not installed.
        WriterError: There is no such folder, or the server does not answer.
    """
    chroma = import_extra("chromadb", extra="chroma")
    base = import_extra("chromadb.errors", extra="chroma").ChromaError
    failures: tuple[type[Exception], ...] = (base, OSError, ValueError)
    if "://" not in place:
        if must_exist and not Path(place).is_dir():
            raise MissingTargetError(f"there is no folder {place} with a Chroma store")
        return repeated(
            # Settings of our own would be refused where this process has the folder open already.
            lambda: chroma.PersistentClient(place),
            f"opening {place}",
            errors=(Exception,),  # of a damaged folder the client raises anything
            is_transient=lambda error: isinstance(error, failures),
        ), failures
    url = urlsplit(place)
    token = os.environ.get(_TOKEN_VARIABLE)
    client = repeated(
        lambda: chroma.HttpClient(
            host=url.hostname or "",
            port=url.port or 8000,
            ssl=url.scheme == "https",
            headers={"Authorization": f"Bearer {token}"} if token else None,
        ),
        f"opening {place}",
        errors=failures,
    )
    return client, failures


def _metadata(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in row.items() if name not in ("chunk_id", "text", "vector")
    }
