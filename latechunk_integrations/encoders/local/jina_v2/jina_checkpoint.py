"""How jina-embeddings-v2 is published: files, parameter names, modules around the encoder."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as known_modules
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from torch import Tensor
from transformers import PreTrainedConfig

from latechunk_integrations.encoders.local.jina_v2.jina_config import JinaBertConfig, is_jina_v2
from latechunk_integrations.encoders.local.jina_v2.jina_encoder import JinaBert
from latechunk_integrations.encoders.model.published import (
    PublishedFiles,
    check_safetensors,
    own_parts,
)
from latechunk_integrations.errors import ContractError, LateChunkError, ModelLoadError

# Ours on the left, as published on the right; "*" is the number of a layer.
_COMMON_NAMES = {
    "word_embeddings": "embeddings.word_embeddings",
    "token_type_embeddings": "embeddings.token_type_embeddings",
    "embedding_norm": "embeddings.LayerNorm",
    "layers.*.query": "encoder.layer.*.attention.self.query",
    "layers.*.key": "encoder.layer.*.attention.self.key",
    "layers.*.value": "encoder.layer.*.attention.self.value",
    "layers.*.output": "encoder.layer.*.attention.output.dense",
    "layers.*.output_norm": "encoder.layer.*.attention.output.LayerNorm",
}
_NAMES = {
    **_COMMON_NAMES,
    "layers.*.gated": "encoder.layer.*.mlp.gated_layers",
    "layers.*.down": "encoder.layer.*.mlp.wo",
    "layers.*.down_norm": "encoder.layer.*.mlp.layernorm",
}
# Of some checkpoints only, whatever their other layers are called.
_QK_NORM_NAMES = {
    "layers.*.query_norm": "encoder.layer.*.attention.self.layer_norm_q",
    "layers.*.key_norm": "encoder.layer.*.attention.self.layer_norm_k",
}
# jina-embeddings-v2-base-code; there the first half of the gated layer is the plain one.
_CODE_NAMES = {
    **_COMMON_NAMES,
    "layers.*.residual_norm": "encoder.layer.*.layer_norm_1",
    "layers.*.gated": "encoder.layer.*.mlp.up_gated_layer",
    "layers.*.down": "encoder.layer.*.mlp.down_layer",
    "layers.*.down_norm": "encoder.layer.*.layer_norm_2",
}
_PREFIX = "bert."
# Heads that no token embedding depends on, and buffers that old versions saved.
_IGNORED = ("pooler.", "cls.", "embeddings.position_ids", "embeddings.token_type_ids")

_WEIGHTS = "model.safetensors"
_WEIGHTS_INDEX = "model.safetensors.index.json"
# Without any of these transformers makes an empty tokenizer, which knows no word.
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json")
_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]
_OTHER_BACKENDS = ["onnx/*", "openvino/*", "coreml/*"]


def load_jina_v2(
    files: PublishedFiles, *, device: torch.device, dtype: torch.dtype
) -> SentenceTransformer | None:
    """Load a jina-embeddings-v2 model with our own encoder; None if it is another model.

    Only config.json is read to decide that. The code that its ``auto_map`` names is neither
    fetched nor run.

    Raises:
        ContractError: A module beside it is not from sentence-transformers, or needs code of its
            own, as the tokenizer may; nothing of that kind runs here.
        ModelLoadError: The files are incomplete, there are only pickles, or the weights are not
            those of a JinaBERT.
    """
    config_path = files.path("config.json")
    if config_path is None or not is_jina_v2(files.config):
        return None
    own = "; ".join(f"{source} names {name}" for source, name in own_parts(files))
    if own:
        raise ContractError(
            f"{files.model!r} is a jina-embeddings-v2 model, which runs without code of its own "
            f"whatever trust_remote_code says: {own}"
        )
    check_safetensors(files)
    folder = config_path.parent
    if not files.is_local:
        folder = _download(files, folder.name)
    try:
        return _assemble(folder, device, dtype)
    except LateChunkError:
        raise
    except Exception as error:
        raise ModelLoadError(
            f"cannot load the jina-embeddings-v2 model in {folder}: {error}"
        ) from error


def _download(files: PublishedFiles, commit: str) -> Path:
    """The folder with a commit's files: fetched, or as the cache has it when that fails."""
    fetch = partial(
        snapshot_download,
        files.repository,
        revision=commit,
        cache_dir=files.cache_folder,
        allow_patterns=_FILES,
        ignore_patterns=_OTHER_BACKENDS,
    )
    try:
        return Path(fetch())
    except Exception as failure:  # noqa: BLE001  # offline or not reached, each in its own way
        try:
            return Path(fetch(local_files_only=True))
        except OSError as error:
            message = f"cannot fetch {files.model!r} at commit {commit}: {failure}"
            raise ModelLoadError(message) from error


