"""Published folders, loaded by the public call: same numbers, no remote code, typed errors."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from latechunk_integrations import LateChunkEngine, Parent, Span
from latechunk_integrations.encoders.base import TokenBatch
from latechunk_integrations.errors import ContractError, ModelLoadError, OptionError
from tests import strategies
from tests.encoders.local.jina_v2.published import (
    published_config,
    random_weights,
    save_checkpoint,
)
from tests.encoders.local.jina_v2.reference import Reference

pytestmark = pytest.mark.slow  # each compares with the published model code

TEXT = (
    "Berlin is the capital of Germany. Its 3.85 million inhabitants are proud of the café. "
    "The supplier delivers every part within thirty days, unless Section 1.3 says otherwise. "
) * 3


def engine_of(folder: Path | str, **options: Any) -> LateChunkEngine:
    options = {"dtype": "float32", "device": "cpu", "strict": True} | options
    return LateChunkEngine.from_pretrained(str(folder), **options)


def assert_same(vector: Any, expected: Any) -> None:
    expected = expected / np.linalg.norm(expected)
    assert float(vector @ expected) >= 0.99999
    np.testing.assert_allclose(vector, expected, atol=1e-5)


def ids_of(engine: LateChunkEngine, text: str) -> list[int]:
    (tokens,) = engine.encoder.tokenize([text], "")
    return [*engine.encoder.lead, *tokens.ids, *engine.encoder.tail]


def add_dense(folder: Path, head: Any, **config: Any) -> None:
    """A Dense module behind the pooling, as sentence-transformers saves it."""
    modules = json.loads((folder / "modules.json").read_text())
    modules.append(
        {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    )
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "config.json").write_text(
        json.dumps({"in_features": 48, "out_features": 16, "bias": False} | config)
    )
    save_file({"linear.weight": head}, folder / "2_Dense" / "model.safetensors")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = published_config()
    return save_checkpoint(tmp_path_factory.mktemp("jina"), config, random_weights(config))


@pytest.fixture(scope="module")
def engine(checkpoint: Path) -> LateChunkEngine:
    return engine_of(checkpoint)


@pytest.mark.parametrize(
    ("qk_norm", "code"),
    [(False, False), (True, False), (True, True)],
    ids=["v2", "v2 with norms of queries and keys", "code"],
)
@pytest.mark.parametrize("prefix", ["", "bert."])
@pytest.mark.parametrize("n_heads", [4, 6, 12])
def test_one_chunk_over_the_parent_is_what_the_reference_gives(
    tmp_path: Path, n_heads: int, prefix: str, qk_norm: bool, code: bool
) -> None:
    """Rule 3."""
    config = published_config(num_attention_heads=n_heads)
    weights = random_weights(config, qk_norm=qk_norm, code=code, seed=n_heads)
    engine = engine_of(save_checkpoint(tmp_path, config, weights, prefix=prefix))
    tokens = Reference(config, weights, qk_norm=qk_norm, code=code).encode(ids_of(engine, TEXT))
    (result,) = engine.embed([Parent(TEXT, [Span(0, len(TEXT))])])
    assert_same(result.vectors[0], tokens.mean(axis=0))
    assert_same(engine.embed_texts([TEXT])[0], tokens.mean(axis=0))
    assert_same(engine.embed_query(TEXT), tokens.mean(axis=0))


def test_inner_chunks_pool_their_own_tokens(checkpoint: Path, engine: LateChunkEngine) -> None:
    config = published_config()
    weights = load_file(checkpoint / "model.safetensors")
    tokens = Reference(config, weights).encode(ids_of(engine, TEXT))
    (texts,) = engine.encoder.tokenize([TEXT], "")
    span = Span(TEXT.index("Its"), TEXT.index("The supplier"))
    inside = (texts.offsets[:, 1] > span.start) & (texts.offsets[:, 0] < span.end)
    options = replace(engine.options, layout="text", focus=0.0)
    (result,) = LateChunkEngine(engine.encoder, options).embed([Parent(TEXT, [span])])
    assert_same(result.vectors[0], tokens[1:-1][inside].mean(axis=0))


def test_no_vector_depends_on_padding_or_batch_mates(engine: LateChunkEngine) -> None:
    parents = [Parent(TEXT[:n], [Span(0, n // 2), Span(n // 2, n)]) for n in (40, 400, 33, 90, 41)]
    together = engine.embed(parents)
    for parent, result in zip(parents, together, strict=True):
        (alone,) = engine.embed([parent])
        np.testing.assert_allclose(result.vectors, alone.vectors, atol=1e-5)


@pytest.mark.rule(6)
@settings(max_examples=25 if os.environ.get("CI") else 8)
@given(data=st.data())
def test_padding_batch_mates_and_order_change_no_vector(
    engine: LateChunkEngine, data: st.DataObject
) -> None:
    """Also beside a window of more than 512 tokens, whose steep heads read their neighbours."""
    parents = []
    for _ in range(data.draw(st.integers(1, 4))):
        text = data.draw(strategies.texts())
        spans = data.draw(strategies.spans_of(text))
        parents.append(Parent(text, spans, header=data.draw(strategies.headers)))
    if data.draw(st.booleans()):
        text = (TEXT * 12)[: data.draw(st.integers(2_900, 3_400))]
        assert len(ids_of(engine, text)) > 512
        parents.append(Parent(text, [(0, 40), (30, 2_000), (0, len(text))]))
    order = data.draw(st.permutations(range(len(parents))))
    alone = [_packed(engine, 1).embed([parent])[0].vectors for parent in parents]
    packed = _packed(engine, data.draw(st.sampled_from([100, 300, 4_000])))
    for at, result in zip(order, packed.embed([parents[i] for i in order]), strict=True):
        np.testing.assert_allclose(result.vectors, alone[at], atol=1e-5)


def _packed(engine: LateChunkEngine, batch_tokens: int) -> LateChunkEngine:
    options = replace(engine.options, batch_tokens=batch_tokens, strict=False)
    return LateChunkEngine(engine.encoder, options)


def test_a_window_longer_than_every_block_is_computed_like_a_short_one(tmp_path: Path) -> None:
    """Neither blocks of the feed-forward layer (256 tokens) nor of the kernel leave seams."""
    config = published_config(num_hidden_layers=1)
    weights = random_weights(config)
    engine = engine_of(save_checkpoint(tmp_path, config, weights))
    text = (TEXT * 12)[:3_200]
    ids = ids_of(engine, text)
    assert len(ids) > 600
    (result,) = engine.embed([Parent(text, [Span(0, len(text))])])
    assert_same(result.vectors[0], Reference(config, weights).encode(ids).mean(axis=0))


def test_shards_and_a_folder_without_modules_json_load_alike(
    checkpoint: Path, engine: LateChunkEngine, tmp_path: Path
) -> None:
    weights = load_file(checkpoint / "model.safetensors")
    folder = save_checkpoint(
        tmp_path, published_config(), weights, n_shards=3, sentence_transformers=False
    )
    other = engine_of(folder)
    assert other.encoder.max_tokens == 8_192
    assert engine.encoder.max_tokens == 1_024
    np.testing.assert_allclose(other.embed_query(TEXT), engine.embed_query(TEXT), atol=1e-6)


@pytest.mark.parametrize("trust", [False, True])
def test_the_code_that_auto_map_names_never_runs(checkpoint: Path, trust: bool) -> None:
    engine_of(checkpoint, trust_remote_code=trust).embed_query("Berlin")
    assert not (checkpoint / "ran").exists()


def test_a_hub_name_resolves_to_the_cached_snapshot_of_its_revision(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline, as the hub's client keeps it: blobs by commit, a branch name for one of them."""
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path))
    repository = tmp_path / "models--jinaai--jina-embeddings-v2-base-en"
    weights = load_file(checkpoint / "model.safetensors")
    doubled = {name: value * 2 for name, value in weights.items()}
    for commit, tensors in (("a" * 40, weights), ("b" * 40, doubled)):
        save_checkpoint(repository / "snapshots" / commit, published_config(), tensors)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("b" * 40)
    name = "jinaai/jina-embeddings-v2-base-en"
    pinned, newest = engine_of(name, revision="a" * 40), engine_of(name)
    expected = engine_of(checkpoint).embed_query(TEXT)
    np.testing.assert_allclose(pinned.embed_query(TEXT), expected, atol=1e-6)
    assert not np.allclose(newest.embed_query(TEXT), expected, atol=1e-3)
    assert pinned.fingerprint != newest.fingerprint


