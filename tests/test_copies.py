"""A copy of an engine gives the same vectors as its original, or says that it cannot."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from latechunk_integrations import CharSpans, LateChunkEngine, LateChunkOptions, Parent, Span
from latechunk_integrations.engine import rebuild_engine, shared_engine
from latechunk_integrations.engine_handle import EngineHandle
from latechunk_integrations.errors import FingerprintMismatchError, UnpicklableEncoderError
from latechunk_integrations.stats import EngineStats
from tests.evaluation.word_encoder import WordEncoder

PARENT = Parent("One supplier delivers. Another one does not.", [(0, 22), (23, 44)])


def _pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


WAYS: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": _pickled,
}
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


class LockedEncoder(WordEncoder):
    """What cannot be pickled."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


@pytest.fixture
def named(tiny_model_path: Path) -> LateChunkEngine:
    shared_engine.cache_clear()
    return LateChunkEngine.from_pretrained(str(tiny_model_path), dtype="float32", device="cpu")


def _own(encoder: WordEncoder, **options: Any) -> LateChunkEngine:
    return LateChunkEngine(encoder, LateChunkOptions(model="words", **options))


def _same(one: LateChunkEngine, other: LateChunkEngine) -> None:
    assert one.fingerprint == other.fingerprint
    for wanted, found in (
        (one.embed_query("where"), other.embed_query("where")),
        (one.embed_texts([PARENT.text]), other.embed_texts([PARENT.text])),
        (one.embed([PARENT])[0].vectors, other.embed([PARENT])[0].vectors),
    ):
        np.testing.assert_array_equal(found, wanted)


@ways
def test_a_copy_of_an_engine_gives_its_vectors(
    way: Callable[[Any], Any], named: LateChunkEngine
) -> None:
    _same(way(named), named)


@ways
def test_a_copy_of_an_engine_with_an_encoder_of_its_own_keeps_that_encoder(
    way: Callable[[Any], Any],
) -> None:
    engine = _own(WordEncoder(context=0.25), context_weight=0.5)
    _same(way(engine), engine)


@ways
def test_copies_count_for_themselves(way: Callable[[Any], Any], named: LateChunkEngine) -> None:
    named.embed([PARENT])
    twin = way(named)
    assert twin.stats == {}
    twin.embed([PARENT, PARENT])
    assert (named.stats["parents"], twin.stats["parents"]) == (1, 2)


def test_a_deep_copy_shares_the_model(named: LateChunkEngine) -> None:
    assert copy.deepcopy(named).encoder is named.encoder


def test_an_encoder_that_cannot_be_pickled_is_refused_by_name() -> None:
    engine = _own(LockedEncoder())
    assert copy.deepcopy(engine).encoder is engine.encoder
    for one in (engine, EngineHandle.of(engine)):
        with pytest.raises(UnpicklableEncoderError, match=r"LockedEncoder.*__getstate__"):
            pickle.dumps(one)


def _spoil(path: Path) -> None:
    """Another model under the same name."""
    from safetensors.torch import load_file, save_file

    weights = load_file(path / "model.safetensors")
    save_file(
        {name: torch.roll(one, 1) for name, one in weights.items()}, path / "model.safetensors"
    )


@pytest.fixture
def changing(tiny_model_path: Path, tmp_path: Path) -> LateChunkEngine:
    """An engine of a model whose files may change."""
    import shutil

    shared_engine.cache_clear()
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_path, folder)
    return LateChunkEngine.from_pretrained(str(folder), dtype="float32", device="cpu")


def test_a_model_that_changed_under_its_name_is_noticed(changing: LateChunkEngine) -> None:
    content = pickle.dumps(changing)
    handle = _pickled(EngineHandle.of(changing))
    described = EngineHandle(changing.options, fingerprint=changing.fingerprint)
    _spoil(Path(changing.options.model))
    with pytest.raises(FingerprintMismatchError, match="revision=") as caught:
        pickle.loads(content)
    assert caught.value.expected == changing.fingerprint != caught.value.found
    for one in (handle, described, copy.deepcopy(handle)):
        with pytest.raises(FingerprintMismatchError):
            _ = one.engine


def test_other_options_are_noticed(named: LateChunkEngine) -> None:
    with pytest.raises(FingerprintMismatchError):
        rebuild_engine(replace(named.options, context_weight=0.5), named.fingerprint)


class TestHandle:
    @ways
    def test_of_an_engine_goes_on_with_its_vectors(
        self, way: Callable[[Any], Any], named: LateChunkEngine
    ) -> None:
        handle = way(EngineHandle.of(named))
        assert handle.fingerprint == named.fingerprint
        _same(handle.engine, named)

    @ways
    def test_keeps_an_encoder_that_no_option_names(self, way: Callable[[Any], Any]) -> None:
        engine = _own(WordEncoder(context=0.25))
        handle = way(way(EngineHandle.of(engine)))  # the second time before it was asked
        _same(handle.engine, engine)
        _same(way(handle).engine, engine)

    def test_loads_nothing_until_it_is_asked(self, tiny_model_path: Path) -> None:
        shared_engine.cache_clear()
        handle = EngineHandle(LateChunkOptions(model=str(tiny_model_path)))
        for way in WAYS.values():
            assert way(handle).fingerprint is None
        assert shared_engine.cache_info().currsize == 0
        assert handle.engine is handle.engine
        assert handle.fingerprint == handle.engine.fingerprint

    def test_two_of_the_same_options_share_the_model_and_not_the_counts(
        self, named: LateChunkEngine
    ) -> None:
        one, other = EngineHandle(named.options), EngineHandle(named.options)
        one.engine.embed([PARENT])
        assert one.engine.encoder is other.engine.encoder
        assert other.engine.stats == {}

    @ways
    def test_copies_count_for_themselves(
        self, way: Callable[[Any], Any], named: LateChunkEngine
    ) -> None:
        handle = EngineHandle.of(named)
        twin = way(handle)
        handle.engine.embed([PARENT])
        assert twin.engine.stats == {}

    def test_a_copy_keeps_the_key_and_a_pickle_does_not(self) -> None:
        options = LateChunkOptions(model="m", encoder="jina", api_key="very-secret")  # type: ignore[arg-type]  # as a file gives it
        handle = EngineHandle(options)
        assert copy.deepcopy(handle).options.api_key == options.api_key
        assert b"very-secret" not in pickle.dumps(handle)
        assert _pickled(handle).options == replace(options, api_key=None)


@ways
@pytest.mark.parametrize(
    "value",
    [PARENT, Span(1, 3), CharSpans([(0, 4)]), LateChunkOptions(model="m", context_weight=0.5)],
    ids=lambda value: type(value).__name__,
)
def test_values_are_equal_to_their_copies(way: Callable[[Any], Any], value: Any) -> None:
    assert way(value) == value
    assert type(way(value)) is type(value)


@ways
def test_vectors_stay_what_they_are(way: Callable[[Any], Any], named: LateChunkEngine) -> None:
    (result,) = named.embed([PARENT])
    twin = way(result)
    np.testing.assert_array_equal(twin.vectors, result.vectors)
    assert (twin.parent_id, twin.modes, twin.n_windows) == (PARENT.id, result.modes, 1)
    assert not twin.vectors.flags.writeable


@ways
def test_counts_begin_anew(way: Callable[[Any], Any]) -> None:
    stats = EngineStats()
    stats.count("parents")
    twin = way(stats)
    twin.count("chunks")
    assert (stats.to_dict(), twin.to_dict()) == ({"parents": 1}, {"chunks": 1})
