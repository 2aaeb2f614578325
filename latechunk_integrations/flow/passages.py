"""Parents to tokenized texts: what is embedded late, what alone, and where its sums go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.alignment import Aligner
from latechunk_integrations.core.focus import nest_spans
from latechunk_integrations.core.frames import Passages
from latechunk_integrations.core.ranges import to_bounds
from latechunk_integrations.encoders.base import TokenEncoder, TokenizedTexts
from latechunk_integrations.errors import naming
from latechunk_integrations.flow.policy import Policy
from latechunk_integrations.flow.pooled_texts import (
    LONG_TEXT_CHARS,
    BlockTexts,
    PooledTexts,
    count_title_tokens,
    drain_ids,
    group_texts,
    join_arrays,
    join_texts,
    narrow_ids,
)
from latechunk_integrations.flow.resolution import Resolved
from latechunk_integrations.options import LateChunkOptions
from latechunk_integrations.schema import Parent

__all__ = ["BlockPassages", "PassageReader"]

_NO_TOKEN = "they hold white space or characters that the tokenizer drops"  # noqa: S105  # a reason


@dataclass(frozen=True)
class BlockPassages:
    """The tokenized texts of a block, and its chunks.

    Rows of sums: one for each chunk of the block, then one for each chunk that is embedded
    alone, then one for each header that has a vector of its own.

    Args:
        texts: The tokenized texts.
        owners: Parent of each text, int64, shape ``(n_texts,)``.
        is_late: Whether a text belongs to the late pass, bool, same shape.
        groups: What a unit may share a window with; -1: nothing. Int64, same shape.
        chunk_texts: Text that each pooled chunk lies in, int64, shape ``(n_pooled,)``.
        chunk_spans: Its tokens there, half-open, int64, shape ``(n_pooled, 2)``.
        chunk_rows: Its row of sums, int64, shape ``(n_pooled,)``.
        chunk_bounds: First chunk of each parent, and the number of chunks, int64.
        alone_chunks: Chunk of each standalone row, ascending, int64.
        header_rows: Row of each chunk's header vector, int64; -1: it has none.
        n_rows: Rows of sums.
        modes: Pooling mode of each text: the encoder's own, unless another was asked for.
        of_chunks: Whether the texts of the late pass are chunks, not parents.
        skipped: Whether a parent is left out, bool, shape ``(n_parents,)``.
        unit_tokens: Tokens of a typical unit of each parent, float64, same shape.
    """

    texts: Passages
    owners: NDArray[np.int64]
    is_late: NDArray[np.bool_]
    groups: NDArray[np.int64]
    chunk_texts: NDArray[np.int64]
    chunk_spans: NDArray[np.int64]
    chunk_rows: NDArray[np.int64]
    chunk_bounds: NDArray[np.int64]
    alone_chunks: NDArray[np.int64]
    header_rows: NDArray[np.int64]
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
        self._bounds = to_bounds(np.array([len(parent.spans) for parent in parents], np.int64))
        self._owners = np.repeat(np.arange(len(parents)), np.diff(self._bounds))
        self._skipped = np.zeros(len(parents), dtype=bool)
        self._unit_tokens = np.ones(len(parents))
        self._pool: list[NDArray[np.integer]] = [*map(narrow_ids, (encoder.lead, encoder.tail))]
        self._pool_size = len(encoder.lead) + len(encoder.tail)
        self._headers: dict[str, tuple[int, int]] = {"": (0, 0)}
        self._collected = BlockTexts()

    def read(self) -> BlockPassages:
        n_chunks = int(self._bounds[-1])
        if not self._options.late:
            alone, read = self._every_chunk(), None
        elif self._resolved.layout == "units":
            alone, read = self._read_units()
        else:
            alone, read = self._read_running(), None
        if len(alone):
            if read is None:
                read = self._read_chunks(alone)
            self._collected.add(
                read, self._owners[alone], n_chunks + np.arange(len(alone), dtype=np.int64)
            )
        header_rows, n_rows = self._read_headers(n_chunks + len(alone))
        return self._block(alone, header_rows, n_rows)

    def _every_chunk(self) -> NDArray[np.int64]:
        return np.arange(int(self._bounds[-1]), dtype=np.int64)

    # Layout units: every chunk is a text of its own.

    def _read_units(self) -> tuple[NDArray[np.int64], PooledTexts]:
        """Units of the late pass; returns the chunks that are embedded alone, and their texts."""
        order, levels = self._order_chunks()
        read = self._read_chunks(order)
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

    def _order_chunks(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The chunks of all parents in the order of their windows, and the level of each."""
        order = self._every_chunk()
        levels = np.zeros(len(order), np.int64)
        spans = np.concatenate([parent.spans.array for parent in self._parents])
        rises = (np.diff(spans[:, 0]) > 0) & (np.diff(spans[:, 1]) > 0)
        mixed = np.unique(self._owners[1:][~rises & (np.diff(self._owners) == 0)])
        for owner in mixed.tolist():
            own = slice(self._bounds[owner], self._bounds[owner + 1])
            chunks, own_levels = nest_spans(spans[own])
            order[own] = chunks + self._bounds[owner]
            levels[own] = own_levels
        return order, levels

    def _unit_sizes(self, read: PooledTexts) -> NDArray[np.int64]:
        specials = len(self._encoder.lead) + len(self._encoder.tail)
        fixed = specials + read.front[:, 1] + read.back[:, 1]
        spare = np.maximum(0, self._encoder.max_tokens // 2 - fixed)
        sizes: NDArray[np.int64] = fixed + np.minimum(read.header[:, 1], spare) + read.text[:, 1]
        return sizes

    # Layout text: every parent is a text.

    def _read_running(self) -> NDArray[np.int64]:
        """Texts of the late pass; returns the chunks that are embedded alone."""
        parents = self._parents
        aligner = Aligner([p.spans for p in parents], [len(p.text) for p in parents])
        read = self._read_texts(
            [parent.text for parent in parents],
            [parent.header for parent in parents],
            np.arange(len(parents)),
            aligner,
        )
        spans = aligner.token_spans().array
        n_tokens = read.text[:, 1]
        room = self._encoder.max_tokens - (self._unit_sizes(read) - n_tokens)
        self._unit_tokens = self._chunk_means(spans[:, 1] - spans[:, 0])
        early = self._choose_early(n_tokens, n_tokens > room, n_tokens)
        empty = spans[:, 1] == spans[:, 0]
        self._report_empty(np.flatnonzero(empty & ~early[self._owners]))
        some = np.bincount(self._owners, weights=~empty, minlength=len(parents)) > 0
        runs = some & ~early & ~self._skipped
        texts = np.flatnonzero(runs)
        number = np.cumsum(runs) - 1
        chunks = np.flatnonzero(runs[self._owners])
        self._collected.add_running(
            read.take(texts),
            texts,
            number[self._owners[chunks]],
            spans[chunks],
            chunks,
            late=True,
        )
        alone = ~self._skipped[self._owners]
        late = runs[self._owners] & ~empty
        if self._options.standalone:
            alone &= ~(late & self._is_whole())
        else:
            alone &= ~late
        return np.flatnonzero(alone)

    def _chunk_means(self, lengths: NDArray[np.int64]) -> NDArray[np.float64]:
        n_parents = len(self._parents)
        totals = np.bincount(self._owners, weights=lengths, minlength=n_parents)
        means: NDArray[np.float64] = totals / np.maximum(np.diff(self._bounds), 1)
        return means

    def _is_whole(self) -> NDArray[np.bool_]:
        """Chunks over the whole text, which go through the same windows alone."""
        if self._encoder.pooling != self._encoder.standalone_pooling:
            return np.zeros(len(self._owners), dtype=bool)
        if self._resolved.has_focus:
            return np.zeros(len(self._owners), dtype=bool)
        spans = np.concatenate([parent.spans.array for parent in self._parents])
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

    def _report_empty(self, chunks: NDArray[np.int64]) -> None:
        for owner in np.unique(self._owners[chunks]).tolist():
            if not self._skipped[owner]:
                own = np.sort(chunks[self._owners[chunks] == owner]) - self._bounds[owner]
                self._policy.report_empty(self._parents[owner], own, _NO_TOKEN)

    # Texts to tokens.

    def _read_chunks(self, chunks: NDArray[np.int64]) -> PooledTexts:
        """Chunks as texts of their own."""
        spans = np.concatenate([parent.spans.array for parent in self._parents])[chunks]
        owners = self._owners[chunks]
        rows = chunks - self._bounds[owners]
        parts: list[PooledTexts] = []
        # Group by group: all chunks of a huge parent would be its text once more.
        for group in group_texts((spans[:, 1] - spans[:, 0]).tolist()):
            own = [
                (self._parents[owner], row)
                for owner, row in zip(owners[group].tolist(), rows[group].tolist(), strict=True)
            ]
            texts = [parent.chunk_text(row) for parent, row in own]
            headers = [parent.chunk_header(row) for parent, row in own]
            parts.append(self._read_texts(texts, headers, owners[group]))
        return join_texts(parts)

    def _read_texts(
        self,
        texts: Sequence[str],
        headers: Sequence[str],
        owners: NDArray[np.int64],
        aligner: Aligner | None = None,
    ) -> PooledTexts:
        slot = self._encoder.title_slot
        parts: list[PooledTexts] = []
        for group in group_texts([len(text) for text in texts]):
            own = [self._parents[owner] for owner in owners[group].tolist()]
            with naming([parent.id for parent in own]):
                if slot is None:
                    prompts: str | list[str] = self._encoder.document_prompt
                else:
                    prompts = [slot.fill(header.strip()) for header in headers[group]]
                tokens = self._tokenize(texts[group], prompts)
                for header in set(headers[group]) if slot is None else ():
                    self._keep_header(header)
            if aligner is not None:
                aligner.add(
                    tokens.text_offsets,
                    np.repeat(
                        np.arange(group.start, group.start + len(tokens)),
                        tokens.ends - tokens.text_starts,
                    ),
                )
            parts.append(self._place(tokens, headers[group]))
        return join_texts(parts)

    def _tokenize(self, texts: Sequence[str], prompts: str | list[str]) -> TokenizedTexts:
        if len(texts) == 1 and len(texts[0]) > LONG_TEXT_CHARS:
            prompt = prompts if isinstance(prompts, str) else prompts[0]
            pieces = list(self._encoder.tokenize_pieces(texts[0], prompt))
            return TokenizedTexts.join(pieces)
        found = self._encoder.tokenize(texts, prompts)
        return found if isinstance(found, TokenizedTexts) else TokenizedTexts.of(found)

    def _keep_header(self, header: str) -> None:
        if header not in self._headers:
            ids = self._encoder.tokenize_header(header)
            self._headers[header] = (self._keep(ids), len(ids))

    def _keep(self, ids: NDArray[np.int32]) -> int:
        start = self._pool_size
        self._pool.append(narrow_ids(ids))
        self._pool_size += len(ids)
        return start

    def _place(self, tokens: TokenizedTexts, headers: Sequence[str]) -> PooledTexts:
        base = self._keep(tokens.ids)
        prompts = np.stack(
            [tokens.prompt_starts, tokens.text_starts - tokens.prompt_starts], axis=1
        )
        texts = np.stack([tokens.text_starts, tokens.ends - tokens.text_starts], axis=1)
        prompts[:, 0] += base
        texts[:, 0] += base
        edges = list(tokens.edges) if tokens.edges is not None else []
        slot = self._encoder.title_slot
        if slot is None:
            placed = np.array([self._headers[header] for header in headers], np.int64)
            nothing = np.zeros_like(prompts)
            return PooledTexts(prompts, placed.reshape(-1, 2), nothing, texts, edges)
        n_front, n_title = count_title_tokens(tokens, headers, len(slot.before))
        front, title, back = prompts.copy(), prompts.copy(), prompts.copy()
        front[:, 1] = n_front
        title[:, 0] += n_front
        title[:, 1] = n_title
        back[:, 0] += n_front + n_title
        back[:, 1] -= n_front + n_title
        return PooledTexts(front, title, back, texts, edges)

    def _read_headers(self, first_row: int) -> tuple[NDArray[np.int64], int]:
        """Texts of the headers that get a vector of their own."""
        n_chunks = int(self._bounds[-1])
        rows = np.full(n_chunks, -1, np.int64)
        if not self._options.header_weight:
            return rows, first_row
        numbers: dict[tuple[int, str], int] = {}
        for chunk in range(n_chunks):
            owner = int(self._owners[chunk])
            header = self._parents[owner].chunk_header(chunk - int(self._bounds[owner]))
            if header.strip() and not self._skipped[owner]:
                rows[chunk] = first_row + numbers.setdefault((owner, header), len(numbers))
        if numbers:
            owners = np.array([owner for owner, _ in numbers], np.int64)
            texts = [header for _, header in numbers]
            read = self._read_texts(texts, [""] * len(texts), owners)
            self._collected.add(read, owners, first_row + np.arange(len(texts), dtype=np.int64))
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
        # Pooled in any case where special tokens are all that there is, or what the model reads.
        edges_pooled = (
            np.full(len(late), self._options.pool_edges)
            | (read.text[:, 1] == 0)
            | ~np.isin(modes, ("mean", "weighted"))
        )
        has_prompt = read.front[:, 1] + read.back[:, 1] > 0
        texts = Passages(
            pool=drain_ids(self._pool),
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
        return BlockPassages(
            texts,
            owners=join_arrays(found.owners, np.int64),
            is_late=late,
            groups=join_arrays(found.groups, np.int64),
            chunk_texts=join_arrays(found.chunk_texts, np.int64),
            chunk_spans=np.concatenate([np.zeros((0, 2), np.int64), *found.chunk_spans]),
            chunk_rows=join_arrays(found.chunk_rows, np.int64),
            chunk_bounds=self._bounds,
            alone_chunks=alone,
            header_rows=header_rows,
            n_rows=n_rows,
            modes=modes,
            of_chunks=self._resolved.layout == "units",
            skipped=self._skipped,
            unit_tokens=self._unit_tokens,
        )
