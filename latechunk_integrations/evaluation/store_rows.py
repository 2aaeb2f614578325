"""The chunks and vectors of a vector store as it is, so that it can be the opponent."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.blending import make_unit
from latechunk_integrations.errors import GoldenSetError, OptionError
from latechunk_integrations.evaluation.dataset import GoldenSet
from latechunk_integrations.evaluation.labels import find_places
from latechunk_integrations.plugins import import_extra
from latechunk_integrations.schema import Span

STORE = "your store"
"""Name of the opponent that a store is."""

_KEY_VARIABLE = "QDRANT_API_KEY"
_TIMEOUT_SECONDS = 60
_PAGE = 256
# Where LangChain, LlamaIndex and this package keep the text and the document of a chunk.
_TEXT_KEYS = ("page_content", "text", "document", "content")
_DOCUMENT_KEYS = ("document_id", "doc_id", "ref_doc_id", "source", "file_path", "file_name")


@dataclass(frozen=True, eq=False)
class StoreRows:
    """What a store holds.

    Args:
        texts: Of the chunks.
        documents: What each row says about its document; may be empty.
        vectors: Float32, shape ``(n, dim)``.
    """

    texts: tuple[str, ...]
    documents: tuple[tuple[str, ...], ...]
    vectors: NDArray[np.float32]


def read_store(address: str) -> StoreRows:
    """Read every row of a collection.

    Args:
        address: ``qdrant:FOLDER#COLLECTION`` or ``qdrant:URL#COLLECTION``; the key of a server is
            read from ``QDRANT_API_KEY``.

    Raises:
        OptionError: It is not one of these, or the rows have several vectors or no text.
        GoldenSetError: The collection cannot be read, or is empty.
        MissingExtraError: qdrant-client is not installed.
    """
    kind, _, rest = address.partition(":")
    place, _, name = rest.rpartition("#")
    if kind != "qdrant" or not place or not name:
        raise OptionError(f"--store wants qdrant:FOLDER#NAME or qdrant:URL#NAME, not {address!r}")
    points = _read_points(place, name)
    if not points:
        raise GoldenSetError(f"the collection {name!r} holds nothing")
    texts, documents, vectors = [], [], []
    for point in points:
        payload = point.payload or {}
        text = _find_text(payload)
        if not text:
            raise OptionError(f"the rows of {name!r} have no text; they have {sorted(payload)}")
        texts.append(text)
        documents.append(_list_names(payload))
        vectors.append(_find_vector(point.vector, name))
    return StoreRows(tuple(texts), tuple(documents), np.array(vectors, np.float32))


def place_rows(golden: GoldenSet, rows: StoreRows) -> tuple[GoldenSet, NDArray[np.float32]]:
    """The set with the store's chunks as its own, and their vectors in its order.

    Returns:
        The set, without documents that the store does not have and queries about them, which its
        notes say; unit vectors, float32, shape ``(n_chunks, dim)``.

    Raises:
        GoldenSetError: No chunk of the store is in a document of the set.
    """
    placed: dict[str, dict[Span, int]] = {}
    n_lost = 0
    for number, (text, names) in enumerate(zip(rows.texts, rows.documents, strict=True)):
        home = _find_home(golden, text, names)
        free = [
            span
            for span in find_places(home[1], text)
            if home[0] and span not in placed.get(home[0], {})
        ]
        if free:
            placed.setdefault(home[0], {})[free[0]] = number
        n_lost += not free
    documents = tuple(d for d in golden.documents if d.doc_id in placed)
    queries = tuple(q for q in golden.queries if q.doc_id in placed)
    if not queries:
        raise GoldenSetError("no chunk of the store is in a document that a question asks about")
    kept = {query.query_id for query in queries}
    notes = list(golden.notes)
    if n_lost:
        notes.append(f"{n_lost} rows of the store are in none of the documents, or twice")
    if lost := len(golden.queries) - len(queries):
        notes.append(f"{lost} questions ask about documents that the store does not have")
    chunks = {doc_id: tuple(sorted(found)) for doc_id, found in placed.items()}
    order = [placed[d.doc_id][span] for d in documents for span in chunks[d.doc_id]]
    made = replace(
        golden,
        documents=documents,
        queries=queries,
        spans=tuple(s for s in golden.spans if s.query_id in kept and s.doc_id in placed),
        chunks=chunks,
        notes=tuple(notes),
    )
    return made, make_unit(rows.vectors[order].copy())


def _find_home(golden: GoldenSet, text: str, names: Sequence[str]) -> tuple[str, str]:
    """Id and text of the document that a row names, else of the only one that has its text."""
    texts = {document.doc_id: document.text for document in golden.documents}
    for name in names:
        for doc_id in (name, Path(name).name):
            if doc_id in texts:
                return doc_id, texts[doc_id]
    having = [doc_id for doc_id, whole in texts.items() if text.strip() in whole]
    return (having[0], texts[having[0]]) if len(having) == 1 else ("", "")


def _read_points(place: str, name: str) -> list[Any]:
    qdrant = import_extra("qdrant_client", extra="qdrant")
    is_server = place.startswith(("http://", "https://"))
    if not is_server and not Path(place).is_dir():
        raise GoldenSetError(f"there is no folder {place}")
    try:
        client = (
            qdrant.QdrantClient(
                url=place, api_key=os.environ.get(_KEY_VARIABLE), timeout=_TIMEOUT_SECONDS
            )
            if is_server
            else qdrant.QdrantClient(path=place)
        )
    except (RuntimeError, OSError, ValueError) as error:
        raise GoldenSetError(f"Qdrant cannot open {place}: {error}") from error
    points: list[Any] = []
    at: Any = None
    try:
        while True:
            page, at = client.scroll(
                name, limit=_PAGE, offset=at, with_payload=True, with_vectors=True
            )
            points += page
            if at is None:
                return points
    except Exception as error:  # whatever the client raises: it has no common class
        raise GoldenSetError(f"the collection {name!r} cannot be read: {error}") from error
    finally:
        client.close()


def _find_vector(vector: Any, name: str) -> list[float]:
    if isinstance(vector, Mapping):
        dense = [each for each in vector.values() if isinstance(each, list)]
        if len(dense) != 1:
            raise OptionError(f"the rows of {name!r} have {len(dense)} dense vectors, not one")
        vector = dense[0]
    if not isinstance(vector, list) or not vector:
        raise OptionError(f"a row of {name!r} has no dense vector")
    return [float(number) for number in vector]


def _find_text(payload: Mapping[str, Any]) -> str:
    for key in _TEXT_KEYS:
        if isinstance(payload.get(key), str) and payload[key].strip():
            return str(payload[key])
    try:  # LlamaIndex' whole node
        return str(json.loads(payload["_node_content"])["text"])
    except (KeyError, TypeError, ValueError):
        return ""


def _list_names(payload: Mapping[str, Any]) -> tuple[str, ...]:
    inner = payload.get("metadata")
    places = [payload, inner] if isinstance(inner, Mapping) else [payload]
    found = [place[key] for key in _DOCUMENT_KEYS for place in places if key in place]
    return tuple(name for name in found if isinstance(name, str))
