"""Parents to windows: steps 2 to 5 of the token flow, a block of parents at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.frames import HEADER_SEGMENT, Frames, frame_runs
from latechunk_integrations.core.pooling import Bags, chunk_bags
from latechunk_integrations.core.ranges import to_bounds
from latechunk_integrations.core.windows import (
    WindowBudgets,
    choose_unit_windows,
    divide_budgets,
    divide_groups,
    pack_units,
    plan_runs,
)
from latechunk_integrations.encoders.base import TokenEncoder
from latechunk_integrations.flow.passages import BlockPassages, PassageReader
from latechunk_integrations.flow.policy import Policy
from latechunk_integrations.flow.pooled_texts import LONG_TEXT_CHARS
from latechunk_integrations.flow.resolution import Resolved
from latechunk_integrations.options import LateChunkOptions
from latechunk_integrations.schema import Parent, PoolingMode
from latechunk_integrations.stats import EngineStats

_MODES: tuple[PoolingMode, ...] = get_args(PoolingMode)
# Less than most texts hold, so that the parents drawn together rarely make a second block.
_CHARS_PER_TOKEN = 3
# What a parent costs besides its characters, so that the number of tiny ones is bounded too.
_PARENT_CHARS = 32


@dataclass(frozen=True)
class TokenBlock:
    """What is encoded together: whole parents, as flat arrays. Nothing changes it.

    Args:
        parents: The parents.
        passages: Their texts and chunks, tokenized, and where the sums of each chunk go.
        frames: Runs of the texts between what is put around them, window after window.
        windows: First frame of each window, and the number of frames, int64, ``(n_windows + 1,)``.
        lengths: Tokens of each window, int64, shape ``(n_windows,)``.
        bags: What is pooled, in the order of the frames.
        bag_bounds: First bag of each window, and the number of bags, int64, ``(n_windows + 1,)``.
        focus: Focus of each window in nats, float32, shape ``(n_windows,)``; None: none has any.
        header_focus: The same toward headers.
        late_windows: Windows of each parent's late pass, int64, shape ``(n_parents,)``.
        windowed: Whether a parent is more than one window holds, bool, same shape.
    """

    parents: Sequence[Parent]
    passages: BlockPassages
    frames: Frames
    windows: NDArray[np.int64]
    lengths: NDArray[np.int64]
    bags: Bags
    bag_bounds: NDArray[np.int64]
    focus: NDArray[np.float32] | None
    header_focus: NDArray[np.float32] | None
    late_windows: NDArray[np.int64]
    windowed: NDArray[np.bool_]


class TokenPlanner:
    """Plans blocks of parents.

    Args:
        encoder: Gives tokens, and the sizes that windows depend on.
        options: What was asked for.
        resolved: What that is for this encoder: layout, focus, header pooling.
        stats: Where that is counted which cannot be done as asked.
    """

    def __init__(
        self,
        encoder: TokenEncoder,
        options: LateChunkOptions,
        resolved: Resolved,
        stats: EngineStats,
    ) -> None:
        self._encoder = encoder
        self._options = options
        self._resolved = resolved
        self._policy = Policy(options, stats)
        self._reader = PassageReader(encoder, options, resolved, self._policy)

    def blocks(
        self, parents: Iterable[Parent], n_tokens: int
    ) -> Iterator[TokenBlock | BlockFailure]:
        """Blocks of parents, each planned by another thread while the caller encodes one.

        Parents are drawn in the caller's thread: a database cursor or a context variable that
        they come from may belong to it.

        Args:
            parents: Any number of parents.
            n_tokens: About as many tokens make a block.
        """
        planned: TokenBlock | BlockFailure | None = None
        # Leaving this, also when the caller closes the stream, waits for the block in hand.
        with ThreadPoolExecutor(1, thread_name_prefix="latechunk-plan") as thread:
            for group in _group_parents(parents, n_tokens * _CHARS_PER_TOKEN):
                following = thread.submit(self._try, group)
                if planned is not None:
                    yield planned
                planned = following.result()
        if planned is not None:
            yield planned

    def plan(self, parents: Sequence[Parent]) -> TokenBlock:
        """Steps 2 to 5: token spans, runs, windows, and what each pools.

        Raises:
            ParentTooLongError: A parent is too long for the options.
            ChunkWithoutTokenError: ``strict`` and no token overlaps a chunk.
        """
        passages = self._reader.read(parents)
        texts = passages.texts
        budgets = divide_budgets(
            self._encoder.max_tokens,
            fixed=texts.fixed,
            header=texts.header[:, 1],
            n_tokens=texts.n_tokens,
            overlap=self._options.overlap_tokens,
        )
        self._report_cuts(parents, passages, budgets)
        runs = plan_runs(texts.n_tokens, budgets, texts.edges)
        frames = frame_runs(texts, budgets, runs, self._resolved.header_pooling)
        bags = self._bags(passages, frames)
        windows, rooms, frames, bags = self._pack(passages, frames, bags)
        frame_windows = np.repeat(np.arange(len(windows) - 1), np.diff(windows))
        of_bags = frame_windows[bags.frames]
        owners = passages.owners[frames.texts[windows[:-1]]]
        is_late = passages.is_late[frames.texts[windows[:-1]]]
        focus = self._focus(passages, frames, windows, rooms, owners)
        late_windows = np.bincount(owners[is_late], minlength=len(parents))
        windowed = late_windows > 1
        if self._resolved.layout == "text":  # also where windows without a chunk are left out
            late_runs = passages.owners[runs.texts[passages.is_late[runs.texts]]]
            windowed = np.bincount(late_runs, minlength=len(parents)) > 1
        return TokenBlock(
            parents,
            passages,
            frames,
            windows,
            np.add.reduceat(frames.sizes, windows[:-1]) if len(frames) else np.zeros(0, np.int64),
            bags,
            to_bounds(np.bincount(of_bags, minlength=len(windows) - 1)),
            *focus,
            late_windows,
            windowed,
        )

    def _try(self, parents: Sequence[Parent]) -> TokenBlock | BlockFailure:
        try:
            return self.plan(parents)
        except Exception as error:  # noqa: BLE001  # raised again where its place in the stream is
            return BlockFailure(parents, error)

    def _bags(self, passages: BlockPassages, frames: Frames) -> Bags:
        """What each chunk pools, by the mode of its text."""
        parts = []
        for mode in _MODES:
            chunks = np.flatnonzero(passages.modes[passages.pooled_texts] == mode)
            if not len(chunks) and mode != "mean":
                continue
            parts.append(
                chunk_bags(
                    frames,
                    passages.pooled_spans[chunks],
                    passages.pooled_texts[chunks],
                    passages.pooled_rows[chunks],
                    mode,
                )
            )
        return parts[0] if len(parts) == 1 else _join_bags(parts)

    def _pack(
        self, passages: BlockPassages, frames: Frames, bags: Bags
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], Frames, Bags]:
        """Windows of frames that pool something, and the room of each; whole units share one."""
        pooled = np.zeros(len(frames), dtype=bool)
        pooled[bags.frames] = True
        kept = np.flatnonzero(pooled)
        number = np.cumsum(pooled) - 1
        bags = bags.at_frames(number[bags.frames])
        frames = frames.take(kept)
        groups = passages.groups[frames.texts]
        # A text that needs several runs is no unit: its runs are windows of their own.
        whole = frames.runs[:, 1] - frames.runs[:, 0] == frames.n_tokens
        alone = (groups < 0) | ~whole
        groups = np.where(
            alone, passages.groups.max(initial=0) + 1 + np.arange(len(frames)), groups
        )
        # Packing wants neighbours: a group ends where another frame comes between.
        changed = np.flatnonzero(np.diff(groups, prepend=-1))
        runs_of_groups = np.repeat(np.arange(len(changed)), np.diff(changed, append=len(groups)))
        if not len(frames):
            return np.zeros(1, np.int64), np.zeros(0, np.int64), frames, bags
        rooms = choose_unit_windows(frames.sizes, runs_of_groups, self._encoder.max_tokens)
        if self._options.stable_windows:
            keys = _hash_units(passages, frames)
            runs_of_groups = divide_groups(frames.sizes, runs_of_groups, keys, rooms)
        windows = pack_units(frames.sizes, runs_of_groups, rooms)
        starts = np.flatnonzero(np.diff(windows, prepend=-1))
        return np.append(starts, len(frames)).astype(np.int64), rooms[starts], frames, bags

    def _focus(
        self,
        passages: BlockPassages,
        frames: Frames,
        windows: NDArray[np.int64],
        rooms: NDArray[np.int64],
        owners: NDArray[np.int64],
    ) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
        """The focus of each window; none where there is nothing else to attend to."""
        if not self._resolved.has_focus or not len(frames):
            return None, None
        texts = frames.texts[windows[:-1]]
        late = passages.is_late[texts]
        if not late.any():
            return None, None
        n_tokens = frames.runs[:, 1] - frames.runs[:, 0]
        if passages.of_chunks:
            n_units = np.diff(windows).astype(np.float64)
            shares = np.add.reduceat(n_tokens, windows[:-1]) / n_units / rooms
        else:
            n_units = n_tokens / np.maximum(passages.unit_tokens[owners], 1.0)
            shares = np.zeros_like(n_units)
        own, header = self._resolved.focus_of(n_units, shares)
        # A chunk alone in its window, without a header, has nothing to be held off from.
        n_header = np.add.reduceat(frames.lengths[:, HEADER_SEGMENT], windows[:-1])
        matters = late & ((np.diff(windows) > 1) | (n_header > 0) | (not passages.of_chunks))
        focus = np.where(matters, own, 0).astype(np.float32)
        header_focus = np.where(matters, header, 0).astype(np.float32)
        if not (focus.any() or header_focus.any()):
            return None, None
        return focus, header_focus

    def _report_cuts(
        self, parents: Sequence[Parent], passages: BlockPassages, budgets: WindowBudgets
    ) -> None:
        cuts = (
            ("header", budgets.header_cut),
            ("overlap", budgets.overlap_cut & passages.is_late),
        )
        for what, cut in cuts:
            for owner in np.unique(passages.owners[cut]).tolist():
                self._policy.report_cut(what, parents[owner], self._encoder.max_tokens)


@dataclass(frozen=True)
class BlockFailure:
    """A block that could not be planned.

    Args:
        parents: Its parents.
        error: Why.
    """

    parents: Sequence[Parent]
    error: Exception


def _hash_units(passages: BlockPassages, frames: Frames) -> list[bytes]:
    """A hash of the run of each frame, the same in every block and on every machine."""
    starts = passages.texts.text[frames.texts, 0] + frames.runs[:, 0]
    ends = starts + frames.runs[:, 1] - frames.runs[:, 0]
    runs = zip(starts.tolist(), ends.tolist(), strict=True)
    parts = (passages.texts.pool[start:end] for start, end in runs)
    return [blake2b(part.astype("<i4").tobytes(), digest_size=8).digest() for part in parts]


def _join_bags(parts: Sequence[Bags]) -> Bags:
    joined = Bags(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("rows", "frames", "starts", "lengths", "weights", "steps")
        )
    )
    return joined.take(np.argsort(joined.frames, kind="stable"))


def _group_parents(parents: Iterable[Parent], max_chars: int) -> Iterator[list[Parent]]:
    """Neighbouring parents; a long one by itself, for it is tokenized piece by piece."""
    group: list[Parent] = []
    n_chars = 0
    for parent in parents:
        is_long = len(parent.text) > LONG_TEXT_CHARS
        if group and (is_long or n_chars >= max_chars):
            yield group
            group, n_chars = [], 0
        group.append(parent)
        n_chars += len(parent.text) + _PARENT_CHARS
        if is_long or n_chars >= max_chars:
            yield group
            group, n_chars = [], 0
    if group:
        yield group
