"""The engine against an independent oracle, and what its rules promise."""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from latechunk_integrations import LateChunkEngine, LateChunkOptions, Parent, Span
from latechunk_integrations.encoders.local.encoder import LocalEncoder
from latechunk_integrations.engine import ALGORITHM_VERSION
from latechunk_integrations.errors import (
    ChunkWithoutTokenError,
    InputTypeError,
    InvalidCharacterError,
    ModelLoadError,
    OptionError,
    ParentTooLongError,
    WindowBudgetError,
)
from latechunk_integrations.testing.oracle import Oracle
from tests import strategies
from tests.tiny_models import FAMILIES, FAMILIES_ONE_FAST, Family, save_tiny_model

TEXT = (
    "Berlin is the capital of Germany. Its 3.85 million inhabitants make it the most populous "
    "city of the Union. The city is also one of its states. "
)
# Three parents in each example, three families: more than 2,000 parents in the ci profile.
_PARENTS = 3
_CI_EXAMPLES = 230


class Loaded:
    """A tiny model loaded once, and engines with other options over it."""

    def __init__(self, path: Path) -> None:
        engine = LateChunkEngine.from_pretrained(str(path), dtype="float32", device="cpu")
        assert isinstance(engine.encoder, LocalEncoder)
        self.model = engine.encoder.model
        self.path = path

    def engine(self, **options: Any) -> LateChunkEngine:
        """The textbook's late chunking, unless the options say otherwise."""
        given = {"layout": "text", "focus": 0.0, **options}
        checked = LateChunkOptions(model=str(self.path), dtype="float32", **given)
        return LateChunkEngine(LocalEncoder(self.model, checked, identity="tiny"), checked)

    def oracle(self, **options: Any) -> Oracle:
        model = SentenceTransformer(str(self.path), device="cpu").double()
        return Oracle(model.transformers_model, self.model.tokenizer, **options)


@pytest.fixture(scope="module")
def loaded(tiny_model_paths: dict[str, Path]) -> dict[str, Loaded]:
    return {family: Loaded(path) for family, path in tiny_model_paths.items()}


@pytest.fixture(scope="module")
def oracles(loaded: dict[str, Loaded]) -> dict[str, Oracle]:
    return {family: one.oracle(max_tokens=64) for family, one in loaded.items()}


