"""Files as they are found: what names the weights, and sizes by older names."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from safetensors.numpy import load_file, save_file

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.encoders.model.contract import ModelContract
from latechunk_integrations.errors import ModelLoadError, OptionError, RemoteCodeError
from tests.architectures import LAYOUTS, write_model

TEXT = "Berlin is the capital of Germany. Its inhabitants are proud of the café."


def _engine(path: Path | str, **options: Any) -> LateChunkEngine:
    return LateChunkEngine.from_pretrained(str(path), dtype="float32", device="cpu", **options)


def test_what_is_neither_here_nor_reachable_names_the_way_out() -> None:
    with pytest.raises(ModelLoadError, match="end in the model's own") as caught:
        _engine("of-ours/no-such-model")
    assert "hf download OWNER/NAME --local-dir NAME" in str(caught.value)


@pytest.mark.parametrize("name", ["model.safetensors", "own_code.py"])
def test_a_byte_in_the_middle_of_a_file_changes_the_fingerprint(
    tiny_model_path: Path, tmp_path: Path, name: str
) -> None:
    """A fine-tuned model may share its header, embeddings and last layer with the original."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_path, folder)
    path = folder / name
    if name.endswith(".py"):
        path.write_bytes(b"#" * 4_000_000)
    else:
        weights = load_file(path) | {"unused": np.zeros(1_000_000, np.float32)}
        save_file(weights, path, metadata={"format": "pt"})
    before = _engine(folder).fingerprint
    assert _engine(folder).fingerprint == before
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert _engine(folder).fingerprint != before


def test_an_unknown_device_is_refused(tiny_model_path: Path) -> None:
    with pytest.raises(OptionError, match=r"device='gpu' .* cuda"):
        LateChunkEngine.from_pretrained(str(tiny_model_path), device="gpu")


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_folder_without_its_vocabulary_is_refused(
    published: dict[str, Path], tmp_path: Path, name: str
) -> None:
    """transformers would make a tokenizer that reads every word as unknown."""
    folder = tmp_path / name
    shutil.copytree(published[name], folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelLoadError):
        _engine(folder)


@pytest.mark.skipif("embeddinggemma-2-text" not in LAYOUTS, reason="needs transformers 5.23")
def test_a_text_model_in_the_layout_of_the_whole_loads_with_its_tokenizer_alone(
    published: dict[str, Path], tmp_path: Path
) -> None:
    """As EmbeddingGemma 2's text model is published: no towers, and no files of processors."""
    source = published["embeddinggemma-2-text"]
    folder = tmp_path / source.name
    shutil.copytree(source, folder)
    text = transformers.AutoModel.from_pretrained(str(source))
    whole = transformers.EmbeddingGemma2Model(
        transformers.EmbeddingGemma2Config(text_config=text.config.to_dict())
    )
    whole.language_model.load_state_dict(text.state_dict())
    whole.save_pretrained(folder)
    ours, expected = _engine(folder), _engine(source)
    for left, right in zip(_vectors(ours, TEXT * 4), _vectors(expected, TEXT * 4), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-6)
    contract = ours.describe().contract
    assert isinstance(contract, ModelContract)
    assert (contract.architecture, contract.max_positions) == ("embedding_gemma2", 256)


