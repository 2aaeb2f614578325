"""A model of this machine or of a hub, loaded with nothing run that was not allowed to."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoConfig

from latechunk_integrations.encoders.local.jina_v2.jina_checkpoint import load_jina_v2
from latechunk_integrations.encoders.local.lora import (
    check_loras,
    load_lora,
    lora_names,
    twin_for_queries,
)
from latechunk_integrations.encoders.model.identity import folder_identity
from latechunk_integrations.encoders.model.nomic_layout import foreign_settings, native_sizes
from latechunk_integrations.encoders.model.published import (
    PublishedFiles,
    check_safetensors,
    refuse_remote_code,
    remote_code_error,
)
from latechunk_integrations.encoders.model.tokenization import check_vocabulary
from latechunk_integrations.errors import ModelLoadError, OptionError, RemoteCodeError
from latechunk_integrations.options import LateChunkOptions

# Architectures whose activations are too large for float16, by how their names begin.
_OVERFLOW_FLOAT16 = ("gemma", "embedding_gemma")
# A trial of bfloat16.
_TRIALS = 5
_ROWS, _WIDTH = 512, 768
# Near a tie a trial could fall out otherwise the next time, and with it the vectors.
_CLEARLY = 1.2


@dataclass(frozen=True)
class LoadedModel:
    """A model with its weights.

    Args:
        model: The model that documents go through.
        query_model: The one that queries go through: the same, or a twin with another LoRA.
        loras: Names of the LoRAs that it has.
        identity: What names the weights in the fingerprint.
    """

    model: SentenceTransformer
    query_model: SentenceTransformer
    loras: tuple[str, ...]
    identity: str


def load_model(options: LateChunkOptions) -> LoadedModel:
    """Load the model that the options name.

    Raises:
        MissingExtraError: A LoRA is wanted and PEFT is not installed.
        ModelLoadError: The model cannot be found or read.
        OptionError: A LoRA is wanted that the model does not have, or an unknown device.
        RemoteCodeError: It needs ``trust_remote_code=True``.
    """
    files = PublishedFiles(options.model, options.revision)
    device = _choose_device(options.device)
    dtype = _resolve_dtype(options.dtype, device)
    _refuse_dtype(files, dtype)
    own = load_jina_v2(files, device=device, dtype=dtype)
    if own is None:
        if not options.trust_remote_code:
            refuse_remote_code(files)
        check_safetensors(files)
    config_changes = _config_changes(files, options)
    loras = lora_names(files)
    check_loras(wanted_loras(options), loras, options.model)
    try:
        model = own or SentenceTransformer(
            options.model,
            device=str(device),
            revision=options.revision,
            trust_remote_code=options.trust_remote_code,
            model_kwargs={"dtype": dtype, "use_safetensors": True},
            processor_kwargs=_processor_changes(files, options),
            config_kwargs=config_changes,
        )
    except Exception as error:
        raise _load_error(options, error) from error
    check_vocabulary(model.tokenizer, options.model)
    _check_weights(options, model, files)
    # Some modules are loaded in float32 whatever was asked for.
    model = model.to(dtype=dtype)
    twin = _load_loras(model, files, options)
    return LoadedModel(model, twin, loras, _identify(options.model, model))


def wanted_loras(options: LateChunkOptions) -> dict[str, str | None]:
    """The LoRAs that were asked for, by option."""
    return {"document_lora": options.document_lora, "query_lora": options.query_lora}


def _config_changes(files: PublishedFiles, options: LateChunkOptions) -> dict[str, Any]:
    """What transformers would not find in config.json, because it has another name there.

    Raises:
        ModelLoadError: It holds another thing that it would not do.
    """
    if files.own_classes and options.trust_remote_code:
        return {}
    foreign = foreign_settings(files.config)
    if foreign:
        raise ModelLoadError(
            f"the architecture {files.config['model_type']} of transformers does not have what "
            f"config.json of {options.model!r} asks for: {', '.join(foreign)}"
        )
    return native_sizes(files.config)


def _processor_changes(files: PublishedFiles, options: LateChunkOptions) -> dict[str, Any]:
    """What leaves EmbeddingGemma 2's text model with its tokenizer alone.

    Its config.json is that of the whole model without the towers for images and sound, and
    transformers would want the files and packages of their processors all the same.
    """
    config = files.config
    towers = (config.get("vision_config"), config.get("audio_config"))
    if config.get("model_type") != "embedding_gemma2" or any(towers):
        return {}
    known = AutoConfig.from_pretrained(
        files.repository, revision=options.revision, cache_dir=files.cache_folder
    )
    return {"config": known.text_config}


def _load_loras(
    model: SentenceTransformer, files: PublishedFiles, options: LateChunkOptions
) -> SentenceTransformer:
    """Load the wanted LoRAs; returns the model that queries go through."""
    documents, queries = options.document_lora, options.query_lora
    twin = model if documents == queries else twin_for_queries(model)
    trees = {id(model): (model, documents), id(twin): (twin, queries)}
    for tree, name in trees.values():
        if name is not None:
            load_lora(tree, files, name)
            _check_weights(options, tree, files)
            tree.to(dtype=model.dtype)
    return twin


def _check_weights(
    options: LateChunkOptions, model: SentenceTransformer, files: PublishedFiles
) -> None:
    """Refuse a model whose files lack weights: transformers puts random ones in their place."""
    transformer = model.transformers_model
    loaded = {} if transformer is None else dict(transformer.named_parameters())
    # The mark of transformers; the pooler is not read here.
    marks = {name: getattr(p, "_is_hf_initialized", False) for name, p in loaded.items()}
    lacking = [name for name, mark in marks.items() if not mark and "pooler" not in name]
    if not lacking or not any(marks.values()):
        return
    # Another architecture by the same name, such as nomic's mixture of experts.
    if files.own_classes and not options.trust_remote_code:
        raise remote_code_error(files, [("config.json", name) for name in files.own_classes])
    raise ModelLoadError(
        f"the files of {options.model!r} do not hold all weights of its architecture: "
        f"{', '.join(lacking[:3])} ({len(lacking)} are missing)"
    )


def _choose_device(asked: str | None) -> torch.device:
    try:
        return torch.device(asked or _best_device())
    except RuntimeError as error:
        raise OptionError(f"device={asked!r} is unknown to PyTorch: {error}") from error


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _resolve_dtype(asked: str, device: torch.device) -> torch.dtype:
    """The dtype to compute in; ``auto`` takes bfloat16 only where hardware has it."""
    if asked != "auto":
        dtype: torch.dtype = getattr(torch, asked)
        return dtype
    return torch.bfloat16 if bfloat16_is_fast(device) else torch.float32


def _refuse_dtype(files: PublishedFiles, dtype: torch.dtype) -> None:
    """Refuse a dtype that an architecture is known to overflow in."""
    kind = str(files.config.get("model_type"))
    if dtype == torch.float16 and kind.startswith(_OVERFLOW_FLOAT16):
        raise OptionError(
            f"dtype='float16': models of the architecture {kind} give NaN in it, for their "
            "activations do not fit; take dtype='bfloat16' or dtype='float32'"
        )


def _load_error(options: LateChunkOptions, error: Exception) -> Exception:
    text = str(error)
    if "trust_remote_code" in text and not options.trust_remote_code:
        return RemoteCodeError(
            f"{options.model!r} runs code from its own repository. Read that code, then pass "
            f"trust_remote_code=True together with revision=<commit>, so that it cannot change "
            f"later. ({text})"
        )
    local = Path(options.model).exists()
    hint = (
        "check that the folder holds a complete model with safetensors weights"
        if local
        else "without network, point model= at a local folder that holds it "
        "(`hf download OWNER/NAME --local-dir NAME` on a machine that has network; prompts of its "
        "card are found by the folder's name, so let it end in the model's own)"
    )
    return ModelLoadError(f"cannot load the model {options.model!r}: {hint}. ({text})")


def _identify(name: str, model: SentenceTransformer) -> str:
    """What names the weights: the commit of a hub model, the content of a local folder."""
    if Path(name).is_dir():
        return folder_identity(Path(name))
    return f"{name}@{getattr(model[0].config, '_commit_hash', None)}"


def bfloat16_is_fast(device: torch.device) -> bool:
    """Whether ``dtype="auto"`` should take bfloat16 on a device.

    A CPU with AMX does, one without bfloat16 instructions does not. AVX512-bf16 alone says
    little: one processor multiplies at twice the speed of float32 with it, another at half,
    so a few milliseconds of trial decide, once in a process.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    has: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(has.get("amx_bf16")) or (bool(has.get("avx512_bf16")) and _wins_trial())


@cache
def _wins_trial() -> bool:
    return _CLEARLY * _best_seconds(torch.bfloat16) < _best_seconds(torch.float32)


@torch.inference_mode()
def _best_seconds(dtype: torch.dtype) -> float:
    """Of a product as encoders have them; processor time, which other processes leave alone."""
    rows, weights = torch.ones(_ROWS, _WIDTH, dtype=dtype), torch.ones(_WIDTH, _WIDTH, dtype=dtype)
    seconds = []
    for _ in range(_TRIALS):
        start = time.thread_time()
        torch.nn.functional.linear(rows, weights)
        seconds.append(time.thread_time() - start)
    return min(seconds)
