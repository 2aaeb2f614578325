"""Chunk rows into a Qdrant collection, in a folder (local mode) or on a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from latechunk_integrations.bulk.rows import DocumentRows
from latechunk_integrations.bulk.writers.qdrant_access import call_qdrant, open_qdrant
from latechunk_integrations.bulk.writers.writer import StoreWriter
from latechunk_integrations.errors import MissingTargetError, WriterError
from latechunk_integrations.plugins import import_extra

_ROWS = 256


class QdrantWriter(StoreWriter):
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
        self._models = import_extra("qdrant_client", extra="qdrant").models
        self._collection = collection
        self._client = open_qdrant(place, make_folder=dimensions is not None)
        is_server = place.startswith(("http://", "https://"))
        if self._exists():
            if dimensions is not None:
                self._check_collection(dimensions)
        elif dimensions is None:
            raise MissingTargetError(f"there is no collection {collection!r} in {place}")
        else:
            self._make_collection(dimensions, is_server=is_server)

    def check(self, document: DocumentRows) -> None:
        """Qdrant's payload has no narrow limits."""

    def write(self, documents: Sequence[DocumentRows], number: int) -> str:
        """Upsert the rows, then delete those of former versions."""
        rows = (row for document in documents for row in document.rows())
        while batch := list(islice(rows, _ROWS)):
            points = self._models.Batch(
                ids=[row["chunk_id"] for row in batch],
                vectors=[row.pop("vector").tolist() for row in batch],
                payloads=batch,
            )
            self._repeat(
                lambda points=points: self._client.upsert(self._collection, points, wait=True),
                "an upsert into",
            )
        if documents:
            former = self._models.Filter(
                must=[self._match_any("document_id", [d.document_id for d in documents])],
                must_not=[self._match_any("version", [d.version for d in documents])],
            )
            selector = self._models.FilterSelector(filter=former)
            self._repeat(
                lambda: self._client.delete(self._collection, selector, wait=True),
                "a deletion from",
            )
        return ""

    def count(self) -> int:
        """Points of the collection."""
        return int(self._repeat(lambda: self._client.count(self._collection), "counting").count)

    def scan(self) -> Iterator[Mapping[str, Any]]:
        """Every point: its payload with ``vector``, and ``id`` where we did not write it."""
        offset = None
        while True:
            points, offset = self._repeat(
                lambda offset=offset: self._client.scroll(
                    self._collection, limit=_ROWS, offset=offset, with_vectors=True
                ),
                "reading",
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

    def close(self) -> None:
        """Close the connection, or let go of the folder."""
        self._client.close()

    def _match_any(self, key: str, values: list[str]) -> Any:
        return self._models.FieldCondition(key=key, match=self._models.MatchAny(any=values))

    def _exists(self) -> bool:
        found = self._repeat(
            lambda: self._client.collection_exists(self._collection), "looking for"
        )
        return bool(found)

    def _make_collection(self, dimensions: int, *, is_server: bool) -> None:
        vectors = self._models.VectorParams(size=dimensions, distance=self._models.Distance.DOT)
        try:
            self._repeat(
                lambda: self._client.create_collection(self._collection, vectors_config=vectors),
                "making",
            )
        except WriterError:
            if not self._exists():
                raise
            self._check_collection(dimensions)  # another task was faster
        if is_server:  # former versions are found by it
            self._repeat(
                lambda: self._client.create_payload_index(
                    self._collection, "document_id", self._models.PayloadSchemaType.KEYWORD
                ),
                "indexing",
            )

    def _check_collection(self, dimensions: int) -> None:
        described = self._repeat(
            lambda: self._client.get_collection(self._collection), "describing"
        )
        vectors = described.config.params.vectors
        width = getattr(vectors, "size", None)
        if width != dimensions:
            raise WriterError(
                f"the collection {self._collection!r} holds vectors of {width} numbers, the model "
                f"gives {dimensions}; name another collection"
            )

    def _repeat(self, call: Any, what: str) -> Any:
        return call_qdrant(call, f"{what} the collection {self._collection!r}")
