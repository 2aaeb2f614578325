"""One bad document costs one document (rule 8)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from latechunk_integrations.errors import (
    AuthenticationError,
    EncodingFailedError,
    LateChunkError,
    ModelError,
    ServerError,
)
from latechunk_integrations.schema import ChunkVectors, Parent

_SICK = 10

Failed: TypeAlias = LateChunkError
"""What comes in the place of a parent that failed."""


class FailureStreak:
    """Parents in a row that the model or its server failed over: the fault is not theirs."""

    def __init__(self) -> None:
        self._length = 0

    def add(self, result: ChunkVectors | Failed) -> None:
        """Take what came of the next parent.

        Raises:
            LateChunkError: This one, with which every further parent would fail: it is the
                tenth in a row, or the server refuses the key.
        """
        if isinstance(result, ChunkVectors):
            self._length = 0
            return
        self._length += isinstance(result, ModelError | ServerError)
        if isinstance(result, AuthenticationError) or self._length == _SICK:
            raise result


def isolate_failures(
    parents: Sequence[Parent],
    results: Iterator[ChunkVectors],
    embed_alone: Callable[[Parent], Iterator[ChunkVectors]],
) -> Iterator[ChunkVectors | Failed]:
    """Take the results of several parents; where that fails, each of those left by itself.

    Yields:
        For each parent its vectors, or what failed.
    """
    n_done = 0
    try:
        for result in results:
            n_done += 1
            yield result
    except Exception as error:  # noqa: BLE001  # given in the parent's place
        if len(parents) == 1:
            yield name_failure(parents[0].id, error)
            return
    for parent in parents[n_done:]:
        try:
            (result,) = embed_alone(parent)
        except Exception as error:  # noqa: BLE001, PERF203  # given in the parent's place
            yield name_failure(parent.id, error)
        else:
            yield result


def name_failure(parent_id: str, error: Exception) -> Failed:
    """A typed error that names the parent; other errors are its cause."""
    if isinstance(error, LateChunkError):
        if error.parent_id is None:
            error.parent_id = parent_id
        return error
    failed = EncodingFailedError(
        f"parent {parent_id!r} could not be embedded: {type(error).__name__}: {error}",
        parent_id=parent_id,
    )
    failed.__cause__ = error
    return failed
