"""Nothing of a model runs that was not allowed to, and the error says what would have run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.errors import ModelLoadError, RemoteCodeError

TEXT = "Berlin is the capital of Germany."
# Says in a file that it ran, wherever it is imported.
_CODE = """
from pathlib import Path
from sentence_transformers.sentence_transformer.modules import Pooling
Path({marker!r}).write_text("ran")
class OwnPooling(Pooling):
    pass
"""


def _engine(path: Path | str, **options: Any) -> LateChunkEngine:
    return LateChunkEngine.from_pretrained(str(path), dtype="float32", device="cpu", **options)


@pytest.fixture
def model(tmp_path: Path, published: dict[str, Path]) -> Path:
    """A copy of a model, to be changed."""
    folder = tmp_path / "of-ours"
    shutil.copytree(published["e5-base-v2"], folder)
    return folder


def _change(path: Path, **values: Any) -> None:
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps({**content, **values}), encoding="utf-8")


@pytest.mark.parametrize(
    ("config", "named"),
    [
        # As jina-embeddings-v3, gte-multilingual-base and nomic-bert-2048 have it.
        (
            {
                "model_type": "xlm-roberta",
                "architectures": ["XLMRobertaLoRA"],
                "auto_map": {
                    "AutoConfig": "jinaai/flash--configuration_xlm_roberta.XLMRobertaFlashConfig",
                    "AutoModel": "jinaai/flash--modeling_lora.XLMRobertaLoRA",
                },
            },
            ["jinaai/flash--modeling_lora.XLMRobertaLoRA", "jinaai/flash: copy it"],
        ),
        (
            {
                "model_type": "new",
                "architectures": ["NewModel"],
                "auto_map": {
                    "AutoConfig": "configuration.NewConfig",
                    "AutoModel": "modeling.NewModel",
                },
            },
            ["configuration.NewConfig", "modeling.NewModel"],
        ),
        (
            {"model_type": "bert", "architectures": None, "auto_map": {}},
            [],
        ),
    ],
    ids=["code of another repository", "code of its own", "none"],
)
def test_auto_map_is_refused_with_what_it_names(
    model: Path, config: dict[str, Any], named: list[str]
) -> None:
    _change(model / "config.json", **config)
    if not named:
        assert _engine(model).dimensions == 32
        return
    with pytest.raises(RemoteCodeError) as caught:
        _engine(model)
    for part in [*named, "config.json", "revision=<commit>", "trust_remote_code=True"]:
        assert part in str(caught.value)


def test_auto_map_beside_a_native_architecture_runs_nothing(
    published: dict[str, Path], tmp_path: Path
) -> None:
    """As nomic-embed-text-v1.5 is published: its code is not needed any more."""
    folder = tmp_path / "nomic-embed-text-v1.5"
    shutil.copytree(published[folder.name], folder)
    own = _engine(folder).embed([Parent(TEXT)])[0].vectors
    prefix = "nomic-ai/nomic-bert-2048--"
    auto_map = {
        "AutoConfig": prefix + "configuration_hf_nomic_bert.NomicBertConfig",
        "AutoModel": prefix + "modeling_hf_nomic_bert.NomicBertModel",
    }
    _change(folder / "config.json", auto_map=auto_map)
    np.testing.assert_array_equal(_engine(folder).embed([Parent(TEXT)])[0].vectors, own)


@pytest.mark.parametrize("place", ["config.json", "tokenizer_config.json"])
def test_code_beside_an_architecture_that_is_not_proved_equal_is_refused(
    published: dict[str, Path], tmp_path: Path, place: str
) -> None:
    """As gte-Qwen2-instruct and stella are published: they would load, and as causal models."""
    folder = tmp_path / "gte-Qwen2-1.5B-instruct"
    shutil.copytree(published["Qwen3-Embedding-0.6B"], folder)
    classes: dict[str, Any] = {"AutoModel": "modeling_qwen.Qwen2Model"}
    if place != "config.json":
        classes = {"AutoTokenizer": ["tokenization_qwen.Qwen2Tokenizer", None]}
    _change(folder / place, auto_map=classes)
    with pytest.raises(RemoteCodeError, match=r"_qwen\.Qwen2") as caught:
        _engine(folder)
    for part in (place, "'qwen3' is not known to do the same", "nomic_bert", "revision=<commit>"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("name", "native"),
    [
        ("gte-multilingual-base", "alibaba-nlp-community/gte-multilingual-base"),
        ("jina-embeddings-v3", "jinaai/jina-embeddings-v3-hf"),
        ("of-ours", None),
    ],
)
def test_the_error_points_to_a_copy_that_needs_no_code(
    model: Path, tmp_path: Path, name: str, native: str | None
) -> None:
    folder = model.rename(tmp_path / name)
    _change(folder / "config.json", model_type="new", auto_map={"AutoModel": "modeling.NewModel"})
    with pytest.raises(RemoteCodeError) as caught:
        _engine(folder)
    assert ("or take" in str(caught.value)) == (native is not None)
    assert str(native or "of-ours") in str(caught.value)


def test_a_module_of_its_own_runs_only_where_it_is_allowed(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "marker"
    (model / "own_pooling.py").write_text(_CODE.format(marker=str(marker)), encoding="utf-8")
    modules = json.loads((model / "modules.json").read_text(encoding="utf-8"))
    modules[1]["type"] = "own_pooling.OwnPooling"
    (model / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    with pytest.raises(RemoteCodeError, match=r"modules\.json names the class own_pooling\.Own"):
        _engine(model)
    assert not marker.exists()
    monkeypatch.setattr(
        "transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules")
    )
    assert _engine(model, trust_remote_code=True).dimensions == 32
    assert marker.exists()


def test_a_tokenizer_of_its_own_is_refused(model: Path) -> None:
    auto_map = {"AutoTokenizer": ["tokenization.OwnTokenizer", None]}
    _change(model / "tokenizer_config.json", auto_map=auto_map, tokenizer_class="OwnTokenizer")
    with pytest.raises(RemoteCodeError, match=r"names tokenization\.OwnTokenizer"):
        _engine(model)


def test_an_activation_function_of_its_own_is_refused_and_not_replaced(
    published: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "of-ours"
    shutil.copytree(published["embeddinggemma-300m"], folder)
    _change(folder / "2_Dense/config.json", activation_function="own.Swish")
    with pytest.raises(RemoteCodeError, match=r"2_Dense/config\.json names .* own\.Swish"):
        _engine(folder)


@pytest.mark.parametrize("place", ["", "2_Dense"])
def test_weights_that_are_only_a_pickle_are_refused(
    published: dict[str, Path], tmp_path: Path, place: str
) -> None:
    folder = tmp_path / "of-ours"
    shutil.copytree(published["embeddinggemma-300m"], folder)
    weights = folder / place / "model.safetensors"
    torch.save(load_file(weights), weights.with_name("pytorch_model.bin"))
    assert _engine(folder).dimensions == 256
    weights.unlink()
    with pytest.raises(ModelLoadError, match="pickle") as caught:
        _engine(folder)
    assert "safetensors" in str(caught.value)


def test_weights_that_are_missing_are_not_made_up(model: Path) -> None:
    """transformers fills them with random numbers, and goes on."""
    weights = load_file(model / "model.safetensors")
    lost = next(name for name in weights if name.endswith("layer.1.attention.self.key.weight"))
    weights.pop(lost)
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelLoadError, match=r"layer\.1\.attention\.self\.key\.weight"):
        _engine(model)
    # nomic-embed-text-v2-moe calls itself nomic_bert, and is not the one of transformers.
    _change(model / "config.json", auto_map={"AutoModel": "modeling.OfExperts"})
    with pytest.raises(RemoteCodeError, match=r"modeling\.OfExperts"):
        _engine(model)


def test_a_folder_without_a_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="complete model"):
        _engine(tmp_path)


class TestHub:
    """A hub model, as an earlier download has left it in the cache; there is no network."""

    COMMIT = "0123456789abcdef0123456789abcdef01234567"

    @pytest.fixture
    def snapshot(
        self, tmp_path: Path, published: dict[str, Path], monkeypatch: pytest.MonkeyPatch
    ) -> Path:
        folder = tmp_path / "models--of-ours--jina-embeddings-v3-hf"
        snapshot = folder / "snapshots" / self.COMMIT
        shutil.copytree(published["jina-embeddings-v3-hf"], snapshot)
        (folder / "refs").mkdir()
        (folder / "refs/main").write_text(self.COMMIT)
        monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path))
        return snapshot

    @pytest.mark.slow
    def test_its_adapters_are_found_and_loaded(self, snapshot: Path) -> None:
        options = {"document_lora": "retrieval_passage", "query_lora": "retrieval_query"}
        by_name = _engine("of-ours/jina-embeddings-v3-hf", **options)
        local = _engine(snapshot, **options)
        for left, right in zip(_vectors(by_name), _vectors(local), strict=True):
            np.testing.assert_array_equal(left, right)
        pinned = _engine("of-ours/jina-embeddings-v3-hf", revision=self.COMMIT, **options)
        assert pinned.fingerprint == by_name.fingerprint

    def test_its_code_is_refused(self, snapshot: Path) -> None:
        auto_map = {"AutoModel": "modeling.NewModel"}
        _change(snapshot / "config.json", model_type="new", auto_map=auto_map)
        with pytest.raises(RemoteCodeError, match=r"modeling\.NewModel"):
            _engine("of-ours/jina-embeddings-v3-hf")


def _vectors(engine: LateChunkEngine) -> list[Any]:
    return [engine.embed([Parent(TEXT)])[0].vectors, engine.embed_queries([TEXT])]
