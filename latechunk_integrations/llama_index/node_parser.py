"""`LateChunkNodeParser`: the only hook of LlamaIndex that sees a whole document."""

from __future__ import annotations

import asyncio
import copy
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import Field, PrivateAttr, SerializeAsAny, field_serializer
from llama_index.core.ingestion import run_transformations
from llama_index.core.node_parser import (
    HTMLNodeParser,
    JSONNodeParser,
    MarkdownNodeParser,
    NodeParser,
    SentenceSplitter,
)
from llama_index.core.node_parser.node_utils import default_id_func
from llama_index.core.schema import BaseNode, Document, TextNode, TransformComponent
from llama_index.core.settings import Settings
from tqdm.auto import tqdm

from latechunk_integrations.errors import (
    ChunkNotFoundError,
    IncompleteParentError,
    InputTypeError,
    OptionError,
    hint_at,
)
from latechunk_integrations.llama_index.choices import Choice, describe_choice
from latechunk_integrations.llama_index.configured import read_parts
from latechunk_integrations.llama_index.embedding import LateChunkEmbedding
from latechunk_integrations.llama_index.embedding_call import EmbeddingCall
from latechunk_integrations.llama_index.layout import (
    Layout,
    lay_out,
    lay_out_in,
    reading_order,
    whole_spans,
)
from latechunk_integrations.llama_index.parents import (
    Grouping,
    NodeParent,
    ParentLevel,
    isolated,
    join_parent,
    report_pages,
)
from latechunk_integrations.llama_index.pieces import Piece, SplitDocument, WaitingNodes
from latechunk_integrations.llama_index.sections import split_sections
from latechunk_integrations.llama_index.serialization import component_dict, component_from_dict
from latechunk_integrations.llama_index.sources import (
    ParentBy,
    SourceGroup,
    check_parent_by,
    group_documents,
)
from latechunk_integrations.llama_index.sub_span_marks import ChunkParts

# They take the text out of markup, so that the document itself is no text to read.
_EXTRACTING = (HTMLNodeParser, JSONNodeParser)


class _SplitGroup(NamedTuple):
    """Documents that are one parent, cut."""

    group: SourceGroup
    documents: list[SplitDocument]

    @property
    def nodes(self) -> list[BaseNode]:
        """All of their chunks."""
        return [node for document in self.documents for node in document.nodes]


