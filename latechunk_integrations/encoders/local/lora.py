"""LoRA weights (PEFT): documents through one, queries through another, without switching."""

from __future__ import annotations

import copy
import itertools
from typing import Any

from sentence_transformers import SentenceTransformer

from latechunk_integrations.encoders.model.published import PublishedFiles
from latechunk_integrations.errors import ModelLoadError, OptionError
from latechunk_integrations.plugins import import_extra

_CONFIG = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"


def lora_names(files: PublishedFiles) -> tuple[str, ...]:
    """The LoRAs in folders beside a model's weights, sorted."""
    found = (name.partition("/") for name in files.names)
    return tuple(sorted(folder for folder, _, name in found if name == _CONFIG))


def check_loras(wanted: dict[str, str | None], names: tuple[str, ...], model: str) -> None:
    """Refuse a LoRA that the model does not have.

    Raises:
        OptionError: With the valid names.
    """
    for option, name in wanted.items():
        if name is None or name in names:
            continue
        valid = (
            f"its LoRAs are {', '.join(map(repr, names))}" if names else "this model has no LoRAs"
        )
        raise OptionError(f"{option}={name!r}: {model!r} has no such LoRA; {valid}")


def load_lora(model: SentenceTransformer, files: PublishedFiles, name: str) -> None:
    """Load a LoRA into a model that has none, and let the model run with it.

    One LoRA for each tree of modules: transformers 5 gives a LoRA that is there already
    random weights when it loads another one into the same model.

    Raises:
        MissingExtraError: PEFT is not installed.
        ModelLoadError: The LoRA's weights are not there as safetensors, or cannot be read.
    """
    import_extra("peft", extra="peft")  # transformers imports it in load_adapter
    if f"{name}/{_WEIGHTS}" not in files.names:
        raise ModelLoadError(
            f"the LoRA {name!r} of {files.model!r} has no {_WEIGHTS}; weights are read from "
            "safetensors only"
        )
    transformer: Any = model.transformers_model
    try:
        transformer.load_adapter(
            files.repository,
            adapter_name=name,
            adapter_kwargs={
                "subfolder": name,
                "revision": files.revision,
                "cache_dir": files.cache_folder,
            },
            use_safetensors=True,
        )
        transformer.set_adapter(name)
    except Exception as error:
        raise ModelLoadError(
            f"cannot load the LoRA {name!r} of {files.model!r}: check that {_CONFIG} and "
            f"{_WEIGHTS} in its folder are complete and fit the model. ({error})"
        ) from error


def twin_for_queries(model: SentenceTransformer) -> SentenceTransformer:
    """A second tree of modules over the same weights.

    Which LoRA runs is state of the modules. Two trees have one each, so that nothing is ever
    switched while a thread is in the middle of a forward pass. Weights, buffers and tokenizer
    are shared: the twin takes next to no memory.
    """
    shared = itertools.chain(model.parameters(), model.buffers(), [model.tokenizer])
    twin: SentenceTransformer = copy.deepcopy(model, {id(part): part for part in shared})
    return twin
