"""Roles of metadata: what a chunk attends to, and what belongs to its content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from llama_index.core.extractors.interface import DEFAULT_NODE_TEXT_TEMPLATE
from llama_index.core.node_parser.file.html import DEFAULT_TAGS
from llama_index.core.schema import DEFAULT_TEXT_NODE_TMPL, BaseNode, Document

from latechunk_integrations.errors import OptionError
from latechunk_integrations.llama_index.layout import text_of
from latechunk_integrations.llama_index.sections import PATH_KEY, TAG_KEY

MetadataRole: TypeAlias = Literal["header", "content"]
"""``header``: attended by the chunk; ``content``: a part of the chunk, pooled with it."""

OTHER_KEYS = "*"
"""Stands for all keys that have no role of their own."""

# What LlamaIndex's extractors write. The title is one for the document, the others are a chunk's.
_USUAL_ROLES: dict[str, MetadataRole] = {
    "document_title": "header",
    PATH_KEY: "header",
    "excerpt_keywords": "content",
    "questions_this_excerpt_can_answer": "content",
    "section_summary": "content",
    "prev_section_summary": "content",
    "next_section_summary": "content",
    "entities": "content",
}


@dataclass(frozen=True)
class NodeMetadata:
    """A node's metadata by role.

    Args:
        entries: What LlamaIndex repeats before the text of a chunk, by key.
        header: What the node attends to, each entry written as LlamaIndex writes it, by key.
        content: The node's own metadata and text, as they are pooled.
        has_own: Whether the content holds metadata.
    """

    entries: dict[str, str]
    header: dict[str, str]
    content: str
    has_own: bool


def check_roles(roles: Mapping[str, str]) -> dict[str, MetadataRole]:
    """The roles given.

    Raises:
        OptionError: There is no such role.
    """
    checked: dict[str, MetadataRole] = {}
    for key, role in roles.items():
        if role not in ("header", "content"):
            raise OptionError(
                f"metadata_roles[{key!r}] is 'header' or 'content', not {role!r}; what no model "
                "should see belongs into a document's excluded_embed_metadata_keys"
            )
        checked[key] = "header" if role == "header" else "content"
    return checked


def read_metadata(
    nodes: Sequence[BaseNode], roles: Mapping[str, MetadataRole]
) -> list[NodeMetadata]:
    """The metadata of the nodes of one parent by role.

    What a node has from its source document, and what all nodes share, is header; what one node
    has alone is its content. Keys that are hidden from embedding are in neither.

    Args:
        nodes: All chunks of a parent.
        roles: Role by key, where it is another one; ``"*"``: that of all others.
    """
    entries = [_entries(node) for node in nodes]
    shared = set(entries[0].items()).intersection(*(one.items() for one in entries[1:]))
    if len(nodes) == 1:
        shared = set()
    return [_by_role(node, some, shared, roles) for node, some in zip(nodes, entries, strict=True)]


def _entries(node: BaseNode) -> dict[str, str]:
    """Keys and values that LlamaIndex repeats before the text of every chunk."""
    hidden = set(node.excluded_embed_metadata_keys)
    # The tag says nothing about the text.
    if node.metadata.get(TAG_KEY) in DEFAULT_TAGS:
        hidden.add(TAG_KEY)
    return {key: str(value) for key, value in node.metadata.items() if key not in hidden}


def _by_role(
    node: BaseNode,
    entries: Mapping[str, str],
    shared: set[tuple[str, str]],
    roles: Mapping[str, MetadataRole],
) -> NodeMetadata:
    of_source = _of_document(node)
    header: dict[str, str] = {}
    own: list[str] = []
    for key, value in entries.items():
        from_above = (key, value) in shared or str(of_source.get(key)) == value
        usual = _USUAL_ROLES.get(key, "header" if from_above else "content")
        role = roles.get(key, roles.get(OTHER_KEYS, usual))
        line = node.metadata_template.format(key=key, value=value)
        if role == "header":
            header[key] = line
        else:
            own.append(line)
    return NodeMetadata(dict(entries), header, _content(node, own), bool(own))


def _of_document(node: BaseNode) -> Mapping[str, object]:
    """The metadata that a node has from its document."""
    if node.source_node is not None:
        return node.source_node.metadata
    return node.metadata if isinstance(node, Document) else {}


def _content(node: BaseNode, own: Sequence[str]) -> str:
    """Text and own metadata, put together as `get_content` does it."""
    text, before = text_of(node), node.metadata_separator.join(own).strip()
    if not before:
        return text
    template: str = getattr(node, "text_template", DEFAULT_TEXT_NODE_TMPL)
    if template == DEFAULT_NODE_TEXT_TEMPLATE:
        # Extractors put it there for prompts; its words would be in every chunk's vector.
        template = DEFAULT_TEXT_NODE_TMPL
    return template.format(content=text, metadata_str=before).strip()
