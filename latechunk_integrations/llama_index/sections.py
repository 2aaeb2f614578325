"""Sections of structured documents: where they begin, and the path of headings above them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from llama_index.core.node_parser import NodeParser
from llama_index.core.schema import BaseNode, TextNode

from latechunk_integrations.llama_index.layout import text_of, whole_spans

PATH_KEY = "header_path"
"""Metadata key of the headings above a node, as LlamaIndex's Markdown parser writes it."""

TAG_KEY = "tag"
"""Metadata key of the HTML tag that a node's text was taken from."""

_MARKDOWN_HEADING = re.compile(r"#+\s")
_HTML_HEADING = re.compile(r"h[1-6]")
_SEPARATOR = "/"


class Section(NamedTuple):
    """A section of a document.

    Args:
        node: Its text and metadata; its source is the document.
        start: Where it begins in the document, in code points; None where its text was
            extracted, so that it is not there.
    """

    node: TextNode
    start: int | None


class _Heading(NamedTuple):
    level: int
    text: str


def split_sections(document: BaseNode, section_parser: NodeParser) -> list[Section]:
    """The sections of a document, which have their path of headings in their metadata.

    What an HTML parser gives for single tags is put together from one heading to the next.

    Args:
        document: What is cut.
        section_parser: Gives one node for each section, or nodes with the HTML tag in their
            metadata.
    """
    parsed = section_parser.get_nodes_from_documents([document])  # type: ignore[list-item]  # nodes can be cut again
    nodes = [node for node in parsed if isinstance(node, TextNode) and node.text.strip()]
    nodes = _join_tags(nodes)
    text = document.get_content()
    sections: list[Section] = []
    for node, span in zip(nodes, whole_spans(text, nodes), strict=True):
        if span:
            node.set_content(text[slice(*span)])
        sections.append(Section(node, span[0] if span else None))
    return sections


def number_sections(nodes: Sequence[BaseNode]) -> list[tuple[int, str]]:
    """Which section each node belongs to, and the path of headings above that section.

    A section begins with a Markdown heading, an HTML heading tag, or where ``header_path``
    changes. Nodes without any of these are one section.

    Returns:
        Number and path of each; the path is empty where it is in the metadata, or nowhere.
    """
    numbered: list[tuple[int, str]] = []
    number, last_path, above, path = 0, None, list[_Heading](), ""
    for node in nodes:
        tag, markdown_path = str(node.metadata.get(TAG_KEY, "")), node.metadata.get(PATH_KEY)
        if _HTML_HEADING.fullmatch(tag):
            path = _enter(above, _Heading(int(tag[1]), text_of(node).strip()))
            number += 1
        elif markdown_path != last_path or (
            markdown_path is not None and _MARKDOWN_HEADING.match(text_of(node))
        ):
            number += 1
        last_path = markdown_path
        numbered.append((number, path))
    return numbered


def _enter(above: list[_Heading], heading: _Heading) -> str:
    """The path above a heading, which is put on the stack of open ones."""
    while above and above[-1].level >= heading.level:
        above.pop()
    path = _SEPARATOR.join(one.text for one in above)
    above.append(heading)
    return f"{_SEPARATOR}{path}{_SEPARATOR}" if path else _SEPARATOR


def _join_tags(nodes: list[TextNode]) -> list[TextNode]:
    """Nodes of single HTML tags put together to sections; others as they are."""
    if not nodes or any(TAG_KEY not in node.metadata for node in nodes):
        return nodes
    joined: dict[int, TextNode] = {}
    for node, (number, path) in zip(nodes, number_sections(nodes), strict=True):
        if number in joined:
            joined[number].set_content(f"{joined[number].text}\n\n{node.text}")
            continue
        joined[number] = node
        del node.metadata[TAG_KEY]
        if path:
            node.metadata[PATH_KEY] = path
    return list(joined.values())