@pytest.mark.rule(1)
@pytest.mark.parametrize("family", FAMILIES_ONE_FAST)
@settings(
    max_examples=_CI_EXAMPLES if os.environ.get("CI") else 25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_every_vector_is_the_oracles(
    loaded: dict[str, Loaded], oracles: dict[str, Oracle], family: Family, data: st.DataObject
) -> None:
    """Rules 1 to 3: windows, overlap, header, prompt, blend, any spans, any text."""
    window = data.draw(strategies.windows)
    prompt = data.draw(strategies.prompts)
    overlap = data.draw(strategies.overlaps)
    weight = data.draw(st.sampled_from([1.0, 1.0, 0.5, 0.0]))
    header_weight = data.draw(st.sampled_from([0.0, 0.0, 0.2]))
    pool_edges = data.draw(st.booleans())
    parents = []
    for _ in range(_PARENTS):
        text = data.draw(strategies.texts())
        spans = data.draw(strategies.spans_of(text))
        parents.append(Parent(text, spans, header=data.draw(strategies.headers)))
    try:
        engine = loaded[family].engine(
            max_tokens=window,
            document_prompt=prompt,
            overlap_tokens=overlap,
            context_weight=weight,
            header_weight=header_weight,
            pool_edges=pool_edges,
            batch_tokens=data.draw(st.sampled_from([1, 100, 2_000])),
        )
    except WindowBudgetError:
        assume(False)  # the prompt fills a small window: tested elsewhere
    oracle = replace(
        oracles[family],
        max_tokens=window,
        prompt=prompt,
        overlap=overlap,
        context_weight=weight,
        header_weight=header_weight,
        pool_edges=pool_edges,
    )
    for parent, result in zip(parents, engine.embed(parents), strict=True):
        spans = [(int(start), int(end)) for start, end in parent.spans.array]
        expected = oracle.vectors(parent.text, spans, parent.header)
        np.testing.assert_allclose(result.vectors, expected, atol=1e-5)


@pytest.mark.parametrize(("pooling", "same"), [("lasttoken", True), ("mean", False)])
def test_a_model_that_reads_one_token_keeps_it_without_pool_edges(
    tmp_path: Path, pooling: str, same: bool
) -> None:
    path = save_tiny_model(tmp_path, "wordpiece", pooling=pooling)
    parent = Parent(TEXT, [Span(0, 33), Span(34, len(TEXT))], header="Capitals")
    found = [
        LateChunkEngine.from_pretrained(
            str(path), dtype="float32", device="cpu", context_weight=0.5, pool_edges=pool_edges
        ).embed([parent])[0]
        for pool_edges in (True, False)
    ]
    assert np.allclose(found[0].vectors, found[1].vectors, atol=1e-6) is same


@pytest.mark.slow
@pytest.mark.rule(3)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("include_prompt", [True, False])
@pytest.mark.parametrize("heads", [(), ("dense", "normalize")])
def test_one_chunk_over_the_parent_is_the_models_own_vector(
    tmp_path: Path, family: Family, heads: tuple[Any, ...], include_prompt: bool
) -> None:
    # Where the prompt is not pooled, sentence-transformers counts the tokens of the prompt alone
    # and so drops the first word of the text too when its space joins it; hence no space there.
    space = " " if include_prompt else ""
    path = save_tiny_model(
        tmp_path,
        family,
        prompts={"query": "query:" + space, "document": "passage:" + space},
        heads=heads,
        include_prompt=include_prompt,
    )
    engine = LateChunkEngine.from_pretrained(str(path), dtype="float32", device="cpu")
    model = SentenceTransformer(str(path), device="cpu")
    texts = ["Section 1.3 of the café.", "naïve 東京 🎉", TEXT[:24], " leading space"]
    for text, own in zip(texts, model.encode_document(texts), strict=True):
        (late,) = engine.embed([Parent(text)])
        assert late.modes == ("late",)
        assert _cosine(late.vectors[0], own) >= 0.99999
    np.testing.assert_allclose(
        engine.embed_queries(texts), _units(model.encode_query(texts)), atol=1e-6
    )
    np.testing.assert_allclose(
        engine.embed_texts(texts), _units(model.encode_document(texts)), atol=1e-6
    )


@pytest.mark.rule(3)
@pytest.mark.parametrize(
    ("pooling", "family"),
    [("lasttoken", "wordpiece"), ("weightedmean", "wordpiece"), ("weightedmean", "byte_bpe")],
)
def test_other_pooling_modes_agree_with_the_model_on_a_whole_parent(
    tmp_path: Path, pooling: str, family: Family
) -> None:
    path = save_tiny_model(tmp_path, family, pooling=pooling, prompts={"document": "passage: "})
    engine = LateChunkEngine.from_pretrained(str(path), dtype="float32", device="cpu")
    own = SentenceTransformer(str(path), device="cpu").encode_document(TEXT[:30])
    assert _cosine(engine.embed([Parent(TEXT[:30])])[0].vectors[0], own) >= 0.99999


@pytest.mark.rule(3)
def test_minilm_agrees_with_sentence_transformers(minilm_engine: LateChunkEngine) -> None:
    assert isinstance(minilm_engine.encoder, LocalEncoder)
    model = minilm_engine.encoder.model
    own = model.encode_document(TEXT, show_progress_bar=False)
    (late,) = minilm_engine.embed([Parent(TEXT)])
    assert _cosine(late.vectors[0], own) >= 0.99999


@pytest.mark.rule(3)
def test_early_chunking_is_the_models_own_vector_of_each_chunk(loaded: dict[str, Loaded]) -> None:
    engine = loaded["wordpiece"].engine(enabled=False)
    spans = [(0, 33), (34, 116)]
    (result,) = engine.embed([Parent(TEXT, spans)])
    own = loaded["wordpiece"].model.encode_document(
        [TEXT[start:end] for start, end in spans], show_progress_bar=False
    )
    np.testing.assert_allclose(result.vectors, _units(own), atol=1e-5)
    assert result.modes == ("standalone", "standalone")


@pytest.mark.slow
@pytest.mark.rule(6)
def test_vectors_do_not_depend_on_batches_order_or_threads(loaded: dict[str, Loaded]) -> None:
    parents = [
        Parent(TEXT * (1 + n % 4) + str(n), [(0, 30), (20, 90 + n)], header="Title" * (n % 2))
        for n in range(30)
    ]
    one_by_one = [loaded["wordpiece"].engine().embed([parent])[0].vectors for parent in parents]
    for batch_tokens in (1, 300, 100_000):
        engine = loaded["wordpiece"].engine(batch_tokens=batch_tokens)
        together = engine.embed(parents[::-1])[::-1]
        for alone, result in zip(one_by_one, together, strict=True):
            np.testing.assert_allclose(result.vectors, alone, atol=1e-6)
    engine = loaded["wordpiece"].engine()
    with ThreadPoolExecutor(4) as pool:
        threaded = pool.map(lambda parent: engine.embed([parent])[0].vectors, parents)
        for alone, vectors in zip(one_by_one, threaded, strict=True):
            np.testing.assert_allclose(vectors, alone, atol=1e-6)


def test_embed_iter_streams_in_order_and_looks_only_so_far_ahead(
    loaded: dict[str, Loaded],
) -> None:
    engine = loaded["wordpiece"].engine(batch_tokens=64)
    drawn = itertools.count()

    def endless() -> Iterator[Parent]:
        for n in drawn:
            yield Parent(TEXT, id=str(n))

    results = engine.embed_iter(endless())
    assert [next(results).parent_id for _ in range(5)] == ["0", "1", "2", "3", "4"]
    assert next(drawn) < 200


def test_a_batch_that_does_not_fit_the_memory_is_halved(
    loaded: dict[str, Loaded], caplog: pytest.LogCaptureFixture
) -> None:
    engine = loaded["wordpiece"].engine(batch_tokens=10_000)
    parents = [Parent(TEXT + str(n)) for n in range(9)]
    expected = [result.vectors for result in engine.embed(parents)]

    def small_memory(_: object, arguments: tuple[dict[str, torch.Tensor]]) -> None:
        if len(arguments[0]["input_ids"]) > 2:
            raise torch.OutOfMemoryError("no memory for more than two rows")

    hook = loaded["wordpiece"].model[0].register_forward_pre_hook(small_memory)
    try:
        with caplog.at_level(logging.WARNING):
            results = engine.embed(parents)
    finally:
        hook.remove()
    for result, vectors in zip(results, expected, strict=True):
        np.testing.assert_allclose(result.vectors, vectors, atol=1e-6)
    assert engine.stats["out_of_memory"] >= 1
    assert "out of memory" in caplog.text


class TestLongParents:
    """``fallback``: a parent that is longer than a window."""

    PARENT = Parent(TEXT * 3, [(0, 40), (300, 340)], id="long")

    def test_window_divides_it(self, loaded: dict[str, Loaded]) -> None:
        (result,) = loaded["wordpiece"].engine().embed([self.PARENT])
        assert result.modes == ("windowed", "windowed")
        assert result.n_windows > 1

    def test_standard_embeds_its_chunks_alone_and_says_so(
        self, loaded: dict[str, Loaded], caplog: pytest.LogCaptureFixture
    ) -> None:
        engine = loaded["wordpiece"].engine(fallback="standard")
        (result,) = engine.embed([self.PARENT])
        (early,) = loaded["wordpiece"].engine(enabled=False).embed([self.PARENT])
        np.testing.assert_allclose(result.vectors, early.vectors, atol=1e-6)
        assert result.modes == ("standalone", "standalone")
        assert engine.stats["long_parents_standalone"] == 1
        assert "'long'" in caplog.text

    def test_skip_leaves_it_out_without_rows(self, loaded: dict[str, Loaded]) -> None:
        engine = loaded["wordpiece"].engine(fallback="skip")
        skipped, kept = engine.embed([self.PARENT, Parent(TEXT[:20])])
        assert skipped.skipped
        assert skipped.vectors.shape == (0, engine.dimensions)
        assert len(kept) == 1

    @pytest.mark.parametrize(
        "options", [{"fallback": "error"}, {"fallback": "skip", "strict": True}]
    )
    def test_error_and_strict_name_the_parent(
        self, loaded: dict[str, Loaded], options: dict[str, Any]
    ) -> None:
        with pytest.raises(ParentTooLongError) as caught:
            loaded["wordpiece"].engine(**options).embed([self.PARENT])
        assert caught.value.parent_id == "long"


def test_short_parents_can_be_left_standalone(loaded: dict[str, Loaded]) -> None:
    engine = loaded["wordpiece"].engine(min_parent_tokens=30)
    short, long = engine.embed([Parent(TEXT[:40]), Parent(TEXT)])
    assert (short.modes, long.modes[0] != "standalone") == (("standalone",), True)


@pytest.mark.rule(5)
def test_a_chunk_without_token_is_standalone_and_counted(loaded: dict[str, Loaded]) -> None:
    parent = Parent("one   \n\n  two", [(0, 3), (4, 8)], id="gap")
    engine = loaded["wordpiece"].engine()
    (result,) = engine.embed([parent])
    assert result.modes == ("late", "standalone")
    assert engine.stats["chunks_without_token"] == 1
    with pytest.raises(ChunkWithoutTokenError) as caught:
        loaded["wordpiece"].engine(strict=True).embed([parent])
    assert (caught.value.parent_id, caught.value.span) == ("gap", (4, 8))


@pytest.mark.rule(5)
def test_a_text_that_the_model_would_cut_is_counted(loaded: dict[str, Loaded]) -> None:
    engine = loaded["wordpiece"].engine()
    own = loaded["wordpiece"].model.encode_document([TEXT * 3], show_progress_bar=False)
    np.testing.assert_allclose(engine.embed_texts([TEXT * 3]), _units(own), atol=1e-6)
    assert engine.stats["truncated_texts"] == 1
    with pytest.raises(ParentTooLongError):
        loaded["wordpiece"].engine(strict=True).embed_texts([TEXT * 3])


@pytest.mark.rule(5)
def test_queries_are_counted_too_and_windows_of_ours_do_not_count(
    loaded: dict[str, Loaded],
) -> None:
    """What counts is where the model itself cuts, whatever ``max_tokens`` our windows have."""
    engine = loaded["wordpiece"].engine(max_tokens=24)
    engine.embed_texts(["a b " * 15])
    assert "truncated_texts" not in engine.stats
    engine.embed_query(TEXT * 3)
    assert engine.stats["truncated_texts"] == 1
    with pytest.raises(ParentTooLongError):
        loaded["wordpiece"].engine(strict=True).embed_query(TEXT * 3)
    with pytest.raises(InvalidCharacterError):
        engine.embed_query("half \ud83d of one")


def test_a_padding_id_in_the_text_is_read_like_any_other(loaded: dict[str, Loaded]) -> None:
    short, long = Parent("a [PAD] b"), Parent(TEXT)
    alone = loaded["wordpiece"].engine().embed([short])[0].vectors
    together = loaded["wordpiece"].engine(batch_tokens=10_000).embed([short, long])[0].vectors
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_windows_without_a_chunk_are_not_encoded(loaded: dict[str, Loaded]) -> None:
    engine = loaded["wordpiece"].engine()
    whole = engine.embed([Parent(TEXT * 9)])[0].n_windows
    (corner,) = engine.embed([Parent(TEXT * 9, [(0, 10)])])
    assert corner.n_windows < whole
    assert corner.modes == ("windowed",)


def test_results_are_read_only_and_of_unit_length(tiny_engine: LateChunkEngine) -> None:
    (result,) = tiny_engine.embed([Parent(TEXT, [Span(0, 9), Span(5, 60)])])
    assert result.vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(result.vectors, axis=1), 1, atol=1e-6)
    with pytest.raises(ValueError, match="read-only"):
        result.vectors[0, 0] = 0


