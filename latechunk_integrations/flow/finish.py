"""The last step of both flows: the sides of chunks become their vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.blending import blend, check_vectors, make_unit
from latechunk_integrations.options import LateChunkOptions
from latechunk_integrations.schema import ChunkVectors, Mode, SubSpanVectors
from latechunk_integrations.stats import EngineStats


@dataclass(frozen=True)
class Sides:
    """What the passes gave for some chunks, of one parent or of several.

    Args:
        late: Vectors of the late pass, float32, shape ``(n_chunks, dim)``; they are overwritten.
        is_late: Whether a chunk has a late vector, bool, shape ``(n_chunks,)``.
        alone: Vectors of the standalone pass, float32, shape ``(n_alone, dim)``.
        alone_rows: The chunks that they are of, int64, shape ``(n_alone,)``.
        headers: The header's own vector for each chunk, float32, shape ``(n_chunks, dim)``;
            None: not asked for.
    """

    late: NDArray[np.float32]
    is_late: NDArray[np.bool_]
    alone: NDArray[np.float32]
    alone_rows: NDArray[np.int64]
    headers: NDArray[np.float32] | None = None


def finish_sides(sides: Sides, options: LateChunkOptions) -> NDArray[np.float32]:
    """Blend both sides, and give unit length where it is asked for.

    Args:
        sides: The vectors of each pass, after the model's heads.
        options: Weights, and whether vectors get unit length.

    Returns:
        Float32, shape ``(n_chunks, dim)``; what is no number stays so.
    """
    # Nothing was pooled for them, and a model's heads may make no number of it.
    sides.late[~sides.is_late] = 0
    blended = options.standalone or options.header_weight > 0
    vectors = make_unit(sides.late) if blended else sides.late
    if len(sides.alone_rows):
        alone = make_unit(np.array(sides.alone, np.float32)) if blended else sides.alone
        blend(vectors, sides.is_late, alone, sides.alone_rows, options.context_weight)
    if sides.headers is not None:
        vectors += np.float32(options.header_weight) * sides.headers
    return make_unit(vectors) if options.normalize else vectors


def finish_parent(
    parent_id: str,
    vectors: NDArray[np.float32],
    is_late: NDArray[np.bool_],
    stats: EngineStats,
    dtype: str | None,
    *,
    n_windows: int,
    windowed: bool,
    sub_spans: SubSpanVectors | None = None,
) -> ChunkVectors:
    """Check the vectors of one parent, and count them.

    Args:
        parent_id: Whose chunks they are.
        vectors: Their vectors, float32, shape ``(n_chunks, dim)``.
        is_late: Whether a chunk has a late side, bool, shape ``(n_chunks,)``.
        stats: Counts parents and chunks.
        dtype: What the encoder computed in, for the error.
        n_windows: Windows of the late pass.
        windowed: Whether the late pass took more than one window.
        sub_spans: Those of the chunks, finished.

    Raises:
        NotFiniteError: A vector is not finite, or has no length.
    """
    check_vectors(vectors, f"parent {parent_id!r}", dtype, parent_id=parent_id)
    late_mode: Mode = "windowed" if windowed else "late"
    modes = tuple(late_mode if late else "standalone" for late in is_late.tolist())
    stats.count("parents")
    stats.count("chunks", len(modes))
    stats.count("standalone_chunks", modes.count("standalone"))
    if sub_spans is not None:
        stats.count("sub_spans", len(sub_spans))
    return ChunkVectors(parent_id, vectors, modes, n_windows, sub_spans=sub_spans)
