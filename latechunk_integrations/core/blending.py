"""Both sides of a chunk in one vector; vectors to unit length, or refused."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.errors import NotFiniteError

# Rows that are scaled at once: no second array of their size.
_BLOCK_ROWS = 1_024


def blend(
    vectors: NDArray[np.float32],
    is_late: NDArray[np.bool_],
    alone: NDArray[np.float32],
    rows: NDArray[np.int64],
    context_weight: float,
) -> None:
    """Blend the standalone side into the late one, in place; not of unit length afterwards.

    Args:
        vectors: The late side of all chunks, float32, shape ``(n, dim)``.
        is_late: Whether a chunk has a late side; without one it gets its standalone side alone.
        alone: The standalone side of some chunks, float32, shape ``(n_alone, dim)``.
        rows: The chunks that it is of, shape ``(n_alone,)``.
        context_weight: Share of the late side.
    """
    share = np.where(is_late[rows], np.float32(context_weight), np.float32(0))[:, None]
    vectors[rows] = share * vectors[rows] + (1 - share) * alone


def make_unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give rows unit length, in place; rows of zeros stay as they are.

    Args:
        vectors: Float32, shape ``(n, dim)``.

    Returns:
        The same array.
    """
    for start in range(0, len(vectors), _BLOCK_ROWS):
        rows = vectors[start : start + _BLOCK_ROWS]
        norms = measure_rows(rows)
        norms[norms == 0] = 1
        # Infinite values become NaN: whoever gives vectors away checks them.
        with np.errstate(invalid="ignore"):
            np.divide(rows, norms[:, None], out=rows, casting="same_kind")
    return vectors


def measure_rows(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Euclidean lengths of rows, float64, shape ``(n,)``.

    In float64: the squares of what fits into float32 may not.

    Args:
        vectors: Float32, shape ``(n, dim)``.
    """
    squares: NDArray[np.float64] = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    return np.sqrt(squares)


def check_vectors(
    vectors: NDArray[np.float32], what: str, dtype: str | None, *, parent_id: str | None = None
) -> None:
    """Refuse vectors that a store would rank wrongly or not take.

    Args:
        vectors: Float32, shape ``(n, dim)``.
        what: Names them in the error.
        dtype: What the encoder computed in; None: not known.
        parent_id: The parent concerned, where there is one.

    Raises:
        NotFiniteError: A value is NaN or infinite, or a row is zero throughout.
    """
    lengths = measure_rows(vectors)
    if (lengths > 0).all() and np.isfinite(lengths).all():
        return
    bad, kind = ~np.isfinite(lengths), "NaN or infinite values"
    if not bad.any():
        bad, kind = lengths == 0, "no length"
    computed = f" (computed in {dtype})" if dtype else ""
    raise NotFiniteError(
        f"vector {int(np.argmax(bad))} of {what} has {kind}{computed}; load the model with "
        "dtype='float32', and check its weights where that does not help",
        parent_id=parent_id,
    )
