"""Which source documents are one parent: the pages of a file, the messages of a thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import BaseNode, Document, MetadataMode

from latechunk_integrations.chunking_options import joining_key
from latechunk_integrations.errors import InputTypeError, OptionError
from latechunk_integrations.llama_index.layout import text_of
from latechunk_integrations.llama_index.marking import hide_keys
from latechunk_integrations.marks import digest_text

ParentBy: TypeAlias = str | Callable[[BaseNode], object]
"""A metadata key, or what gives a node's parent a name (None: its source document's own)."""

SOURCES_KEY = "late_sources"
"""Metadata key of the stamp: hash of all source documents of the parent, place and number."""


class SourceStamp(NamedTuple):
    """What `stamp_parents` wrote.

    Args:
        digest: Hash of the parent's source documents.
        position: Which of them this is, from 1.
        n_sources: How many there are.
    """

    digest: str
    position: int
    n_sources: int


class JoinedDocument(Document):
    """A document that knows the others of its parent, wherever it is sent alone.

    LlamaIndex refreshes documents one by one and deals them out to workers. It is stored and
    serialised as the plain document that it is.
    """

    _documents: list[Document] = PrivateAttr(default_factory=list)

    @classmethod
    def of(cls, document: Document, documents: list[Document]) -> JoinedDocument:
        """The document with the list of all, itself among them, in reading order."""
        joined = cls.model_construct(**document.__dict__)
        joined._documents = documents  # noqa: SLF001  # of our own class
        return joined

    @property
    def documents(self) -> list[Document]:
        """All source documents of the parent, this one among them, in reading order."""
        return self._documents

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (dict(self.__dict__), self._documents)


@dataclass(frozen=True)
class SourceGroup:
    """Documents of a call that are one parent.

    Args:
        name: The parent's id.
        documents: All of them, in reading order.
        present: Which of them were given in this call, by position.
        digest: Names the group's content, where the documents are stamped.
        n_absent: Documents that belong to the parent and are not known.
    """

    name: str
    documents: list[BaseNode]
    present: list[int]
    digest: str = ""
    n_absent: int = 0


def check_parent_by(parent_by: object) -> None:
    """Refuse what is neither a metadata key nor callable.

    Raises:
        OptionError: It is something else.
    """
    if parent_by is not None and not (callable(parent_by) or isinstance(parent_by, str)):
        raise OptionError(
            f"parent_by is a metadata key such as 'file_path', or a function of a node, "
            f"not {parent_by!r}"
        )


def parent_key(node: BaseNode, parent_by: ParentBy | None) -> str | None:
    """What names the parent of a node; None: its source document does.

    Raises:
        InputTypeError: The function gives something that names nothing.
    """
    if parent_by is None:
        return None
    key = joining_key(parent_by, node, node.metadata)
    if key is None:
        return None
    if not isinstance(key, str | int | float):
        raise InputTypeError(
            f"the function parent_by= must return a str, a number or None, not a "
            f"{type(key).__name__}",
            parent_id=node.ref_doc_id or node.node_id,
        )
    return str(key)


def read_stamp(node: BaseNode) -> SourceStamp | None:
    """The stamp of a document or of a node that was cut from it."""
    written = node.metadata.get(SOURCES_KEY)
    if not isinstance(written, str):
        return None
    digest, _, place = written.partition(":")
    position, _, n_sources = place.partition("/")
    if not (position.isdigit() and n_sources.isdigit()):
        return None
    return SourceStamp(digest, int(position), int(n_sources))


def stamp_parents(
    documents: Sequence[Document], parent_by: ParentBy | None = None
) -> list[Document]:
    """Make documents tell which parent they belong to, and that it changed.

    The stamp is a hash of all source documents of a parent, in the metadata of each of them and
    unseen by models. So upserts and refreshes notice a changed page for all pages of its file,
    a page that is processed alone knows the other ones, and ingestion caches tell documents of
    equal text apart.

    Args:
        documents: All documents of the parents concerned, in reading order.
        parent_by: A metadata key such as ``"file_path"``, or a function of a document; None:
            each document is a parent.

    Returns:
        The documents in their order. Those with companions are copies that know them; the others
        are the ones given, changed in place.
    """
    check_parent_by(parent_by)
    groups: dict[str, list[int]] = {}
    for row, document in enumerate(documents):
        # A blank page has no chunk that would tell of it: without it the others are complete.
        key = parent_key(document, parent_by) if text_of(document).strip() else None
        groups.setdefault(f"id:{document.node_id}" if key is None else f"key:{key}", []).append(row)
    stamped = list(documents)
    for rows in groups.values():
        _stamp([documents[row] for row in rows])
        if len(rows) > 1:
            members = [_plain(documents[row]) for row in rows]
            for row in rows:
                stamped[row] = JoinedDocument.of(documents[row], members)
    return stamped


def group_documents(documents: Sequence[BaseNode], parent_by: ParentBy | None) -> list[SourceGroup]:
    """The parents that documents make up, in the order in which they begin.

    Stamps say it first, then ``parent_by``; a document without either is its own parent.
    """
    rows: dict[str, list[BaseNode]] = {}
    for number, document in enumerate(documents):
        stamp, key = read_stamp(document), parent_key(document, parent_by)
        if stamp is not None and stamp.n_sources > 1:
            name = f"stamp:{stamp.digest}"
        else:
            name = f"row:{number}" if key is None else f"key:{key}"
        rows.setdefault(name, []).append(document)
    return [_group(name, members, parent_by) for name, members in rows.items()]


def paged_files(nodes: Iterable[BaseNode]) -> dict[str, int]:
    """Files of which a reader made a document for each page, and how many, by path.

    Args:
        nodes: Documents, or nodes cut from them; those that are stamped as a file do not count.
    """
    pages: dict[str, set[str]] = {}
    for node in nodes:
        path, stamp = node.metadata.get("file_path"), read_stamp(node)
        if path is None or "page_label" not in node.metadata or (stamp and stamp.n_sources > 1):
            continue
        pages.setdefault(str(path), set()).add(node.ref_doc_id or node.node_id)
    return {path: len(sources) for path, sources in pages.items() if len(sources) > 1}


def _group(name: str, given: list[BaseNode], parent_by: ParentBy | None) -> SourceGroup:
    kind, _, key = name.partition(":")
    if kind == "row":
        return SourceGroup(given[0].node_id, given, [0])
    if kind == "key":
        return SourceGroup(key, given, list(range(len(given))))
    parent = parent_key(given[0], parent_by) or given[0].node_id
    known = next((one.documents for one in given if isinstance(one, JoinedDocument)), None)
    by_position = {stamp.position: one for one in given if (stamp := read_stamp(one))}
    if known is None:
        ordered = [by_position[position] for position in sorted(by_position)]
        stamp = read_stamp(given[0])
        n_absent = (stamp.n_sources if stamp else 0) - len(ordered)
        return SourceGroup(parent, ordered, list(range(len(ordered))), key, n_absent)
    everything: list[BaseNode] = [
        by_position.get(position, one) for position, one in enumerate(known, 1)
    ]
    return SourceGroup(parent, everything, [position - 1 for position in sorted(by_position)], key)


def _stamp(documents: Iterable[Document]) -> None:
    members = list(documents)
    for document in members:
        document.metadata.pop(SOURCES_KEY, None)
        hide_keys(document, (SOURCES_KEY,))
    parts = [
        part
        for document in members
        for part in (document.node_id, document.get_content(metadata_mode=MetadataMode.EMBED))
    ]
    digest = digest_text(*parts)
    for position, document in enumerate(members, 1):
        document.metadata[SOURCES_KEY] = f"{digest}:{position}/{len(members)}"


def _plain(document: Document) -> Document:
    """The document without its companions of an earlier stamp."""
    if not isinstance(document, JoinedDocument):
        return document
    return Document.model_construct(**document.__dict__)


def _rebuilt(fields: dict[str, Any], documents: list[Document]) -> JoinedDocument:
    document = JoinedDocument.model_construct(**fields)
    document._documents = documents  # noqa: SLF001  # of our own class
    return document
