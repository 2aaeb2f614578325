"""Sub-spans as Qdrant multivectors: one point for each chunk, which scores as its best."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document
from pydantic import ConfigDict, Field

from latechunk_integrations import marks
from latechunk_integrations.errors import InputTypeError
from latechunk_integrations.langchain.attach import Parents
from latechunk_integrations.langchain.embeddings import LateChunkEmbeddings
from latechunk_integrations.langchain.retrievers import SearchingRetriever
from latechunk_integrations.langchain.sub_span_documents import cut_sub_spans
from latechunk_integrations.plugins import import_extra

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

__all__ = ["MultivectorRetriever", "add_multivectors", "create_multivectors"]

# Points of one request, and chunks that are embedded at once: each may hold dozens of vectors.
_REQUEST_POINTS = 128
_CONTENT_KEY, _METADATA_KEY = "page_content", "metadata"


def create_multivectors(
    client: QdrantClient, collection_name: str, embeddings: LateChunkEmbeddings, **kwargs: Any
) -> None:
    """Create a collection whose points have one vector for each sub-span of a chunk.

    Args:
        client: Of ``qdrant-client``.
        collection_name: Its name.
        embeddings: What will embed.
        **kwargs: What else ``create_collection`` takes, such as ``quantization_config``.
    """
    models = _models()
    client.create_collection(
        collection_name,
        vectors_config=models.VectorParams(
            size=embeddings.engine.dimensions,
            distance=models.Distance.COSINE if embeddings.normalize else models.Distance.DOT,
            multivector_config=models.MultiVectorConfig(
                comparator=models.MultiVectorComparator.MAX_SIM
            ),
        ),
        **kwargs,
    )


def add_multivectors(
    client: QdrantClient,
    collection_name: str,
    chunks: Iterable[Document],
    embeddings: LateChunkEmbeddings,
    *,
    parents: Parents = None,
    ids: Sequence[str] | None = None,
) -> list[str]:
    """Embed chunks and write a point for each, with the vectors of its sub-spans.

    The payload is that of LangChain's Qdrant store: ``page_content`` and ``metadata``, with the
    marks of how the vectors were made. A chunk of which no parent is known has one vector.

    Args:
        client: Of ``qdrant-client``.
        collection_name: A collection of `create_multivectors`.
        chunks: Documents of a `LateChunkTextSplitter`, as they were or rebuilt; an iterator may
            be longer than memory.
        embeddings: What embeds, with ``sub_span_tokens``.
        parents: See `attach`; None: those that the embeddings keep.
        ids: A UUID or number for each chunk; None: made of parent and place, so that writing
            again replaces.

    Returns:
        The ids of the points.

    Raises:
        InputTypeError: There are not as many ids as chunks.
        OptionError: The embeddings cut no sub-spans.
    """
    models = _models()
    cut = cut_sub_spans(chunks, embeddings, parents)
    given = None if ids is None else iter(ids)
    written: list[str] = []
    while batch := list(islice(cut, _REQUEST_POINTS)):
        parts = [part for _, own in batch for part in own]
        vectors = iter(embeddings.embed_documents([part.page_content for part in parts]))
        points = []
        for chunk, own in batch:
            name = _point_id(chunk) if given is None else next(given, None)
            if name is None:
                raise InputTypeError("there are fewer ids than chunks")
            payload = {_CONTENT_KEY: str(chunk.page_content), _METADATA_KEY: _metadata(own[0])}
            some = list(islice(vectors, len(own)))
            points.append(models.PointStruct(id=name, vector=some, payload=payload))
        client.upsert(collection_name, points)
        written += [str(point.id) for point in points]
    return written


class MultivectorRetriever(SearchingRetriever):
    """Gives the chunks whose best sub-spans are nearest to the question.

    Args:
        client: Of ``qdrant-client``.
        collection_name: A collection of `create_multivectors`.
        embeddings: What embeds the question.
        k: Number of chunks; also a keyword of ``invoke``.
        query_filter: A ``qdrant_client.models.Filter``, over ``metadata.<key>``.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    client: Any
    collection_name: str
    embeddings: LateChunkEmbeddings
    k: int = Field(default=4, ge=1)
    query_filter: Any = None

    def _search(self, query: str, k: int | None) -> list[Document]:
        found = self.client.query_points(
            self.collection_name,
            query=[self.embeddings.embed_query(query)],
            limit=self.k if k is None else k,
            query_filter=self.query_filter,
            with_payload=True,
        )
        return [
            Document(
                page_content=point.payload[_CONTENT_KEY],
                metadata=point.payload[_METADATA_KEY],
                id=str(point.id),
            )
            for point in found.points
        ]


def _models() -> Any:
    return import_extra("qdrant_client.models", extra="qdrant")


def _point_id(chunk: Document) -> str:
    place = [chunk.metadata.get(key) for key in (marks.PARENT_KEY, marks.START_KEY, marks.END_KEY)]
    if None in place:
        return str(uuid.uuid4())
    name = [chunk.metadata.get("source"), *place]
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "/".join(map(str, name))))


def _metadata(part: Document) -> dict[str, Any]:
    """The chunk's metadata: the point is of all of its sub-spans."""
    own = (marks.SUB_START_KEY, marks.SUB_END_KEY, marks.CHUNK_KEY)
    return {key: value for key, value in part.metadata.items() if key not in own}