def test_matryoshka_truncates_then_scales(loaded: dict[str, Loaded]) -> None:
    whole = loaded["wordpiece"].engine(normalize=False).embed([Parent(TEXT)])[0].vectors
    cut = loaded["wordpiece"].engine(dimensions=8).embed([Parent(TEXT)])[0].vectors
    np.testing.assert_allclose(cut, _units(whole[:, :8]), atol=1e-6)
    query = loaded["wordpiece"].engine(dimensions=8).embed_query("Berlin")
    assert query.shape == (8,)


def test_a_bare_string_is_refused(tiny_engine: LateChunkEngine) -> None:
    for call in (tiny_engine.embed_queries, tiny_engine.embed_texts):
        with pytest.raises(InputTypeError):
            call("one text")
    for wrong in ("one text", None, 3):
        with pytest.raises(InputTypeError):
            tiny_engine.embed(wrong)  # type: ignore[arg-type]  # what users do
    with pytest.raises(InputTypeError):
        tiny_engine.embed(["no parent"])  # type: ignore[list-item]  # what users do
    with pytest.raises(InputTypeError):
        tiny_engine.embed_query(["no list"])  # type: ignore[arg-type]  # what users do


def test_a_model_that_is_not_there_says_how_to_go_on() -> None:
    with pytest.raises(ModelLoadError, match="local folder"):
        LateChunkEngine.from_pretrained("nobody/such-a-model")
    with pytest.raises(OptionError, match="did you mean 'max_tokens'"):
        LateChunkEngine.from_pretrained("nobody/such-a-model", max_token=3)