def test_missing_and_unexpected_weights_are_named(checkpoint: Path, tmp_path: Path) -> None:
    weights = load_file(checkpoint / "model.safetensors")
    del weights["encoder.layer.1.mlp.wo.bias"]
    weights["encoder.layer.0.adapter.weight"] = np.zeros(3, np.float32)
    weights["embeddings.LayerNorm.bias"] = np.zeros(3, np.float32)
    folder = save_checkpoint(tmp_path, published_config(), weights)
    with pytest.raises(ModelLoadError) as caught:
        engine_of(folder)
    message = str(caught.value)
    assert "missing: encoder.layer.1.mlp.wo.bias;" in message
    assert "unexpected: encoder.layer.0.adapter.weight;" in message
    assert "embeddings.LayerNorm.bias (3,) instead of (48,)" in message


def test_weights_that_are_no_safetensors_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    weights = load_file(checkpoint / "model.safetensors")
    folder = save_checkpoint(tmp_path, published_config(), weights)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelLoadError, match="only as a pickle, pytorch_model"):
        engine_of(folder)


def test_a_folder_without_its_tokenizer_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    """transformers would make one that knows no word."""
    weights = load_file(checkpoint / "model.safetensors")
    folder = save_checkpoint(tmp_path, published_config(), weights)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelLoadError, match=r"has no tokenizer: none of tokenizer\.json"):
        engine_of(folder)


