"""LoRA weights: each text through its own, whatever other threads do; wrong ones are refused."""

from __future__ import annotations

import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.errors import MissingExtraError, ModelLoadError, OptionError

NAME = "jina-embeddings-v3-hf"
LORAS = {"document_lora": "retrieval_passage", "query_lora": "retrieval_query"}
TEXT = "Berlin is the capital of Germany. Its inhabitants are proud of the café."


def _engine(path: Path, **options: Any) -> LateChunkEngine:
    return LateChunkEngine.from_pretrained(str(path), dtype="float32", device="cpu", **options)


@pytest.mark.slow
def test_threads_do_not_mix_the_loras(published: dict[str, Path]) -> None:
    """Documents and queries at the same time give what they give one after the other."""
    engine = _engine(published[NAME], **LORAS)
    parents = [Parent(TEXT * (1 + n % 3) + str(n), [(0, 33), (34, 70)]) for n in range(12)]
    texts = [f"capital {n}" for n in range(12)]
    late = [result.vectors for result in engine.embed(parents)]
    queries, documents = engine.embed_queries(texts), engine.embed_texts(texts)
    start = threading.Barrier(6)

    def check(which: int) -> None:
        start.wait()
        for _ in range(5):
            if which % 3 == 0:
                for expected, result in zip(late, engine.embed(parents), strict=True):
                    np.testing.assert_allclose(result.vectors, expected, atol=1e-6)
            elif which % 3 == 1:
                np.testing.assert_allclose(engine.embed_queries(texts), queries, atol=1e-6)
            else:
                np.testing.assert_allclose(engine.embed_texts(texts), documents, atol=1e-6)

    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(check, which) for which in range(6)]:
            done.result()


def test_the_second_lora_takes_no_second_model(published: dict[str, Path]) -> None:
    engine: Any = _engine(published[NAME], **LORAS)
    trees = (engine.encoder.model, engine.encoder.query_model)
    left, right = ({p.data_ptr() for p in tree.parameters()} for tree in trees)
    own = sum("lora_" in name for name, _ in trees[0].named_parameters())
    assert own > 0
    assert len(left & right) == len(left) - own


@pytest.mark.parametrize("option", ["document_lora", "query_lora"])
def test_an_unknown_lora_is_refused_with_the_valid_names(
    published: dict[str, Path], option: str
) -> None:
    with pytest.raises(OptionError) as caught:
        _engine(published[NAME], **{option: "retrieval.query"})
    for part in (f"{option}='retrieval.query'", "'retrieval_passage', 'retrieval_query'"):
        assert part in str(caught.value)
    with pytest.raises(OptionError, match="has no LoRAs"):
        _engine(published["e5-base-v2"], **{option: "retrieval_query"})


def test_loras_that_nobody_chose_are_mentioned(
    published: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / NAME
    shutil.copytree(published[NAME], folder)
    _engine(folder)
    _engine(folder)
    assert caplog.text.count("none is used") == 1
    assert "retrieval_passage" in caplog.text


def test_a_lora_that_is_only_a_pickle_is_refused(
    published: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / NAME
    shutil.copytree(published[NAME], folder)
    weights = folder / "retrieval_query/adapter_model.safetensors"
    weights.rename(weights.with_name("adapter_model.bin"))
    with pytest.raises(ModelLoadError, match=r"retrieval_query.*safetensors"):
        _engine(folder, query_lora="retrieval_query")


@pytest.mark.parametrize("lost", ["lora_A", "lora_B", "base_model"])
def test_weights_that_a_lora_lacks_are_not_made_up(
    published: dict[str, Path], tmp_path: Path, lost: str
) -> None:
    """transformers puts random numbers or zeros there, and goes on."""
    folder = tmp_path / NAME
    shutil.copytree(published[NAME], folder)
    path = folder / "retrieval_query/adapter_model.safetensors"
    weights = load_file(path)
    names = [name for name in weights if lost in name]
    for name in names if lost == "base_model" else names[:1]:
        weights[f"elsewhere.{name}"] = weights.pop(name)
    save_file(weights, path)
    with pytest.raises(ModelLoadError, match=r"do not hold all weights.*lora_"):
        _engine(folder, query_lora="retrieval_query")
    assert _engine(folder, query_lora="separation").dimensions == 64


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("adapter_model.safetensors", b"half"),
        ("adapter_config.json", b"{half"),
        ("adapter_config.json", b"{}"),
    ],
)
def test_a_lora_that_cannot_be_read_is_named(
    published: dict[str, Path], tmp_path: Path, name: str, content: bytes
) -> None:
    folder = tmp_path / NAME
    shutil.copytree(published[NAME], folder)
    (folder / "retrieval_query" / name).write_bytes(content)
    with pytest.raises(ModelLoadError, match="'retrieval_query'"):
        _engine(folder, query_lora="retrieval_query")


def test_a_lora_of_another_model_is_named(published: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / NAME
    shutil.copytree(published[NAME], folder)
    path = folder / "retrieval_query/adapter_model.safetensors"
    save_file({name: weight[:1] for name, weight in load_file(path).items()}, path)
    with pytest.raises(ModelLoadError, match="'retrieval_query'"):
        _engine(folder, query_lora="retrieval_query")


def test_without_peft_the_extra_is_named(
    published: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"\[peft\]"):
        _engine(published[NAME], query_lora="retrieval_query")
    assert _engine(published[NAME]).dimensions == 64