def test_impossible_sizes_are_refused(tiny_model_path: Path) -> None:
    with pytest.raises(OptionError, match="512 positions"):
        LateChunkEngine.from_pretrained(str(tiny_model_path), max_tokens=5_000)
    with pytest.raises(OptionError, match="32 of the model"):
        LateChunkEngine.from_pretrained(str(tiny_model_path), dimensions=64)
    with pytest.raises(WindowBudgetError) as caught:
        LateChunkEngine.from_pretrained(
            str(tiny_model_path), max_tokens=16, document_prompt="search document Berlin " * 9
        )
    assert caught.value.max_tokens == 16


def test_an_option_at_its_default_is_no_part_of_a_fingerprint(
    tiny_model_paths: dict[str, Path],
) -> None:
    """So that an option of a later version leaves the indexes of this one as they are.

    A default that changes vectors changes with ``ALGORITHM_VERSION``: hence the list.
    """
    path = str(tiny_model_paths["wordpiece"])
    engine = LateChunkEngine.from_pretrained(path, dtype="float32")
    parts = [str(ALGORITHM_VERSION), engine.encoder.fingerprint, "{}"]
    assert engine.fingerprint == hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    changed = LateChunkEngine.from_pretrained(path, dtype="float32", stable_windows=True)
    assert changed.fingerprint != engine.fingerprint
    defaults = {"layout": "auto", "focus": "auto", "header_focus": "auto", "context_weight": 1.0}
    defaults |= {"overlap_tokens": None, "pool_edges": True}
    defaults |= {"fallback": "window", "min_parent_tokens": 0, "header_weight": 0.0}
    defaults |= {"header_pooling": None, "normalize": True, "stable_windows": False}
    known = LateChunkOptions(model=path).to_dict()
    assert (ALGORITHM_VERSION, {name: known[name] for name in defaults}) == (4, defaults)