def test_files_that_sentence_transformers_cannot_read_are_a_typed_error(
    checkpoint: Path, tmp_path: Path
) -> None:
    weights = load_file(checkpoint / "model.safetensors")
    folder = save_checkpoint(tmp_path, published_config(), weights)
    (folder / "1_Pooling" / "config.json").write_text("{")
    with pytest.raises(ModelLoadError, match="cannot load the jina-embeddings-v2 model in"):
        engine_of(folder)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"feed_forward_type": "reglu"}, "'reglu' of config.json is not supported"),
        ({"num_attention_heads": 7}, "48 is no multiple of num_attention_heads 7"),
    ],
)
def test_another_kind_of_jina_bert_is_refused(
    tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    folder = save_checkpoint(
        tmp_path, published_config(**changes), random_weights(published_config())
    )
    with pytest.raises(ModelLoadError, match=problem):
        engine_of(folder)


def test_an_incomplete_config_names_what_it_lacks(checkpoint: Path, tmp_path: Path) -> None:
    config = published_config()
    del config["intermediate_size"]
    folder = save_checkpoint(tmp_path, config, load_file(checkpoint / "model.safetensors"))
    with pytest.raises(ModelLoadError, match=r"config\.json lacks intermediate_size"):
        engine_of(folder)


def test_a_width_that_it_was_not_trained_for_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    weights = load_file(checkpoint / "model.safetensors")
    for name in ("small-en", "base-de", "base-code"):
        folder = tmp_path / f"jina-embeddings-v2-{name}"
        folder = save_checkpoint(folder, published_config(), weights)
        with pytest.raises(OptionError, match="trained for 48"):
            engine_of(folder, dimensions=16)


@pytest.mark.parametrize("wrong", [0, -2, "4", None])
def test_a_size_that_cannot_be_is_named(checkpoint: Path, tmp_path: Path, wrong: Any) -> None:
    weights = load_file(checkpoint / "model.safetensors")
    folder = save_checkpoint(tmp_path, published_config(num_attention_heads=wrong), weights)
    with pytest.raises(ModelLoadError, match=f"num_attention_heads={wrong!r}"):
        engine_of(folder)


def test_a_width_in_the_files_is_honoured(
    checkpoint: Path, tmp_path: Path, engine: LateChunkEngine
) -> None:
    """A fine-tuned model may be published to be cut, as sentence-transformers reads it."""
    weights = load_file(checkpoint / "model.safetensors")
    folder = save_checkpoint(tmp_path, published_config(), weights)
    settings = folder / "config_sentence_transformers.json"
    settings.write_text(json.dumps({"truncate_dim": 16}))
    cut = engine.embed([Parent(TEXT)])[0].vectors[0, :16]
    ours = engine_of(folder)
    assert_same(ours.embed([Parent(TEXT)])[0].vectors[0], cut)
    assert_same(ours.embed_query(TEXT), cut)


def test_a_module_of_another_package_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    weights = load_file(checkpoint / "model.safetensors")
    folder = save_checkpoint(tmp_path, published_config(), weights)
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 2, "name": "2", "path": "2_Own", "type": "custom_st.Own"})
    (folder / "modules.json").write_text(json.dumps(modules))
    for trust in (False, True):
        with pytest.raises(ContractError, match=r"modules\.json names the class custom_st\.Own"):
            engine_of(folder, trust_remote_code=trust)


