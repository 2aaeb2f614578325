"""Nodes of sub-spans: made of a chunk's node, known by their marks, and turned into it again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from llama_index.core.schema import BaseNode, NodeRelationship, RelatedNodeInfo

from latechunk_integrations.errors import UnknownSubSpanError
from latechunk_integrations.llama_index.marking import MarkKey, VectorState, mark_node, vector_state
from latechunk_integrations.marks import (
    END_KEY,
    START_KEY,
    SUB_END_KEY,
    SUB_START_KEY,
    name_sub_span,
    read_span,
)
from latechunk_integrations.schema import ChunkVectors, Parent, Span

# The node above a chunk in a hierarchy, where its sub-spans name the chunk as theirs.
_ABOVE_KEY = "late_above"


@dataclass(frozen=True)
class ChunkParts:
    """The sub-spans of one node.

    Args:
        parent: The parent that the node is a chunk of.
        row: Which of its chunks.
        result: The parent's vectors, with sub-spans.
    """

    parent: Parent
    row: int
    result: ChunkVectors

    @classmethod
    def of_nodes(
        cls, nodes: Sequence[BaseNode], parent: Parent, result: ChunkVectors
    ) -> dict[str, ChunkParts]:
        """Those of each node of a parent, by its id; none where there are no sub-spans."""
        if result.sub_spans is None:
            return {}
        return {node.node_id: cls(parent, row, result) for row, node in enumerate(nodes)}

    @property
    def span(self) -> Span:
        """The chunk in its parent."""
        return self.parent.chunk_span(self.row)

    def nodes(self, chunk: BaseNode, key: MarkKey) -> Iterator[BaseNode]:
        """A node for each, with its vector and marks: the chunk's text and metadata, own ids."""
        bare = chunk.model_copy(update={"embedding": None})
        above = chunk.parent_node
        info = RelatedNodeInfo(
            node_id=chunk.node_id, metadata={} if above is None else {_ABOVE_KEY: above.node_id}
        )
        for span in self.result.sub_spans_of(self.row):
            part = bare.model_copy(deep=True)
            part.id_ = name_sub_span(chunk.node_id, span.start - self.span.start)
            part.relationships[NodeRelationship.PARENT] = info.model_copy()
            self._set(part, key, span)
            yield part

    def fill(self, node: BaseNode, key: MarkKey) -> None:
        """Give a node of a sub-span its vector.

        Raises:
            UnknownSubSpanError: The chunk was not cut where the node says.
        """
        start, end = _place(node)
        try:
            self._set(node, key, (self.span.start + start, self.span.start + end))
        except UnknownSubSpanError as error:
            raise UnknownSubSpanError(
                f"the node {node.node_id!r}, at {start}:{end} of its chunk: {error.args[0]}",
                parent_id=error.parent_id,
                span=error.span,
            ) from error

    def _set(self, node: BaseNode, key: MarkKey, span: tuple[int, int]) -> None:
        node.embedding = self.result.sub_span_vector(self.row, span).tolist()
        mark_node(node, key, self.result.modes[self.row], self.parent, self.span, span)


@dataclass
class SubSpanNodes:
    """The nodes of a call, with the chunk of each sub-span in its place.

    Args:
        others: The other nodes.
        parts: Those nodes of sub-spans that have no vector of ours, by the chunk's id.
        chunks: Where there are any: a node for each chunk of which sub-spans were given.
        found: What was embedded, by the chunk's id.
    """

    others: list[BaseNode]
    parts: dict[str, list[BaseNode]]
    chunks: list[BaseNode] = field(default_factory=list)
    found: dict[str, ChunkParts] = field(default_factory=dict)

    @classmethod
    def of(cls, nodes: Sequence[BaseNode], key: MarkKey) -> SubSpanNodes:
        """Sort the nodes of a call."""
        parts = [node for node in nodes if is_sub_span(node)]
        others = [node for node in nodes if not is_sub_span(node)]
        waiting: dict[str, list[BaseNode]] = {}
        for part in parts:
            if vector_state(part, key) is not VectorState.OWN:
                waiting.setdefault(_chunk_id(part), []).append(part)
        if not waiting:
            return cls(others, {})
        # Those that have their vector are parts of the parent too.
        chunks = {_chunk_id(part): part for part in reversed(parts)}
        return cls(others, waiting, list(map(chunk_node, reversed(chunks.values()))))

    def fill(self, key: MarkKey) -> None:
        """Give the nodes of sub-spans their vectors.

        Raises:
            UnknownSubSpanError: The engine cuts none, or others.
        """
        for chunk, parts in self.parts.items():
            own = self.found.get(chunk)
            for part in parts:
                if own is None:
                    raise UnknownSubSpanError(
                        f"the node {part.node_id!r} is a sub-span of a chunk, and this embed "
                        "model cut none: build it with the sub_span_tokens of the index"
                    )
                own.fill(part, key)


def is_sub_span(node: BaseNode) -> bool:
    """Whether a node is a part of a chunk that has a vector of its own."""
    return node.metadata.get(SUB_END_KEY) is not None and node.parent_node is not None


def chunk_node(part: BaseNode) -> BaseNode:
    """The chunk's node, without a vector; a node that is no sub-span comes back as it is.

    Its metadata still say which part of it was found.
    """
    if not is_sub_span(part):
        return part
    info = part.parent_node
    relationships = {kind: other for kind, other in part.relationships.items() if other is not info}
    above = {} if info is None else info.metadata
    if _ABOVE_KEY in above:
        relationships[NodeRelationship.PARENT] = RelatedNodeInfo(node_id=above[_ABOVE_KEY])
    return part.model_copy(
        update={
            "id_": _chunk_id(part),
            "embedding": None,
            "relationships": relationships,
            "metadata": dict(part.metadata),
        }
    )


def _chunk_id(part: BaseNode) -> str:
    return part.parent_node.node_id if part.parent_node else part.node_id


def _place(node: BaseNode) -> tuple[int, int]:
    """Where a sub-span is in its chunk."""
    start, end = read_span(node.metadata, SUB_START_KEY, SUB_END_KEY)
    first, _ = read_span(node.metadata, START_KEY, END_KEY)
    return start - first, end - first