def test_equal_engines_have_equal_fingerprints(tiny_model_paths: dict[str, Path]) -> None:
    def fingerprint(family: str = "wordpiece", dtype: str = "float32", **options: Any) -> str:
        path = str(tiny_model_paths[family])
        return LateChunkEngine.from_pretrained(path, dtype=dtype, **options).fingerprint

    assert fingerprint() == fingerprint(batch_tokens=77)
    assert len({fingerprint(), fingerprint("unigram"), fingerprint(max_tokens=32)}) == 3
    # What "auto" stands for is another dtype on another machine, and so are the vectors.
    by_dtype = {name: fingerprint(dtype=name) for name in ("float32", "bfloat16")}
    assert by_dtype["float32"] != by_dtype["bfloat16"]
    assert fingerprint(dtype="auto") in by_dtype.values()


def test_auto_dtype_loads_and_stays_close_to_float32(
    tiny_model_path: Path, tiny_engine: LateChunkEngine
) -> None:
    engine = LateChunkEngine.from_pretrained(str(tiny_model_path), device="cpu")
    late = engine.embed([Parent(TEXT)])[0].vectors
    assert late.dtype == np.float32
    assert _cosine(late[0], tiny_engine.embed([Parent(TEXT)])[0].vectors[0]) > 0.99


def test_queries_from_many_threads_while_parents_are_embedded(tiny_engine: LateChunkEngine) -> None:
    expected = tiny_engine.embed_query("Berlin")
    with ThreadPoolExecutor(4) as pool:
        queries = [pool.submit(tiny_engine.embed_query, "Berlin") for _ in range(40)]
        tiny_engine.embed([Parent(TEXT + str(n)) for n in range(40)])
        for query in queries:
            np.testing.assert_allclose(query.result(), expected, atol=1e-6)


def _units(rows: Any) -> Any:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def _cosine(left: Any, right: Any) -> float:
    return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))
