"""What happens to what cannot be done as asked: counted and logged, or a typed error."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.errors import ChunkWithoutTokenError, ParentTooLongError
from latechunk_integrations.options import LateChunkOptions
from latechunk_integrations.schema import Parent
from latechunk_integrations.stats import EngineStats


class Policy:
    """Decides by the options, and counts.

    Args:
        options: What was asked for.
        stats: Where it is counted.
    """

    def __init__(self, options: LateChunkOptions, stats: EngineStats) -> None:
        self._options = options
        self._stats = stats

    def is_short(self, n_tokens: int) -> bool:
        """Whether a parent has too few tokens to be embedded late."""
        if n_tokens >= self._options.min_parent_tokens:
            return False
        self._stats.count("short_parents")
        return True

    def place_long(self, parent: Parent, reason: str) -> Literal["standalone", "skip"]:
        """What becomes of a parent that may not be divided.

        Args:
            parent: The parent.
            reason: Its size and that of a window, and what to do about it.

        Raises:
            ParentTooLongError: ``fallback="error"``, or ``strict``.
        """
        said = f"parent {parent.id!r} is too long for the model's window: {reason}"
        if self._options.fallback == "error" or self._options.strict:
            raise ParentTooLongError(said, parent_id=parent.id)
        if self._options.fallback == "skip":
            self._stats.report("skipped_parents", f"skipped: {said}")
            return "skip"
        self._stats.report("long_parents_standalone", f"chunks embedded standalone: {said}")
        return "standalone"

    def report_cut(self, what: str, parent: Parent, max_tokens: int) -> None:
        """Count a header or overlap that was shortened."""
        self._stats.report(
            f"{what}s_cut",
            f"the {what} of parent {parent.id!r} was shortened: half of a window of "
            f"{max_tokens} tokens belongs to the text",
        )

    def report_empty(self, parent: Parent, rows: NDArray[np.int64], why: str) -> None:
        """Count chunks that have nothing to pool.

        Raises:
            ChunkWithoutTokenError: ``strict``.
        """
        start, end = (int(bound) for bound in parent.spans.array[rows[0]])
        reason = (
            f"{len(rows)} chunks of parent {parent.id!r} have nothing to pool, the first at "
            f"[{start}, {end}): {why}"
        )
        if self._options.strict:
            raise ChunkWithoutTokenError(reason, parent_id=parent.id, span=(start, end))
        self._stats.report("chunks_without_token", f"{reason}; embedded standalone", len(rows))

    def report_divided(self, parent: Parent, reason: str) -> None:
        """Count a chunk that is longer than what is read together.

        Raises:
            ParentTooLongError: ``fallback="error"``, or ``strict``.
        """
        if self._options.strict or self._options.fallback == "error":
            raise ParentTooLongError(f"{reason}; split it", parent_id=parent.id)
        self._stats.report("chunks_cut", f"{reason}: it gets the mean of its parts")
