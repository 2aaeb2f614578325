"""Kept vectors: what is asked for comes back as it was, or not at all."""

from __future__ import annotations

import numpy as np

from latechunk_integrations import ChunkVectors, Parent
from latechunk_integrations.flow.kept_vectors import KeptVectors

_ONE, _TWO = (Parent("Same.", [(0, 5)], id=name) for name in ("one", "two"))
_VECTORS = ChunkVectors("one", np.eye(1, 4, dtype=np.float32), ("late",))


def test_equal_parents_share_vectors_and_keep_their_ids() -> None:
    kept = KeptVectors(None, 10_000, "cache")
    kept.keep_vectors("engine", _ONE, _VECTORS)
    first, second = kept.find_vectors("engine", [_ONE, _TWO])
    assert first is not None
    assert second is not None
    assert (first.parent_id, second.parent_id) == ("one", "two")
    np.testing.assert_array_equal(second.vectors, _VECTORS.vectors)


def test_a_bound_of_nothing_keeps_nothing() -> None:
    kept = KeptVectors(None, 0, "cache")
    kept.keep_vectors("engine", _ONE, _VECTORS)
    assert kept.find_vectors("engine", [_ONE]) == [None]