class LateChunkNodeParser(NodeParser):
    """Splits documents with any node parser and embeds the chunks late.

    The nodes carry their embedding, exact offsets and marks that say how their vector was made,
    so that indexes, upserts and caches work unchanged. Nodes given instead of documents, such as
    the sections of a parser in front, are parents themselves.

    Args:
        embed_model: A `LateChunkEmbedding`; None: ``Settings.embed_model`` when it is used.
        splitter: Any node parser; default: ``SentenceSplitter()``. Links, metadata and ids of
            the nodes are as it makes them.
        extractors: Transformations between splitting and embedding, such as metadata extractors:
            what they write into a node is pooled with it.
        parent_by: Metadata key, or function of a document, that says which documents are one
            parent, such as ``"file_path"`` for the pages of a file.
        parent_level: ``"document"``: the parent of a chunk is the whole document;
            ``"section"``: its section, with the path of headings as header.
        section_parser: Cuts documents into sections under ``parent_level="section"``; default:
            ``MarkdownNodeParser()``.

    Raises:
        InputTypeError: ``embed_model`` is another kind of embed model.
        OptionError: A name is unknown, or sections are wanted of joined documents.
    """

    embed_model: SerializeAsAny[BaseEmbedding] | None = Field(
        default=None, description="A LateChunkEmbedding; None: Settings.embed_model."
    )
    splitter: SerializeAsAny[NodeParser] = Field(
        default_factory=SentenceSplitter, description="The node parser that cuts documents."
    )
    extractors: list[SerializeAsAny[TransformComponent]] = Field(
        default_factory=list, description="What runs between splitting and embedding."
    )
    parent_by: ParentBy | None = Field(
        default=None, description="Which source documents are one parent."
    )
    parent_level: ParentLevel = Field(
        default="document", description="What becomes a parent: a document or a section."
    )
    section_parser: SerializeAsAny[NodeParser] = Field(
        default_factory=MarkdownNodeParser, description="Cuts documents into sections."
    )
    _waiting: WaitingNodes = PrivateAttr(default_factory=WaitingNodes)

    if not TYPE_CHECKING:  # the signature is that of the fields

        def __init__(self, **fields: Any) -> None:
            """Check names and what excludes each other."""
            known = type(self).model_fields
            for name in fields:
                if name not in known:
                    raise OptionError(
                        f"{type(self).__name__} has no option {name!r}{hint_at(name, known)}; it "
                        f"has {', '.join(known)}. Options of the splitter and of the engine "
                        "belong into splitter= and embed_model="
                    )
            if fields.get("id_func") not in (None, default_id_func):
                raise OptionError("ids are the splitter's: give id_func= to the splitter")
            check_parent_by(fields.get("parent_by"))
            if fields.get("parent_by") is not None and fields.get("parent_level") == "section":
                raise OptionError(
                    "parent_by joins documents to one parent and parent_level='section' cuts "
                    "each into several: take one of them"
                )
            super().__init__(**fields)
            if self.embed_model is not None:
                _check_model(self.embed_model)

    @classmethod
    def from_config(cls, source: str | Path | Mapping[str, Any]) -> LateChunkNodeParser:
        """What a YAML file or a mapping says of engine and chunking; see `ChunkingOptions`.

        Raises:
            OptionError: The file cannot be read, or an option is wrong.
        """
        return cls(**read_parts(source))

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises this class."""
        return "LateChunkNodeParser"

    @classmethod
    def from_defaults(
        cls, embed_model: BaseEmbedding | None = None, **fields: Any
    ) -> LateChunkNodeParser:
        """The parser with LlamaIndex's defaults where nothing is said.

        Args:
            embed_model: A `LateChunkEmbedding`; None: ``Settings.embed_model``.
            **fields: See the class.
        """
        return cls(embed_model=embed_model, **fields)

    @property
    def late_model(self) -> LateChunkEmbedding:
        """The embed model, or LlamaIndex's global one.

        Raises:
            InputTypeError: There is none, or it is another kind.
        """
        if self.embed_model is not None:
            return _check_model(self.embed_model)
        try:
            found = Settings.embed_model
        except (ImportError, ValueError) as error:  # LlamaIndex's own default is not installed
            raise InputTypeError(
                "LateChunkNodeParser has no embed model: pass embed_model=LateChunkEmbedding(...), "
                "or set Settings.embed_model"
            ) from error
        return _check_model(found)

    @field_serializer("parent_by")
    def _serialize_choice(self, choice: Choice | None) -> str | None:
        return describe_choice(choice)

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """What nodes and vectors depend on, down to nested parsers and the model's files."""
        data = component_dict(self, super().to_dict(**kwargs))
        return data | {"embed_model": component_dict(self.late_model, self.late_model.to_dict())}

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> LateChunkNodeParser:
        """Build what `to_dict` described.

        Raises:
            OptionError: A component cannot be built from its description: pass it again.
        """
        fields = {
            name: component_from_dict(name, value)
            for name, value in data.items()
            if name != "id_func" and name not in kwargs
        }
        return super().from_dict(fields, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what waits for other documents."""
        bare = copy.copy(self)
        object.__setattr__(bare, "__pydantic_private__", None)
        return super(LateChunkNodeParser, bare).__getstate__()

    def get_nodes_from_documents(
        self,
        documents: Sequence[Any],
        show_progress: bool = False,  # noqa: FBT001, FBT002  # LlamaIndex's signature
        **kwargs: Any,
    ) -> list[BaseNode]:
        """Split documents and embed the chunks.

        Raises:
            ChunkNotFoundError: ``strict`` and the splitter changed the text of a chunk.
            IncompleteParentError: ``strict`` and documents of a parent are missing.
            InputTypeError: There is no `LateChunkEmbedding`.
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
        model = self.late_model
        call = model.start_call(show_progress=show_progress)
        report_pages(nodes, self.parent_by, call)
        # By object, each as often as it was given.
        parsed: defaultdict[int, deque[list[BaseNode]]] = defaultdict(deque)
        groups: list[SourceGroup] = []
        for group in group_documents(nodes, self.parent_by):
            held = self._waiting.take(group)
            if held is None:
                groups.append(group)
            else:
                for row, some in held.items():
                    parsed[id(group.documents[row])].append(some)
        done: list[_SplitGroup] = []
        parts = self._new_parts()

        def parents() -> Iterator[NodeParent]:
            split = (
                _SplitGroup(group, [self._split(document) for document in group.documents])
                for group in tqdm(groups, unit="parent", disable=not call.show_progress)
            )
            for one in self._extracted(split):
                yield from isolated(self._parents(call, model.grouping, one), one.nodes, call)
                done.append(one)

        if model.enabled or parts is not None:
            call.embed_parents(parents(), bar=False, parts=parts)
        else:
            call.embed_alone((node for item in parents() for node in item.nodes), bar=False)
        for group, documents in done:
            nodes_of = [
                self._expand(list(call.kept(document.nodes)), parts) for document in documents
            ]
            self._waiting.keep(group, nodes_of)
            for row in group.present:
                parsed[id(group.documents[row])].append(nodes_of[row])
        # A stamped page that was given twice is one page.
        in_order = (parsed[id(document)] for document in nodes)
        return [node for waiting in in_order if waiting for node in waiting.popleft()]

    def _new_parts(self) -> dict[str, ChunkParts] | None:
        """Where the sub-spans of nodes are kept until these are expanded; None: they are not."""
        return None

    def _expand(self, nodes: list[BaseNode], parts: dict[str, ChunkParts] | None) -> list[BaseNode]:
        """What the nodes of a document become."""
        del parts
        return nodes

    def _postprocess_parsed_nodes(
        self, nodes: list[BaseNode], parent_doc_map: dict[str, Document]
    ) -> list[BaseNode]:
        # Done for each document before its nodes are embedded; offsets are ours.
        del parent_doc_map
        return nodes

    def _split(self, document: BaseNode) -> SplitDocument:
        """A document's chunks, linked and with its metadata, as LlamaIndex leaves them."""
        pieces: list[Piece] = []
        for node, name, start in self._pieces(document):
            chunks = self.splitter.get_nodes_from_documents([node])  # type: ignore[list-item]  # nodes can be cut again
            pieces.append(Piece(node, name, start, chunks))
        chunks = [chunk for piece in pieces for chunk in piece.nodes]
        if not any(chunk.parent_node or chunk.child_nodes for chunk in chunks):
            # Links between the levels of a hierarchy would be wrong.
            super()._postprocess_parsed_nodes(chunks, {document.node_id: document})  # type: ignore[dict-item]  # nodes can be cut again
        return SplitDocument(document, pieces)

    def _pieces(self, document: BaseNode) -> Iterator[tuple[BaseNode, str, int | None]]:
        """What becomes one parent each: node, name and where it begins in the source."""
        start = _start_in_source(document)
        if self.parent_level == "document" or not document.get_content().strip():
            yield document, document.node_id, start
            return
        for number, section in enumerate(split_sections(document, self.section_parser)):
            known = start is not None and section.start is not None
            at = (start or 0) + (section.start or 0) if known else None
            yield section.node, f"{document.node_id}#{number}", at

    def _extracted(self, split: Iterable[_SplitGroup]) -> Iterator[_SplitGroup]:
        """The same with what the extractors write; they see all nodes of the call at once."""
        if not self.extractors:
            yield from split
            return
        everything = list(split)
        nodes = [node for one in everything for node in one.nodes]
        ids = [node.node_id for node in nodes]
        filled = run_transformations(nodes, self.extractors) if nodes else []
        if [node.node_id for node in filled] != ids:
            raise InputTypeError(
                "extractors write metadata into the nodes they are given; one of "
                f"{[type(one).__name__ for one in self.extractors]} made others or left some out"
            )
        stream = iter(filled)
        for one in everything:
            for document in one.documents:
                document.replace(stream)
            yield one

    def _parents(
        self, call: EmbeddingCall, grouping: Grouping, split: _SplitGroup
    ) -> Iterator[NodeParent]:
        """The parents of documents: one for all of them, or one for each piece of a single one."""
        group, documents = split
        self._report_absent(call, group)
        pieces = [piece for document in documents for piece in document.pieces]
        layouts: list[Layout] = []
        for piece in pieces:
            layout = self._layout(call, piece)
            if layout is None:
                continue
            if len(documents) > 1:
                layouts.append(layout)
                continue
            name = group.name if len(pieces) == 1 else piece.name
            yield from join_parent([layout], name, grouping)
        if layouts:
            yield from join_parent(layouts, group.name, grouping)

    def _layout(self, call: EmbeddingCall, piece: Piece) -> Layout | None:
        """The piece's text with its chunks; None where it has none with text."""
        members = [node for node in piece.nodes if isinstance(node, TextNode) and node.text.strip()]
        call.replace_foreign(members)  # LlamaIndex copies a document's own one to its chunks
        if not members:
            return None
        text = piece.node.get_content()
        layout = lay_out_in(text, members)
        if layout is None:
            _set_offsets(members, whole_spans(text, members), piece.start)
        else:
            _set_offsets(layout.nodes, layout.spans, piece.start)
        if isinstance(self.splitter, _EXTRACTING):
            return lay_out(reading_order(members))
        if layout is None:
            call.report_problem(
                "rewritten_parents",
                f"{type(self.splitter).__name__} changed the text of document {piece.name!r}, so "
                "that chunks are not in it: the chunks, put together, are their own parent",
                error=ChunkNotFoundError,
                parent_id=piece.name,
            )
            return lay_out(reading_order(members))
        return layout

    def _report_absent(self, call: EmbeddingCall, group: SourceGroup) -> None:
        n_absent = group.n_absent or self._waiting.n_known_absent(group)
        if n_absent:
            call.report_problem(
                "incomplete_parents",
                f"{n_absent} documents of parent {group.name!r} are missing from this call, so "
                "that its chunks do not see all of it; where documents come one by one, "
                "stamp_parents(documents, parent_by=...) lets each know the others",
                error=IncompleteParentError,
                parent_id=group.name,
            )


def _check_model(model: BaseEmbedding) -> LateChunkEmbedding:
    if not isinstance(model, LateChunkEmbedding):
        raise InputTypeError(
            f"LateChunkNodeParser needs a LateChunkEmbedding, not {type(model).__name__}: "
            "LateChunkEmbedding(model_name=...) takes the place of HuggingFaceEmbedding"
        )
    return model


def _start_in_source(document: BaseNode) -> int | None:
    """Where a node is in its source: 0 for documents, None where it is not known."""
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