class TestNomicByTheNamesOfGpt2:
    """As nomic-embed-text-v1.5 was published before transformers had its architecture."""

    @pytest.fixture
    def native(self, tmp_path: Path) -> Path:
        """A tiny model, written by transformers; no size is that of the real model."""
        config = {
            "rope_parameters": {"rope_type": "default", "rope_theta": 50.0},
            "layer_norm_eps": 1e-3,
        }
        layout = replace(LAYOUTS["nomic-embed-text-v1.5"], config=config)
        return write_model(tmp_path / "native", layout)

    @pytest.fixture
    def older(self, native: Path, tmp_path: Path) -> Path:
        """The same weights, with the older config.json."""
        folder = tmp_path / "older" / native.name
        shutil.copytree(native, folder)
        weights = load_file(folder / "model.safetensors")
        assert set(weights) == _published_names()
        n_words = len(weights["embeddings.word_embeddings.weight"])
        config = _older_config() | {"vocab_size": n_words}
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return folder

    def test_sizes_and_weights_are_honoured_and_its_code_never_runs(
        self, native: Path, older: Path
    ) -> None:
        expected = _engine(native)
        engine = _engine(older)
        text = TEXT * 4
        for left, right in zip(_vectors(engine, text), _vectors(expected, text), strict=True):
            np.testing.assert_allclose(left, right, atol=1e-6)
        contract = engine.describe().contract
        assert contract is not None
        assert (contract.max_positions, contract.dimensions) == (256, 128)
        assert engine.encoder.document_prompt == "search_document: "

    @pytest.mark.parametrize(
        ("name", "value"), [("n_head", 4), ("rotary_emb_base", 1000), ("layer_norm_epsilon", 1e-12)]
    )
    def test_a_size_that_no_weight_shows_counts(self, older: Path, name: str, value: float) -> None:
        before = _engine(older).embed([Parent(TEXT)])[0].vectors
        _change(older, **{name: value})
        after = _engine(older).embed([Parent(TEXT)])[0].vectors
        assert np.abs(after - before).max() > 1e-5

    def test_names_of_transformers_come_first(self, older: Path) -> None:
        """As it is published now, with both."""
        before = _engine(older).embed([Parent(TEXT)])[0].vectors
        own = {"num_attention_heads": 2, "layer_norm_eps": 1e-3}
        _change(older, **own, n_head=4, layer_norm_epsilon=1e-12)
        np.testing.assert_array_equal(_engine(older).embed([Parent(TEXT)])[0].vectors, before)

    @pytest.mark.parametrize(
        ("name", "value"), [("prenorm", True), ("causal", True), ("rotary_emb_fraction", 0.5)]
    )
    def test_what_transformers_would_leave_out_is_refused(
        self, older: Path, name: str, value: object
    ) -> None:
        _change(older, **{name: value})
        with pytest.raises(RemoteCodeError, match=r"modeling_hf_nomic_bert\.NomicBertModel"):
            _engine(older)
        _change(older, auto_map=None)
        with pytest.raises(ModelLoadError, match=f"{name}={value!r}"):
            _engine(older)


def _vectors(engine: LateChunkEngine, text: str) -> list[Any]:
    spans = [(0, 33), (34, 72), (72, len(text))]
    return [engine.embed([Parent(text, spans)])[0].vectors, engine.embed_queries([text])]


def _change(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, **values}), encoding="utf-8")


def _older_config() -> dict[str, Any]:
    prefix = "nomic-ai/nomic-bert-2048--"
    return {
        "activation_function": "swiglu",
        "architectures": ["NomicBertModel"],
        "attn_pdrop": 0.0,
        "auto_map": {
            "AutoConfig": prefix + "configuration_hf_nomic_bert.NomicBertConfig",
            "AutoModel": prefix + "modeling_hf_nomic_bert.NomicBertModel",
            "AutoModelForMaskedLM": prefix + "modeling_hf_nomic_bert.NomicBertForPreTraining",
        },
        "bos_token_id": None,
        "causal": False,
        "dense_seq_output": True,
        "embd_pdrop": 0.0,
        "eos_token_id": None,
        "fused_bias_fc": True,
        "fused_dropout_add_ln": True,
        "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-3,
        "max_trained_positions": 256,
        "mlp_fc1_bias": False,
        "mlp_fc2_bias": False,
        "model_type": "nomic_bert",
        "n_embd": 128,
        "n_head": 2,
        "n_inner": 48,
        "n_layer": 2,
        "n_positions": 1024,
        "pad_vocab_size_multiple": 64,
        "parallel_block": False,
        "parallel_block_tied_norm": False,
        "prenorm": False,
        "qkv_proj_bias": False,
        "reorder_and_upcast_attn": False,
        "resid_pdrop": 0.0,
        "rotary_emb_base": 50,
        "rotary_emb_fraction": 1.0,
        "rotary_emb_interleaved": False,
        "rotary_emb_scale_base": None,
        "rotary_scaling_factor": None,
        "scale_attn_weights": True,
        "torch_dtype": "float32",
        "type_vocab_size": 2,
        "use_cache": True,
        "use_flash_attn": True,
        "use_rms_norm": False,
    }


def _published_names() -> set[str]:
    """Of the parameters of two layers, as the hub has them."""
    embeddings = ("emb_ln.bias", "emb_ln.weight", "embeddings.word_embeddings.weight")
    layer = (
        *("attn.Wqkv.weight", "attn.out_proj.weight"),
        *("mlp.fc11.weight", "mlp.fc12.weight", "mlp.fc2.weight"),
        *("norm1.bias", "norm1.weight", "norm2.bias", "norm2.weight"),
    )
    layers = {f"encoder.layers.{number}.{name}" for number in (0, 1) for name in layer}
    return {*embeddings, "embeddings.token_type_embeddings.weight", *layers}
