"""The sums of windows that were encoded before, by all that a window's sums depend on."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.ranges import count_ranges
from latechunk_integrations.flow.chunk_sums import ChunkSums
from latechunk_integrations.flow.window_cache import WindowCache
from latechunk_integrations.stats import EngineStats

if TYPE_CHECKING:
    from latechunk_integrations.flow.token_plan import TokenBlock

_FORMAT = b"latechunk window 1"
_CHECK_BYTES = 8
# Windows that are hashed and looked up at once.
_GROUP = 256


class WindowSums:
    """Sums of windows by what the windows hold.

    What the cache cannot give or keep is encoded: counted and logged, never an error.

    Args:
        cache: Where they are kept.
        fingerprint: Of the engine.
        stats: Counts windows that were known, and what went wrong.
    """

    def __init__(self, cache: WindowCache, fingerprint: str, stats: EngineStats) -> None:
        self._cache = cache
        self._fingerprint = fingerprint
        self._stats = stats

    def add_known(
        self,
        block: TokenBlock,
        marks: NDArray[np.int32] | None,
        order: NDArray[np.int64],
        table: ChunkSums,
    ) -> dict[int, bytes]:
        """Add the sums of the windows that are known.

        Args:
            block: The block.
            marks: The chunk of each token of its pool, for the focus in running text.
            order: Its windows, in the order in which sums are added.
            table: Where to add them.

        Returns:
            The key of each window that is left, by its number in the block.
        """
        left: dict[int, bytes] = {}
        for start in range(0, len(order), _GROUP):
            windows = order[start : start + _GROUP]
            keys = hash_windows(block, windows, marks, self._fingerprint)
            kept = self._look_up(keys)
            for window, key in zip(windows.tolist(), keys, strict=True):
                first, end = block.bag_bounds[window : window + 2].tolist()
                shape = (end - first, table.sums.shape[1])
                sums = _unpack(key, kept.get(key), shape)
                if sums is None:
                    left[window] = key
                    continue
                bags = block.bags.take(np.arange(first, end, dtype=np.int64))
                table.add(bags.rows, sums, bags.totals())
        self._stats.count("cached_windows", len(order) - len(left))
        return left

    def keep(
        self, keys: Sequence[bytes], n_bags: NDArray[np.int64], sums: NDArray[np.float32]
    ) -> None:
        """Keep the sums of some windows.

        Args:
            keys: Of the windows.
            n_bags: Bags of each.
            sums: Of these bags, window after window, float32, shape ``(n_bags, dim)``.
        """
        if not np.isfinite(sums).all():
            return  # perhaps the device's fault, which would then be kept with them
        ends = np.cumsum(n_bags).tolist()
        starts = [0, *ends[:-1]]
        rows = zip(keys, starts, ends, strict=True)
        values = {key: _pack(key, sums[start:end]) for key, start, end in rows}
        try:
            self._cache.put(values)
        except sqlite3.Error as error:
            self._report(error, len(values))

    def _look_up(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        try:
            return self._cache.get(keys)
        except sqlite3.Error as error:
            self._report(error, len(keys))
            return {}

    def _report(self, error: sqlite3.Error, n_windows: int) -> None:
        self._stats.report(
            "window_cache_failures",
            f"the window cache cannot be used for {n_windows} windows, which are encoded as if "
            f"there was none: {error}; if the file is damaged, delete it",
        )


def hash_windows(
    block: TokenBlock, windows: NDArray[np.int64], marks: NDArray[np.int32] | None, fingerprint: str
) -> list[bytes]:
    """A key for each window: equal keys, equal sums.

    It holds the engine and all that reaches the encoder and the pooling: token ids, the units and
    the header that they belong to, both focuses, and which positions are pooled with what weight.

    Args:
        block: The block.
        windows: Which windows, int64, shape ``(n,)``.
        marks: The chunk of each token of the block's pool, for the focus in running text.
        fingerprint: Of the engine.
    """
    first, n_frames = block.windows[windows], np.diff(block.windows)[windows]
    frames = count_ranges(first, n_frames)
    lengths = block.lengths[windows]
    places, is_header, is_text = block.frames.gather(frames)
    focus = np.zeros((len(windows), 2), np.float32)
    if block.focus is not None and block.header_focus is not None:
        focus[:, 0], focus[:, 1] = block.focus[windows], block.header_focus[windows]
    tokens: list[NDArray[Any]] = [block.passages.texts.pool[places].astype("<i4"), is_header]
    if not block.passages.of_chunks:
        # Where a window has no focus they say nothing, whatever the block's other windows have.
        says = is_text & np.repeat(focus.any(axis=1), lengths)
        chunks = np.full(len(places), -1, np.int32) if marks is None else marks[places]
        tokens.append(_number_chunks(np.where(says, chunks, -1), lengths))
    n_bags = np.diff(block.bag_bounds)[windows]
    bags = block.bags.take(count_ranges(block.bag_bounds[windows], n_bags))
    kinds = (
        (n_frames, [block.frames.sizes[frames]]),
        (lengths, tokens),
        (n_bags, [bags.frames - np.repeat(first, n_bags), bags.starts, bags.lengths, bags.steps]),
        (n_bags, [bags.weights]),
        (np.ones_like(lengths), [focus]),
    )
    hashes = [blake2b(_FORMAT + fingerprint.encode(), digest_size=20) for _ in windows]
    for counts, arrays in kinds:
        plain = [array.astype(array.dtype.newbyteorder("<"), copy=False) for array in arrays]
        ends = np.cumsum(counts).tolist()
        for digest, start, end in zip(hashes, [0, *ends[:-1]], ends, strict=True):
            digest.update((end - start).to_bytes(8, "little"))
            for array in plain:
                digest.update(array[start:end].tobytes())
    return [digest.digest() for digest in hashes]


def _number_chunks(marks: NDArray[np.int32], lengths: NDArray[np.int64]) -> NDArray[np.int32]:
    """Chunks counted from the first of each window, wherever that one is in the block."""
    starts = np.cumsum(lengths) - lengths
    first = np.minimum.reduceat(np.where(marks < 0, np.iinfo(np.int32).max, marks), starts)
    return np.where(marks < 0, marks, marks - np.repeat(first, lengths))


def _pack(key: bytes, sums: NDArray[np.float32]) -> bytes:
    content = sums.astype("<f4").tobytes()
    return _check_of(key, content) + content


def _unpack(key: bytes, value: object, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    """The sums, unless they are missing or damaged."""
    if not isinstance(value, bytes) or len(value) != _CHECK_BYTES + 4 * shape[0] * shape[1]:
        return None
    check, content = value[:_CHECK_BYTES], value[_CHECK_BYTES:]
    if check != _check_of(key, content):
        return None
    return np.frombuffer(content, "<f4").reshape(shape)


def _check_of(key: bytes, content: bytes) -> bytes:
    return blake2b(content, key=key, digest_size=_CHECK_BYTES).digest()
