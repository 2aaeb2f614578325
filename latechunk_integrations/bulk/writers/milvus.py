"""Chunk rows into a Milvus collection, in a file (Milvus Lite) or on a server."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from latechunk_integrations.bulk.rows import COLUMNS, INTEGER_COLUMNS, DocumentRows
from latechunk_integrations.bulk.writers.writer import StoreWriter, repeated
from latechunk_integrations.errors import InputError, MissingTargetError, WriterError
from latechunk_integrations.plugins import import_extra

_ROWS = 512
_ID_BYTES = 1_024
_TEXT_BYTES = 65_535
_SHORT_BYTES = 64
# Milvus' filters know the escapes of JSON but for \u, which these characters need.
_UNNAMEABLE = re.compile("[\x00-\x07\x0b\x0e-\x1f]")
_TIMEOUT: dict[str, Any] = {"timeout": 60}  # seconds, of each call
_TOKEN_VARIABLE = "MILVUS_TOKEN"  # noqa: S105  # the name of a variable, not a token


class MilvusWriter(StoreWriter):
    """Upserts by ``chunk_id``; makes the collection if need be.

    Args:
        uri: A file (``.db``) or ``http://host:port``; a server's token is read from the
            environment variable ``MILVUS_TOKEN``.
        collection: Name of the collection.
        dimensions: Width of a vector; ``None``: the collection is only read.

    Raises:
        MissingExtraError: pymilvus is not installed.
        WriterError: Milvus does not answer, or the collection is of another make.
    """

    def __init__(self, uri: str, collection: str, dimensions: int | None) -> None:
        self._milvus = import_extra("pymilvus", extra="milvus")
        self._failure = self._milvus.MilvusException
        self._collection = collection
        self._dimensions = dimensions
        token = {} if uri.endswith(".db") else {"token": os.environ.get(_TOKEN_VARIABLE, "")}
        self._client = self._repeat(
            lambda: self._milvus.MilvusClient(uri=uri, **token, **_TIMEOUT), "opening"
        )
        if self._exists():
            self._check_collection()
        elif dimensions is None:
            raise MissingTargetError(f"there is no collection {collection!r} in {uri}")
        else:
            self._make_collection(is_server=bool(token))

    def check(self, document: DocumentRows) -> None:
        """Refuse an id or a text that is longer than a Milvus string."""
        if not _is_nameable(document.document_id):
            raise InputError(
                f"an id in Milvus has at most {_ID_BYTES} bytes and no control characters, which "
                "its filters cannot name"
            )
        longest = max((len(text.encode()) for text in document.texts), default=0)
        if longest > _TEXT_BYTES:
            raise InputError(
                f"a chunk of {longest} bytes is longer than Milvus' strings of {_TEXT_BYTES}; "
                "make smaller chunks"
            )

    def write(self, documents: Sequence[DocumentRows], number: int) -> str:
        """Upsert the rows, then delete those of former versions."""
        rows = (row for document in documents for row in document.rows())
        while batch := list(islice(rows, _ROWS)):
            self._repeat(
                lambda batch=batch: self._client.upsert(self._collection, batch, **_TIMEOUT),
                "upsert into",
            )
        # What could not be written was never there.
        named = [document for document in documents if _is_nameable(document.document_id)]
        if named:
            ids = _format_list([document.document_id for document in named])
            versions = _format_list([document.version for document in named])
            former = f"document_id in {ids} and version not in {versions}"
            self._repeat(
                lambda: self._client.delete(self._collection, filter=former, **_TIMEOUT),
                "a deletion from",
            )
        return ""

    def count(self) -> int:
        """Rows of the collection."""
        found = self._repeat(
            lambda: self._client.query(
                self._collection, filter="", output_fields=["count(*)"], **_TIMEOUT
            ),
            "counting",
        )
        return int(found[0]["count(*)"])

    def scan(self) -> Iterator[Mapping[str, Any]]:
        """Every row, in no order."""
        rows = self._repeat(
            lambda: self._client.query_iterator(
                self._collection, batch_size=_ROWS, output_fields=["*"], **_TIMEOUT
            ),
            "reading",
        )
        try:
            while batch := self._repeat(rows.next, "reading"):
                for row in batch:
                    vector = np.asarray(row.get("vector", ()), np.float32)
                    yield {**row, "vector": vector}
        finally:
            rows.close()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _exists(self) -> bool:
        found = self._repeat(
            lambda: self._client.has_collection(self._collection, **_TIMEOUT), "looking for"
        )
        return bool(found)

    def _make_collection(self, *, is_server: bool) -> None:
        kinds = self._milvus.DataType
        schema = self._milvus.MilvusClient.create_schema(auto_id=False)
        schema.add_field("chunk_id", kinds.VARCHAR, is_primary=True, max_length=_SHORT_BYTES)
        schema.add_field("document_id", kinds.VARCHAR, max_length=_ID_BYTES)
        for name in INTEGER_COLUMNS:
            schema.add_field(name, kinds.INT64)
        schema.add_field("text", kinds.VARCHAR, max_length=_TEXT_BYTES)
        schema.add_field("vector", kinds.FLOAT_VECTOR, dim=self._dimensions)
        for name in ("mode", "late_parent", "late_engine", "version"):
            schema.add_field(name, kinds.VARCHAR, max_length=_SHORT_BYTES)
        indexes = self._client.prepare_index_params()
        indexes.add_index("vector", index_type="AUTOINDEX", metric_type="COSINE")
        if is_server:  # former versions are found by it
            indexes.add_index("document_id", index_type="INVERTED")
        try:
            self._repeat(
                lambda: self._client.create_collection(
                    self._collection,
                    schema=schema,
                    index_params=indexes,
                    consistency_level="Strong",
                    **_TIMEOUT,
                ),
                "making",
            )
        except WriterError:
            if not self._exists():
                raise
            self._check_collection()  # another task was faster

    def _check_collection(self) -> None:
        described = self._repeat(
            lambda: self._client.describe_collection(self._collection, **_TIMEOUT), "describing"
        )
        fields = {field["name"]: field for field in described["fields"]}
        if self._dimensions is None:
            self._load()
            return
        missing = [name for name in COLUMNS if name not in fields]
        if missing:
            raise WriterError(
                f"the collection {self._collection!r} has no field {', '.join(missing)}; "
                "name another collection"
            )
        width = int(fields["vector"]["params"]["dim"])
        if width != self._dimensions:
            raise WriterError(
                f"the collection {self._collection!r} holds vectors of {width} numbers, the model "
                f"gives {self._dimensions}; name another collection"
            )
        self._load()

    def _load(self) -> None:
        self._repeat(lambda: self._client.load_collection(self._collection, **_TIMEOUT), "loading")

    def _repeat(self, call: Any, what: str) -> Any:
        return repeated(
            call, f"{what} the collection {self._collection!r}", errors=(self._failure,)
        )


def _is_nameable(document_id: str) -> bool:
    return len(document_id.encode()) <= _ID_BYTES and not _UNNAMEABLE.search(document_id)


def _format_list(values: Sequence[str]) -> str:
    return json.dumps(values, ensure_ascii=False)
