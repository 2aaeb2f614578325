"""Nodes to parents: nodes of one source are laid out as the text that they came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from llama_index.core.schema import BaseNode, Document

from latechunk_integrations.errors import LateChunkError, UnknownChunkError
from latechunk_integrations.llama_index.choices import describe_choice
from latechunk_integrations.llama_index.headers import HeaderChoice, find_headers
from latechunk_integrations.llama_index.layout import (
    Layout,
    by_level,
    join_layouts,
    lay_out,
    lay_out_texts,
    reading_order,
    text_of,
)
from latechunk_integrations.llama_index.metadata import MetadataRole, read_metadata
from latechunk_integrations.llama_index.sections import number_sections
from latechunk_integrations.llama_index.sources import ParentBy, paged_files, parent_key, read_stamp
from latechunk_integrations.marks import digest_text
from latechunk_integrations.schema import Parent

ParentLevel: TypeAlias = Literal["document", "section"]
"""What becomes a parent: a whole source, or each of its sections."""


class Reporting(Protocol):
    """Takes what could not be done as asked; see `EmbeddingCall`."""

    def report_problem(
        self, what: str, reason: str, *, error: type[LateChunkError] | None, parent_id: str
    ) -> None:
        """Count and log a problem, or raise it under ``strict``.

        Args:
            what: The counter.
            reason: What is wrong and what to do.
            error: What to raise under ``strict``; None: nothing.
            parent_id: The parent concerned.
        """

    def leave_out(self, nodes: Sequence[BaseNode], error: LateChunkError) -> None:
        """Report nodes without vectors, or raise the error."""


@dataclass(frozen=True)
class Grouping:
    """How nodes become parents.

    Args:
        roles: Roles of metadata keys; see `read_metadata`.
        parent_level: ``"section"``: nodes of one source become a parent for each section, where
            a Markdown or HTML parser has told sections apart.
        parent_by: What joins source documents.
        header: See `find_headers`.
    """

    roles: Mapping[str, MetadataRole] = field(default_factory=dict)
    parent_level: ParentLevel = "section"
    parent_by: ParentBy | None = None
    header: HeaderChoice = "auto"

    @property
    def key(self) -> str:
        """A hash: equal keys, equal parents and headers of equal nodes."""
        choices = [describe_choice(self.parent_by), describe_choice(self.header)]
        return digest_text(repr((sorted(self.roles.items()), self.parent_level, choices)))[:8]


@dataclass(frozen=True)
class NodeParent:
    """A parent and the nodes that are its chunks.

    Args:
        parent: What goes to the engine.
        nodes: The nodes, in the order of the parent's spans.
        missing: What of the parent was not given; empty: nothing.
    """

    parent: Parent
    nodes: list[BaseNode]
    missing: str = ""


def parents_of(
    nodes: Sequence[BaseNode], how: Grouping, reporting: Reporting
) -> Iterator[NodeParent]:
    """The parents that nodes make up, whatever the order of the nodes.

    Args:
        nodes: Any nodes; those without text, such as images, are left out.
        how: See `Grouping`.
        reporting: Is told of nodes that no parent is known of, or can be made of.
    """
    report_pages(nodes, how.parent_by, reporting)
    given = {node.node_id for node in nodes}
    groups = _groups(nodes, how, reporting)
    # Known before the first of them is embedded.
    sound = [group for group in groups if _has_source(group, how.parent_by, reporting)]
    for group in sound:
        yield from isolated(_of_group(group, how, given), group.nodes, reporting)


def report_pages(
    nodes: Iterable[BaseNode], parent_by: ParentBy | None, reporting: Reporting
) -> None:
    """Say it where each page of a file is a parent by itself, and nobody asked for that."""
    for path, n_pages in paged_files(nodes).items() if parent_by is None else ():
        reporting.report_problem(
            "files_by_page",
            f"the file {path!r} came as {n_pages} documents, one for each page, and each is a "
            "parent: no chunk sees the page before it. parent_by='file_path' makes the file one "
            "parent",
            error=None,
            parent_id=path,
        )


def isolated(
    parents: Iterable[NodeParent], nodes: Sequence[BaseNode], reporting: Reporting
) -> Iterator[NodeParent]:
    """The parents of some nodes; where one of them cannot be made, the nodes are left out."""
    try:
        made = list(parents)
    except LateChunkError as error:
        reporting.leave_out(nodes, error)
    else:
        yield from made


def join_parent(
    layouts: Sequence[Layout], name: str, how: Grouping, *, path: str = "", missing: str = ""
) -> Iterator[NodeParent]:
    """The parent of laid out nodes; one for each level where nodes with own metadata nest.

    Metadata that nodes have of their own are in front of each text, inside of its span, so
    that they are pooled with it.

    Args:
        layouts: The nodes of each source document, in reading order.
        name: Id of the parent.
        how: See `Grouping`.
        path: Path of headings above the nodes, where it is not in their metadata.
        missing: What of the parent was not given.
    """
    layout = join_layouts(layouts)
    metadata = read_metadata(layout.nodes, how.roles)
    common, headers = find_headers(layout, metadata, how.header, path)
    # By object: ids of nodes are not always different.
    header_of = {id(node): header for node, header in zip(layout.nodes, headers, strict=True)}
    parts = [layout]
    if any(one.has_own for one in metadata):
        contents = {id(node): one.content for node, one in zip(layout.nodes, metadata, strict=True)}
        parts = [
            lay_out_texts(level, [contents[id(node)] for node in level])
            for level in by_level(layout.nodes)
        ]
    for number, part in enumerate(parts):
        given = [header_of[id(node)] for node in part.nodes]
        own = f"{name}/{number}" if len(parts) > 1 else name
        parent = Parent(
            part.text,
            part.spans,
            header=common,
            id=own,
            headers=None if set(given) == {common} else given,
        )
        yield NodeParent(parent, part.nodes, missing)


@dataclass(frozen=True)
class _Group:
    """Nodes that are one parent.

    Args:
        name: The parent's id.
        joined: Whether their source documents, one or more, are joined.
        nodes: The nodes, as they were given.
    """

    name: str
    joined: bool
    nodes: list[BaseNode] = field(default_factory=list)


def _of_group(group: _Group, how: Grouping, given: set[str]) -> Iterator[NodeParent]:
    if not group.joined:
        for copy in _copies(group.nodes):
            yield from _of_source(copy, group.name, how, given)
        return
    sources = _in_document_order(group.nodes)
    layouts = [lay_out(reading_order(source)) for source in sources]
    missing = _missing(group.nodes, given) or _missing_sources(group.nodes, len(sources))
    yield from join_parent(layouts, group.name, how, missing=missing)


def _groups(nodes: Sequence[BaseNode], how: Grouping, reporting: Reporting) -> Iterable[_Group]:
    """Nodes by parent: stamps say it first, then ``parent_by``, then the source document."""
    groups: dict[tuple[str, ...], _Group] = {}
    for node in nodes:
        if not text_of(node).strip():
            continue
        stamp, key = read_stamp(node), parent_key(node, how.parent_by)
        source, name = node.source_node, node.ref_doc_id or node.node_id
        place: tuple[str, ...]
        if stamp is not None and stamp.n_sources > 1:
            place, group = ("stamp", stamp.digest), _Group(key or name, joined=True)
        elif key is not None:
            place, group = ("key", key), _Group(key, joined=True)
        else:
            # The hash that a node keeps of its source tells documents of one id apart.
            version = "" if source is None else source.hash or ""
            place, group = ("source", name, version), _Group(name, joined=False)
        groups.setdefault(place, group).nodes.append(node)
    _report_versions([place[1] for place in groups if place[0] == "source"], reporting)
    return groups.values()


def _has_source(group: _Group, parent_by: ParentBy | None, reporting: Reporting) -> bool:
    """Report nodes whose parent is not known; False: they were left out."""
    try:
        for node in () if group.joined else group.nodes:
            _check_source(node, parent_by, reporting)
    except UnknownChunkError as error:
        reporting.leave_out(group.nodes, error)
        return False
    return True


def _check_source(node: BaseNode, parent_by: ParentBy | None, reporting: Reporting) -> None:
    name = node.ref_doc_id or node.node_id
    if node.ref_doc_id is None and not isinstance(node, Document):
        reporting.report_problem(
            "sourceless_nodes",
            f"the node {name!r} names no source document, so that its parent is not known and "
            "it is its own: split documents with a node parser, or say with "
            "parent_by='file_path' (any metadata key) which nodes belong together",
            error=UnknownChunkError,
            parent_id=name,
        )
    elif parent_by is not None:
        reporting.report_problem(
            "nodes_without_parent_key",
            f"{name!r} has nothing for parent_by={parent_by!r}: its source document is its parent",
            error=None,
            parent_id=name,
        )


def _report_versions(ids: Sequence[str], reporting: Reporting) -> None:
    for name, count in Counter(ids).items():
        if count == 1:
            continue
        reporting.report_problem(
            "documents_of_one_id",
            f"several documents have the id {name!r}: each is embedded as a parent of its own, "
            "but stores keep them as one; give each document its id",
            error=None,
            parent_id=name,
        )


def _copies(nodes: list[BaseNode]) -> list[list[BaseNode]]:
    """The nodes of each copy, where one document was given several times.

    LlamaIndex finds the same places for all copies, or none for the later ones. Texts that a
    document repeats are at places of their own.
    """
    by_text: dict[str, list[BaseNode]] = {}
    for node in nodes:
        by_text.setdefault(text_of(node), []).append(node)
    counts = {len(members) for members in by_text.values()}
    places = [
        {getattr(node, "start_char_idx", None) for node in members} - {None}
        for members in by_text.values()
    ]
    if counts == {1} or len(counts) > 1 or any(len(starts) != 1 for starts in places):
        return [nodes]
    return [[members[number] for members in by_text.values()] for number in range(counts.pop())]


def _in_document_order(nodes: Sequence[BaseNode]) -> list[list[BaseNode]]:
    """Nodes by source document, ordered by their stamps, else as they come."""
    sources: dict[object, list[BaseNode]] = {}
    for node in nodes:
        source, stamp = node.source_node, read_stamp(node)
        if stamp is not None and stamp.n_sources > 1:
            sources.setdefault(stamp.position, []).append(node)
        else:
            name = node.node_id if source is None else (source.node_id, source.hash)
            sources.setdefault(name, []).append(node)
    positions = sorted(one for one in sources if isinstance(one, int))
    others = [source for key, source in sources.items() if not isinstance(key, int)]
    return [*(sources[position] for position in positions), *others]


def _of_source(
    nodes: list[BaseNode], name: str, how: Grouping, given: set[str]
) -> Iterator[NodeParent]:
    """The parents of one source document: itself, or its sections."""
    ordered = reading_order(nodes)
    groups = _sections(ordered) if how.parent_level == "section" else [(ordered, "")]
    for number, (group, path) in enumerate(groups):
        own = f"{name}#{number}" if len(groups) > 1 else name
        missing = _missing(group, given)
        yield from join_parent([lay_out(group)], own, how, path=path, missing=missing)


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
    for node in nodes:  # a parent comes before its children in every flat list
        if node.node_id not in numbers and node.parent_node:
            number = numbers.get(node.parent_node.node_id, first)
            numbers[node.node_id] = number
            groups[number][0].append(node)
    return list(groups.values())


def _missing(nodes: Sequence[BaseNode], given: set[str]) -> str:
    neighbours = {
        info.node_id
        for node in nodes
        for info in (node.prev_node, node.next_node)
        if info is not None
    }
    n_absent = len(neighbours - given)
    return f"{n_absent} neighbours of its nodes were not given" if n_absent else ""


def _missing_sources(nodes: Sequence[BaseNode], n_given: int) -> str:
    stamp = read_stamp(nodes[0])
    n_absent = 0 if stamp is None else stamp.n_sources - n_given
    return f"{n_absent} of its source documents were not given" if n_absent > 0 else ""
