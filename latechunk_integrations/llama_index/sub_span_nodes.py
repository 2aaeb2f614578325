"""Sub-spans in any index of LlamaIndex: a node for each, and a retriever that gives the chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.indices.base import BaseIndex
from llama_index.core.schema import BaseNode, NodeWithScore, QueryBundle

from latechunk_integrations.errors import OptionError
from latechunk_integrations.llama_index.node_parser import LateChunkNodeParser
from latechunk_integrations.llama_index.sub_span_marks import ChunkParts, chunk_node, is_sub_span
from latechunk_integrations.retrieval.best_of import afetch_best, fetch_best


class SubSpanNodeParser(LateChunkNodeParser):
    """Splits documents into chunks and gives a node for each sub-span of a chunk.

    A node has the text and the metadata of its whole chunk, an id of its own, and the vector of
    its sub-span; ``late_sub_start`` and ``late_sub_end`` say which part, hidden from
    models. Its parent node is the chunk, its source the document, so that deleting and refreshing
    documents work as with chunks. So any retriever gives whole chunks;
    `SubSpanNodeRetriever` gives each once.

    Args:
        embed_model: A `LateChunkEmbedding` with ``sub_span_tokens``, and ``sub_spans_per_chunk``
            for a smaller index.
        **fields: See `LateChunkNodeParser`.
    """

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises this class."""
        return "SubSpanNodeParser"

    def _new_parts(self) -> dict[str, ChunkParts] | None:
        if self.late_model.options.sub_span_tokens is None:
            raise OptionError(
                "the embed model cuts no sub-spans: LateChunkEmbedding(..., sub_span_tokens=32)"
            )
        return {}

    def _expand(self, nodes: list[BaseNode], parts: dict[str, ChunkParts] | None) -> list[BaseNode]:
        """Each node's sub-spans in its place; one without text, or skipped, stays."""
        key = self.late_model.mark_key
        found = parts or {}
        return [
            part
            for node in nodes
            for part in (found[node.node_id].nodes(node, key) if node.node_id in found else [node])
        ]


class SubSpanNodeRetriever(BaseRetriever):
    """Finds sub-spans in an index and gives the nodes of the chunks that they are parts of.

    A chunk scores as its best sub-span and comes once. There are ``similarity_top_k`` chunks
    where the index has as many: more sub-spans are fetched until then.

    Args:
        index: Of nodes of a `SubSpanNodeParser`, such as a ``VectorStoreIndex``.
        similarity_top_k: Number of chunks.
        sub_spans_per_chunk: How many sub-spans are fetched at first for each chunk wanted.
        **kwargs: What else the index's own retriever takes, such as ``filters``.
    """

    def __init__(
        self,
        index: BaseIndex[Any],
        similarity_top_k: int = 2,
        *,
        sub_spans_per_chunk: float = 3.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(callback_manager=kwargs.get("callback_manager"))
        self._index = index
        self._top_k = similarity_top_k
        self._per_chunk = sub_spans_per_chunk
        self._kwargs = kwargs

    def _retriever(self, n: int) -> BaseRetriever:
        return self._index.as_retriever(similarity_top_k=n, **self._kwargs)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        found = fetch_best(
            lambda n: self._retriever(n).retrieve(query_bundle),
            _chunk_key,
            self._top_k,
            per_chunk=self._per_chunk,
        )
        return _chunks(found)

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        found = await afetch_best(
            lambda n: self._retriever(n).aretrieve(query_bundle),
            _chunk_key,
            self._top_k,
            per_chunk=self._per_chunk,
        )
        return _chunks(found)


def _chunk_key(found: NodeWithScore) -> str:
    above = found.node.parent_node
    return above.node_id if above is not None and is_sub_span(found.node) else found.node.node_id


def _chunks(found: Sequence[NodeWithScore]) -> list[NodeWithScore]:
    return [NodeWithScore(node=chunk_node(one.node), score=one.score) for one in found]
