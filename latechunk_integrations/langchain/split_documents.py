"""Chunks and parents that meet again: where each document stands, from its metadata alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from langchain_core.documents import Document

from latechunk_integrations.core.spans import locate
from latechunk_integrations.langchain.binding import END_KEY, PARENT_KEY, START_KEY
from latechunk_integrations.langchain.chunk_text import ChunkText
from latechunk_integrations.langchain.ledger import Bounds, Place
from latechunk_integrations.schema import Parent

__all__ = ["Parents", "as_parents", "header_of", "places_of"]

Parents: TypeAlias = "Iterable[Document | Parent] | None"


def header_of(metadata: Mapping[Any, Any], keys: Iterable[str], heading_path: str = "") -> str:
    """The header of a parent: its metadata under these keys, then its heading path, in lines."""
    lines = [str(metadata[key]) for key in keys if metadata.get(key)]
    return "\n".join([*lines, heading_path] if heading_path else lines)


def places_of(
    chunks: Sequence[Document], parents: Parents, header_from: Sequence[str]
) -> list[Place | None]:
    """Where each chunk was cut from; None where its parent is not among the parents.

    Args:
        chunks: Documents of a `LateChunkTextSplitter`, as they were or rebuilt.
        parents: Their parents; those that a chunk's text knows need not be given.
        header_from: Metadata that became the header of parents given as documents.
    """
    known = {parent.fingerprint: parent for parent in as_parents(parents, header_from)}
    rows: dict[str, list[int]] = {}
    places: list[Place | None] = []
    for row, chunk in enumerate(chunks):
        text = chunk.page_content
        places.append(Place(text.parent, text.row) if isinstance(text, ChunkText) else None)
        fingerprint = chunk.metadata.get(PARENT_KEY)
        if places[row] is None and fingerprint in known:
            rows.setdefault(fingerprint, []).append(row)
    for fingerprint, members in rows.items():
        found = _bounds(known[fingerprint].text, [chunks[row] for row in members])
        placed = [(row, bounds) for row, bounds in zip(members, found, strict=True) if bounds]
        parent = known[fingerprint]
        parent = Parent(parent.text, [bounds for _, bounds in placed], parent.header, parent.id)
        for index, (row, _) in enumerate(placed):
            places[row] = Place(parent, index)
    return places


def as_parents(parents: Parents, header_from: Sequence[str]) -> Iterator[Parent]:
    """Parents as they are, and documents as the splitter would have made parents of them."""
    for parent in parents or ():
        if isinstance(parent, Parent):
            yield parent
        elif parent.page_content.strip():
            yield Parent(
                str(parent.page_content),
                header=header_of(parent.metadata, header_from),
                id=str(parent.metadata.get("source", "")),
            )


def _bounds(text: str, chunks: Sequence[Document]) -> list[Bounds | None]:
    """Bounds by metadata; a chunk that its splitter altered is located anew."""
    found: list[Bounds | None] = []
    for chunk in chunks:
        start, end = chunk.metadata.get(START_KEY), chunk.metadata.get(END_KEY)
        content = str(chunk.page_content)
        if isinstance(start, int) and isinstance(end, int) and 0 <= start < end <= len(text):
            found.append((start, end))
        elif isinstance(start, int) and start >= 0 and text.startswith(content, start):
            found.append((start, start + len(content)))
        else:
            found.append(None)
    if all(found):
        return found
    order = sorted(range(len(chunks)), key=lambda row: chunks[row].metadata.get(START_KEY, 0))
    spans = locate(text, [str(chunks[row].page_content) for row in order]).spans.tolist()
    for row, (start, end) in zip(order, spans, strict=True):
        if found[row] is None and start == chunks[row].metadata.get(START_KEY, start) >= 0:
            found[row] = (start, end)
    return found
