"""Windows to chunk sums: batches through the encoder, one under way while another comes in."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.batching import pack
from latechunk_integrations.core.focus import paint_chunks
from latechunk_integrations.core.pooling import Bags
from latechunk_integrations.core.ranges import count_ranges
from latechunk_integrations.encoders.base import (
    NO_UNIT,
    SHARED,
    SummingEncoder,
    TokenBatch,
    TokenEncoder,
)
from latechunk_integrations.errors import naming
from latechunk_integrations.flow.chunk_sums import ChunkSums
from latechunk_integrations.flow.window_sums import WindowSums
from latechunk_integrations.stats import EngineStats

if TYPE_CHECKING:
    from latechunk_integrations.core.transfer import HostCopy
    from latechunk_integrations.flow.token_plan import TokenBlock


class WindowRunner:
    """Sends windows through the encoder and adds their sums up.

    Args:
        encoder: Gives token embeddings.
        batch_tokens: Most padded tokens of a forward pass; fewer once memory ran out.
        stats: Where windows, tokens and what went wrong are counted.
        known: The sums of windows that were encoded before; None: none are kept.
    """

    def __init__(
        self,
        encoder: TokenEncoder,
        batch_tokens: int,
        stats: EngineStats,
        known: WindowSums | None = None,
    ) -> None:
        self._encoder = encoder
        self.batch_tokens = batch_tokens
        self._stats = stats
        self._known = known

    def run(self, block: TokenBlock) -> ChunkSums:
        """Encode the windows of a block in batches; when memory runs out, halve the batches."""
        n_rows = block.passages.n_rows
        table = ChunkSums.of(n_rows, self._encoder.token_dim)
        lengths = block.lengths
        batches = deque(pack(lengths, self.batch_tokens))
        marks = _mark_chunks(block)
        keys: dict[int, bytes] = {}
        if self._known is not None and batches:
            keys = self._known.add_known(block, marks, np.concatenate(batches), table)
            unknown = np.array(sorted(keys), np.int64)
            batches = deque(unknown[b] for b in pack(lengths[unknown], self.batch_tokens))
        n_windows, n_tokens = sum(map(len, batches)), sum(int(lengths[b].sum()) for b in batches)
        under_way: _Sums | None = None
        while batches:
            batch = batches[0]
            try:
                launched = self._launch(block, batch, marks)
            except Exception as error:
                if not _is_out_of_memory(error) or len(batch) == 1:
                    raise
                self.batch_tokens = int(lengths[batch].max()) * len(batch) // 2
                self._stats.report(
                    "out_of_memory",
                    f"out of memory: batches are cut to {self.batch_tokens} tokens from here on",
                )
                left = np.concatenate(list(batches))
                batches = deque(left[b] for b in pack(lengths[left], self.batch_tokens))
                continue
            batches.popleft()
            # A GPU computes the batch just launched while the sums of the one before come in.
            # What is there already is taken at once: kept, it would lie between large buffers.
            if under_way is not None:
                self._collect(under_way, table, keys)
            under_way = launched
            if not launched.under_way:
                self._collect(launched, table, keys)
                under_way = None
        if under_way is not None:
            self._collect(under_way, table, keys)
        self._stats.count("windows", n_windows)
        self._stats.count("tokens", n_tokens)
        return table

    def _collect(self, launched: _Sums, table: ChunkSums, keys: dict[int, bytes]) -> None:
        sums = launched.collect(table)
        if self._known is not None:
            of_windows = [keys.pop(window) for window in launched.windows.tolist()]
            self._known.keep(of_windows, launched.n_bags, sums)

    def _launch(
        self, block: TokenBlock, windows: NDArray[np.int64], marks: NDArray[np.int32] | None
    ) -> _Sums:
        batch, frame_starts = make_batch(block, windows, self._encoder.pad_id, marks)
        owners = block.passages.owners[block.frames.texts[block.windows[windows]]]
        first = block.bag_bounds[windows]
        n_bags = block.bag_bounds[windows + 1] - first
        bags = block.bags.take(count_ranges(first, n_bags))
        # Frames of a batch are counted through it; bags know them by their number in the block.
        found = np.searchsorted(frame_starts[0], bags.frames)
        begins, rows = frame_starts[1][found], frame_starts[2][found]
        with naming([block.parents[owner].id for owner in owners.tolist()]):
            if isinstance(self._encoder, SummingEncoder) and self._encoder.sums_there:
                sums = self._encoder.sum_tokens(batch, bags, rows, begins)
                return _Sums(windows, n_bags, bags, sums)
            embeddings = self._encoder.forward(batch)
        starts = begins + _find_rows(batch.lengths, embeddings.shape)[rows]
        return _Sums(windows, n_bags, bags, _sum_bags(embeddings, bags, starts))


def _is_out_of_memory(error: Exception) -> bool:
    """Whether a device, or torch's or NumPy's memory of this machine, had no more room."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


