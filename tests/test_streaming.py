"""The stream of an engine: what is planned ahead, what closes it, what its batches look like."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np
import pytest
import torch

from latechunk_integrations import LateChunkEngine, LateChunkOptions, Parent
from latechunk_integrations.encoders.base import TokenBatch
from latechunk_integrations.encoders.local.encoder import LocalEncoder
from latechunk_integrations.encoders.model.tokenization import OffsetTokenizer
from latechunk_integrations.errors import ChunkWithoutTokenError

TEXT = "Berlin is the capital of Germany. It has 3.85 million inhabitants. "


def engine_like(engine: LateChunkEngine, **options: Any) -> LateChunkEngine:
    """Another engine over the same model, in running text unless the options say otherwise."""
    assert isinstance(engine.encoder, LocalEncoder)
    given = {"layout": "text", "focus": 0.0, **options}
    checked = LateChunkOptions(model=engine.options.model, dtype="float32", **given)
    return LateChunkEngine(LocalEncoder(engine.encoder.model, checked, identity="tiny"), checked)


def planning_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("latechunk-plan")]


def endless(drawn: list[str]) -> Iterator[Parent]:
    while True:
        drawn.append(threading.current_thread().name)
        yield Parent(TEXT, id=str(len(drawn)))


def test_closing_the_stream_early_ends_its_thread_and_draws_no_more(
    tiny_engine: LateChunkEngine,
) -> None:
    drawn: list[str] = []
    results = engine_like(tiny_engine, batch_tokens=32).embed_iter(endless(drawn))
    next(results)
    assert planning_threads()
    results.close()  # type: ignore[attr-defined]  # a generator
    assert not planning_threads()
    n_drawn = len(drawn)
    with pytest.raises(StopIteration):
        next(results)
    assert len(drawn) == n_drawn


def test_a_stream_that_was_read_to_its_end_leaves_no_thread(tiny_engine: LateChunkEngine) -> None:
    assert len(list(tiny_engine.embed_iter(Parent(TEXT + str(n)) for n in range(5)))) == 5
    assert not planning_threads()


def test_parents_are_drawn_in_the_callers_thread_and_context(tiny_engine: LateChunkEngine) -> None:
    """As a database cursor or a context variable behind the iterator may need."""
    tenant: ContextVar[str] = ContextVar("tenant")
    tenant.set("one")
    drawn: list[str] = []

    def parents() -> Iterator[Parent]:
        for n in range(60):
            drawn.append(threading.current_thread().name)
            yield Parent(f"{TEXT} {n}", id=f"{tenant.get()}-{n}")

    results = list(engine_like(tiny_engine, batch_tokens=32).embed_iter(parents()))
    assert [result.parent_id for result in results] == [f"one-{n}" for n in range(60)]
    assert set(drawn) == {threading.current_thread().name}


def test_an_error_of_the_planning_thread_reaches_the_caller_behind_the_results_before_it(
    tiny_engine: LateChunkEngine,
) -> None:
    engine = engine_like(tiny_engine, batch_tokens=32, strict=True)
    parents = [Parent(TEXT, id=str(n)) for n in range(90)]
    parents[80] = Parent("one   \n\n  two", [(4, 8)], id="bad")
    seen: list[str] = []
    with pytest.raises(ChunkWithoutTokenError) as caught:
        seen.extend(result.parent_id for result in engine.embed_iter(parents))
    assert caught.value.parent_id == "bad"
    assert seen == [str(n) for n in range(len(seen))]
    assert 0 < len(seen) <= 80
    assert not planning_threads()


def test_an_error_of_the_iterator_reaches_the_caller(tiny_engine: LateChunkEngine) -> None:
    def parents() -> Iterator[Parent]:
        yield from (Parent(TEXT, id=str(n)) for n in range(40))
        raise ConnectionError("the source went away")

    with pytest.raises(ConnectionError, match="went away"):
        list(engine_like(tiny_engine, batch_tokens=32).embed_iter(parents()))
    assert not planning_threads()


def test_an_error_of_the_forward_pass_ends_the_thread(
    tiny_engine: LateChunkEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_like(tiny_engine, batch_tokens=32)

    def broken(batch: TokenBatch) -> torch.Tensor:
        raise RuntimeError(f"no kernel for {batch.ids.shape}")

    monkeypatch.setattr(engine.encoder, "forward", broken)
    with pytest.raises(RuntimeError, match="no kernel"):
        engine.embed([Parent(TEXT)] * 40)
    assert not planning_threads()


@pytest.mark.slow
def test_a_parent_may_reach_over_many_blocks(tiny_engine: LateChunkEngine) -> None:
    """Its sums are open while its last windows are still planned."""
    long = Parent(TEXT * 60, [(n, n + 40) for n in range(0, 4_000, 40)], header="Berlin")
    parents = [long, Parent(TEXT), long]
    whole = engine_like(tiny_engine, context_weight=0.5, batch_tokens=100_000).embed(parents)
    small = engine_like(tiny_engine, context_weight=0.5, batch_tokens=8).embed(parents)
    for one, other in zip(whole, small, strict=True):
        assert one.n_windows == other.n_windows
        np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-6)


@pytest.mark.slow
def test_the_tokenizer_is_given_no_more_at_once_than_a_block_holds(
    tiny_engine: LateChunkEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes many times the memory of its text."""
    engine = engine_like(tiny_engine, batch_tokens=256)
    at_once: list[int] = []
    read = vars(OffsetTokenizer)["_read"]
    pieces = vars(OffsetTokenizer)["_read_pieces"]

    def counting(self: OffsetTokenizer, texts: list[str]) -> Any:
        at_once.append(sum(map(len, texts)))
        return read(self, texts)

    def counting_pieces(self: OffsetTokenizer, texts: list[str]) -> Any:
        at_once.append(sum(map(len, texts)))
        return pieces(self, texts)

    monkeypatch.setattr(OffsetTokenizer, "_read", counting)
    monkeypatch.setattr(OffsetTokenizer, "_read_pieces", counting_pieces)
    parents = [*(Parent(TEXT * 3) for _ in range(200)), Parent(TEXT * 1_500)]
    assert len(engine.embed(parents)) == 201
    assert max(at_once) <= 1 << 15
    assert sum(at_once) >= sum(len(parent.text) for parent in parents)


