"""Chunk rows into a Qdrant collection, in a folder (local mode) or on a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from latechunk_integrations.bulk.rows import DocumentRows
from latechunk_integrations.bulk.writers.qdrant_access import QdrantAccess
from latechunk_integrations.bulk.writers.writer import StoreWriter, check_width
from latechunk_integrations.errors import MissingTargetError, WriterError

_ROWS = 256


class QdrantWriter(QdrantAccess, StoreWriter):
    """Upserts points named by ``chunk_id``; makes the collection if need be.

    Vectors are compared by their dot product, which is the cosine of vectors of unit length;
    asked for the cosine, Qdrant would store vectors that it has rescaled.

    Args:
        place: A folder, or the URL of a server, whose key is read from the environment variable
            ``QDRANT_API_KEY``.
        collection: Name of the collection.
        dimensions: Width of a vector; ``None``: the collection is only read.

    Raises:
        MissingExtraError: qdrant-client is not installed.
        WriterError: Qdrant does not answer, or the collection is of another make.
    """

    def __init__(self, place: str, collection: str, dimensions: int | None) -> None:
        super().__init__(place, collection, make_folder=dimensions is not None)
        if self._exists(collection):
            if dimensions is not None:
                self._check_collection(dimensions)
        elif dimensions is None:
            raise MissingTargetError(f"there is no collection {collection!r} in {place}")
        else:
            self._make_collection(dimensions)

    def write(self, documents: Sequence[DocumentRows], number: int) -> str:
        """Upsert the rows, then delete those of former versions."""
        rows = (row for document in documents for row in document.rows())
        while batch := list(islice(rows, _ROWS)):
            points = self._models.Batch(
                ids=[row["chunk_id"] for row in batch],
                vectors=[row.pop("vector").tolist() for row in batch],
                payloads=batch,
            )
            self._call("an upsert into", "upsert", self._name, points, wait=True)
        if documents:
            former = self._models.Filter(
                must=[self._match_any("document_id", [d.document_id for d in documents])],
                must_not=[self._match_any("version", [d.version for d in documents])],
            )
            selector = self._models.FilterSelector(filter=former)
            self._call("a deletion from", "delete", self._name, selector, wait=True)
        return ""

    def count(self) -> int:
        """Points of the collection."""
        return self._count(self._name)

    def scan(self) -> Iterator[Mapping[str, Any]]:
        """Every point: its payload with ``vector``, and ``id`` where we did not write it."""
        offset = None
        while True:
            points, offset = self._call(
                "reading", "scroll", self._name, limit=_ROWS, offset=offset, with_vectors=True
            )
            for point in points:
                vector = point.vector if isinstance(point.vector, list) else ()
                yield {
                    "id": point.id,
                    **(point.payload or {}),
                    "vector": np.asarray(vector, np.float32),
                }
            if offset is None:
                return

    def _match_any(self, key: str, values: list[str]) -> Any:
        return self._models.FieldCondition(key=key, match=self._models.MatchAny(any=values))

    def _make_collection(self, dimensions: int) -> None:
        vectors = self._models.VectorParams(size=dimensions, distance=self._models.Distance.DOT)
        try:
            self._call("making", "create_collection", self._name, vectors_config=vectors)
        except WriterError:
            if not self._exists(self._name):
                raise
            self._check_collection(dimensions)  # another task was faster
        if self._is_server:  # former versions are found by it
            kind = self._models.PayloadSchemaType.KEYWORD
            self._call("indexing", "create_payload_index", self._name, "document_id", kind)

    def _check_collection(self, dimensions: int) -> None:
        described = self._call("describing", "get_collection", self._name)
        width = getattr(described.config.params.vectors, "size", None)
        check_width(f"the collection {self._name!r}", width, dimensions, "name another collection")
