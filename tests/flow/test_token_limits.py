"""Texts that are just as long as they may be, and one token longer."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.encoders.local.encoder import LocalEncoder
from latechunk_integrations.errors import ParentTooLongError

N_SPECIALS = 2  # [CLS] and [SEP]
WINDOW = 40


def _engine(path: Path, **options: Any) -> LateChunkEngine:
    return LateChunkEngine.from_pretrained(
        str(path), device="cpu", dtype="float32", max_tokens=WINDOW, **options
    )


def _parent(n_tokens: int, n_chunks: int = 1) -> Parent:
    """A parent of so many tokens: a sign is one token, whatever stands beside it."""
    cuts = np.linspace(0, n_tokens, n_chunks + 1).astype(int).tolist()
    return Parent("!" * n_tokens, list(pairwise(cuts)), id="signs")


def test_a_sign_is_one_token(tiny_model_path: Path) -> None:
    encoder = _engine(tiny_model_path).encoder
    assert isinstance(encoder, LocalEncoder)
    ids = encoder.model.tokenizer("!" * 30)["input_ids"]
    assert len(ids) == 30 + N_SPECIALS


@pytest.mark.parametrize("layout", ["units", "text"])
def test_a_parent_that_just_fits_its_window_is_not_too_long(
    layout: str, tiny_model_path: Path
) -> None:
    engine = _engine(tiny_model_path, layout=layout, focus=0.0, fallback="error")
    (result,) = engine.embed([_parent(WINDOW - N_SPECIALS)])
    assert (result.modes, result.n_windows) == (("late",), 1)
    with pytest.raises(ParentTooLongError):
        engine.embed([_parent(WINDOW - N_SPECIALS + 1)])


def test_units_count_with_their_special_tokens(tiny_model_path: Path) -> None:
    """Two units have them twice."""
    engine = _engine(tiny_model_path, fallback="skip")
    fits, too_long = engine.embed(
        [_parent(WINDOW - 2 * N_SPECIALS, 2), _parent(WINDOW - 2 * N_SPECIALS + 1, 2)]
    )
    assert fits.modes == ("late", "late")
    assert too_long.skipped
    assert engine.stats["skipped_parents"] == 1


@pytest.mark.parametrize("layout", ["units", "text"])
def test_two_windows_are_windowed(layout: str, tiny_model_path: Path) -> None:
    engine = _engine(tiny_model_path, layout=layout, focus=0.0, overlap_tokens=0)
    (result,) = engine.embed([_parent(WINDOW, 4)])
    assert (set(result.modes), result.n_windows) == ({"windowed"}, 2)


@pytest.mark.rule(3)
@pytest.mark.parametrize("layout", ["units", "text"])
def test_a_parent_is_short_below_the_least_tokens(layout: str, tiny_model_path: Path) -> None:
    engine = _engine(tiny_model_path, layout=layout, focus=0.0, min_parent_tokens=20)
    enough, short = engine.embed([_parent(20), _parent(19)])
    assert (enough.modes, short.modes) == (("late",), ("standalone",))
    assert engine.stats["short_parents"] == 1


@pytest.mark.rule(5)
def test_a_plain_text_that_the_model_just_reads_is_not_cut(tiny_model_path: Path) -> None:
    engine = _engine(tiny_model_path)
    encoder = engine.encoder
    assert isinstance(encoder, LocalEncoder)
    longest = encoder.model.max_seq_length
    assert longest is not None
    room = longest - N_SPECIALS
    engine.embed_texts(["!" * room])
    assert "truncated_texts" not in engine.stats
    engine.embed_texts(["!" * room, "!" * (room + 1)])
    assert engine.stats["truncated_texts"] == 1


@pytest.mark.rule(2)
def test_two_units_of_a_window_attend_to_each_other_as_far_as_the_focus_lets_them(
    tiny_model_path: Path,
) -> None:
    """Without a header there is nothing else to hold a unit off from."""
    parent = Parent("one ship. another ship!", [(0, 9), (10, 23)])
    by_focus = [
        _engine(tiny_model_path, layout="units", focus=focus).embed([parent])[0].vectors
        for focus in (0.0, 3.0, float("inf"))
    ]
    alone = _engine(tiny_model_path, enabled=False).embed([parent])[0].vectors
    cosines = [(vectors * alone).sum(axis=1) for vectors in by_focus]
    assert (cosines[0] < cosines[1] - 1e-4).all()
    assert (cosines[1] < cosines[2] - 1e-4).all()
    np.testing.assert_allclose(cosines[2], 1, atol=1e-5)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_heads_that_scale_rows_meet_no_empty_ones(tiny_model_path: Path) -> None:
    """Chunks without a late side have no sum, and 0 / 0 is no number."""
    options: dict[str, Any] = {"dtype": "float32", "device": "cpu", "min_parent_tokens": 12}
    parents = [Parent("No pets.", [(0, 8)]), Parent("word " * 40, [(0, 20), (100, 140)])]
    engine = LateChunkEngine.from_pretrained(str(tiny_model_path), **options)
    right = engine.embed(parents)
    assert isinstance(engine.encoder, LocalEncoder)

    def scale(means: NDArray[np.float32]) -> NDArray[np.float32]:
        scaled: NDArray[np.float32] = means / np.linalg.norm(means, axis=1, keepdims=True)
        return scaled

    engine.encoder.finish = scale  # type: ignore[method-assign]  # as a plugged encoder may do
    for one, other in zip(right, engine.embed(parents), strict=True):
        np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-6)
