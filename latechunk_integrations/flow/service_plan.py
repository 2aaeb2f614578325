"""Parents to documents: what is read together, what standalone, and what where it is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from latechunk_integrations.core.documents import (
    CONTEXT,
    Rooms,
    TextPiece,
    cut_piece,
    group_pieces,
    layers_of,
    tile,
)
from latechunk_integrations.core.windows import limit_overlap
from latechunk_integrations.encoders.base import ChunkEncoder
from latechunk_integrations.errors import OptionError, ParentTooLongError
from latechunk_integrations.flow.chunk_sums import ChunkSums
from latechunk_integrations.flow.policy import Policy
from latechunk_integrations.flow.service_jobs import (
    ElementBuilder,
    ElementList,
    ElementSource,
    ServiceJob,
)
from latechunk_integrations.options import LateChunkOptions
from latechunk_integrations.stats import EngineStats

# Text between chunks is divided so finely where a parent is divided: groups can then end, and
# share context, almost anywhere. Neighbours are put together again.
_CONTEXT_TOKENS = 64
# A service that refuses a document of so few tokens means something else.
_FEWEST_TOKENS = 8


class ServicePlanner:
    """Turns jobs into documents.

    Args:
        encoder: Counts tokens, and says what it takes.
        options: What was asked for.
        stats: Where that is counted which cannot be done as asked.

    Raises:
        OptionError: ``max_tokens`` is more than the encoder takes.
    """

    def __init__(
        self, encoder: ChunkEncoder, options: LateChunkOptions, stats: EngineStats
    ) -> None:
        self._encoder = encoder
        self._options = options
        self._stats = stats
        self._policy = Policy(options, stats)
        self._build = ElementBuilder(encoder)
        most = encoder.limits.document_tokens
        if options.max_tokens is not None and options.max_tokens > most:
            raise OptionError(
                f"max_tokens={options.max_tokens} is more than the {most} tokens that the model "
                "reads together"
            )
        self._room = options.max_tokens or most

    def documents(self, job: ServiceJob) -> Iterator[ElementList]:
        """The documents of a job: its late pass, its standalone pass, its header.

        Raises:
            ParentTooLongError: The parent is too long for the options.
            ChunkWithoutTokenError: ``strict`` and a chunk holds nothing but white space.
        """
        n_chunks = len(job.spans)
        blank = [row for row in range(n_chunks) if job.text_of(row).isspace()]
        if self._options.late and blank:
            rows = np.flatnonzero(np.isin(job.rows, blank))
            self._policy.report_empty(job.parent, rows, "they hold nothing but white space")
        if self._options.late and len(blank) < n_chunks and not self._is_short(job):
            yield from self._read_together(job, blank)
        if job.skipped:
            return
        job.alone_rows = frozenset(self._choose_alone(job, blank))
        yield from self._read_alone(job, sorted(job.alone_rows))
        header = job.parent.header.strip()
        if self._options.header_weight and header:
            job.header = self._make_table(1)
            yield from self._read_passage(ElementSource(job, header, job.header, ""), 0)

    def plain(self, job: ServiceJob) -> Iterator[ElementList]:
        """The documents of a text that has no parent, which its job holds as one chunk."""
        yield from self._read_alone(job, [0])

    def query(self, job: ServiceJob) -> Iterator[ElementList]:
        """The document of a query, which its job holds as one chunk: never cut."""
        job.alone = self._make_table(1)
        text = job.parent.text
        source = ElementSource(job, text, job.alone, "", is_query=True)
        yield self._build.build(source, [TextPiece(0, len(text), 0)], self._room)

    def instead(self, document: ElementList, reason: str) -> Iterator[ElementList]:
        """What to send instead of a document that the encoder found too long.

        Raises:
            ParentTooLongError: The options do not allow to divide it, or it is tiny.
        """
        source, room = document.source, document.room
        if source.is_query:
            raise ParentTooLongError(
                f"a query of {len(source.text)} characters is longer than the model reads; "
                f"shorten it: {reason}"
            )
        if source.is_late and self._options.fallback != "window":
            yield from self._place_long(source.job, reason)
            return
        # The header stays whole, so that only the rest can shrink.
        n_front = self._build.most(source.header)
        if document.n_tokens <= room:  # it should have fitted
            room = n_front + (document.n_tokens - n_front) // 2
        n_windows = source.job.n_windows
        while room >= _FEWEST_TOKENS and room > n_front:
            source.job.n_windows = n_windows
            shorter = list(self._divide(document, room))
            # Estimates and rounding may bring the same text back, which would never end.
            if all(one.n_chars < document.n_chars for one in shorter):
                yield from shorter
                return
            room = n_front + (room - n_front) // 2
        raise ParentTooLongError(
            f"{document.n_tokens} tokens of parent {source.job.parent.id!r} are refused: {reason}",
            parent_id=source.job.parent.id,
        )

    def _divide(self, document: ElementList, room: int) -> Iterator[ElementList]:
        """The text of a document in documents for less room."""
        source = document.source
        if source.is_late:
            source.job.n_windows -= 1
            yield from self._group(source, document.pieces, room)
            return
        own_room = room - self._build.most(source.header)
        for piece in self._cut_parts(source, document.pieces[0], own_room):
            yield self._build.build(source, [piece], room)

    def _read_together(self, job: ServiceJob, blank: Sequence[int]) -> Iterator[ElementList]:
        """The late pass, or what the options put in its place."""
        text = job.parent.text
        job.late = self._make_table(len(job.spans))
        source = ElementSource(job, text, job.late, self._choose_header(job), is_late=True)
        room = self._room - self._build.most(source.header)
        least = self._build.least(text)
        if least > room and self._options.fallback != "window":
            reason = f"it has at least {least} tokens, a document takes {room}"
            yield from self._place_long(job, reason)
            return
        rows = sorted(set(range(len(job.spans))).difference(blank))
        layers = layers_of(job.spans[rows])
        if len(layers) > 1:
            self._stats.count("extra_layers", len(layers) - 1)
        per_element = self._encoder.limits.element_tokens
        for layer in layers:
            if job.late is not source.table:  # the one before was refused
                return
            bounds = job.spans[[rows[i] for i in layer]].tolist()
            chunks = [
                TextPiece(start, end, rows[i])
                for i, (start, end) in zip(layer, bounds, strict=True)
            ]
            pieces = tile(text, chunks, joined=self._encoder.joined)
            n_least = least + per_element * (len(pieces) - 1)
            if n_least <= room and len(pieces) <= self._most_elements:
                job.n_windows += 1
                yield self._build.build(source, pieces, self._room)
            else:
                yield from self._group(source, pieces, self._room)

    def _choose_alone(self, job: ServiceJob, blank: Sequence[int]) -> Sequence[int]:
        """The chunks that are embedded standalone too, or only so."""
        everything = range(len(job.spans))
        if job.late is None:
            return everything
        if not self._options.standalone:
            return blank
        text = job.parent.text.strip()
        if self._build.most(text) > self._room - self._build.most(self._choose_header(job)):
            return everything
        # A chunk that is the whole text is read alone already: both sides would be the same.
        return [row for row in everything if job.text_of(row).strip() != text]

    def _place_long(self, job: ServiceJob, reason: str) -> Iterator[ElementList]:
        """What the options want of a parent that is too long for one document."""
        if job.late is None:  # another layer of it was refused before
            return
        job.late, job.n_windows = None, 0
        said = f"{reason}; use fallback='window', or make shorter parents"
        if self._policy.place_long(job.parent, said) == "skip":
            job.skipped = True
            return
        if job.alone_rows is not None:  # before that, they are all still to come
            left = set(range(len(job.spans))) - job.alone_rows
            yield from self._read_alone(job, sorted(left))

    def _group(
        self, source: ElementSource, pieces: Sequence[TextPiece], room: int
    ) -> Iterator[ElementList]:
        """Overlapping documents of pieces that do not fit one; those without chunk are left out."""
        job, text = source.job, source.text
        left = room - self._build.most(source.header)
        fine = list(self._divide_pieces(source, pieces, left))
        sizes = self._build.sizes([text[piece.start : piece.end] for piece in fine])
        rooms = Rooms(left, self._choose_overlap(job, left), self._most_elements)
        groups = group_pieces(sizes, rooms)
        job.windowed |= len(groups) > 1
        for start, end in groups:
            group = fine[start:end]
            if all(piece.row == CONTEXT for piece in group):
                continue
            job.n_windows += 1
            yield self._build.build(source, group, room)

    def _divide_pieces(
        self, source: ElementSource, pieces: Sequence[TextPiece], room: int
    ) -> Iterator[TextPiece]:
        """Pieces with context in small parts, and chunks that surely do not fit in parts too."""
        # A chunk that is refused although it is alone does not fit, whatever was estimated.
        measure = self._build.most if len(pieces) == 1 else self._build.least
        for piece in pieces:
            if piece.row == CONTEXT:
                size = min(_CONTEXT_TOKENS, max(1, room // 4))
                yield from cut_piece(source.text, piece, size, self._build.most)
            elif measure(source.text[piece.start : piece.end]) > room:
                yield from self._cut_parts(source, piece, room)
            else:
                yield piece

    def _read_alone(self, job: ServiceJob, rows: Sequence[int]) -> Iterator[ElementList]:
        """The standalone documents of some chunks."""
        if not len(rows):
            return
        job.alone = job.alone or self._make_table(len(job.spans))
        header = self._choose_header(job)
        for row in rows:
            yield from self._read_passage(
                ElementSource(job, job.text_of(row), job.alone, header), row
            )

    def _read_passage(self, source: ElementSource, row: int) -> Iterator[ElementList]:
        """The documents of a text that is embedded alone: one, or its parts."""
        pieces = [TextPiece(0, len(source.text), row)]
        room = self._room - self._build.most(source.header)
        if self._build.least(source.text) > room:
            pieces = self._cut_parts(source, pieces[0], room)
        for piece in pieces:
            yield self._build.build(source, [piece], self._room)

    def _cut_parts(self, source: ElementSource, piece: TextPiece, room: int) -> list[TextPiece]:
        """A chunk that alone is longer than a document may be, cut into parts."""
        parent = source.job.parent
        reason = (
            f"a chunk of {piece.end - piece.start} characters of parent {parent.id!r} is longer "
            f"than the {room} tokens that are read together"
        )
        self._policy.report_divided(parent, reason)
        source.job.windowed |= source.is_late
        return list(cut_piece(source.text, piece, max(1, room), self._build.most))

    def _choose_header(self, job: ServiceJob) -> str:
        """The header, or as much of it as leaves half of a document to the text."""
        if job.front is None:
            header = job.parent.header.strip()
            job.front = self._build.clip(header, self._room // 2)
            if job.front != header:
                self._policy.report_cut("header", job.parent, self._room)
        return job.front

    def _choose_overlap(self, job: ServiceJob, room: int) -> int:
        asked = self._options.overlap_tokens
        kept = int(limit_overlap(asked, np.array([room], np.int64))[0])
        if kept < (asked or 0):
            self._policy.report_cut("overlap", job.parent, self._room)
        return kept

    @property
    def _most_elements(self) -> int:
        return self._encoder.limits.document_elements - 1  # the header

    def _is_short(self, job: ServiceJob) -> bool:
        if not self._options.min_parent_tokens:
            return False
        return self._policy.is_short(self._build.most(job.parent.text))

    def _make_table(self, n_rows: int) -> ChunkSums:
        return ChunkSums.of(n_rows, self._encoder.dimensions)
