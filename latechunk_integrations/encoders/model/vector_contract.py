"""What the contracts of local and of served models have in common, and truncation by it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

# As torch's layer norm has it.
_EPSILON = 1e-5


class VectorContract(Protocol):
    """What a vector of a model is; see `ModelContract` for the members."""

    @property
    def pooling_mode(self) -> str:
        """Pooling mode as sentence-transformers names it."""
        ...

    @property
    def dimensions(self) -> int:
        """Width of a vector before truncation."""
        ...

    @property
    def matryoshka(self) -> tuple[int, ...]:
        """Widths that the vectors were trained to be cut to; empty: not known."""
        ...

    @property
    def least_dimensions(self) -> int | None:
        """Any width from here on was trained; None: no such statement."""
        ...

    @property
    def truncation_layer_norm(self) -> bool:
        """A vector that is cut goes through a layer norm before."""
        ...


def cut_vectors(
    vectors: NDArray[np.float32], width: int, contract: VectorContract
) -> NDArray[np.float32]:
    """Matryoshka truncation as the model was trained for it.

    Args:
        vectors: Float32, shape ``(n, dimensions)``.
        width: What they are cut to.
        contract: The model's.

    Returns:
        Float32, shape ``(n, width)``; not of unit length.
    """
    if width == vectors.shape[1]:
        return vectors
    if contract.truncation_layer_norm:
        vectors = _layer_norm(vectors)
    return vectors[:, :width]


def _layer_norm(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """A layer norm without weights."""
    centred = vectors.astype(np.float64)
    centred -= centred.mean(axis=1, keepdims=True)
    variance = (centred**2).mean(axis=1, keepdims=True)
    normal: NDArray[np.float32] = (centred / np.sqrt(variance + _EPSILON)).astype(np.float32)
    return normal