@pytest.mark.parametrize("trust", [False, True])
def test_a_head_with_a_function_of_its_own_is_refused_and_not_replaced(
    checkpoint: Path, tmp_path: Path, trust: bool
) -> None:
    """sentence-transformers would put Tanh in its place."""
    weights = load_file(checkpoint / "model.safetensors")
    folder = save_checkpoint(tmp_path, published_config(), weights)
    add_dense(folder, np.ones((16, 48), np.float32), activation_function="own.Swish")
    with pytest.raises(ContractError, match=r"2_Dense/config\.json names .* own\.Swish"):
        engine_of(folder, trust_remote_code=trust)


def test_a_head_that_is_only_a_pickle_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    weights = load_file(checkpoint / "model.safetensors")
    folder = save_checkpoint(tmp_path, published_config(), weights)
    add_dense(folder, np.ones((16, 48), np.float32))
    (folder / "2_Dense/model.safetensors").unlink()
    torch.save({"linear.weight": torch.ones(16, 48)}, folder / "2_Dense/pytorch_model.bin")
    with pytest.raises(ModelLoadError, match="only as a pickle, 2_Dense/pytorch_model"):
        engine_of(folder)


def test_prompts_and_heads_beside_the_model_are_honoured(checkpoint: Path, tmp_path: Path) -> None:
    weights = load_file(checkpoint / "model.safetensors")
    folder = save_checkpoint(tmp_path, published_config(), weights)
    (folder / "config_sentence_transformers.json").write_text(
        json.dumps({"prompts": {"query": "query: ", "document": "passage: "}})
    )
    head = np.random.default_rng(1).normal(size=(16, 48)).astype(np.float32)
    add_dense(folder, head)
    engine = engine_of(folder)
    tokens = Reference(published_config(), weights).encode(ids_of(engine, "passage: " + TEXT))
    (result,) = engine.embed([Parent(TEXT, [Span(0, len(TEXT))])])
    assert_same(result.vectors[0], np.tanh(tokens.mean(axis=0) @ head.T.astype(np.float64)))
    assert engine.encoder.document_prompt == "passage: "
    plain = engine_of(checkpoint).embed_query("query: Berlin")
    assert engine.embed_query("Berlin").shape == (16,)
    assert plain.shape == (48,)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays_close_to_float32(
    checkpoint: Path, engine: LateChunkEngine, dtype: str
) -> None:
    fast = engine_of(checkpoint, dtype=dtype)
    tokens = fast.encoder.forward(TokenBatch(np.zeros((1, 3), np.int64), np.array([3])))
    assert tokens.dtype == getattr(torch, dtype)
    assert float(fast.embed_query(TEXT) @ engine.embed_query(TEXT)) > 0.999
