"""The last step of both flows: the sides of a parent's chunks become its vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.blending import blend, make_unit
from latechunk_integrations.core.finite import check_vectors
from latechunk_integrations.options import LateChunkOptions
from latechunk_integrations.schema import ChunkVectors, Mode, SubSpanVectors
from latechunk_integrations.stats import EngineStats

__all__ = ["Sides", "finish_parent", "finish_vectors"]


@dataclass(frozen=True)
class Sides:
    """What the passes gave for the chunks of one parent.

    Args:
        late: Vectors of the late pass, float32, shape ``(n_chunks, dim)``; None: no late pass.
        is_late: Whether a chunk has a late vector, bool, shape ``(n_chunks,)``.
        alone: Vectors of the standalone pass, float32, shape ``(n_alone, dim)``.
        alone_rows: The chunks that they are of, int64, shape ``(n_alone,)``.
        headers: The header's own vector for each chunk, float32, shape ``(n_chunks, dim)``;
            None: not asked for.
        n_windows: Windows of the late pass.
        windowed: Whether the late pass took more than one window.
    """

    late: NDArray[np.float32] | None
    is_late: NDArray[np.bool_]
    alone: NDArray[np.float32]
    alone_rows: NDArray[np.int64]
    headers: NDArray[np.float32] | None = None
    n_windows: int = 0
    windowed: bool = False


def finish_parent(
    parent_id: str,
    sides: Sides,
    options: LateChunkOptions,
    stats: EngineStats,
    dtype: str | None,
    sub_spans: SubSpanVectors | None = None,
) -> ChunkVectors:
    """Blend both sides, check, and give unit length.

    Args:
        parent_id: Whose chunks they are.
        sides: The vectors of each pass, after the model's heads.
        options: Weights, and whether vectors get unit length.
        stats: Counts parents and chunks.
        dtype: What the encoder computed in, for the error.
        sub_spans: Those of the chunks, finished.

    Raises:
        NotFiniteError: A vector is not finite, or has no length.
    """
    n_chunks = len(sides.is_late)
    vectors = finish_vectors(parent_id, sides, options, dtype)
    late_mode: Mode = "windowed" if sides.windowed else "late"
    modes = tuple(late_mode if late else "standalone" for late in sides.is_late.tolist())
    stats.count("parents")
    stats.count("chunks", n_chunks)
    stats.count("standalone_chunks", n_chunks - int(sides.is_late.sum()))
    if sub_spans is not None:
        stats.count("sub_spans", len(sub_spans))
    return ChunkVectors(parent_id, vectors, modes, sides.n_windows, sub_spans=sub_spans)


def finish_vectors(
    parent_id: str, sides: Sides, options: LateChunkOptions, dtype: str | None
) -> NDArray[np.float32]:
    """The vectors of one parent's chunks, or of their sub-spans; see `finish_parent`.

    Returns:
        Float32, shape ``(n, dim)``.
    """
    n = len(sides.is_late)
    blended = options.standalone or options.header_weight > 0
    if sides.late is None:
        vectors = np.zeros((n, sides.alone.shape[1]), np.float32)
    else:
        # A copy, so that no parent keeps the vectors of a whole block in memory.
        vectors = np.array(sides.late, np.float32)
    if blended:
        make_unit(vectors)
    if len(sides.alone_rows):
        alone = make_unit(np.array(sides.alone, np.float32)) if blended else sides.alone
        blend(vectors, sides.is_late, alone, sides.alone_rows, options.context_weight)
    if sides.headers is not None:
        vectors += np.float32(options.header_weight) * sides.headers
    check_vectors(vectors, f"parent {parent_id!r}", dtype, parent_id=parent_id)
    return make_unit(vectors) if options.normalize else vectors
