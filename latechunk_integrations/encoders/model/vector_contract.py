"""What the contracts of local and of served models have in common, and truncation by it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# As torch's layer norm has it.
_EPSILON = 1e-5


@dataclass(frozen=True)
class HeadContract:
    """A module after pooling.

    Args:
        name: Its class, such as ``Dense``.
        in_features: Width of what it reads.
        out_features: Width of what it gives.
    """

    name: str
    in_features: int
    out_features: int

    def __str__(self) -> str:
        if self.in_features == self.out_features:
            return f"{self.name} {self.out_features}"
        return f"{self.name} {self.in_features} to {self.out_features}"


@dataclass(frozen=True, kw_only=True)
class VectorContract:
    """What a vector of a model is: all that can be told of a served one.

    Args:
        pooling_mode: Pooling mode as sentence-transformers names it.
        prompt_pooled: Whether the prompt is pooled.
        document_prompt: Prefix of passages; a title's slot is filled as for none.
        query_prompt: Prefix of queries.
        prompt_names: Names of all prompts that the files state, sorted.
        title_template: The document prompt with ``{title}`` where a title goes; None: the model
            was trained without.
        max_seq_length: Window length that the model declares; None if it declares none.
        matryoshka: Widths that the vectors were trained to be cut to; empty: not known.
        least_dimensions: Any width from here on was trained; None: no such statement.
        truncation_layer_norm: A vector that is cut goes through a layer norm before.
        heads: The modules after pooling, in order.
        dimensions: Width of a vector before truncation; 0: a server was not asked for it yet.
    """

    pooling_mode: str
    prompt_pooled: bool
    document_prompt: str
    query_prompt: str
    prompt_names: tuple[str, ...]
    title_template: str | None
    max_seq_length: int | None
    matryoshka: tuple[int, ...]
    least_dimensions: int | None
    truncation_layer_norm: bool
    heads: tuple[HeadContract, ...] = ()
    dimensions: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The contract as plain values."""
        return asdict(self)


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
