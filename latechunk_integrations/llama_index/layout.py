"""Nodes of one source to the text that they were cut from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llama_index.core.schema import BaseNode, MetadataMode

from latechunk_integrations.core.spans import LocatedBy, locate

_PARAGRAPH = "\n\n"


@dataclass(frozen=True)
class Layout:
    """A text and where nodes are in it.

    Args:
        text: What the nodes make up.
        nodes: The nodes.
        spans: Half-open range of each node in the text, in code points.
    """

    text: str
    nodes: list[BaseNode]
    spans: list[tuple[int, int]]


def reading_order(nodes: Sequence[BaseNode]) -> list[BaseNode]:
    """Nodes in the order in which their source reads.

    Links to the next node tell it. Runs of linked nodes are ordered by their offsets, or as
    they are given where nodes have none; offsets of nodes with a parent node count from there.
    """
    follower = _followers(nodes)
    heads = sorted(set(range(len(nodes))) - set(follower.values()))
    runs: list[list[int]] = []
    seen: set[int] = set()
    for head in [*heads, *range(len(nodes))]:
        run: list[int] = []
        at: int | None = head
        while at is not None and at not in seen:
            seen.add(at)
            run.append(at)
            at = follower.get(at)
        if run:
            runs.append(run)
    starts = [_offsets(nodes[run[0]])[0] for run in runs]
    if None not in starts and not any(node.parent_node for node in nodes):
        runs.sort(key=lambda run: _offsets(nodes[run[0]])[0] or 0)
    else:
        runs.sort(key=min)
    return [nodes[index] for run in runs for index in run]


def text_of(node: BaseNode) -> str:
    """The text of a node or a document, without metadata; "" for an image."""
    return node.get_content(MetadataMode.NONE)


def _offsets(node: BaseNode) -> tuple[int | None, int | None]:
    """Offsets of a node; documents and other nodes without have none."""
    return getattr(node, "start_char_idx", None), getattr(node, "end_char_idx", None)


def _followers(nodes: Sequence[BaseNode]) -> dict[int, int]:
    """Which node follows which, by index; chained node parsers set links in one direction only."""
    indices = {node.node_id: index for index, node in enumerate(nodes)}
    follower: dict[int, int] = {}
    for index, node in enumerate(nodes):
        if node.next_node and node.next_node.node_id in indices:
            follower[index] = indices[node.next_node.node_id]
    followed = set(follower.values())
    for index, node in enumerate(nodes):
        if node.prev_node and node.prev_node.node_id in indices and index not in followed:
            follower.setdefault(indices[node.prev_node.node_id], index)
    return follower


def lay_out(nodes: Sequence[BaseNode]) -> Layout:
    """The text that nodes make up.

    Nodes that were cut from another node of the list are inside of it. The others are at
    their offsets, where these agree with their texts and their order, gaps closed with white
    space; else one after the other, as paragraphs.

    Args:
        nodes: Nodes of one source in reading order, none without text.
    """
    roots, children = _by_parent(nodes)
    layout = _by_offset(roots) or lay_out_texts(roots, [text_of(node) for node in roots])
    while children:
        layout, children = _with_children(layout, children)
    return layout


def lay_out_texts(nodes: Sequence[BaseNode], texts: Sequence[str]) -> Layout:
    """Texts of nodes one after the other, as paragraphs."""
    spans: list[tuple[int, int]] = []
    at = 0
    for text in texts:
        spans.append((at, at + len(text)))
        at += len(text) + len(_PARAGRAPH)
    return Layout(_PARAGRAPH.join(texts), list(nodes), spans)


def join_layouts(layouts: Sequence[Layout]) -> Layout:
    """Layouts of several sources one after the other, as paragraphs."""
    if len(layouts) == 1:
        return layouts[0]
    nodes: list[BaseNode] = []
    spans: list[tuple[int, int]] = []
    at = 0
    for layout in layouts:
        nodes.extend(layout.nodes)
        spans.extend((start + at, end + at) for start, end in layout.spans)
        at += len(layout.text) + len(_PARAGRAPH)
    return Layout(_PARAGRAPH.join(layout.text for layout in layouts), nodes, spans)


def by_level(nodes: Sequence[BaseNode]) -> list[list[BaseNode]]:
    """Nodes by how many others of the list they were cut from, one inside the other."""
    above = {node.node_id: node.parent_node.node_id for node in nodes if node.parent_node}
    ids = {node.node_id for node in nodes}
    levels: dict[int, list[BaseNode]] = {}
    for node in nodes:
        at, depth, seen = above.get(node.node_id), 0, {node.node_id}
        while at in ids and at not in seen:
            seen.add(at)
            at, depth = above.get(at), depth + 1
        levels.setdefault(depth, []).append(node)
    return [levels[depth] for depth in sorted(levels)]


def lay_out_in(text: str, nodes: Sequence[BaseNode]) -> Layout | None:
    """Where nodes are in a text; None if one of them is not.

    Args:
        text: The source.
        nodes: What a node parser cut from it, in reading order, parents before their children.
    """
    roots, children = _by_parent(nodes)
    spans = whole_spans(text, roots)
    if None in spans:
        return None
    layout = Layout(text, roots, [span for span in spans if span])
    while children:
        layout, children = _with_children(layout, children)
    return layout if layout.text == text else None


def whole_spans(text: str, nodes: Sequence[BaseNode]) -> list[tuple[int, int] | None]:
    """Where each node is in a text, white space aside; None where it is not, as a whole."""
    located = locate(text, [text_of(node) for node in nodes])
    whole = (LocatedBy.EXACT, LocatedBy.WHITESPACE)
    return [
        (start, end) if how in whole else None
        for (start, end), how in zip(located.spans.tolist(), located.how, strict=True)
    ]


def _by_parent(nodes: Sequence[BaseNode]) -> tuple[list[BaseNode], dict[str, list[BaseNode]]]:
    ids = {node.node_id for node in nodes}
    roots: list[BaseNode] = []
    children: dict[str, list[BaseNode]] = {}
    for node in nodes:
        parent = node.parent_node
        if parent and parent.node_id in ids and parent.node_id != node.node_id:
            children.setdefault(parent.node_id, []).append(node)
        else:
            roots.append(node)
    return roots, children


def _with_children(
    layout: Layout, children: dict[str, list[BaseNode]]
) -> tuple[Layout, dict[str, list[BaseNode]]]:
    """One more level placed, and the levels still open."""
    text, nodes, spans = layout.text, list(layout.nodes), list(layout.spans)
    rest = dict(children)
    for node, (start, _) in zip(layout.nodes, layout.spans, strict=True):
        members = rest.pop(node.node_id, [])
        found = whole_spans(text_of(node), members)
        for member, span in zip(members, found, strict=True):
            nodes.append(member)
            if span:
                spans.append((start + span[0], start + span[1]))
            else:  # its text was changed, so that it has a place of its own
                own = text_of(member)
                text += _PARAGRAPH + own
                spans.append((len(text) - len(own), len(text)))
    if len(rest) == len(children):  # nodes that are each other's parents
        lost = [member for members in rest.values() for member in members]
        tail = lay_out_texts(lost, [text_of(node) for node in lost])
        shift = len(text) + len(_PARAGRAPH)
        spans += [(start + shift, end + shift) for start, end in tail.spans]
        return Layout(text + _PARAGRAPH + tail.text, nodes + lost, spans), {}
    return Layout(text, nodes, spans), rest


def _by_offset(nodes: Sequence[BaseNode]) -> Layout | None:
    """Texts at their offsets, gaps closed to a space or a paragraph; None if they disagree."""
    text, shift, end_in_source, last = "", 0, 0, 0
    spans: list[tuple[int, int]] = []
    for node in nodes:
        own, (start, end) = text_of(node), _offsets(node)
        if start is None or end is None or end - start != len(own) or start < last:
            return None
        if node.parent_node:  # its offsets count from a node that is not here
            return None
        if spans and end <= end_in_source:  # found in a neighbour that holds the same words
            return None
        if not spans:
            shift = -start
        elif start > end_in_source:
            gap = _PARAGRAPH if start - end_in_source >= len(_PARAGRAPH) else " "
            shift -= start - end_in_source - len(gap)
            text += gap
        at = start + shift
        shared = len(text) - at
        if shared > 0 and text[at : at + len(own)] != own[:shared]:
            return None
        text += own[max(0, shared) :]
        spans.append((at, at + len(own)))
        end_in_source, last = max(end_in_source, end), start
    return Layout(text, list(nodes), spans)
