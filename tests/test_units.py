"""Layout units and the focus, against the oracle and at both ends of the dial."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from latechunk_integrations import LateChunkEngine, LateChunkOptions, Parent
from latechunk_integrations.core import windows
from latechunk_integrations.encoders.local import focus_attention
from latechunk_integrations.encoders.local.encoder import LocalEncoder
from latechunk_integrations.errors import OptionError, WindowBudgetError
from tests import strategies
from tests.tiny_models import FAMILIES, FAMILIES_ONE_FAST, Family
from tests.units_oracle import UnitsOracle

TEXT = (
    "Berlin is the capital of Germany. Its 3.85 million inhabitants make it the most populous "
    "city of the Union. The city is also one of its states. "
)
SENTENCES = [match.span() for match in re.finditer(r"[A-Z].*?\.(?= )", TEXT)]


class Loaded:
    """A tiny model loaded once, with engines and an oracle over it."""

    def __init__(self, path: Path, family: Family) -> None:
        engine = LateChunkEngine.from_pretrained(str(path), dtype="float32", device="cpu")
        assert isinstance(engine.encoder, LocalEncoder)
        self.model = engine.encoder.model
        self.path = path
        eager = SentenceTransformer(str(path), device="cpu").double().transformers_model
        assert eager is not None
        eager.set_attn_implementation("eager")
        self.oracle = UnitsOracle(
            eager,
            self.model.tokenizer,
            max_tokens=64,
            first_position=2 if family == "unigram" else 0,
            sliding=8 if family == "byte_bpe" else None,
        )

    def engine(self, **options: Any) -> LateChunkEngine:
        checked = LateChunkOptions(model=str(self.path), dtype="float32", **options)
        return LateChunkEngine(LocalEncoder(self.model, checked, identity="tiny"), checked)


@pytest.fixture(scope="module")
def loaded(tiny_model_paths: dict[str, Path]) -> dict[str, Loaded]:
    return {family: Loaded(tiny_model_paths[family], family) for family in FAMILIES}


def headers_of(spans: list[tuple[int, int]], draw: Any) -> list[str]:
    return [draw(strategies.headers) for _ in spans]


_SETTINGS = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.reuse, Phase.generate],  # shrinking takes minutes here and tells little
)


@pytest.mark.parametrize(
    ("max_tokens", "room", "n_sentences"), [(96, 96, 1), (96, 96, 2), (256, 384, 3), (256, 384, 9)]
)
@pytest.mark.parametrize("header", ["", "Cities"])
def test_the_focus_grows_with_the_units_and_with_the_part_of_the_window_that_a_chunk_takes(
    loaded: dict[str, Loaded], max_tokens: int, room: int, n_sentences: int, header: str
) -> None:
    """1.6 ln k, and 24 times what the mean chunk takes of the window beyond a third of it."""
    text = TEXT * 12
    starts = [m.start() for m in re.finditer("Berlin|Its|The", text)][::n_sentences]
    spans = [*zip(starts, [*starts[1:], len(text)], strict=True)]
    tokenizer = loaded["wordpiece"].model.tokenizer
    sizes = [len(tokenizer.tokenize(text[start:end])) for start, end in spans]
    engine = loaded["wordpiece"].engine(max_tokens=max_tokens)
    block = engine.plan([Parent(text, spans, header=header)])
    assert block.focus is not None
    assert block.header_focus is not None
    assert (np.diff(block.windows) > 1).any()
    left = iter(sizes)
    for window, k in enumerate(np.diff(block.windows).tolist()):
        share = sum(next(left) for _ in range(k)) / k / room
        wanted = 1.6 * math.log(k) + 24 * max(0.0, share - 1 / 3) if k > 1 else 0.0
        assert block.focus[window] == pytest.approx(wanted, abs=1e-5)
        if k > 1 or header:
            assert block.header_focus[window] == pytest.approx(max(wanted - 0.5, 0.0), abs=1e-5)


@pytest.mark.rule(2)
@pytest.mark.parametrize(
    ("max_tokens", "longest"), [(255, 255), (256, 384), (383, 384), (400, 400)]
)
def test_units_of_a_short_window_share_a_longer_one(
    loaded: dict[str, Loaded], max_tokens: int, longest: int
) -> None:
    """Positions start anew in each unit, so that none exceeds the model's own window."""
    text = TEXT * 20
    sentences = [match.span() for match in re.finditer(r"[A-Z].*?\.(?= )", text)]
    one = loaded["wordpiece"]
    engine = one.engine(max_tokens=max_tokens, focus=1.0, header_focus=1.0)
    (result,) = engine.embed([Parent(text, sentences)])
    tokens = engine.stats["tokens"]
    assert tokens > 2 * longest
    assert engine.stats["windows"] <= -(-tokens // longest) + 1
    assert engine.plan([Parent(text, sentences)]).lengths.max() <= longest
    oracle = replace(one.oracle, max_tokens=max_tokens, focus=1.0, header_focus=1.0)
    expected = oracle.unit_vectors(text, sentences, [""] * len(sentences))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(result.vectors, expected, atol=1e-5)


def join_sentences(text: str, n: int) -> list[tuple[int, int]]:
    """Chunks of so many sentences."""
    sentences = [match.span() for match in re.finditer(r"[A-Z].*?\.(?= )", text)]
    groups = [sentences[i : i + n] for i in range(0, len(sentences), n)]
    return [(group[0][0], group[-1][1]) for group in groups]


@pytest.mark.rule(2)
@pytest.mark.parametrize(("n_sentences", "longest"), [(1, 96), (2, 192)])
def test_a_long_window_is_filled_as_far_as_three_units_need(
    loaded: dict[str, Loaded], monkeypatch: pytest.MonkeyPatch, n_sentences: int, longest: int
) -> None:
    """At a small scale: windows of 96 tokens or three units, of a model that reads 200."""
    monkeypatch.setattr(windows, "COMMON_WINDOW", 96)
    text = TEXT * 8
    spans = join_sentences(text, n_sentences)
    one = loaded["wordpiece"]
    engine = one.engine(max_tokens=200)
    parent = Parent(text, spans, header="Cities")
    lengths = engine.plan([parent]).lengths
    assert longest * 0.6 < lengths.max() <= longest
    engine = one.engine(max_tokens=200, focus=1.0, header_focus=1.0)
    oracle = replace(one.oracle, max_tokens=200, focus=1.0, header_focus=1.0, common_window=96)
    expected = oracle.unit_vectors(text, spans, ["Cities"] * len(spans))
    np.testing.assert_allclose(engine.embed([parent])[0].vectors, expected, atol=1e-5)


@pytest.mark.rule(6)
def test_a_parent_with_windows_of_another_length_changes_no_focus(
    loaded: dict[str, Loaded], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "COMMON_WINDOW", 96)
    engine, text = loaded["wordpiece"].engine(max_tokens=200), TEXT * 8
    parents = [Parent(text, join_sentences(text, n), header="Cities") for n in (1, 2)]
    blocks = [engine.plan(parents), *(engine.plan([parent]) for parent in parents)]
    together, *each = [block.focus for block in blocks if block.focus is not None]
    np.testing.assert_array_equal(together, np.concatenate(each))


@pytest.mark.rule(6)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_padding_token_in_the_text_is_read_as_the_model_reads_it(
    loaded: dict[str, Loaded], family: Family
) -> None:
    """Pages on tokenizers say ``<pad>``. RoBERTa and its kin do not count its position."""
    one = loaded[family]
    pad = one.model.tokenizer.pad_token
    text = f"Berlin {pad} is {pad} the capital. Its {pad} supplier delivers."
    spans = [(0, text.index("Its") - 1), (text.index("Its"), len(text))]
    engine = one.engine(focus=1.0, header_focus=1.0)
    lone, shared = Parent(text), Parent(text, spans)
    alone = engine.embed([lone])[0].vectors
    np.testing.assert_allclose(
        alone[0], one.model.encode(text, normalize_embeddings=True), atol=1e-5
    )
    together = engine.embed([lone, shared])
    np.testing.assert_allclose(together[0].vectors, alone, atol=1e-5)
    oracle = replace(one.oracle, focus=1.0, header_focus=1.0)
    expected = oracle.unit_vectors(text, spans, ["", ""])
    np.testing.assert_allclose(together[1].vectors, expected, atol=1e-5)


@pytest.mark.rule(3)
@pytest.mark.parametrize("family", FAMILIES_ONE_FAST)
@_SETTINGS
@given(data=st.data())
def test_every_unit_vector_is_the_oracles(
    loaded: dict[str, Loaded], family: Family, data: st.DataObject
) -> None:
    """Any spans, any text, headers of their own, prompt, focus, batch mates."""
    window = data.draw(st.sampled_from([32, 48, 64, 100, 256]))
    focus = data.draw(st.sampled_from([0.0, 1.0, 3.0, math.inf]))
    step = data.draw(st.sampled_from([0.0, 0.5])) if math.isfinite(focus) else 0.0
    options: dict[str, Any] = {
        "max_tokens": window,
        "document_prompt": data.draw(strategies.prompts),
        "focus": focus,
        "header_focus": "auto" if math.isinf(focus) else max(0.0, focus - step),
        "header_pooling": data.draw(st.sampled_from([0.0, 0.0, 0.5, 1.0])),
        "pool_edges": data.draw(st.booleans()),
        "overlap_tokens": 4,
    }
    parents = []
    for _ in range(2):
        text = data.draw(strategies.texts(max_pieces=30))
        spans = data.draw(strategies.spans_of(text))
        parents.append(Parent(text, spans, headers=headers_of(spans, data.draw)))
    try:
        engine = loaded[family].engine(
            **options, batch_tokens=data.draw(st.sampled_from([1, 100, 2_000]))
        )
    except WindowBudgetError:
        assume(False)  # the prompt fills a small window: tested elsewhere
    oracle = replace(
        loaded[family].oracle,
        max_tokens=window,
        prompt=options["document_prompt"],
        focus=focus,
        header_focus=0.0 if math.isinf(focus) else float(options["header_focus"]),
        header_pooling=options["header_pooling"],
        pool_edges=options["pool_edges"],
        overlap=4,
    )
    for parent, result in zip(parents, engine.embed(parents), strict=True):
        spans = [(int(start), int(end)) for start, end in parent.spans.array]
        assert parent.headers is not None
        wanted = oracle.unit_vectors(parent.text, spans, parent.headers)
        np.testing.assert_allclose(result.vectors, wanted, atol=1e-5)


@pytest.mark.slow
@pytest.mark.rule(3)
@pytest.mark.parametrize("family", FAMILIES)
@_SETTINGS
@given(data=st.data())
def test_every_vector_of_running_text_with_a_focus_is_the_oracles(
    loaded: dict[str, Loaded], family: Family, data: st.DataObject
) -> None:
    """Toward the own chunk, special tokens and prompt; windows, overlapping chunks."""
    window = data.draw(st.sampled_from([48, 64, 100, 256]))
    focus = data.draw(st.sampled_from([1.0, 3.0, math.inf]))
    prompt = data.draw(strategies.prompts)
    overlap = data.draw(st.sampled_from([None, 0, 4]))
    text = data.draw(strategies.texts(max_pieces=30))
    spans = data.draw(strategies.spans_of(text))
    header = data.draw(strategies.headers)
    header_focus = 0.0 if math.isinf(focus) else focus - 0.5
    try:
        engine = loaded[family].engine(
            layout="text",
            max_tokens=window,
            focus=focus,
            document_prompt=prompt,
            overlap_tokens=overlap,
        )
    except WindowBudgetError:
        assume(False)  # the prompt fills a small window: tested elsewhere
    oracle = replace(
        loaded[family].oracle,
        max_tokens=window,
        prompt=prompt,
        focus=focus,
        header_focus=header_focus,
        overlap=overlap,
    )
    (result,) = engine.embed([Parent(text, spans, header=header)])
    for row, wanted in enumerate(oracle.running_vectors(text, spans, header)):
        if wanted is not None:
            np.testing.assert_allclose(result.vectors[row], wanted, atol=1e-5)


@pytest.mark.rule(3)
@pytest.mark.parametrize("family", FAMILIES)
def test_infinite_focus_is_the_standalone_pass_with_the_header(
    loaded: dict[str, Loaded], family: Family
) -> None:
    parent = Parent(TEXT, SENTENCES, header="Cities of Germany")
    one = loaded[family].engine(focus=math.inf).embed([parent])[0]
    other = loaded[family].engine(enabled=False).embed([parent])[0]
    np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-5)


