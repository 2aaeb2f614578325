"""Source documents to parents: cut, located, joined and given their headers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
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
    common_entries,
    find_kind,
    find_title,
    heading_paths,
    join_header,
    path_from_metadata,
)
from latechunk_integrations.errors import InputTypeError
from latechunk_integrations.schema import Parent


class _SplitsText(Protocol):
    def split_text(self, text: str) -> Any: ...


Splitter: TypeAlias = "_SplitsText | Callable[[str], Sequence[str | Document]]"
"""Anything with ``split_text``, or a function; it gives texts, or documents as sections."""

HeaderChoice: TypeAlias = "Literal['auto'] | str | Callable[[Document], str] | None"  # noqa: PYI051  # completion shows it
"""Where headers come from: found, a metadata key for the title, a function, or nowhere."""

_PARAGRAPH = "\n\n"
_Owner = TypeVar("_Owner")


class CutChunk(NamedTuple):
    """A chunk to be, of a source document."""

    source: Document
    text: str
    row: int | None  # of its parent's chunks; None: it is not in its document
    start: int  # in its source document, or in its section
    headings: dict[Any, Any]  # what its section's splitter said, by metadata key


Cut: TypeAlias = "tuple[Parent | None, list[CutChunk]]"
"""A parent and its chunks; None: none of them is in its document."""


@dataclass
class CutSection:
    """A run of one source document, and what it was cut into."""

    source: Document
    text: str
    headings: dict[Any, Any]  # what its splitter said of it, by metadata key
    pieces: list[str]
    spans: NDArray[np.int64]  # of the pieces in the text, -1: not there. Shape (n_pieces, 2)

    @cached_property
    def path(self) -> tuple[str, ...]:
        """The headings above it."""
        return tuple(map(str, self.headings.values())) or path_from_metadata(self.source.metadata)


def cut_sections(
    source: Document, splitter: Splitter, section_splitter: Splitter | None
) -> Iterator[CutSection]:
    """Each section with text; a splitter that gives documents makes a section of each of them."""
    text = str(source.page_content)
    for section in [text] if section_splitter is None else _split_text(section_splitter, text):
        headings = section.metadata if isinstance(section, Document) else {}
        content = str(section.page_content if isinstance(section, Document) else section)
        pieces = _split_text(splitter, content) if content.strip() else []
        texts = [piece for piece in pieces if isinstance(piece, str) and piece.strip()]
        if texts:
            spans = find_spans(content, texts, overlap=_overlap(splitter))
            yield CutSection(source, content, headings, texts, spans)
        for piece in pieces:
            if isinstance(piece, Document) and piece.page_content.strip():
                own = str(piece.page_content)
                whole = np.array([(0, len(own))], np.int64)
                yield CutSection(source, own, headings | piece.metadata, [own], whole)


def _split_text(splitter: Splitter, text: str) -> Sequence[str | Document]:
    pieces = splitter(text) if callable(splitter) else splitter.split_text(text)
    is_list = isinstance(pieces, Iterable) and not isinstance(pieces, str)
    found: list[Any] = list(pieces) if is_list else [pieces]
    wrong = [one for one in found if not is_list or not isinstance(one, (str, Document))]
    if wrong:
        raise InputTypeError(
            "a splitter must give a list of texts or documents; it gave "
            f"{type(wrong[0]).__name__}. Where it finds places, give text[start:end] for each"
        )
    return found


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
    """A new parent of the same text, whole as it was, and the chunks of each of its old chunks."""
    spans: dict[tuple[int, int], tuple[int, str]] = {}
    cut = [
        [
            piece
            for section in cut_sections(Document(root.chunk_text(old)), splitter, None)
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
        copies = [Document(str(one.page_content), metadata=one.metadata) for one in sources]
        own = {id(one): header(copied) for one, copied in zip(sources, copies, strict=True)}
        headers = [own[id(owner.source)] for owner in owners]
        return (headers[0], None) if len(set(headers)) == 1 else ("", headers)
    metadata = common_entries([source.metadata for source in sources])
    given = "" if header == "auto" else str(sources[0].metadata.get(header) or "")
    title = find_title(metadata, text) if header == "auto" else given
    paths = [owner.path for owner in owners]
    if not all(paths):
        found = heading_paths(text, bounds, kind=find_kind(metadata, text))
        paths = [path or other for path, other in zip(paths, found, strict=True)]
    if len(set(paths)) == 1:
        return join_header(title, paths[0]), None
    return title, [join_header(title, path) for path in paths]


def _overlap(splitter: Splitter) -> int | None:
    """What neighbouring chunks share, where the splitter counts it in characters."""
    if not isinstance(splitter, (CharacterTextSplitter, RecursiveCharacterTextSplitter)):
        return None
    counts_chars = splitter._length_function is len  # noqa: SLF001  # LangChain has no public way
    return splitter._chunk_overlap if counts_chars else None  # noqa: SLF001  # as above
