"""Marks of nodes: how each vector was made, so that only our own valid ones are kept."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from llama_index.core.schema import BaseNode, MetadataMode

from latechunk_integrations.engine_handle import EngineHandle
from latechunk_integrations.marks import (
    CONTENT_KEY,
    END_KEY,
    ENGINE_KEY,
    MODE_KEY,
    PARENT_KEY,
    START_KEY,
    SUB_END_KEY,
    SUB_START_KEY,
    VECTOR_KEYS,
    digest_text,
)
from latechunk_integrations.schema import Mode, Parent


@dataclass(frozen=True)
class MarkKey:
    """What a vector depends on beside its node and its parent.

    Args:
        handle: Of the engine, which is loaded when its fingerprint is first asked for.
        grouping: Hash of how an embed model finds parents, headers and roles of metadata.
    """

    handle: EngineHandle
    grouping: str

    @cached_property
    def engine(self) -> str:
        """The engine's fingerprint."""
        return self.handle.engine.fingerprint


class VectorState(Enum):
    """What is known of a node's vector."""

    NONE = "none"
    OWN = "own"
    FOREIGN = "foreign"
    CHANGED = "changed"


def vector_state(node: BaseNode, key: MarkKey) -> VectorState:
    """Whether a node's vector is of this engine, and of what the node holds now."""
    if node.embedding is None:
        return VectorState.NONE
    if node.metadata.get(ENGINE_KEY) != key.engine:
        return VectorState.FOREIGN
    same = node.metadata.get(CONTENT_KEY) == f"{_content_digest(node)}:{key.grouping}"
    return VectorState.OWN if same else VectorState.CHANGED


def is_marked(node: BaseNode) -> bool:
    """Whether a node has a vector of any of our engines, of what the node holds now."""
    marked = node.embedding is not None and ENGINE_KEY in node.metadata
    content, _, _ = str(node.metadata.get(CONTENT_KEY)).partition(":")
    return marked and content == _content_digest(node)


def mark_node(
    node: BaseNode,
    key: MarkKey,
    mode: Mode,
    parent: Parent | None = None,
    span: tuple[int, int] | None = None,
    sub_span: tuple[int, int] | None = None,
) -> None:
    """Write into the metadata how the node's vector was made.

    Args:
        node: A node that has its vector.
        key: Of the embed model.
        mode: How the vector came about.
        parent: What the node is a chunk of; None: it was embedded alone.
        span: Where it is in the parent.
        sub_span: The part of it, in the parent, that the vector is of; None: all of it.
    """
    for mark in VECTOR_KEYS:
        node.metadata.pop(mark, None)
    node.metadata[ENGINE_KEY] = key.engine
    node.metadata[MODE_KEY] = mode
    if parent is not None and span is not None:
        node.metadata[PARENT_KEY] = parent.fingerprint
        node.metadata[START_KEY], node.metadata[END_KEY] = span
    if sub_span is not None:
        node.metadata[SUB_START_KEY], node.metadata[SUB_END_KEY] = sub_span
    hide_keys(node, VECTOR_KEYS)
    node.metadata[CONTENT_KEY] = f"{_content_digest(node)}:{key.grouping}"


def clear_vector(node: BaseNode) -> None:
    """Take vector and marks off a node."""
    node.embedding = None
    for key in VECTOR_KEYS:
        node.metadata.pop(key, None)


def hide_keys(node: BaseNode, keys: tuple[str, ...]) -> None:
    """Keep metadata keys out of what models read."""
    for hidden in (node.excluded_embed_metadata_keys, node.excluded_llm_metadata_keys):
        hidden.extend(key for key in keys if key not in hidden)


def _content_digest(node: BaseNode) -> str:
    return digest_text(node.get_content(metadata_mode=MetadataMode.EMBED))
