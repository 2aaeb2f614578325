"""Nodes to parents: nodes of one source are laid out as the text that they came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from llama_index.core.node_parser.file.html import DEFAULT_TAGS
from llama_index.core.schema import BaseNode, MetadataMode

from latechunk_integrations.llama_index.layout import (
    Layout,
    has_children,
    lay_out,
    reading_order,
    text_of,
)
from latechunk_integrations.llama_index.metadata import common_lines, header_of, metadata_lines
from latechunk_integrations.llama_index.sections import PATH_KEY, TAG_KEY, number_sections
from latechunk_integrations.schema import Parent

__all__ = ["NodeParent", "ParentLevel", "parents_of"]

ParentLevel: TypeAlias = Literal["document", "section"]
"""What becomes a parent: a whole source, or each of its sections."""

_PARAGRAPH = "\n\n"


@dataclass(frozen=True)
class NodeParent:
    """A parent and the nodes that are its chunks.

    Args:
        parent: What goes to the engine.
        nodes: The nodes, in the order of the parent's spans.
        n_absent: Neighbours of its nodes that were not among the nodes given.
    """

    parent: Parent
    nodes: list[BaseNode]
    n_absent: int = 0


def parents_of(
    nodes: Sequence[BaseNode],
    *,
    metadata_as_header: bool,
    parent_level: ParentLevel,
    name: str | None = None,
) -> Iterator[NodeParent]:
    """The parents that nodes make up, whatever their order.

    Metadata that all nodes of a parent share is its header. What only some of them have stands
    in front of each of these in the parent's text, outside of its span, so that it is attended
    and not pooled.

    Args:
        nodes: Any nodes; those without text, such as images, are left out. A node that has an
            embedding is context only.
        metadata_as_header: False: metadata is pooled with each node's text, as LlamaIndex does.
        parent_level: ``"section"``: nodes of one source become a parent for each section, where
            a Markdown or HTML parser has told sections apart.
        name: Id of the parent; None: that of the source.
    """
    given = {node.node_id for node in nodes}
    sources: dict[str, list[BaseNode]] = {}
    for node in nodes:
        if text_of(node).strip():
            sources.setdefault(node.ref_doc_id or node.node_id, []).append(node)
    for source_id, members in sources.items():
        if all(node.embedding is not None for node in members):
            continue
        ordered = reading_order(members)
        groups = _sections(ordered) if parent_level == "section" else [(ordered, "")]
        for number, (group, path) in enumerate(groups):
            own = f"{source_id}#{number}" if len(groups) > 1 else source_id
            if metadata_as_header:
                yield from _with_header(group, path, name or own, given)
            else:
                yield from _node_parent(_pooled_metadata(group), "", name or own, given)


def _sections(nodes: list[BaseNode]) -> list[tuple[list[BaseNode], str]]:
    """Nodes by section, children with their parents, and the path above each section."""
    ids = {node.node_id for node in nodes}
    roots = [node for node in nodes if not (node.parent_node and node.parent_node.node_id in ids)]
    numbers: dict[str, int] = {}
    groups: dict[int, tuple[list[BaseNode], str]] = {}
    for node, (number, path) in zip(roots, number_sections(roots), strict=True):
        numbers[node.node_id] = number
        groups.setdefault(number, ([], path))[0].append(node)
    first = next(iter(groups), 0)
    for node in nodes:  # a parent stands in front of its children in every flat list
        if node.node_id not in numbers and node.parent_node:
            number = numbers.get(node.parent_node.node_id, first)
            numbers[node.node_id] = number
            groups[number][0].append(node)
    return list(groups.values())


def _with_header(
    nodes: list[BaseNode], path: str, name: str, given: set[str]
) -> Iterator[NodeParent]:
    lines = [metadata_lines(node, without=_html_keys(node)) for node in nodes]
    shared = common_lines(lines)
    own = [metadata_lines(node, without=(PATH_KEY, *_html_keys(node))) for node in nodes]
    before = ["\n".join(line for line in some if line not in shared) for some in own]
    if any(before) and has_children(nodes):
        # A text can stand in front of a node only where the node is not inside of another.
        for number, some in enumerate(dict.fromkeys(before)):
            alike = [node for node, text in zip(nodes, before, strict=True) if text == some]
            yield from _with_header(alike, path, f"{name}/{number}", given)
        return
    if path:
        shared = [*shared, nodes[0].metadata_template.format(key=PATH_KEY, value=path)]
    header = header_of(nodes[0], shared)
    yield from _node_parent(lay_out(nodes, before), header, name, given)


def _html_keys(node: BaseNode) -> tuple[str, ...]:
    """The key of the HTML tag, which says nothing about the text, where it is one."""
    return (TAG_KEY,) if node.metadata.get(TAG_KEY) in DEFAULT_TAGS else ()


def _pooled_metadata(nodes: list[BaseNode]) -> Layout:
    """Nodes with the metadata that LlamaIndex puts before each, both inside of the span."""
    texts = [node.get_content(MetadataMode.EMBED) for node in nodes]
    spans, at = [], 0
    for text in texts:
        spans.append((at, at + len(text)))
        at += len(text) + len(_PARAGRAPH)
    return Layout(_PARAGRAPH.join(texts), nodes, spans)


def _node_parent(layout: Layout, header: str, name: str, given: set[str]) -> Iterator[NodeParent]:
    open_rows = [row for row, node in enumerate(layout.nodes) if node.embedding is None]
    if not open_rows:
        return
    neighbours: Iterable[str] = (
        info.node_id
        for node in layout.nodes
        for info in (node.prev_node, node.next_node)
        if info is not None
    )
    parent = Parent(layout.text, [layout.spans[row] for row in open_rows], header=header, id=name)
    members = [layout.nodes[row] for row in open_rows]
    yield NodeParent(parent, members, len(set(neighbours) - given))
