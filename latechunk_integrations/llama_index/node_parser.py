"""`LateChunkNodeParser`: the only hook of LlamaIndex that sees a whole document."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import Field, SerializeAsAny
from llama_index.core.node_parser import NodeParser, SentenceSplitter
from llama_index.core.schema import BaseNode, TextNode
from tqdm.auto import tqdm

from latechunk_integrations.core.spans import locate
from latechunk_integrations.errors import ChunkNotFoundError, InputTypeError
from latechunk_integrations.llama_index.embedding import LateChunkEmbedding
from latechunk_integrations.llama_index.parents import mark_parent, metadata_header
from latechunk_integrations.schema import Parent

__all__ = ["LateChunkNodeParser"]

logger = logging.getLogger(__name__)


class LateChunkNodeParser(NodeParser):
    """Splits documents with any node parser and embeds the chunks late.

    The nodes carry their embedding, exact offsets and the fingerprint of their parent, so
    that indexes, upserts and caches work unchanged.

    Args:
        embed_model: A `LateChunkEmbedding`.
        splitter: Any node parser; default: ``SentenceSplitter()``.
    """

    embed_model: SerializeAsAny[BaseEmbedding] = Field(description="A LateChunkEmbedding.")
    splitter: SerializeAsAny[NodeParser] = Field(
        default_factory=SentenceSplitter, description="The node parser that cuts documents."
    )

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises this class."""
        return "LateChunkNodeParser"

    def _late_model(self) -> LateChunkEmbedding:
        if not isinstance(self.embed_model, LateChunkEmbedding):
            raise InputTypeError(
                f"LateChunkNodeParser needs a LateChunkEmbedding, not "
                f"{type(self.embed_model).__name__}"
            )
        return self.embed_model

    def _parse_nodes(
        self,
        nodes: Sequence[BaseNode],
        show_progress: bool = False,  # noqa: FBT001, FBT002  # LlamaIndex's signature
        **_: Any,
    ) -> list[BaseNode]:
        model = self._late_model()
        parsed: list[BaseNode] = []
        waiting: deque[tuple[Parent, list[TextNode]]] = deque()

        def parents() -> Iterator[Parent]:
            for document in tqdm(nodes, unit="document", disable=not show_progress):
                chunks = self.splitter.get_nodes_from_documents([document])
                parsed.extend(chunks)
                parent, members = self._place(model, document, chunks)
                if parent is not None:
                    waiting.append((parent, members))
                    yield parent

        for result in model.engine.embed_iter(parents()):
            parent, members = waiting.popleft()
            for chunk, vector in zip(members, result.vectors, strict=not result.skipped):
                chunk.embedding = vector.tolist()
                mark_parent(chunk, parent)
        return parsed

    async def _aparse_nodes(
        self,
        nodes: Sequence[BaseNode],
        show_progress: bool = False,  # noqa: FBT001, FBT002  # LlamaIndex's signature
        **kwargs: Any,
    ) -> list[BaseNode]:
        return await asyncio.to_thread(self._parse_nodes, nodes, show_progress, **kwargs)

    def _postprocess_parsed_nodes(
        self, nodes: list[BaseNode], parent_doc_map: dict[str, Any]
    ) -> list[BaseNode]:
        # LlamaIndex looks texts up again and is wrong on repeated ones: keep our offsets.
        kept = [(n.start_char_idx, n.end_char_idx) for n in nodes if isinstance(n, TextNode)]
        nodes = super()._postprocess_parsed_nodes(nodes, parent_doc_map)
        texts = (node for node in nodes if isinstance(node, TextNode))
        for node, (start, end) in zip(texts, kept, strict=True):
            node.start_char_idx, node.end_char_idx = start, end
        return nodes

    def _place(
        self, model: LateChunkEmbedding, document: BaseNode, nodes: Sequence[BaseNode]
    ) -> tuple[Parent | None, list[TextNode]]:
        """The document as a parent, and those of its nodes that stand in it."""
        chunks = [node for node in nodes if isinstance(node, TextNode) and node.text.strip()]
        text = document.get_content()
        located = locate(text, [chunk.text for chunk in chunks])
        found: list[TextNode] = []
        missing: list[TextNode] = []
        for chunk, (start, end) in zip(chunks, located.spans.tolist(), strict=True):
            chunk.embedding = None  # LlamaIndex copies a document's own one to its chunks
            chunk.start_char_idx, chunk.end_char_idx = (start, end) if start >= 0 else (None, None)
            (found if start >= 0 else missing).append(chunk)
        if missing:
            self._embed_missing(model, document, missing)
        if not found:
            return None, []
        header = metadata_header(document) if model.metadata_as_header else ""
        spans = located.spans[located.spans[:, 0] >= 0]
        return Parent(text, spans, header=header, id=document.node_id), found

    def _embed_missing(
        self, model: LateChunkEmbedding, document: BaseNode, missing: Sequence[TextNode]
    ) -> None:
        reason = (
            f"{len(missing)} chunks do not stand in document {document.node_id!r}: the splitter "
            "changed their text"
        )
        if model.engine.options.strict:
            raise ChunkNotFoundError(reason, parent_id=document.node_id)
        logger.warning("%s; they are embedded standalone", reason)
        texts = [chunk.text for chunk in missing]
        for chunk, vector in zip(missing, model.engine.embed_texts(texts), strict=True):
            chunk.embedding = vector.tolist()