def test_a_blend_spares_the_second_pass_of_a_chunk_that_is_the_whole_text(
    tiny_engine: LateChunkEngine,
) -> None:
    parents = [Parent(TEXT, header="Berlin"), Parent(TEXT * 5, header="Berlin")]
    late = engine_like(tiny_engine)
    blend = engine_like(tiny_engine, context_weight=0.5)
    for one, other in zip(late.embed(parents), blend.embed(parents), strict=True):
        np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-6)
    early = engine_like(tiny_engine, enabled=False)
    for one, other in zip(early.embed(parents), blend.embed(parents), strict=True):
        np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-6)
    assert blend.stats["windows"] == 2 * late.stats["windows"]  # embedded twice above


class Unpadded:
    """A transformer as flash attention's variable-length kernels run it: one row, no padding."""

    def __init__(self, encoder: LocalEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
        self.n_batches = 0
        transformer: Any = encoder.model[0]
        self._model = transformer.model
        self._forward = transformer.model.forward
        monkeypatch.setattr(transformer, "can_flatten_inputs", True)
        monkeypatch.setattr(transformer, "model_forward_params", None)
        monkeypatch.setattr(transformer.model, "forward", self)

    def __call__(self, **features: Any) -> Any:
        assert "attention_mask" not in features
        self.n_batches += 1
        bounds = features["cu_seq_lens_q"].tolist()
        assert bounds == features["cu_seq_lens_k"].tolist()
        longest = max(end - start for start, end in itertools.pairwise(bounds))
        assert features["max_length_q"] == features["max_length_k"] == longest
        rows = []
        for start, end in itertools.pairwise(bounds):
            part = slice(start, end)
            output = self._forward(
                input_ids=features["input_ids"][:, part],
                position_ids=features["position_ids"][:, part],
            )
            rows.append(output.last_hidden_state)
        output.last_hidden_state = torch.cat(rows, dim=1)
        return output


@pytest.mark.parametrize("family", ["wordpiece", "byte_bpe", "unigram"])
def test_batches_without_padding_give_the_same_vectors(
    tiny_model_paths: dict[str, Any], family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a GPU with flash attention is fed, run row by row: positions, bounds, sums."""
    engine = LateChunkEngine.from_pretrained(
        str(tiny_model_paths[family]), dtype="float32", device="cpu", layout="text", focus=0
    )
    parents = [Parent(TEXT * n, [(0, 20), (10, 60)], header="Title" * (n % 2)) for n in (1, 2, 3)]
    padded = engine.embed(parents)
    assert isinstance(engine.encoder, LocalEncoder)
    unpadded = Unpadded(engine.encoder, monkeypatch)
    for one, other in zip(padded, engine.embed(parents), strict=True):
        np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-6)
    assert unpadded.n_batches == 1


@pytest.mark.parametrize("options", [{}, {"sub_span_tokens": 8}, {"context_weight": 0.5}])
def test_a_kept_result_keeps_no_others_in_memory(
    tiny_engine: LateChunkEngine, options: dict[str, Any]
) -> None:
    """Vectors of many parents are made at once: each gets its own."""
    engine = engine_like(tiny_engine, **options)
    for result in engine.embed([Parent(f"No pets in house {n}.") for n in range(5)]):
        parts = result.sub_spans
        for vectors in [result.vectors] if parts is None else [result.vectors, parts.vectors]:
            assert vectors.base is None