@pytest.mark.rule(3)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_parent_of_one_chunk_is_embedded_like_the_chunk_alone_with_its_header(
    loaded: dict[str, Loaded], family: Family
) -> None:
    parent = Parent(TEXT, header="Cities of Europe")
    early = loaded[family].engine(enabled=False).embed([parent])[0]
    late = loaded[family].engine().embed([parent])[0]
    np.testing.assert_allclose(late.vectors, early.vectors, atol=1e-5)


@pytest.mark.rule(6)
def test_other_parents_and_their_order_change_no_unit(loaded: dict[str, Loaded]) -> None:
    engine = loaded["wordpiece"].engine()
    parents = [Parent(TEXT * n, SENTENCES[: n + 1], header="Title" * n) for n in range(1, 3)] * 3
    together = engine.embed(parents)
    for parent, result in zip(parents, together, strict=True):
        np.testing.assert_allclose(engine.embed([parent])[0].vectors, result.vectors, atol=1e-5)


@pytest.mark.rule(2)
def test_a_bias_that_is_built_in_blocks_is_the_same(
    loaded: dict[str, Loaded], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = loaded["byte_bpe"].engine(focus=1.0, max_tokens=256)
    parent = Parent(TEXT, SENTENCES, header="Cities")
    whole = engine.embed([parent])[0].vectors
    monkeypatch.setattr(focus_attention, "_KEPT_VALUES", 1)
    np.testing.assert_allclose(engine.embed([parent])[0].vectors, whole, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"focus": -1},
        {"focus": "much"},
        {"layout": "lines"},
        {"header_pooling": 2},
        {"focus": math.inf, "header_focus": 1.0},
        {"header_focus": math.nan},
    ],
)
def test_impossible_layouts_and_focuses_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        LateChunkOptions(model="some/model", **options)


def test_the_description_says_which_layout_and_focus_are_used(loaded: dict[str, Loaded]) -> None:
    units = loaded["wordpiece"].engine(header_pooling=0.5).describe()
    assert (units.use.layout, units.use.focus, units.use.header_pooling) == ("units", "auto", 0.5)
    assert "units, focus auto, header pooled by 0.5" in str(units)
    text = loaded["wordpiece"].engine(layout="text", focus=0.0).describe()
    assert (text.use.layout, text.use.focus) == ("text", 0.0)
    short = {"max_tokens": 256}
    assert "256 tokens a unit, windows of 384" in str(
        loaded["wordpiece"].engine(**short).describe()
    )
    text = loaded["wordpiece"].engine(**short, layout="text").describe()
    assert "384" not in str(text)
