"""Vectors of the textbook's late chunking stay what they were when they were recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from latechunk_integrations import LateChunkEngine
from tests.stable_parents import EVERY, N_PARENTS, OPTION_SETS, stable_parent

RECORDED = Path(__file__).parent / "data" / "stable_vectors.npz"


def test_vectors_of_200_generated_parents_are_the_recorded_ones(minilm_path: Path) -> None:
    """Recorded before windows were planned by blocks.

    Long parents of the first two sets anew when the preamble went: by the code before, with none.
    """
    fixed = {"dtype": "float32", "device": "cpu", "max_tokens": 64, "layout": "text", "focus": 0}
    with np.load(RECORDED) as recorded:
        for first, options in enumerate(OPTION_SETS):
            engine = LateChunkEngine.from_pretrained(str(minilm_path), **{**fixed, **options})
            numbers = range(first, N_PARENTS, len(OPTION_SETS))
            for number, result in zip(
                numbers, engine.embed([stable_parent(n) for n in numbers]), strict=True
            ):
                np.testing.assert_allclose(
                    result.vectors[:, ::EVERY], recorded[f"p{number}"], atol=1e-6
                )
