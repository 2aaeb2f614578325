"""What travels through the flow: jobs, the texts of a job, the documents cut from a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.documents import CONTEXT, TextPiece
from latechunk_integrations.encoders.base import ChunkEncoder, Reading
from latechunk_integrations.flow.chunk_sums import ChunkSums
from latechunk_integrations.schema import Parent

_HEADER_SEPARATOR = "\n\n"


@dataclass
class ServiceJob:
    """One parent on its way, until all of its documents have come back.

    Args:
        parent: The parent.
        spans: Its spans without repeats, sorted, int64, shape ``(n_unique, 2)``.
        rows: For each span of the parent its row in ``spans``, int64.
        late: Weighted sums of the late pass, a row for each unique span.
        alone: The same of the standalone pass; rows that it does not hold have no weight.
        alone_rows: Rows whose standalone documents are given out; None: not decided yet.
        header: Weighted sums of the header's own vector, one row.
        front: The header, as much of it as there is room for; None: not looked at yet.
        skipped: The parent is left out.
        windowed: The parent, or a chunk of it, was divided.
        n_windows: Documents that the late pass took.
        n_open: Documents that have not come back.
        planned: All documents have been given out.
    """

    parent: Parent
    spans: NDArray[np.int64]
    rows: NDArray[np.int64]
    late: ChunkSums | None = None
    alone: ChunkSums | None = None
    alone_rows: frozenset[int] | None = None
    header: ChunkSums | None = None
    front: str | None = None
    skipped: bool = False
    windowed: bool = False
    n_windows: int = 0
    n_open: int = 0
    planned: bool = False

    @classmethod
    def of(cls, parent: Parent) -> ServiceJob:
        """The job of a parent, without documents."""
        spans, rows = np.unique(parent.spans.array, axis=0, return_inverse=True)
        return cls(parent, spans, rows.reshape(-1))

    @property
    def done(self) -> bool:
        """Whether every sum is complete."""
        return self.planned and not self.n_open

    def text_of(self, row: int) -> str:
        """The text of a unique span."""
        start, end = self.spans[row].tolist()
        return self.parent.text[start:end]


@dataclass(frozen=True)
class ElementSource:
    """A text that documents are cut from, and where their vectors go.

    Args:
        job: Whose text it is.
        text: The parent's text, or a passage that is embedded alone.
        table: Where sums are added up.
        header: Attended in front of every document; ``""``: none.
        is_late: It belongs to the late pass.
        is_query: It is a query, and read as one.
    """

    job: ServiceJob
    text: str
    table: ChunkSums
    header: str
    is_late: bool = False
    is_query: bool = False


@dataclass(frozen=True)
class ElementList:
    """What an encoder reads together.

    Args:
        source: What it is cut from.
        pieces: The runs of the source's text that it holds.
        elements: The texts: the header, then one for each run.
        rows: For each element its row in the table, or `CONTEXT`; int64.
        weights: For each element what its vector counts for: its tokens; float32.
        n_tokens: Tokens of all elements, as many as they may be.
        room: Tokens that it was cut for.
    """

    source: ElementSource
    pieces: tuple[TextPiece, ...]
    elements: tuple[str, ...]
    rows: NDArray[np.int64]
    weights: NDArray[np.float32]
    n_tokens: int
    room: int

    @property
    def n_chars(self) -> int:
        """Characters of all elements."""
        return sum(map(len, self.elements))

    @property
    def reading(self) -> Reading:
        """A passage without context is read alone."""
        if self.source.is_query:
            return "query"
        return "chunks" if self.source.is_late or len(self.elements) > 1 else "alone"

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Add the vectors of the elements, shape ``(n_elements, dim)``, to the table."""
        kept = self.rows != CONTEXT
        rows, weights = self.rows[kept], self.weights[kept]
        # A chunk that was cut may have several parts in one document.
        self.source.table.add(rows, weights[:, None] * vectors[kept], weights)


class ElementBuilder:
    """Counts tokens, and makes elements of pieces.

    Args:
        encoder: Whose documents are built.
    """

    def __init__(self, encoder: ChunkEncoder) -> None:
        self._encoder = encoder
        self._joined = encoder.joined
        self._per_element = encoder.limits.element_tokens

    def least(self, text: str) -> int:
        """The fewest tokens of one element."""
        return self._encoder.count_tokens([text])[0][0] + self._per_element if text else 0

    def most(self, text: str) -> int:
        """The most tokens of one element."""
        return self.sizes([text])[0] if text else 0

    def sizes(self, texts: Sequence[str]) -> list[int]:
        """The most tokens of each of several elements."""
        return [most + self._per_element for _, most in self._encoder.count_tokens(texts)]

    def clip(self, text: str, n_tokens: int) -> str:
        """The beginning of a text that surely has no more tokens, whole words where it can."""
        if n_tokens <= 0:
            return ""
        kept = text
        while kept and (most := self.most(kept)) > n_tokens:
            kept = kept[: min(len(kept) - 1, len(kept) * n_tokens // most)]
        if len(kept) < len(text) and not text[len(kept)].isspace() and " " in kept.strip():
            kept = kept[: kept.rstrip().rindex(" ")]
        return kept.rstrip()

    def build(self, source: ElementSource, pieces: Sequence[TextPiece], room: int) -> ElementList:
        """The document of some pieces; neighbouring context becomes one element."""
        front = []
        if source.header:
            front.append(source.header + (_HEADER_SEPARATOR if self._joined else ""))
        runs = _merge_runs(source.text, pieces, joined=self._joined)
        elements = (*front, *(source.text[start:end] for start, end, _ in runs))
        sizes = self.sizes(elements)
        return ElementList(
            source,
            tuple(pieces),
            elements,
            np.array([CONTEXT] * len(front) + [run.row for run in runs], np.int64),
            np.maximum(np.array(sizes, np.float32) - self._per_element, np.float32(1)),
            sum(sizes),
            room,
        )


def _merge_runs(text: str, pieces: Sequence[TextPiece], *, joined: bool) -> list[TextPiece]:
    """Runs of one row each; joined ones leave out no white space between two of them."""
    runs: list[TextPiece] = []
    for piece in pieces:
        if joined and runs and text[runs[-1].end : piece.start].isspace():
            piece = piece._replace(start=runs[-1].end)  # noqa: PLW2901  # with the space before it
        if runs and piece.row == runs[-1].row:
            runs[-1] = runs[-1]._replace(end=piece.end)
        else:
            runs.append(piece)
    return runs
