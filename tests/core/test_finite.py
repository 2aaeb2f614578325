"""Vectors are numbers with a direction, or an error; unit length at any scale of float32."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from latechunk_integrations.core.blending import check_vectors, make_unit
from latechunk_integrations.errors import NotFiniteError


def _rows() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ([0.0] * 8, "no length"),
        ([np.nan] + [1.0] * 7, "NaN"),
        ([1.0] * 7 + [np.inf], "infinite"),
        ([1.0] * 7 + [-np.inf], "infinite"),
    ],
)
def test_a_bad_row_is_named_with_the_parent_and_the_dtype(row: list[float], kind: str) -> None:
    vectors = _rows()
    vectors[1] = row
    with pytest.raises(NotFiniteError, match=rf"vector 1 of a parent has .*{kind}") as caught:
        check_vectors(vectors, "a parent", "float16", parent_id="p7")
    assert "float16" in str(caught.value)
    assert caught.value.parent_id == "p7"


def test_good_rows_and_no_rows_pass() -> None:
    check_vectors(_rows(), "the texts", "float32")
    check_vectors(_rows()[:0], "the texts", None)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1.0, 1e12, 1e20, 1e37])
def test_unit_length_at_any_scale(scale: float) -> None:
    """The square of 1e20 is more than float32 holds, that of 1e-30 less."""
    vectors = _rows() * np.float32(scale)
    exact = vectors.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    np.testing.assert_allclose(make_unit(vectors), exact, atol=1e-6)


def test_a_row_of_zeros_stays_one() -> None:
    assert not make_unit(np.zeros((2, 4), np.float32)).any()
