"""Source documents to parents: cut, located, joined and given their headers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np
from langchain_core.documents import Document
from langchain_text_splitters import CharacterTextSplitter, RecursiveCharacterTextSplitter
from numpy.typing import NDArray

from latechunk_integrations.core.folding import find_spans
from latechunk_integrations.core.headings import (
    find_kind,
    find_title,
    heading_paths,
    join_header,
    path_from_metadata,
)
from latechunk_integrations.errors import InputTypeError
from latechunk_integrations.schema import Parent

__all__ = [
    "Cut",
    "CutChunk",
    "HeaderChoice",
    "Source",
    "Splitter",
    "cut_chunks",
    "cut_sections",
    "join_sections",
]


class _SplitsText(Protocol):
    def split_text(self, text: str) -> Any: ...


Splitter: TypeAlias = "_SplitsText | Callable[[str], Sequence[str | Document]]"
"""Anything with ``split_text``, or a function; it gives texts, or documents as sections."""

HeaderChoice: TypeAlias = "Literal['auto'] | str | Callable[[Document], str] | None"  # noqa: PYI051  # completion shows it
"""Where headers come from: found, a metadata key for the title, a function, or nowhere."""

_PARAGRAPH = "\n\n"
Path: TypeAlias = tuple[str, ...]
_Owner = TypeVar("_Owner")


class Source(NamedTuple):
    """A source document, whose text may know its parent."""

    text: str
    metadata: dict[Any, Any]
    id: str | None = None


class CutChunk(NamedTuple):
    """A chunk to be.

    Args:
        source: The source document that it is cut from.
        text: What the splitter made of it.
        row: Which of its parent's chunks it is; None: it stands nowhere.
        start: Where it starts in its source document, or in its section.
        headings: What its section's splitter said, by metadata key.
    """

    source: Source
    text: str
    row: int | None
    start: int
    headings: dict[Any, Any]


Cut: TypeAlias = "tuple[Parent | None, list[CutChunk]]"
"""A parent and its chunks; None: none of them is in its document."""


@dataclass
class CutSection:
    """A run of one source document, and what it was cut into.

    Args:
        source: The source document.
        text: The section's text.
        headings: What its splitter said of it, by metadata key.
        pieces: The chunks' texts.
        spans: Where they are in the text, -1 where they are not. Int64, shape ``(n_pieces, 2)``.
    """

    source: Source
    text: str
    headings: dict[Any, Any]
    pieces: list[str]
    spans: NDArray[np.int64]

    @cached_property
    def path(self) -> Path:
        """The headings above it."""
        return tuple(str(heading) for heading in self.headings.values()) or path_from_metadata(
            self.source.metadata
        )


def cut_sections(
    source: Source, splitter: Splitter, section_splitter: Splitter | None
) -> Iterator[CutSection]:
    """Each section with text; a splitter that gives documents makes a section of each of them."""
    text = str(source.text)
    for section in [text] if section_splitter is None else _split_text(section_splitter, text):
        headings = section.metadata if isinstance(section, Document) else {}
        content = str(section.page_content if isinstance(section, Document) else section)
        if not content.strip():
            continue
        pieces = _split_text(splitter, content)
        texts = [piece for piece in pieces if isinstance(piece, str) and piece.strip()]
        if texts:
            yield CutSection(
                source,
                content,
                headings,
                texts,
                find_spans(content, texts, overlap=_overlap(splitter)),
            )
        for piece in pieces:
            if isinstance(piece, Document) and piece.page_content.strip():
                own = str(piece.page_content)
                whole = np.array([(0, len(own))], np.int64)
                yield CutSection(source, own, {**headings, **piece.metadata}, [own], whole)


def _split_text(splitter: Splitter, text: str) -> Sequence[str | Document]:
    """What a splitter makes of a text.

    Raises:
        InputTypeError: It gives one str.
    """
    pieces = splitter(text) if callable(splitter) else splitter.split_text(text)
    if isinstance(pieces, str):
        raise InputTypeError("a splitter must give a list of texts, not one str")
    return list(pieces)


def join_sections(sections: Sequence[CutSection], header: HeaderChoice, name: str) -> Cut:
    """The parent of sections, joined by blank lines, and all of their chunks."""
    lengths = [len(section.text) + len(_PARAGRAPH) for section in sections]
    spans: dict[tuple[int, int], tuple[int, CutSection]] = {}
    pieces = [
        piece
        for section, offset in zip(sections, accumulate(lengths, initial=0), strict=False)
        for piece in _pieces(section, offset, spans, section)
    ]
    if not spans:
        return None, pieces
    text = _PARAGRAPH.join(section.text for section in sections)
    owners = [section for _, section in spans.values()]
    common, headers = _headers(text, list(spans), owners, header)
    return Parent(text, list(spans), header=common, id=name, headers=headers), pieces


def cut_chunks(root: Parent, splitter: Splitter) -> tuple[Parent | None, list[list[CutChunk]]]:
    """The chunks of each chunk of a parent: a new parent of the same text, whole as it was.

    Returns:
        The parent of all of them, and those of each of the old chunks.
    """
    spans: dict[tuple[int, int], tuple[int, str]] = {}
    cut = [
        [
            piece
            for section in cut_sections(Source(root.chunk_text(old), {}), splitter, None)
            for piece in _pieces(section, offset, spans, root.chunk_header(old))
        ]
        for old, offset in enumerate(root.spans.starts.tolist())
    ]
    if not spans:
        return None, cut
    headers = None if root.headers is None else [header for _, header in spans.values()]
    return Parent(root.text, list(spans), root.header, root.id, headers), cut


def _pieces(
    section: CutSection,
    offset: int,
    spans: dict[tuple[int, int], tuple[int, _Owner]],
    owner: _Owner,
) -> Iterator[CutChunk]:
    """The pieces of a section; their spans in the parent get rows, and who owns them."""
    for text, (start, end) in zip(section.pieces, section.spans.tolist(), strict=True):
        row = None
        if start >= 0:
            row, _ = spans.setdefault((start + offset, end + offset), (len(spans), owner))
        yield CutChunk(section.source, text, row, start, section.headings)


def _headers(
    text: str, bounds: list[tuple[int, int]], owners: list[CutSection], header: HeaderChoice
) -> tuple[str, list[str] | None]:
    """The parent's header, and one for each chunk where they differ."""
    if header is None:
        return "", None
    sources = list({id(owner.source): owner.source for owner in owners}.values())
    if callable(header):
        own = {id(one): header(Document(str(one.text), metadata=one.metadata)) for one in sources}
        headers = [own[id(owner.source)] for owner in owners]
        return (headers[0], None) if len(set(headers)) == 1 else ("", headers)
    metadata = _common([source.metadata for source in sources])
    if header == "auto":
        title = find_title(metadata, text)
    else:
        title = str(sources[0].metadata.get(header) or "")
    paths: list[Path] = [owner.path for owner in owners]
    if not all(paths):
        found = heading_paths(text, bounds, kind=find_kind(metadata, text))
        paths = [path or other for path, other in zip(paths, found, strict=True)]
    if len(set(paths)) == 1:
        return join_header(title, paths[0]), None
    return title, [join_header(title, path) for path in paths]


def _common(metadatas: Sequence[Mapping[Any, Any]]) -> dict[Any, Any]:
    """The metadata that all have: those of the file, not those of its pages."""
    first, *others = metadatas
    return {
        key: value
        for key, value in first.items()
        if all(key in other and other[key] == value for other in others)
    }


def _overlap(splitter: Splitter) -> int | None:
    """What neighbouring chunks share, where the splitter counts it in characters."""
    if not isinstance(splitter, (CharacterTextSplitter, RecursiveCharacterTextSplitter)):
        return None
    counts_chars = splitter._length_function is len  # noqa: SLF001  # LangChain has no public way
    return splitter._chunk_overlap if counts_chars else None  # noqa: SLF001  # as above
