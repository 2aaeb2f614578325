"""Vectors that are numbers and have a direction, or an error."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.blending import measure_rows
from latechunk_integrations.errors import NotFiniteError


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
