"""Metadata of nodes: what a parent attends to, and the fingerprint that chunks carry."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

from llama_index.core.schema import BaseNode

from latechunk_integrations.schema import Parent

__all__ = [
    "PARENT_KEY",
    "common_lines",
    "header_of",
    "mark_parent",
    "metadata_lines",
    "stamp_parents",
]

PARENT_KEY = "late_parent"
"""Metadata key of the parent's fingerprint, on which a chunk's vector depends."""

_Node = TypeVar("_Node", bound=BaseNode)


def metadata_lines(node: BaseNode, *, without: Sequence[str] = ()) -> list[str]:
    """What LlamaIndex repeats before the text of every chunk, one item for each key."""
    hidden = {*node.excluded_embed_metadata_keys, *without}
    return [
        node.metadata_template.format(key=key, value=str(value))
        for key, value in node.metadata.items()
        if key not in hidden
    ]


def common_lines(lines: Sequence[Sequence[str]]) -> list[str]:
    """The lines that all nodes share, in the order of the first."""
    if not lines:
        return []
    shared = set(lines[0]).intersection(*lines[1:])
    return [line for line in lines[0] if line in shared]


def header_of(node: BaseNode, lines: Sequence[str]) -> str:
    """Lines as the header of a parent, joined as LlamaIndex joins this node's metadata."""
    return node.metadata_separator.join(lines).strip()


def mark_parent(node: BaseNode, parent: Parent) -> None:
    """Put the parent's fingerprint into the metadata, unseen by models."""
    _mark(node, parent.fingerprint)


def stamp_parents(documents: Sequence[_Node]) -> Sequence[_Node]:
    """Make documents of equal text distinct for ingestion caches.

    LlamaIndex's cache knows documents by their texts and metadata, run together. Documents of
    equal text would share cached nodes, with the ids of the one that came first. The stamp is a
    hash of id and text, under ``late_parent`` in the metadata, unseen by models.

    Returns:
        The documents given, changed in place.
    """
    for document in documents:
        digest = hashlib.sha256(document.node_id.encode("utf-8", "surrogatepass"))
        digest.update(b"\x00" + document.get_content().encode("utf-8", "surrogatepass"))
        _mark(document, digest.hexdigest()[:32])
    return documents


def _mark(node: BaseNode, fingerprint: str) -> None:
    node.metadata[PARENT_KEY] = fingerprint
    for keys in (node.excluded_embed_metadata_keys, node.excluded_llm_metadata_keys):
        if PARENT_KEY not in keys:
            keys.append(PARENT_KEY)