class _Sums:
    """The sums of a batch, which may still be on their way to the host."""

    def __init__(
        self,
        windows: NDArray[np.int64],
        n_bags: NDArray[np.int64],
        bags: Bags,
        sums: NDArray[np.float32] | HostCopy,
    ) -> None:
        self.windows = windows
        self.n_bags = n_bags
        self._bags = bags
        self._sums = sums

    @property
    def under_way(self) -> bool:
        """Whether the copy may still be going on."""
        return not isinstance(self._sums, np.ndarray) and self._sums.under_way

    def collect(self, table: ChunkSums) -> NDArray[np.float32]:
        """Wait for the sums, and add them up."""
        sums = self._sums if isinstance(self._sums, np.ndarray) else self._sums.numpy()
        table.add(self._bags.rows, sums, self._bags.totals())
        return sums


def make_batch(
    block: TokenBlock,
    windows: NDArray[np.int64],
    pad_id: int,
    marks: NDArray[np.int32] | None = None,
) -> tuple[TokenBatch, NDArray[np.int64]]:
    """The windows of a block as one padded batch.

    Args:
        block: The block.
        windows: Which windows, int64, shape ``(n_rows,)``.
        pad_id: What fills the rows.
        marks: The chunk of each token of the block's pool, for the focus in running text.

    Returns:
        The batch; and for each of its frames, ascending by their number in the block: that
        number, the first position in its row, and the row; int64, shape ``(3, n_frames)``.
    """
    first = block.windows[windows]
    counts = block.windows[windows + 1] - first
    frames = count_ranges(first, counts)
    rows = np.repeat(np.arange(len(windows), dtype=np.int64), counts)
    sizes = block.frames.sizes[frames]
    ends = np.cumsum(sizes)
    row_ends = np.cumsum(block.lengths[windows])
    begins = ends - sizes - (row_ends - block.lengths[windows])[rows]
    places, is_header, is_text = block.frames.gather(frames)
    lengths = block.lengths[windows]
    inside = np.arange(int(lengths.max())) < lengths[:, None]
    order = np.argsort(frames, kind="stable")
    where = np.stack([frames, begins, rows])[:, order]
    ids = _pad(block.passages.texts.pool[places], inside, pad_id, np.int64)
    has_focus = block.focus is not None and (
        block.focus[windows].any() or block.header_focus[windows].any()  # type: ignore[index]  # both or none
    )
    several = bool((counts > 1).any())
    positions = None
    if several:
        positions = _pad(count_ranges(np.zeros_like(sizes), sizes), inside, 0, np.int64)
    if not has_focus:
        return TokenBatch(ids, lengths, positions), where
    if marks is None:
        numbers = count_ranges(np.zeros_like(counts), counts)
        units = np.repeat(numbers, sizes)
    else:
        late = np.repeat(block.passages.is_late[block.frames.texts[frames]], sizes)
        units = np.where(late & is_text, marks[places], np.where(late, SHARED, 0))
    batch = TokenBatch(
        ids,
        lengths,
        positions,
        units=_pad(units, inside, NO_UNIT, np.int32),
        is_header=_pad(is_header, inside, 0, np.bool_),
        focus=block.focus[windows],  # type: ignore[index]  # has_focus
        header_focus=block.header_focus[windows],  # type: ignore[index]  # has_focus
    )
    return batch, where


def _pad(
    values: NDArray[Any], inside: NDArray[np.bool_], padding: int, dtype: type[Any]
) -> NDArray[Any]:
    """Values of the places inside, row after row, among padding."""
    padded = np.full(inside.shape, padding, dtype)
    padded[inside] = values
    return padded


def _mark_chunks(block: TokenBlock) -> NDArray[np.int32] | None:
    """The chunk of each token of running text; None in layout ``units``."""
    passages = block.passages
    running = passages.is_late & (passages.groups < 0)
    if block.focus is None or not running.any() or (passages.groups >= 0).any():
        return None
    late = np.flatnonzero(running[passages.pooled_texts])
    places = passages.texts.text[passages.pooled_texts[late], 0]
    return paint_chunks(passages.pooled_spans[late], places, len(passages.texts.pool))


def _find_rows(lengths: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Where each row begins in the token embeddings, all rows counted as one.

    Args:
        lengths: Tokens of each row, int64, shape ``(n_rows,)``.
        shape: Of the embeddings: ``(n_rows, row_length, dim)``, or ``(1, n_tokens, dim)`` where
            the rows come one after the other without padding.
    """
    if shape[0] == len(lengths):
        return np.arange(len(lengths), dtype=np.int64) * shape[1]
    ends: NDArray[np.int64] = np.cumsum(lengths)
    return ends - lengths


def _sum_bags(
    embeddings: Any, bags: Bags, starts: NDArray[np.int64]
) -> NDArray[np.float32] | HostCopy:
    if isinstance(embeddings, np.ndarray):
        from latechunk_integrations.core.host_sums import sum_on_host  # noqa: PLC0415  # no torch

        return sum_on_host(embeddings, bags, starts)
    from latechunk_integrations.core.sums import sum_bags  # noqa: PLC0415  # torch
    from latechunk_integrations.core.transfer import HostCopy  # noqa: PLC0415  # torch

    return HostCopy(sum_bags(embeddings, bags, starts))