def _assemble(folder: Path, device: torch.device, dtype: torch.dtype) -> SentenceTransformer:
    """The encoder with the modules and prompts beside it."""
    if not any((folder / name).is_file() for name in _VOCABULARIES):
        raise ModelLoadError(f"{folder} has no tokenizer: none of {', '.join(_VOCABULARIES)}")
    entries = _read_json(folder / "modules.json", missing=[{"type": "Transformer", "path": ""}])
    modules: list[torch.nn.Module] = []
    for entry in entries:
        kind = str(entry["type"]).rpartition(".")[2]
        if kind == "Transformer":
            kwargs = {"dtype": dtype}
            modules.append(_JinaTransformer.load(str(folder), model_kwargs=kwargs))
        elif kind in known_modules.__all__:
            load = getattr(known_modules, kind).load
            modules.append(load(str(folder), subfolder=entry["path"]))
        else:
            raise ContractError(
                f"modules.json in {folder} names {entry['type']!r}, which is no module of "
                "sentence-transformers"
            )
    if len(modules) == 1:
        modules.append(Pooling(modules[0].get_embedding_dimension(), "mean"))  # type: ignore[operator]  # a Transformer
    settings = _read_json(folder / "config_sentence_transformers.json", missing={})
    return SentenceTransformer(
        modules=modules,
        device=str(device),
        prompts=settings.get("prompts"),
        default_prompt_name=settings.get("default_prompt_name"),
        similarity_fn_name=settings.get("similarity_fn_name"),
        truncate_dim=settings.get("truncate_dim"),
    )


class _JinaTransformer(Transformer):
    """The transformer module of sentence-transformers around our encoder.

    Tokenizer, truncation and prompts are its own; only configuration and weights come from
    here, so that neither AutoConfig nor AutoModel sees the ``auto_map``.
    """

    def _load_config(
        self, model_name_or_path: str, backend: str, config_kwargs: dict[str, Any]
    ) -> tuple[PreTrainedConfig, bool]:
        del backend, config_kwargs
        return _PublishedConfig.read(Path(model_name_or_path)), False

    def _load_model(self, model_name_or_path: str, *args: Any, **kwargs: Any) -> Any:
        config = next(value for value in args if isinstance(value, _PublishedConfig))
        return load_weights(Path(model_name_or_path), config, kwargs["dtype"])


class _PublishedConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]  # transformers has no types here
    """config.json as attributes, under a model type that tells it from a BERT."""

    model_type = "jina_bert_v2"

    @classmethod
    def read(cls, folder: Path) -> _PublishedConfig:
        """The configuration in a folder; of a hub's snapshot, the commit too."""
        published = _read_json(folder / "config.json")
        kept = {k: v for k, v in published.items() if k not in ("auto_map", "model_type")}
        config = cls(**kept)
        if re.fullmatch("[0-9a-f]{40}", folder.name):
            config._commit_hash = folder.name
        return config


def load_weights(folder: Path, config: Any, dtype: torch.dtype) -> JinaBert:
    """The encoder with the weights of a folder.

    Raises:
        ModelLoadError: Weights are missing, unexpected or of another shape; all are named.
    """
    weights = _read_weights(folder)
    qk_norm = any(".layer_norm_q." in key for key in weights)
    code_layout = any(".up_gated_layer." in key for key in weights)
    sizes = JinaBertConfig.from_published(
        _read_json(folder / "config.json"), qk_norm=qk_norm, code_layout=code_layout
    )
    with torch.device("meta"):
        model = JinaBert(sizes, config)
    shapes = {
        _published_name(ours, code_layout=code_layout): (ours, value.shape)
        for ours, value in model.state_dict().items()
    }
    _check(weights, {name: shape for name, (_, shape) in shapes.items()}, folder)
    state = {ours: weights[name].to(dtype) for name, (ours, _) in shapes.items()}
    model.load_state_dict(state, assign=True)
    return model.eval()


def _read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors by their published names, without the prefix that some checkpoints have."""
    index = folder / _WEIGHTS_INDEX
    files: Iterable[str] = {_WEIGHTS}
    if index.is_file():
        files = set(_read_json(index)["weight_map"].values())
    weights: dict[str, Tensor] = {}
    for file in sorted(files):
        try:
            tensors = load_file(folder / file)
        except (OSError, SafetensorError) as error:
            raise ModelLoadError(
                f"cannot read {folder / file}: {error}. Only safetensors weights are loaded"
            ) from error
        weights.update({key.removeprefix(_PREFIX): value for key, value in tensors.items()})
    return {key: value for key, value in weights.items() if not key.startswith(_IGNORED)}


def _published_name(ours: str, *, code_layout: bool) -> str:
    module, _, parameter = ours.rpartition(".")
    number = re.search(r"\.(\d+)\.", module)
    pattern = module.replace(number[0], ".*.") if number else module
    names = (_CODE_NAMES if code_layout else _NAMES) | _QK_NORM_NAMES
    published = names[pattern]
    if number:
        published = published.replace("*", number[1])
    return f"{published}.{parameter}"


def _check(weights: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], folder: Path) -> None:
    problems = {
        "missing": [name for name in shapes if name not in weights],
        "unexpected": [name for name in weights if name not in shapes],
        "of another shape than config.json says": [
            f"{name} {tuple(weights[name].shape)} instead of {tuple(shape)}"
            for name, shape in shapes.items()
            if name in weights and weights[name].shape != shape
        ],
    }
    found = [f"{kind}: {', '.join(names)}" for kind, names in problems.items() if names]
    if found:
        raise ModelLoadError(
            f"the weights in {folder} are not those of a jina-embeddings-v2 model; "
            + "; ".join(found)
        )


def _read_json(path: Path, missing: Any = None) -> Any:
    if missing is not None and not path.is_file():
        return missing
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"cannot read {path}: {error}") from error
