"""What a target holds of each document: counts and hashes, no row is kept."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from latechunk_integrations.bulk.checkpoint_state import CheckpointState
from latechunk_integrations.bulk.rows import COLUMNS, CorpusDocument, DocumentRows, RowsDigest
from latechunk_integrations.bulk.writers.files import FileWriter
from latechunk_integrations.bulk.writers.writer import Writer
from latechunk_integrations.schema import Parent

# What follows from document, splitter and options: all but the vector, and how it came about.
_OUTLINE = tuple(name for name in COLUMNS if name not in ("vector", "mode"))
_LEAST_LENGTH = 1e-6


class HeldDocument:
    """The rows of one document in a target.

    Attributes:
        rows: Hash of all rows, vectors included.
        outline: Hash of all but vectors and modes.
        versions: Rows of each version.
        engines: Rows of each engine.
        n_bad: Rows whose vector is not finite, has no length or another width.
        parts: Files that hold rows of it.
    """

    def __init__(self) -> None:
        self.rows = RowsDigest()
        self.outline = RowsDigest(_OUTLINE)
        self.versions: Counter[str] = Counter()
        self.engines: Counter[str] = Counter()
        self.n_bad = 0
        self.parts: set[str] = set()

    def add(self, row: Mapping[str, Any], dimensions: int, part: str) -> None:
        """Take in a row."""
        self.rows.add(row)
        self.outline.add(row)
        self.versions[str(row.get("version"))] += 1
        self.engines[str(row.get("late_engine"))] += 1
        self.n_bad += not _is_sound(row.get("vector"), dimensions)
        self.parts.add(part)


class TargetRows:
    """Everything that a target holds, document by document.

    Args:
        writer: The target.
        state: What the checkpoint knows; rows of former versions that wait to be cleared away
            do not count.
        dimensions: Width of a vector.
        skip: Files that cannot be read.
    """

    def __init__(
        self, writer: Writer, state: CheckpointState, dimensions: int, skip: Collection[str] = ()
    ) -> None:
        self.documents: dict[str, HeldDocument] = {}
        self.n_rows = 0
        for part, row in _scan(writer, skip):
            name = str(row.get("document_id"))
            known = state.finished.get(name)
            if part in state.stale_parts and (
                known is None or part != known.part or row.get("version") != known.version
            ):
                continue
            self.documents.setdefault(name, HeldDocument()).add(row, dimensions, part)
            self.n_rows += 1


def outline_of(document: CorpusDocument, parent: Parent, version: str, engine: str) -> str:
    """What `HeldDocument.outline` is for a document whose rows are as they should be."""
    expected = DocumentRows(
        parent.id,
        version,
        parent.fingerprint,
        parent.spans.array,
        tuple(parent.chunk_text(row) for row in range(len(parent.spans))),
        np.zeros((len(parent.spans), 0), np.float32),
        ("",) * len(parent.spans),
        engine=engine,
        pages=document.find_pages(parent.spans.array),
    )
    hashed = RowsDigest(_OUTLINE)
    for row in expected.rows():
        hashed.add(row)
    return hashed.value


def _scan(writer: Writer, skip: Collection[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if not isinstance(writer, FileWriter):
        for row in writer.scan():
            yield "", row
        return
    for part in writer.parts():
        if part not in skip:
            for row in writer.scan_part(part):
                yield part, row


def _is_sound(vector: Any, dimensions: int) -> bool:
    values = np.asarray(() if vector is None else vector, np.float32)
    if values.shape != (dimensions,):
        return False
    length = float(np.linalg.norm(values.astype(np.float64)))
    return math.isfinite(length) and length > _LEAST_LENGTH
