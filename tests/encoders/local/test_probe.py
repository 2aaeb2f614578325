"""What files say wrongly is tried when a model loads: direction, width, numbers, the own vector."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer

from latechunk_integrations.encoders.local.encoder import LocalEncoder
from latechunk_integrations.encoders.model.contract import ModelContract
from latechunk_integrations.errors import ContractError, NotFiniteError, OptionError
from latechunk_integrations.options import LateChunkOptions
from tests.architectures import LAYOUTS, write_model

# Pools the largest number of each column, and calls itself a pooling of the mean.
_OWN_POOLING = """
from sentence_transformers.sentence_transformer.modules import Pooling
class OwnPooling(Pooling):
    def forward(self, features):
        features["sentence_embedding"] = features["token_embeddings"].amax(dim=1)
        return features
"""


def _encoder(path: Path, **options: Any) -> LocalEncoder:
    given: dict[str, Any] = {"dtype": "float32", "device": "cpu", **options}
    return LocalEncoder.load(LateChunkOptions(model=str(path), **given))


def _contract(path: Path) -> ModelContract:
    return _encoder(path).contract


def _reaches_back(path: Path) -> bool:
    """Whether another last token changes the first one's embedding, by transformers itself."""
    model = AutoModel.from_pretrained(str(path)).eval()
    with torch.no_grad():
        first = [
            model(input_ids=torch.tensor([[5, 6, 7, last]])).last_hidden_state[0, 0]
            for last in (8, 9)
        ]
    return not torch.equal(*first)


class TestCausality:
    """A forward pass decides, not what a module or a file calls itself."""

    @pytest.mark.parametrize("name", LAYOUTS)
    def test_every_architecture_is_what_it_does(
        self, published: dict[str, Path], name: str
    ) -> None:
        causal = _contract(published[name]).causal
        assert causal == LAYOUTS[name].causal
        assert causal != _reaches_back(published[name])

    def test_a_causal_architecture_that_its_config_makes_bidirectional(
        self, tmp_path: Path
    ) -> None:
        """transformers honours ``is_causal`` in config.json; the modules still say causal."""
        layout = LAYOUTS["Qwen3-Embedding-0.6B"]
        path = write_model(tmp_path, replace(layout, config={**layout.config, "is_causal": False}))
        assert _reaches_back(path)
        assert not _contract(path).causal


class TestWidth:
    """Of the token embeddings as they come out."""

    @pytest.mark.skipif("embeddinggemma-2-text" not in LAYOUTS, reason="needs transformers 5.23")
    def test_a_projection_behind_the_layers_counts(self, published: dict[str, Path]) -> None:
        """EmbeddingGemma 2: ``hidden_size`` is 32 here, and its vectors have 256 numbers."""
        encoder = _encoder(published["embeddinggemma-2-text"])
        assert (encoder.token_dim, encoder.dimensions) == (256, 256)
        assert encoder.contract.header_pooling == 1.0


class TestNumbers:
    """A model that gives no numbers is refused when it loads."""

    def _grown(self, source: Path, folder: Path, factor: float) -> Path:
        shutil.copytree(source, folder)
        weights = load_file(folder / "model.safetensors")
        name = next(name for name in weights if name.endswith("output.LayerNorm.weight"))
        weights[name] = weights[name] * factor
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    def test_a_dtype_that_overflows_is_named_with_those_that_do_not(
        self, published: dict[str, Path], tmp_path: Path
    ) -> None:
        path = self._grown(published["e5-base-v2"], tmp_path / "of-ours", 1e6)
        assert np.isfinite(_encoder(path).encode_queries(["a text"])).all()
        with pytest.raises(ContractError, match=r"in float16.* dtype='bfloat16'"):
            _encoder(path, dtype="float16")

    @pytest.mark.parametrize("factor", [np.nan, np.inf])
    def test_damaged_weights_are_refused_in_any(
        self, published: dict[str, Path], tmp_path: Path, factor: float
    ) -> None:
        path = self._grown(published["e5-base-v2"], tmp_path / "of-ours", factor)
        with pytest.raises(ContractError, match="damaged"):
            _encoder(path)

    @pytest.mark.parametrize("name", ["embeddinggemma-300m", "embeddinggemma-2-text"])
    def test_a_dtype_that_an_architecture_overflows_in_is_refused_before_loading(
        self, published: dict[str, Path], tmp_path: Path, name: str
    ) -> None:
        if name not in LAYOUTS:
            pytest.skip("needs transformers 5.23")
        path = tmp_path / name
        shutil.copytree(published[name], path)
        (path / "model.safetensors").unlink()
        with pytest.raises(OptionError, match="dtype='bfloat16'"):
            _encoder(path, dtype="float16")

    def test_a_text_that_gives_none_is_an_error_not_a_vector(
        self, published: dict[str, Path], tmp_path: Path
    ) -> None:
        """One damaged row of the word embeddings, which no trial reads."""
        path = tmp_path / "of-ours"
        shutil.copytree(published["all-mpnet-base-v2"], path)
        weights = load_file(path / "model.safetensors")
        (token,) = AutoTokenizer.from_pretrained(str(path))("東", add_special_tokens=False)[
            "input_ids"
        ]
        weights["embeddings.word_embeddings.weight"][token] = np.nan
        save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
        encoder = _encoder(path)
        assert np.isfinite(encoder.encode_queries(["Berlin"])).all()
        for encode in (encoder.encode_queries, encoder.encode_documents):
            with pytest.raises(NotFiniteError, match=r"vector 1 of the texts .*float32"):
                encode(["Berlin", "東京"])


def test_a_module_that_does_not_do_what_it_says_is_refused(
    published: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One chunk over the whole text would not be the model's own vector."""
    path = tmp_path / "of-ours"
    shutil.copytree(published["e5-base-v2"], path)
    (path / "own_pooling.py").write_text(_OWN_POOLING, encoding="utf-8")
    modules = json.loads((path / "modules.json").read_text(encoding="utf-8"))
    modules[1]["type"] = "own_pooling.OwnPooling"
    (path / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    monkeypatch.setattr(
        "transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules")
    )
    for _ in range(2):  # an error is not taken for a result
        with pytest.raises(ContractError, match=r"cosine 0\.\d+"):
            _encoder(path, trust_remote_code=True)


def test_trials_are_made_once_for_the_same_weights(published: dict[str, Path]) -> None:
    """And anew for another document prompt, which the vector depends on."""
    path = published["bge-small-en-v1.5"]
    passes: list[int] = []
    hook = torch.nn.modules.module.register_module_forward_hook(
        lambda module, _, __: passes.append(1) if type(module).__name__ == "BertEncoder" else None
    )
    with hook:
        _encoder(path, document_prompt="a prompt of this test: ")
        first = len(passes)
        _encoder(path, document_prompt="a prompt of this test: ")
        assert len(passes) == first > 0
        _encoder(path, document_prompt="another: ")
        assert len(passes) == first + 2
