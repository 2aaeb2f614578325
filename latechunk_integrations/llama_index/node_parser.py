"""`LateChunkNodeParser`: the only hook of LlamaIndex that sees a whole document."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import Field, SerializeAsAny
from llama_index.core.node_parser import (
    HTMLNodeParser,
    JSONNodeParser,
    MarkdownNodeParser,
    NodeParser,
    SentenceSplitter,
)
from llama_index.core.schema import BaseNode, TextNode
from tqdm.auto import tqdm

from latechunk_integrations.errors import ChunkNotFoundError, InputTypeError
from latechunk_integrations.llama_index.embedding import LateChunkEmbedding
from latechunk_integrations.llama_index.layout import lay_out_in, whole_spans
from latechunk_integrations.llama_index.metadata import header_of, metadata_lines
from latechunk_integrations.llama_index.parents import NodeParent, ParentLevel, parents_of
from latechunk_integrations.llama_index.sections import PATH_KEY, TAG_KEY, split_sections
from latechunk_integrations.llama_index.serialization import component_dict, component_from_dict
from latechunk_integrations.schema import Parent

__all__ = ["LateChunkNodeParser"]

# They take the text out of markup, so that the document itself is no text to read.
_EXTRACTING = (HTMLNodeParser, JSONNodeParser)


class _Piece(NamedTuple):
    """What becomes one parent: a document or a section.

    Args:
        node: Its text and metadata.
        name: The parent's id.
        start: Where it begins in the source, in code points; None: not known.
    """

    node: BaseNode
    name: str
    start: int | None


class LateChunkNodeParser(NodeParser):
    """Splits documents with any node parser and embeds the chunks late.

    The nodes carry their embedding, exact offsets and the fingerprint of their parent, so
    that indexes, upserts and caches work unchanged. Nodes given instead of documents, such as
    the sections of a parser in front, are parents themselves.

    Args:
        embed_model: A `LateChunkEmbedding`.
        splitter: Any node parser; default: ``SentenceSplitter()``. Links, metadata and ids of
            the nodes are as it makes them.
        parent_level: ``"document"``: the parent of a chunk is the whole document;
            ``"section"``: its section, with the path of headings as header.
        section_parser: Cuts documents into sections under ``parent_level="section"``; default:
            ``MarkdownNodeParser()``.
    """

    embed_model: SerializeAsAny[BaseEmbedding] = Field(description="A LateChunkEmbedding.")
    splitter: SerializeAsAny[NodeParser] = Field(
        default_factory=SentenceSplitter, description="The node parser that cuts documents."
    )
    parent_level: ParentLevel = Field(
        default="document", description="What becomes a parent: a document or a section."
    )
    section_parser: SerializeAsAny[NodeParser] = Field(
        default_factory=MarkdownNodeParser, description="Cuts documents into sections."
    )

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises this class."""
        return "LateChunkNodeParser"

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """Every field, down to those of nested parsers, and the model's fingerprint."""
        return component_dict(self, super().to_dict(**kwargs))

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> LateChunkNodeParser:
        """Build what `to_dict` described.

        Raises:
            OptionError: A nested parser cannot be built from its description.
        """
        fields = {
            name: component_from_dict(name, value)
            for name, value in data.items()
            if name != "id_func" and name not in kwargs
        }
        return super().from_dict(fields, **kwargs)

    def get_nodes_from_documents(
        self,
        documents: Sequence[Any],
        show_progress: bool = False,  # noqa: FBT001, FBT002  # LlamaIndex's signature
        **kwargs: Any,
    ) -> list[BaseNode]:
        """Split documents and embed the chunks.

        Raises:
            ChunkNotFoundError: ``strict`` and the splitter changed the text of a chunk.
            InputTypeError: ``embed_model`` is no `LateChunkEmbedding`.
        """
        return super().get_nodes_from_documents(documents, show_progress, **kwargs)

    async def aget_nodes_from_documents(
        self,
        documents: Sequence[Any],
        show_progress: bool = False,  # noqa: FBT001, FBT002  # LlamaIndex's signature
        **kwargs: Any,
    ) -> list[BaseNode]:
        """The same in a thread, so that the event loop goes on."""
        return await asyncio.to_thread(
            self.get_nodes_from_documents, documents, show_progress, **kwargs
        )

    def _parse_nodes(
        self,
        nodes: Sequence[BaseNode],
        show_progress: bool = False,  # noqa: FBT001, FBT002  # LlamaIndex's signature
        **_: Any,
    ) -> list[BaseNode]:
        model = self._late_model()
        parsed: list[BaseNode] = []

        def parents() -> Iterator[NodeParent]:
            hidden = not (show_progress or model.show_progress)
            for document in tqdm(nodes, unit="document", disable=hidden):
                for piece in self._pieces(document):
                    chunks = self.splitter.get_nodes_from_documents([piece.node])  # type: ignore[list-item]  # nodes can be cut again
                    parsed.extend(chunks)
                    yield from self._parents(model, piece, chunks)

        model.embed_parents(parents(), bar=False)
        return parsed

    def _postprocess_parsed_nodes(
        self, nodes: list[BaseNode], parent_doc_map: dict[str, Any]
    ) -> list[BaseNode]:
        if any(node.parent_node or node.child_nodes for node in nodes):
            return nodes  # links between the levels of a hierarchy would be wrong
        # LlamaIndex looks texts up again and is wrong on repeated ones: keep our offsets.
        kept = [(n.start_char_idx, n.end_char_idx) for n in nodes if isinstance(n, TextNode)]
        nodes = super()._postprocess_parsed_nodes(nodes, parent_doc_map)
        texts = (node for node in nodes if isinstance(node, TextNode))
        for node, (start, end) in zip(texts, kept, strict=True):
            node.start_char_idx, node.end_char_idx = start, end
        return nodes

    def _late_model(self) -> LateChunkEmbedding:
        if not isinstance(self.embed_model, LateChunkEmbedding):
            raise InputTypeError(
                f"LateChunkNodeParser needs a LateChunkEmbedding, not "
                f"{type(self.embed_model).__name__}"
            )
        return self.embed_model

    def _pieces(self, document: BaseNode) -> Iterator[_Piece]:
        start = _start_in_source(document)
        if self.parent_level == "document" or not document.get_content().strip():
            yield _Piece(document, document.node_id, start)
            return
        for number, section in enumerate(split_sections(document, self.section_parser)):
            known = start is not None and section.start is not None
            at = (start or 0) + (section.start or 0) if known else None
            yield _Piece(section.node, f"{document.node_id}#{number}", at)

    def _parents(
        self, model: LateChunkEmbedding, piece: _Piece, chunks: Sequence[BaseNode]
    ) -> Iterator[NodeParent]:
        """The piece as a parent of its chunks, where it is one."""
        members = [node for node in chunks if isinstance(node, TextNode) and node.text.strip()]
        for node in members:
            node.embedding = None  # LlamaIndex copies a document's own one to its chunks
        if not members:
            return
        text = piece.node.get_content()
        layout = lay_out_in(text, members)
        if layout is None:
            _set_offsets(members, whole_spans(text, members), piece.start)
        else:
            _set_offsets(layout.nodes, layout.spans, piece.start)
        extracted = isinstance(self.splitter, _EXTRACTING)
        if layout is None and not extracted:
            self._report_rewritten(model, piece)
        header = _shared_header(piece.node, members)
        if layout is None or extracted or header is None or not model.metadata_as_header:
            yield from parents_of(
                chunks,
                metadata_as_header=model.metadata_as_header,
                parent_level="document",
                name=piece.name,
            )
            return
        yield NodeParent(Parent(text, layout.spans, header=header, id=piece.name), layout.nodes)

    def _report_rewritten(self, model: LateChunkEmbedding, piece: _Piece) -> None:
        reason = (
            f"{type(self.splitter).__name__} changed the text of document {piece.name!r}, so that "
            "chunks do not stand in it: the chunks, put together, are their own parent"
        )
        if model.strict:
            raise ChunkNotFoundError(reason, parent_id=piece.name)
        model.report("rewritten_parents", reason)


def _start_in_source(document: BaseNode) -> int | None:
    """Where a node stands in its source: 0 for documents, None where it is not known."""
    if document.source_node is None:
        return 0
    start: int | None = getattr(document, "start_char_idx", None)
    end: int | None = getattr(document, "end_char_idx", None)
    if start is None or end is None or end - start != len(document.get_content()):
        return None
    return start


def _set_offsets(
    nodes: Sequence[BaseNode], spans: Sequence[tuple[int, int] | None], shift: int | None
) -> None:
    for node, span in zip(nodes, spans, strict=True):
        if not isinstance(node, TextNode):
            continue
        if span is None or shift is None:
            node.start_char_idx = node.end_char_idx = None
        else:
            node.start_char_idx, node.end_char_idx = span[0] + shift, span[1] + shift


def _shared_header(piece: BaseNode, nodes: list[TextNode]) -> str | None:
    """The metadata of the piece as a header; None where chunks have metadata of their own."""
    lines = metadata_lines(piece)
    known = set(lines)
    for node in nodes:
        if not known.issuperset(metadata_lines(node, without=(PATH_KEY, TAG_KEY))):
            return None
    return header_of(piece, lines)
