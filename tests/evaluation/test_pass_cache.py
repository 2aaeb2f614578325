"""Vectors on disk: computed once, read back whole, told apart by everything they depend on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latechunk_integrations import LateChunkEngine, Parent, Span
from latechunk_integrations.evaluation.pass_cache import CachedVectors, VectorCache, input_key
from latechunk_integrations.evaluation.results import Costs

MADE = CachedVectors(
    np.arange(6, dtype=np.float32).reshape(3, 2),
    np.array([True, False, True]),
    Costs(1.25, 4_000_000_000, 512.5),
)

SHAPE = (3, 2)


def _refuse() -> CachedVectors:
    raise AssertionError("computed although it was there")


@pytest.mark.parametrize("memory", [512.5, None])
def test_what_was_computed_once_is_read_back_whole(tmp_path: Path, memory: float | None) -> None:
    costs = replace(MADE.costs, peak_memory_mb=memory)
    VectorCache(tmp_path / "new" / "folder").get("key", SHAPE, lambda: replace(MADE, costs=costs))
    found = VectorCache(tmp_path / "new" / "folder").get("key", SHAPE, _refuse)
    np.testing.assert_array_equal(found.vectors, MADE.vectors)
    assert found.vectors.dtype == np.float32
    np.testing.assert_array_equal(found.late, MADE.late)
    assert found.costs == costs


def test_without_a_folder_nothing_is_kept() -> None:
    cache = VectorCache(None)
    cache.get("key", SHAPE, lambda: MADE)
    with pytest.raises(AssertionError, match="computed although"):
        cache.get("key", SHAPE, _refuse)


def test_a_run_that_stopped_leaves_no_half_written_vectors(tmp_path: Path) -> None:
    def stopped() -> CachedVectors:
        raise KeyboardInterrupt

    cache = VectorCache(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        cache.get("key", SHAPE, stopped)
    (tmp_path / "key.123.partial").write_bytes(b"half a file")
    np.testing.assert_array_equal(cache.get("key", SHAPE, lambda: MADE).vectors, MADE.vectors)


@pytest.mark.parametrize("kept", [0, 100], ids=["empty", "cut short"])
def test_damaged_vectors_are_computed_anew_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kept: int
) -> None:
    cache, path = VectorCache(tmp_path), tmp_path / "key.npz"
    cache.get("key", SHAPE, lambda: MADE)
    path.write_bytes(path.read_bytes()[:kept])
    np.testing.assert_array_equal(cache.get("key", SHAPE, lambda: MADE).vectors, MADE.vectors)
    assert "key.npz are damaged" in caplog.text
    np.testing.assert_array_equal(cache.get("key", SHAPE, _refuse).vectors, MADE.vectors)


@pytest.mark.parametrize(
    "other",
    [
        replace(MADE, vectors=MADE.vectors[:2]),
        replace(MADE, vectors=MADE.vectors.ravel()),
        replace(MADE, vectors=MADE.vectors.astype(np.float64)),
        replace(MADE, late=MADE.late[:1]),
    ],
    ids=["rows", "one axis", "float64", "marks"],
)
def test_vectors_of_another_shape_are_computed_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, other: CachedVectors
) -> None:
    cache = VectorCache(tmp_path)
    np.savez(
        tmp_path / "key.npz", vectors=other.vectors, late=other.late, costs=np.array([1.0, 2, 3])
    )
    np.testing.assert_array_equal(cache.get("key", SHAPE, lambda: MADE).vectors, MADE.vectors)
    assert "key.npz are damaged" in caplog.text


def test_the_key_tells_apart_all_that_vectors_depend_on(tiny_engine: LateChunkEngine) -> None:
    spans = [Span(0, 5), Span(6, 11)]
    parent = Parent("Hello there, reader.", spans, header="Title")
    parents = [
        [parent],
        [parent, parent],
        [Parent("Hallo there, reader.", spans, header="Title")],
        [Parent(parent.text, spans, header="Other")],
        [Parent(parent.text, [Span(0, 5), Span(6, 12)], header="Title")],
        [Parent(parent.text, spans[::-1], header="Title")],
        [Parent(parent.text, spans[:1], header="Title")],
    ]
    prints = {
        LateChunkEngine(tiny_engine.encoder, replace(tiny_engine.options, **changed)).fingerprint
        for changed in (
            {},
            {"overlap_tokens": 3},
            {"pool_edges": False},
            {"context_weight": 0.5},
            {"header_weight": 0.5},
        )
    }
    keys = {input_key(print_, each) for print_ in prints for each in parents}
    assert len(keys) == 5 * len(parents)
    assert input_key("same", [parent]) == input_key("same", [Parent(parent.text, spans, "Title")])
