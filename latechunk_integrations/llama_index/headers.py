"""Headers of chunks: title, headings above their place, and the metadata that they share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

from llama_index.core.schema import BaseNode

from latechunk_integrations.core.headings import (
    common_entries,
    find_kind,
    find_title,
    heading_paths,
    join_header,
    path_from_metadata,
)
from latechunk_integrations.errors import InputTypeError, OptionError
from latechunk_integrations.llama_index.layout import Layout
from latechunk_integrations.llama_index.metadata import NodeMetadata
from latechunk_integrations.llama_index.sections import PATH_KEY

HeaderChoice: TypeAlias = Literal["auto"] | str | Callable[[BaseNode], str] | None  # noqa: PYI051  # completion shows it
"""Where headers come from: found, a metadata key for the title, a function, or nowhere."""

Headers: TypeAlias = tuple[str, list[str]]
"""What all chunks of a parent attend to, and what each does."""

# What these say, the title and the path of headings say better.
_SPOKEN = frozenset(
    ("title", "documenttitle", "filename", "filepath", "path", "source", "url", "uri", "link")
)
_UNSPOKEN = re.compile(r"[\W_]+")


def check_header(header: object) -> None:
    """Refuse what names no header.

    Raises:
        OptionError: It is no str, no function and not None.
    """
    if header is not None and not (callable(header) or (isinstance(header, str) and header)):
        raise OptionError(
            f"header is 'auto', the metadata key of a title, a function of a node, or None, "
            f"not {header!r}"
        )


def find_headers(
    layout: Layout, metadata: Sequence[NodeMetadata], header: HeaderChoice, path: str = ""
) -> Headers:
    """The headers of the chunks of a parent.

    ``"auto"``: title and heading path in one line, then the metadata whose role is header, but
    for those that the first line says already. A key: the title from there, and the path. A
    function: what it gives for each node.

    Args:
        layout: The parent's text and its nodes.
        metadata: Of each node.
        header: See `HeaderChoice`.
        path: Path of headings above all nodes, where it is not in their metadata.

    Raises:
        InputTypeError: The function gives no str.
    """
    nodes = layout.nodes
    if header is None:
        return "", [""] * len(nodes)
    if callable(header):
        own = [_checked(header(node), node) for node in nodes]
        return (own[0] if len(set(own)) == 1 else ""), own
    seen = [{key: one.entries[key] for key in one.header} for one in metadata]
    known = common_entries(seen) | ({PATH_KEY: path} if path else {})
    title = find_title(known, layout.text) if header == "auto" else known.get(header, "")
    paths = _paths(layout, seen, known)
    lines = [_lines(one, title) if header == "auto" else [] for one in metadata]
    shared = set(lines[0]).intersection(*lines[1:])
    separator = nodes[0].metadata_separator
    same = set(paths) == {paths[0]}
    first = join_header(title, paths[0] if same else ())
    common = [first, *(line for line in lines[0] if line in shared)]
    own = [
        _joined([join_header(title, above), *some], separator)
        for above, some in zip(paths, lines, strict=True)
    ]
    return _joined(common, separator), own


def _paths(
    layout: Layout, seen: Sequence[Mapping[str, str]], known: Mapping[str, str]
) -> list[tuple[str, ...]]:
    """The headings above each node: those that a parser left, and those of the text below."""
    above = path_from_metadata(known)
    given = [path_from_metadata(one) or above for one in seen]
    found = heading_paths(layout.text, layout.spans, kind=find_kind(known, layout.text))
    return [
        inside if inside[: len(outside)] == outside else (*outside, *inside)
        for outside, inside in zip(given, found, strict=True)
    ]


def _lines(metadata: NodeMetadata, title: str) -> list[str]:
    said = title.casefold()
    return [
        line
        for key, line in metadata.header.items()
        if key != PATH_KEY
        and _UNSPOKEN.sub("", key).casefold() not in _SPOKEN
        and metadata.entries[key].casefold() != said
    ]


def _joined(lines: Sequence[str], separator: str) -> str:
    return separator.join(line for line in lines if line).strip()


def _checked(header: object, node: BaseNode) -> str:
    if not isinstance(header, str):
        raise InputTypeError(
            f"the function header= must return a str, not {type(header).__name__}",
            parent_id=node.ref_doc_id or node.node_id,
        )
    return header
