"""The modules after pooling of a served model: what sentence-transformers makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers.base.modules import Dense, Normalize
from sentence_transformers.sentence_transformer.modules import LayerNorm
from torch import nn

from latechunk_integrations.encoders.model.heads import apply_heads, hash_heads, read_heads
from latechunk_integrations.encoders.model.published import PublishedFiles
from latechunk_integrations.errors import ContractError

ROWS = np.random.default_rng(0).normal(scale=2.0, size=(5, 12)).astype(np.float32)
# The model's own modules compute in float32.
TOLERANCE = 1e-6


def _folder(path: Path, heads: list[Any]) -> PublishedFiles:
    """A model's files without its transformer."""
    kinds = ["Transformer", "Pooling", *(type(head).__name__ for head in heads)]
    names = ["", "1_Pooling", *(f"{n + 2}_{type(head).__name__}" for n, head in enumerate(heads))]
    modules = [
        {"idx": n, "path": name, "type": f"sentence_transformers.models.{kind}"}
        for n, (kind, name) in enumerate(zip(kinds, names, strict=True))
    ]
    (path / "modules.json").write_text(json.dumps(modules))
    for name, head in zip(names[2:], heads, strict=True):
        (path / name).mkdir()
        head.save(str(path / name))
    return PublishedFiles(str(path))


@torch.inference_mode()
def _by_torch(heads: list[Any]) -> np.ndarray[Any, Any]:
    features = {"sentence_embedding": torch.from_numpy(ROWS)}
    for head in heads:
        features = head.eval()(features)
    vectors: np.ndarray[Any, Any] = features["sentence_embedding"].numpy()
    return vectors


def _norm() -> LayerNorm:
    norm = LayerNorm(12)
    nn.init.normal_(norm.norm.weight)
    nn.init.normal_(norm.norm.bias)
    return norm


HEADS = {
    **{
        type(one).__name__: [Dense(12, 7, activation_function=one)]
        for one in (nn.Identity(), nn.Tanh(), nn.ReLU(), nn.GELU(), nn.SiLU(), nn.Sigmoid())
    },
    "no bias": [Dense(12, 12, bias=False)],
    "residual": [Dense(12, 12, use_residual=True)],
    "residual of another width": [Dense(12, 7, use_residual=True)],
    "layer norm": [_norm()],
    "several": [Dense(12, 20), Dense(20, 6, activation_function=nn.Identity()), Normalize()],
}


@pytest.mark.rule(4)
@pytest.mark.parametrize("heads", HEADS.values(), ids=HEADS)
def test_heads_give_what_the_models_own_modules_give(heads: list[Any], tmp_path: Path) -> None:
    read = read_heads(_folder(tmp_path, heads))
    found = apply_heads(read, ROWS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, _by_torch(heads), atol=TOLERANCE)
    width = 12
    for head in read:
        width = head.contract(width).out_features
    assert width == found.shape[1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_float_format_are_read(dtype: torch.dtype, tmp_path: Path) -> None:
    head = Dense(12, 7)
    files = _folder(tmp_path, [head])
    file = tmp_path / "2_Dense" / "model.safetensors"
    rounded = {name: one.to(dtype) for name, one in load_file(file).items()}
    save_file(rounded, file)
    head.load_state_dict({name: one.float() for name, one in rounded.items()})
    np.testing.assert_allclose(
        apply_heads(read_heads(files), ROWS), _by_torch([head]), atol=TOLERANCE
    )


def test_every_weight_is_part_of_the_hash(tmp_path: Path) -> None:
    files = _folder(tmp_path, [Dense(12, 7)])
    before = hash_heads(read_heads(files))
    file = tmp_path / "2_Dense" / "model.safetensors"
    weights = load_file(file)
    weights["linear.bias"][3] += 1
    save_file(weights, file)
    assert hash_heads(read_heads(files)) != before


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"activation_function": "torch.nn.modules.activation.Softplus"}, "Softplus"),
        ({"activation_function": "evil.Tanh"}, "evil"),
        ({"module_input_name": "token_embeddings"}, "reads or gives"),
        ({"module_output_name": "other"}, "reads or gives"),
        ({"in_features": 11}, "shape"),
        ({"out_features": None}, "no Dense module"),
    ],
    ids=["softplus", "foreign code", "input", "output", "width", "no width"],
)
def test_what_cannot_be_applied_is_refused(
    changes: dict[str, Any], why: str, tmp_path: Path
) -> None:
    files = _folder(tmp_path, [Dense(12, 7)])
    file = tmp_path / "2_Dense" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(ContractError, match=why):
        read_heads(files)


def test_an_unknown_module_and_half_a_module_are_refused(tmp_path: Path) -> None:
    files = _folder(tmp_path, [Dense(12, 7)])
    (tmp_path / "2_Dense" / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ContractError, match="holds no Dense module"):
        read_heads(files)
    (tmp_path / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(ContractError, match=r"2_Dense/model\.safetensors"):
        read_heads(files)
    text = (tmp_path / "modules.json").read_text()
    (tmp_path / "modules.json").write_text(text.replace("models.Dense", "models.CNN"))
    with pytest.raises(ContractError, match="a module CNN"):
        read_heads(PublishedFiles(str(tmp_path)))


def test_a_head_of_another_width_than_the_servers_is_refused(tmp_path: Path) -> None:
    (head,) = read_heads(_folder(tmp_path, [Dense(12, 7)]))
    with pytest.raises(ContractError, match="vectors of 12 numbers"):
        head.contract(16)
