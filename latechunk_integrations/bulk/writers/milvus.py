"""Chunk rows into a Milvus collection, in a file (Milvus Lite) or on a server."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from latechunk_integrations.bulk.rows import COLUMNS, INTEGER_COLUMNS, DocumentRows
from latechunk_integrations.bulk.writers.writer import StoreWriter, check_width, repeated
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


class MilvusAccess:
    """A collection in a file (Milvus Lite) or on a server.

    Args:
        place: A file (``.db``) or ``http://host:port``; a server's token is read from the
            environment variable ``MILVUS_TOKEN``.
        name: Name of the collection.

    Raises:
        MissingExtraError: pymilvus is not installed.
        WriterError: Milvus does not answer.
    """

    def __init__(self, place: str, name: str) -> None:
        self._milvus = import_extra("pymilvus", extra="milvus")
        self._name = name
        self._is_server = "://" in place
        token = os.environ.get(_TOKEN_VARIABLE, "") if self._is_server else ""
        self._client = self._repeat(
            f"opening {place},",
            partial(self._milvus.MilvusClient, uri=place, token=token, **_TIMEOUT),
        )

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _call(self, what: str, method: str, *given: Any, **named: Any) -> Any:
        """Call the client, and again where Milvus does not answer; ``what`` is for the error."""
        return self._repeat(
            what, partial(getattr(self._client, method), *given, **named, **_TIMEOUT)
        )

    def _repeat(self, what: str, call: Callable[[], Any]) -> Any:
        failures = (self._milvus.MilvusException,)
        return repeated(call, f"{what} the collection {self._name!r}", errors=failures)

    def _exists(self, name: str) -> bool:
        return bool(self._call("looking for", "has_collection", name))

    def _count(self, name: str) -> int:
        found = self._call("counting", "query", name, filter="", output_fields=["count(*)"])
        return int(found[0]["count(*)"])


class MilvusWriter(MilvusAccess, StoreWriter):
    """Upserts by ``chunk_id``; makes the collection if need be.

    Args:
        uri: See `MilvusAccess`.
        collection: Name of the collection.
        dimensions: Width of a vector; ``None``: the collection is only read.

    Raises:
        MissingExtraError: pymilvus is not installed.
        WriterError: Milvus does not answer, or the collection is of another make.
    """

    def __init__(self, uri: str, collection: str, dimensions: int | None) -> None:
        super().__init__(uri, collection)
        self._dimensions = dimensions
        if self._exists(collection):
            self._check_collection()
        elif dimensions is None:
            raise MissingTargetError(f"there is no collection {collection!r} in {uri}")
        else:
            self._make_collection()

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
            self._call("an upsert into", "upsert", self._name, batch)
        # What could not be written was never there.
        named = [document for document in documents if _is_nameable(document.document_id)]
        if named:
            ids = _format_list([document.document_id for document in named])
            versions = _format_list([document.version for document in named])
            former = f"document_id in {ids} and version not in {versions}"
            self._call("a deletion from", "delete", self._name, filter=former)
        return ""

    def count(self) -> int:
        """Rows of the collection."""
        return self._count(self._name)

    def scan(self) -> Iterator[Mapping[str, Any]]:
        """Every row, in no order."""
        how: dict[str, Any] = {"batch_size": _ROWS, "output_fields": ["*"]}
        rows = self._call("reading", "query_iterator", self._name, **how)
        try:
            while batch := self._repeat("reading", rows.next):
                for row in batch:
                    vector = np.asarray(row.get("vector", ()), np.float32)
                    yield {**row, "vector": vector}
        finally:
            rows.close()

    def _make_collection(self) -> None:
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
        if self._is_server:  # former versions are found by it
            indexes.add_index("document_id", index_type="INVERTED")
        try:
            how = {"schema": schema, "index_params": indexes, "consistency_level": "Strong"}
            self._call("making", "create_collection", self._name, **how)
        except WriterError:
            if not self._exists(self._name):
                raise
            self._check_collection()  # another task was faster

    def _check_collection(self) -> None:
        described = self._call("describing", "describe_collection", self._name)
        fields = {field["name"]: field for field in described["fields"]}
        if self._dimensions is not None:
            place = f"the collection {self._name!r}"
            missing = [name for name in COLUMNS if name not in fields]
            if missing:
                raise WriterError(
                    f"{place} has no field {', '.join(missing)}; name another collection"
                )
            width = int(fields["vector"]["params"]["dim"])
            check_width(place, width, self._dimensions, "name another collection")
        self._call("loading", "load_collection", self._name)


def _is_nameable(document_id: str) -> bool:
    return len(document_id.encode()) <= _ID_BYTES and not _UNNAMEABLE.search(document_id)


def _format_list(values: Sequence[str]) -> str:
    return json.dumps(values, ensure_ascii=False)
