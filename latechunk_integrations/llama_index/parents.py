"""Nodes to parents: nodes of one source are laid out as the text that they came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from llama_index.core.schema import BaseNode, MetadataMode, TextNode
from tqdm.auto import tqdm

from latechunk_integrations.engine import LateChunkEngine
from latechunk_integrations.schema import Parent

__all__ = ["PARENT_KEY", "embed_nodes", "mark_parent", "metadata_header"]

PARENT_KEY = "late_parent"
"""Metadata key of the parent's fingerprint, on which a chunk's vector depends."""

_PARAGRAPH_GAP = 2


@dataclass
class _Group:
    """Nodes that share a source and a header."""

    header: str
    source_id: str
    nodes: list[TextNode] = field(default_factory=list)


def embed_nodes(
    engine: LateChunkEngine,
    nodes: Sequence[BaseNode],
    *,
    metadata_as_header: bool,
    show_progress: bool = False,
) -> None:
    """Set the embedding of nodes, late-chunked in the parents that their sources make.

    Args:
        engine: Embeds.
        nodes: Any nodes in any order; image and other nodes without text are left alone.
        metadata_as_header: Let a parent attend to its nodes' metadata without pooling it.
        show_progress: Show a progress bar over parents.
    """
    groups: dict[tuple[str, str], _Group] = {}
    for node in nodes:
        if not isinstance(node, TextNode) or not node.text.strip():
            continue
        header = metadata_header(node) if metadata_as_header else ""
        source = node.ref_doc_id or node.node_id
        groups.setdefault((source, header), _Group(header, source)).nodes.append(node)
    laid_out = [_lay_out(group, with_metadata=not metadata_as_header) for group in groups.values()]
    results = engine.embed_iter(parent for parent, _ in laid_out)
    bar = tqdm(results, total=len(laid_out), unit="parent", disable=not show_progress)
    for (parent, members), result in zip(laid_out, bar, strict=True):
        if result.skipped:
            continue
        for node, vector in zip(members, result.vectors, strict=True):
            node.embedding = vector.tolist()
            mark_parent(node, parent)


def metadata_header(node: BaseNode) -> str:
    """The metadata that LlamaIndex would repeat before the text of every chunk."""
    return node.get_metadata_str(mode=MetadataMode.EMBED).strip()


def mark_parent(node: BaseNode, parent: Parent) -> None:
    """Put the parent's fingerprint into the metadata, unseen by models."""
    node.metadata[PARENT_KEY] = parent.fingerprint
    for keys in (node.excluded_embed_metadata_keys, node.excluded_llm_metadata_keys):
        if PARENT_KEY not in keys:
            keys.append(PARENT_KEY)


def _lay_out(group: _Group, *, with_metadata: bool) -> tuple[Parent, list[TextNode]]:
    """The text that the nodes make up, and the nodes in the order of its spans.

    Nodes stand at their offsets where these agree with their texts, else one after the
    other; gaps become white space.
    """
    nodes = sorted(group.nodes, key=lambda node: node.start_char_idx or 0)
    usable = not with_metadata and all(_has_offsets(node) for node in nodes)
    spans = _spans_by_offset(nodes) if usable else None
    if spans is None:
        nodes = group.nodes
        mode = MetadataMode.EMBED if with_metadata else MetadataMode.NONE
        return _joined([node.get_content(mode) for node in nodes], group), nodes
    text, positions = spans
    return Parent(text, positions, header=group.header, id=group.source_id), nodes


def _has_offsets(node: TextNode) -> bool:
    start, end = node.start_char_idx, node.end_char_idx
    return start is not None and end is not None and end - start == len(node.text)


def _spans_by_offset(nodes: Sequence[TextNode]) -> tuple[str, list[tuple[int, int]]] | None:
    """Texts at their offsets, gaps closed to a space or a paragraph; None if they disagree."""
    text, shift, end_in_source = "", 0, 0
    positions: list[tuple[int, int]] = []
    for node in nodes:
        start = node.start_char_idx or 0
        if not positions:
            shift = -start
        elif start > end_in_source:
            filler = "\n\n" if start - end_in_source >= _PARAGRAPH_GAP else " "
            shift -= start - end_in_source - len(filler)
            text += filler
        at = start + shift
        shared = len(text) - at
        if shared > 0 and text[at : at + len(node.text)] != node.text[:shared]:
            return None
        text += node.text[max(0, shared) :]
        positions.append((at, at + len(node.text)))
        end_in_source = max(end_in_source, start + len(node.text))
    return text, positions


def _joined(texts: Sequence[str], group: _Group) -> Parent:
    positions, at = [], 0
    for text in texts:
        positions.append((at, at + len(text)))
        at += len(text) + _PARAGRAPH_GAP
    return Parent("\n\n".join(texts), positions, header=group.header, id=group.source_id)
