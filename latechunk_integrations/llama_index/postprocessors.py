"""Snippets of long nodes, found in nodes or in documents, and links ranked for a crawl."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cached_property

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.bridge.pydantic import ConfigDict, Field
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import BaseNode, NodeRelationship, NodeWithScore, QueryBundle, TextNode

from latechunk_integrations.errors import InputTypeError
from latechunk_integrations.llama_index.embedding import LateChunkEmbedding
from latechunk_integrations.marks import without_marks
from latechunk_integrations.retrieval.links import LinkRanker
from latechunk_integrations.retrieval.snippets import (
    Snippet,
    SnippetIndex,
    SnippetOptions,
    select_snippets,
)


class SnippetPostprocessor(BaseNodePostprocessor):
    """Replaces long nodes by the snippets that answer the query best, in the nodes' order.

    Nodes without text, such as images, stay as they are.

    Args:
        embed_model: Whose engine scores the chunks.
        options: Lengths and number of snippets.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    embed_model: LateChunkEmbedding
    options: SnippetOptions = Field(default_factory=SnippetOptions)

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises this class."""
        return "SnippetPostprocessor"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        texts = [scored.node.get_content() for scored in nodes]
        found: list[list[NodeWithScore]] = [
            [] if text.strip() else [scored] for text, scored in zip(texts, nodes, strict=True)
        ]
        question = _question(query_bundle)
        for one in select_snippets(self.embed_model.engine, question, texts, options=self.options):
            found[one.index].append(_snippet_node(nodes[one.index].node, one))
        return [scored for group in found for scored in group]


class LinkRankingPostprocessor(LinkRanker, BaseNodePostprocessor):
    """Ranks nodes that are links, best first, a few for each host.

    Args:
        scorer: Relevance of texts to the query; None: a cross-encoder.
        options: Weights and limits.
        url_key: Metadata key of the URL; for what is read beside it see `LinkRanker`.
    """

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises this class."""
        return "LinkRankingPostprocessor"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        given = [(scored.node.get_content(), scored.node.metadata) for scored in nodes]
        ranked = self.rank(_question(query_bundle), given)
        return [NodeWithScore(node=nodes[one.index].node, score=one.score) for one in ranked]


class SnippetNodeRetriever(BaseRetriever):
    """Returns the snippets of long documents that answer a question best.

    The documents are embedded with the first question; their chunk vectors are kept.

    Args:
        embed_model: Whose engine scores the chunks.
        documents: What is searched.
        options: Lengths and number of snippets.
    """

    def __init__(
        self,
        embed_model: LateChunkEmbedding,
        documents: Sequence[BaseNode],
        options: SnippetOptions | None = None,
    ) -> None:
        super().__init__()
        self._embed_model = embed_model
        self._documents = list(documents)
        self._options = options or SnippetOptions()

    @cached_property
    def _index(self) -> SnippetIndex:
        texts = [document.get_content() for document in self._documents]
        return SnippetIndex(self._embed_model.engine, texts, self._options)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        snippets = self._index.select(query_bundle.query_str)
        return [_snippet_node(self._documents[one.index], one) for one in snippets]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)


def _snippet_node(source: BaseNode, snippet: Snippet) -> NodeWithScore:
    """A snippet as a node with the metadata of the node that it is cut from.

    Its source is the document, where the node knows it and its own offset in it, else the
    node itself; offsets count in the source.
    """
    document, shift = source.source_node, getattr(source, "start_char_idx", None)
    if document is None or shift is None:
        document, shift = source.as_related_node_info(), 0
    node = TextNode(
        text=snippet.text,
        metadata=without_marks(source.metadata),
        excluded_embed_metadata_keys=list(source.excluded_embed_metadata_keys),
        excluded_llm_metadata_keys=list(source.excluded_llm_metadata_keys),
        start_char_idx=shift + snippet.span.start,
        end_char_idx=shift + snippet.span.end,
        relationships={NodeRelationship.SOURCE: document},
    )
    return NodeWithScore(node=node, score=snippet.score)


def _question(query_bundle: QueryBundle | None) -> str:
    if query_bundle is None:
        raise InputTypeError("a query is needed: pass query_bundle or query_str")
    return query_bundle.query_str
