"""Sub-spans as Qdrant multivectors: one point for each chunk, which scores as its best."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document
from pydantic import Field

from latechunk_integrations import marks
from latechunk_integrations.langchain.attach import Parents, with_ids
from latechunk_integrations.langchain.embeddings import LateChunkEmbeddings
from latechunk_integrations.langchain.retrievers import SearchingRetriever
from latechunk_integrations.langchain.sub_span_documents import cut_sub_spans
from latechunk_integrations.plugins import import_extra

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

# Where LangChain's Qdrant store has text and metadata in the payload of a point.
_TEXT_KEY, _METADATA_KEY = "page_content", "metadata"
# Points of one request, and chunks that are embedded at once: each may hold dozens of vectors.
_REQUEST_POINTS = 128


def create_multivectors(
    client: QdrantClient, collection_name: str, embeddings: LateChunkEmbeddings, **kwargs: Any
) -> None:
    """Create a Qdrant collection whose points have one vector for each sub-span of a chunk.

    Args:
        client: Of ``qdrant-client``.
        collection_name: Its name.
        embeddings: What will embed: width and distance are theirs.
        **kwargs: What else ``create_collection`` takes, such as ``quantization_config``.
    """
    models = import_extra("qdrant_client.models", extra="qdrant")
    distance = models.Distance.COSINE if embeddings.normalize else models.Distance.DOT
    best = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    size = embeddings.engine.dimensions
    vectors = models.VectorParams(size=size, distance=distance, multivector_config=best)
    client.create_collection(collection_name, vectors_config=vectors, **kwargs)


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
        chunks: As for `split_sub_spans`; an iterator may be longer than memory.
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
    models = import_extra("qdrant_client.models", extra="qdrant")
    cut = cut_sub_spans(chunks if ids is None else with_ids(chunks, ids), embeddings, parents)
    written: list[str] = []
    while batch := list(islice(cut, _REQUEST_POINTS)):
        parts = [part for _, own in batch for part in own]
        vectors = iter(embeddings.embed_documents([part.page_content for part in parts]))
        points = []
        for chunk, own in batch:
            name = _point_id(chunk) if ids is None else chunk.id
            own_keys = (marks.SUB_START_KEY, marks.SUB_END_KEY, marks.CHUNK_KEY)  # of one part
            metadata = {key: v for key, v in own[0].metadata.items() if key not in own_keys}
            payload = {_TEXT_KEY: str(chunk.page_content), _METADATA_KEY: metadata}
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

    client: Any
    collection_name: str
    embeddings: LateChunkEmbeddings
    k: int = Field(default=4, ge=1)
    query_filter: Any = None

    def _search(self, query: str, k: int) -> list[Document]:
        found = self.client.query_points(
            self.collection_name,
            query=[self.embeddings.embed_query(query)],
            limit=k,
            query_filter=self.query_filter,
            with_payload=True,
        )
        return [
            Document(one.payload[_TEXT_KEY], metadata=one.payload[_METADATA_KEY], id=str(one.id))
            for one in found.points
        ]


def _point_id(chunk: Document) -> str:
    place = [chunk.metadata.get(key) for key in marks.PLACE_KEYS]
    if None in place:
        return str(uuid.uuid4())
    name = [chunk.metadata.get("source"), *place]
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "/".join(map(str, name))))
