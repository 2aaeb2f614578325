"""Parents to tokenized texts: what is embedded late, what alone, and where its sums go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.alignment import Aligner
from latechunk_integrations.core.focus import nest_spans
from latechunk_integrations.core.frames import Passages
from latechunk_integrations.core.ranges import count_ranges
from latechunk_integrations.encoders.base import TokenEncoder
from latechunk_integrations.flow.chunk_pieces import Pieces, cut_pieces
from latechunk_integrations.flow.policy import Policy
from latechunk_integrations.flow.pooled_texts import (
    BlockTexts,
    PooledTexts,
    group_texts,
    join_arrays,
    join_texts,
)
from latechunk_integrations.flow.resolution import Resolved
from latechunk_integrations.flow.text_pool import TextPool
from latechunk_integrations.options import LateChunkOptions
from latechunk_integrations.schema import Parent

_NO_TOKEN = "they hold white space or characters that the tokenizer drops"  # noqa: S105  # a reason


@dataclass(frozen=True)
class BlockPassages:
    """The tokenized texts of a block, and its pieces: its chunks, or their sub-spans.

    Rows of sums, in this order: one for each piece of the block; one for each piece that is
    embedded alone; one for each header that has a vector of its own. Where running text is read
    for sub-spans, one for each chunk follows.

    Args:
        texts: The tokenized texts.
        owners: Parent of each text, int64, shape ``(n_texts,)``.
        is_late: Whether a text belongs to the late pass, bool, same shape.
        groups: What a unit may share a window with; -1: nothing. Int64, same shape.
        pooled_texts: Text that each pooled span lies in, int64, shape ``(n_pooled,)``.
        pooled_spans: Its tokens there, half-open, int64, shape ``(n_pooled, 2)``.
        pooled_rows: Its row of sums, int64, shape ``(n_pooled,)``.
        pieces: The pieces of all parents.
        alone: Piece of each standalone row, ascending, int64.
        header_rows: Row of each chunk's header vector, int64; -1: it has none.
        first_chunk_row: The first row of a chunk that has rows besides those of its pieces;
            None: chunks have none.
        n_rows: Rows of sums.
        modes: Pooling mode of each text: the encoder's own, unless another was asked for.
        of_chunks: Whether the texts of the late pass are pieces, not parents.
        skipped: Whether a parent is left out, bool, shape ``(n_parents,)``.
        unit_tokens: Tokens of a typical unit of each parent, float64, same shape.
    """

    texts: Passages
    owners: NDArray[np.int64]
    is_late: NDArray[np.bool_]
    groups: NDArray[np.int64]
    pooled_texts: NDArray[np.int64]
    pooled_spans: NDArray[np.int64]
    pooled_rows: NDArray[np.int64]
    pieces: Pieces
    alone: NDArray[np.int64]
    header_rows: NDArray[np.int64]
    first_chunk_row: int | None
    n_rows: int
    modes: NDArray[np.str_]
    of_chunks: bool
    skipped: NDArray[np.bool_]
    unit_tokens: NDArray[np.float64]


class PassageReader:
    """Tokenizes parents, and decides what is done with each.

    Args:
        encoder: Gives tokens.
        options: What was asked for.
        resolved: What that is for this encoder.
        policy: What happens to what cannot be done.
    """

    def __init__(
        self, encoder: TokenEncoder, options: LateChunkOptions, resolved: Resolved, policy: Policy
    ) -> None:
        self._encoder = encoder
        self._options = options
        self._resolved = resolved
        self._policy = policy

    def read(self, parents: Sequence[Parent]) -> BlockPassages:
        """The tokenized texts of a block.

        Raises:
            ParentTooLongError: A parent is too long for the options.
            ChunkWithoutTokenError: ``strict`` and no token overlaps a chunk.
        """
        block = _BlockReader(self._encoder, self._options, self._resolved, self._policy, parents)
        return block.read()


class _BlockReader:
    """One block being read; thrown away afterwards."""

    def __init__(
        self,
        encoder: TokenEncoder,
        options: LateChunkOptions,
        resolved: Resolved,
        policy: Policy,
        parents: Sequence[Parent],
    ) -> None:
        self._encoder = encoder
        self._options = options
        self._resolved = resolved
        self._policy = policy
        self._parents = parents
        self._skipped = np.zeros(len(parents), dtype=bool)
        self._unit_tokens = np.ones(len(parents))
        self._pool = TextPool(encoder)
        self._pieces = cut_pieces(parents, self._pool, options.sub_span_tokens)
        self._owners = self._pieces.owners
        self._collected = BlockTexts()

    def read(self) -> BlockPassages:
        n_pieces = len(self._pieces)
        if not self._options.late:
            alone, read = np.arange(n_pieces, dtype=np.int64), None
        elif self._resolved.layout == "units":
            alone, read = self._read_units()
        else:
            alone, read = self._read_running(), None
        if len(alone):
            if read is None:
                read = self._read_pieces(alone)
            self._collected.add(
                read, self._owners[alone], n_pieces + np.arange(len(alone), dtype=np.int64)
            )
        header_rows, n_rows = self._read_headers(n_pieces + len(alone))
        return self._block(alone, header_rows, n_rows)

    # Layout units: every piece is a text of its own.

    def _read_units(self) -> tuple[NDArray[np.int64], PooledTexts]:
        """Units of the late pass; returns the pieces that are embedded alone, and their texts."""
        order, levels = self._order_pieces()
        read = self._read_pieces(order)
        owners = self._owners[order]
        n_tokens = read.text[:, 1]
        sizes = self._unit_sizes(read)
        n_parents = len(self._parents)
        totals = np.bincount(owners, weights=n_tokens, minlength=n_parents)
        spans = np.bincount(owners, weights=sizes, minlength=n_parents)
        counts = np.maximum(np.bincount(owners, minlength=n_parents), 1)
        self._unit_tokens = spans / counts
        early = self._choose_early(totals, spans > self._encoder.max_tokens, spans)
        empty = n_tokens == 0
        self._report_empty(order[empty & ~early[owners]])
        late = ~empty & ~early[owners] & ~self._skipped[owners]
        rows = np.flatnonzero(late)
        groups = (
            None if self._resolved.is_block_diagonal else owners[rows] * len(order) + levels[rows]
        )
        self._collected.add(read.take(rows), owners[rows], order[rows], late=True, groups=groups)
        alone = ~self._skipped[owners]
        if not self._options.standalone:
            alone &= ~late
        chosen = np.flatnonzero(alone)
        chosen = chosen[np.argsort(order[chosen], kind="stable")]
        return order[chosen], read.take(chosen)

    def _order_pieces(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The pieces of all parents in the order of their windows, and the level of each."""
        bounds = self._pieces.chunk_bounds
        order = np.arange(int(bounds[-1]), dtype=np.int64)
        levels = np.zeros(len(order), np.int64)
        spans = np.concatenate([parent.spans.array for parent in self._parents])
        owners = np.repeat(np.arange(len(self._parents)), np.diff(bounds))
        rises = (np.diff(spans[:, 0]) > 0) & (np.diff(spans[:, 1]) > 0)
        mixed = np.unique(owners[1:][~rises & (np.diff(owners) == 0)])
        for owner in mixed.tolist():
            own = slice(bounds[owner], bounds[owner + 1])
            chunks, own_levels = nest_spans(spans[own])
            order[own] = chunks + bounds[owner]
            levels[own] = own_levels
        of_chunks = self._pieces.of_chunks
        counts = np.diff(of_chunks)[order]
        return count_ranges(of_chunks[order], counts), np.repeat(levels, counts)

    def _unit_sizes(self, read: PooledTexts) -> NDArray[np.int64]:
        specials = len(self._encoder.lead) + len(self._encoder.tail)
        fixed = specials + read.front[:, 1] + read.back[:, 1]
        spare = np.maximum(0, self._encoder.max_tokens // 2 - fixed)
        sizes: NDArray[np.int64] = fixed + np.minimum(read.header[:, 1], spare) + read.text[:, 1]
        return sizes

    # Layout text: every parent is a text.

    def _read_running(self) -> NDArray[np.int64]:
        """Texts of the late pass; returns the pieces that are embedded alone."""
        parents = self._parents
        n_chars = [len(parent.text) for parent in parents]
        aligner = chunk_aligner = Aligner([parent.spans for parent in parents], n_chars)
        if self._pieces.divided:
            aligner = Aligner(self._pieces.of_parents(), n_chars)
        read = self._read_texts(
            [parent.text for parent in parents],
            [parent.header for parent in parents],
            np.arange(len(parents)),
            [aligner, chunk_aligner] if self._pieces.divided else [aligner],
        )
        spans = aligner.token_spans().array
        n_tokens = read.text[:, 1]
        room = self._encoder.max_tokens - (self._unit_sizes(read) - n_tokens)
        self._unit_tokens = self._piece_means(spans[:, 1] - spans[:, 0])
        early = self._choose_early(n_tokens, n_tokens > room, n_tokens)
        empty = spans[:, 1] == spans[:, 0]
        self._report_empty(np.flatnonzero(empty & ~early[self._owners]))
        some = np.bincount(self._owners, weights=~empty, minlength=len(parents)) > 0
        runs = some & ~early & ~self._skipped
        texts = np.flatnonzero(runs)
        number = np.cumsum(runs) - 1
        pieces = np.flatnonzero(runs[self._owners])
        of_texts, rows = number[self._owners[pieces]], pieces
        spans = spans[pieces]
        if self._pieces.divided:
            # A token over the border of two sub-spans is pooled with both, and once with the chunk.
            owners = self._pieces.chunk_owners
            chunks = np.flatnonzero(runs[owners])
            of_texts = np.concatenate([of_texts, number[owners[chunks]]])
            spans = np.concatenate([spans, chunk_aligner.token_spans().array[chunks]])
            rows = np.concatenate([rows, -1 - chunks])  # their place is known later
        self._collected.add_running(read.take(texts), texts, of_texts, spans, rows, late=True)
        alone = ~self._skipped[self._owners]
        late = runs[self._owners] & ~empty
        if self._options.standalone:
            alone &= ~(late & self._is_whole())
        else:
            alone &= ~late
        return np.flatnonzero(alone)

    def _piece_means(self, lengths: NDArray[np.int64]) -> NDArray[np.float64]:
        n_parents = len(self._parents)
        totals = np.bincount(self._owners, weights=lengths, minlength=n_parents)
        means: NDArray[np.float64] = totals / np.maximum(np.diff(self._pieces.bounds), 1)
        return means

    def _is_whole(self) -> NDArray[np.bool_]:
        """Pieces over the whole text, which go through the same windows alone."""
        if self._encoder.pooling != self._encoder.standalone_pooling:
            return np.zeros(len(self._owners), dtype=bool)
        if self._resolved.has_focus or self._pieces.divided:
            return np.zeros(len(self._owners), dtype=bool)
        spans = self._pieces.spans
        ends = np.array([len(parent.text) for parent in self._parents])[self._owners]
        own_header = np.array([parent.headers is None for parent in self._parents])[self._owners]
        whole: NDArray[np.bool_] = (spans[:, 0] == 0) & (spans[:, 1] == ends) & own_header
        return whole

    # Decisions on parents.

    def _choose_early(
        self,
        n_tokens: NDArray[np.integer] | NDArray[np.float64],
        is_long: NDArray[np.bool_],
        sizes: NDArray[np.integer] | NDArray[np.float64],
    ) -> NDArray[np.bool_]:
        """Parents whose chunks are embedded alone; those that are skipped are marked."""
        early = np.zeros(len(self._parents), dtype=bool)
        if self._options.min_parent_tokens:
            for owner, size in enumerate(n_tokens.tolist()):
                early[owner] = self._policy.is_short(int(size))
        if self._options.fallback == "window":
            return early
        for owner in np.flatnonzero(is_long & ~early).tolist():
            reason = (
                f"it takes {int(sizes[owner])} tokens, a window has "
                f"{self._encoder.max_tokens}; raise max_tokens or use fallback='window'"
            )
            if self._policy.place_long(self._parents[owner], reason) == "skip":
                self._skipped[owner] = True
            else:
                early[owner] = True
        return early

    def _report_empty(self, pieces: NDArray[np.int64]) -> None:
        """Report the chunks of which no piece has a token."""
        chunks, counts = np.unique(self._pieces.chunks[pieces], return_counts=True)
        chunks = chunks[counts == np.diff(self._pieces.of_chunks)[chunks]]
        owners = self._pieces.chunk_owners[chunks]
        for owner in np.unique(owners).tolist():
            if not self._skipped[owner]:
                rows = chunks[owners == owner] - self._pieces.chunk_bounds[owner]
                self._policy.report_empty(self._parents[owner], rows, _NO_TOKEN)

    # Texts to tokens.

    def _read_pieces(self, pieces: NDArray[np.int64]) -> PooledTexts:
        """Pieces as texts of their own."""
        spans, owners = self._pieces.spans[pieces], self._owners[pieces]
        rows = self._pieces.chunks[pieces] - self._pieces.chunk_bounds[owners]
        parts: list[PooledTexts] = []
        # Group by group: all pieces of a huge parent would be its text once more.
        for group in group_texts((spans[:, 1] - spans[:, 0]).tolist()):
            own = [self._parents[owner] for owner in owners[group].tolist()]
            texts = [p.text[a:b] for p, (a, b) in zip(own, spans[group].tolist(), strict=True)]
            headers = [
                p.chunk_header(row) for p, row in zip(own, rows[group].tolist(), strict=True)
            ]
            parts.append(self._read_texts(texts, headers, owners[group]))
        return join_texts(parts)

    def _read_texts(
        self,
        texts: Sequence[str],
        headers: Sequence[str],
        owners: NDArray[np.int64],
        aligners: Sequence[Aligner] = (),
    ) -> PooledTexts:
        ids = [self._parents[owner].id for owner in owners.tolist()]
        return self._pool.read(texts, headers, ids, aligners)

    def _read_headers(self, first_row: int) -> tuple[NDArray[np.int64], int]:
        """Texts of the headers that get a vector of their own."""
        of_chunks = self._pieces.chunk_owners
        rows = np.full(len(of_chunks), -1, np.int64)
        if not self._options.header_weight:
            return rows, first_row
        numbers: dict[tuple[int, str], int] = {}
        for chunk, owner in enumerate(of_chunks.tolist()):
            first = int(self._pieces.chunk_bounds[owner])
            header = self._parents[owner].chunk_header(chunk - first)
            if header.strip() and not self._skipped[owner]:
                rows[chunk] = first_row + numbers.setdefault((owner, header), len(numbers))
        if numbers:
            owners = np.array([owner for owner, _ in numbers], np.int64)
            texts = [header for _, header in numbers]
            read = self._read_texts(texts, [""] * len(texts), owners)
            numbered = first_row + np.arange(len(texts), dtype=np.int64)
            self._collected.add(read, owners, numbered, are_headers=True)
        return rows, first_row + len(numbers)

    def _block(
        self, alone: NDArray[np.int64], header_rows: NDArray[np.int64], n_rows: int
    ) -> BlockPassages:
        found = self._collected
        read = join_texts(found.reads)
        late = join_arrays(found.late, bool)
        n_lead, n_tail = len(self._encoder.lead), len(self._encoder.tail)
        running = late & (self._resolved.layout == "text")
        own = self._encoder.standalone_pooling
        in_units = self._encoder.pooling if self._options.pooling != "auto" else own
        modes = np.where(running, self._encoder.pooling, np.where(late, in_units, own))
        # Each sub-span has special tokens of its own, which would say the same of all of them.
        of_sub_spans = self._pieces.divided & ~running & ~join_arrays(found.headers, bool)
        # Pooled in any case where special tokens are all that there is, or what the model reads.
        edges_pooled = (
            (self._options.pool_edges & ~of_sub_spans)
            | (read.text[:, 1] == 0)
            | ~np.isin(modes, ("mean", "weighted"))
        )
        has_prompt = read.front[:, 1] + read.back[:, 1] > 0
        texts = Passages(
            pool=self._pool.drain(),
            lead=(0, n_lead),
            tail=(n_lead, n_tail),
            front=read.front,
            header=read.header,
            back=read.back,
            text=read.text,
            edges_pooled=edges_pooled,
            front_pooled=~has_prompt | self._encoder.prompt_pooled,
            edges=read.edges or None,
        )
        rows = join_arrays(found.rows, np.int64)
        of_chunks = rows < 0
        rows = np.where(of_chunks, n_rows - 1 - rows, rows)
        return BlockPassages(
            texts,
            owners=join_arrays(found.owners, np.int64),
            is_late=late,
            groups=join_arrays(found.groups, np.int64),
            pooled_texts=join_arrays(found.texts, np.int64),
            pooled_spans=np.concatenate([np.zeros((0, 2), np.int64), *found.spans]),
            pooled_rows=rows,
            pieces=self._pieces,
            alone=alone,
            header_rows=header_rows,
            first_chunk_row=n_rows if of_chunks.any() else None,
            n_rows=n_rows + (len(self._pieces.chunk_owners) if of_chunks.any() else 0),
            modes=modes,
            of_chunks=self._resolved.layout == "units",
            skipped=self._skipped,
            unit_tokens=self._unit_tokens,
        )
