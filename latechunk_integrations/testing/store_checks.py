"""`check_store`: whether a vector store keeps what it was given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.testing.rules import Checker

_TOLERANCE = 1e-5
# Two of them are equal: late vectors of equal texts differ.
_TEXTS = ("gamma", "alpha", "alpha", "beta", "Größe 🎉", "delta")


def check_store(
    write: Callable[[Sequence[str], Sequence[str], NDArray[np.float32]], Any],
    read: Callable[[Sequence[str]], Any],
    *,
    search: Callable[[NDArray[np.float32]], Sequence[str]] | None = None,
    dimensions: int = 8,
    tolerance: float = _TOLERANCE,
) -> None:
    """Write vectors to a store, read and replace them.

    Args:
        write: Stores ids, texts and vectors (unit length, ``(n, dimensions)``), row for row.
        read: The vectors of some ids, in their order.
        search: Ids by falling similarity to a vector, the best first; None: is not checked.
        dimensions: Width of the vectors.
        tolerance: Largest difference of two vectors, relative to their length; more for a store
            that keeps them in half precision.

    Raises:
        ConformanceError: It does not keep what it was given; the message names the rule.
    """
    check = Checker("the store", tolerance)
    ids = [f"id-{n}" for n in (5, 3, 0, 4, 1, 2)]
    vectors = _unit_rows(len(ids), dimensions, seed=0)
    write(ids, _TEXTS, vectors)
    check.same("kept", "vectors just written", np.asarray(read(ids)), vectors)
    backwards = np.asarray(read(ids[::-1]))[::-1]
    check.same("order", "ids asked the other way round", backwards, vectors)
    if search is not None:
        for name, vector in zip(ids, vectors, strict=True):
            best = search(vector)[0]
            check.require(holds=best == name, rule="found", found=f"{best!r} comes before {name!r}")
    # A document that changed: some of its chunks again, one of them with the text of another.
    vectors[1:4] = _unit_rows(3, dimensions, seed=1)
    write(ids[1:4], [*_TEXTS[2:4], _TEXTS[0]], vectors[1:4])
    check.same("replaced", "after three were written again", np.asarray(read(ids)), vectors)


def _unit_rows(n: int, dimensions: int, *, seed: int) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).normal(size=(n, dimensions))
    unit: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(
        np.float32
    )
    return unit
