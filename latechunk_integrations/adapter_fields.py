"""The options of an engine as typed fields of an adapter, under either framework.

`LateChunkOptions` stays the one home of options: it checks the values, and a test holds the
fields here to its names, types and defaults.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr

from latechunk_integrations.encoders.model.identity import published_identity
from latechunk_integrations.engine import ALGORITHM_VERSION, LateChunkEngine
from latechunk_integrations.engine_handle import EngineHandle
from latechunk_integrations.errors import OptionError, hint_at
from latechunk_integrations.options import (
    WORK_OPTIONS,
    DType,
    EncoderChoice,
    Fallback,
    LateChunkOptions,
    Layout,
    PoolingChoice,
)
from latechunk_integrations.stats import EngineStats

# What to do instead of giving what the frameworks' classes for sentence-transformers take.
_ELSEWHERE = {
    "cache_folder": "set HF_HOME, or give model_name the path of a local folder",
    "model_kwargs": "options of their own: dtype=, device=, revision=, trust_remote_code=",
    "encode_kwargs": "options of their own: normalize=, batch_tokens=, document_prompt=",
    "query_encode_kwargs": "query_prompt= is the option",
    "torch_dtype": "dtype= is the option",
    "tokenizer_kwargs": "the model's own tokenizer is used; max_tokens= is the window's length",
    "tokenizer_name": "the model's own tokenizer is used",
    "backend": "the model runs in PyTorch; other runtimes are servers: encoder='tei', base_url=",
    "parallel_process": "processes= is a number of worker processes",
    "multi_process": "processes= is a number of worker processes",
    "target_devices": "devices= is a list, with a worker process for each",
    "prompts": "document_prompt= and query_prompt= are the options",
    "truncate_dim": "dimensions= is the option",
    "token": "set HF_TOKEN",
    "local_files_only": "set HF_HUB_OFFLINE=1",
}
# Options that choose how the work is done, or what is said about it, but not the vectors; and
# those that name the model, for which its files speak.
_NEUTRAL = (*("model", "revision", "batch_tokens", "strict", "trust_remote_code"), *WORK_OPTIONS)


class EngineFields(BaseModel):
    """Every option of `LateChunkOptions` but ``model``, as a field; and the engine they make."""

    # Options named model_...; extra keywords are refused with a hint before they come here.
    model_config = ConfigDict(protected_namespaces=())

    device: str | None = None
    devices: tuple[str, ...] | None = None
    processes: int | None = None
    dtype: DType = "auto"
    revision: str | None = None
    trust_remote_code: bool = False
    pooling: PoolingChoice = "auto"
    max_tokens: int | None = None
    layout: Layout = "auto"
    focus: float | Literal["auto"] = "auto"
    header_focus: float | Literal["auto"] = "auto"
    header_pooling: float | None = None
    overlap_tokens: int | None = None
    fallback: Fallback = "window"
    min_parent_tokens: int = 0
    context_weight: float = 1.0
    header_weight: float = 0.0
    pool_edges: bool = True
    sub_span_tokens: int | None = None
    sub_spans_per_chunk: float | None = None
    dimensions: int | None = None
    normalize: bool = True
    document_prompt: str | None = None
    query_prompt: str | None = None
    query_prompt_name: str | None = None
    document_lora: str | None = None
    query_lora: str | None = None
    batch_tokens: int | None = None
    window_cache: str | None = None
    window_cache_bytes: int = 1 << 30
    stable_windows: bool = False
    strict: bool = False
    enabled: bool = True
    encoder: EncoderChoice = "local"
    base_url: str | None = None
    api_key: SecretStr | None = Field(default=None, exclude=True, repr=False)
    timeout_seconds: float = 120.0
    max_retries: int = 5
    max_concurrency: int | None = None
    tokenizer: str | None = None
    _handle: EngineHandle = PrivateAttr()
    _stats: EngineStats = PrivateAttr(default_factory=EngineStats)

    @property
    def engine(self) -> LateChunkEngine:
        """The engine; loaded on first use, once for a process and its options."""
        return self._handle.engine

    def __getstate__(self) -> dict[Any, Any]:
        """Without the key, which does not belong in a file or a queue."""
        state = super().__getstate__()
        return {**state, "__dict__": {**state["__dict__"], "api_key": None}}


def _describe_fields() -> None:
    """Give each field the description that `LateChunkOptions` has of its option."""
    text = inspect.cleandoc(LateChunkOptions.__doc__ or "")
    described = dict(re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", text, re.MULTILINE))
    for name, field in EngineFields.model_fields.items():
        field.description = " ".join(described[name].split())
    EngineFields.model_rebuild(force=True)


_describe_fields()


def engine_options(
    given: Mapping[str, Any], *, engine: LateChunkEngine | None, own: Iterable[str]
) -> LateChunkOptions:
    """Check the keywords of an adapter that are options of the engine.

    Args:
        given: Keywords, ``model`` or ``model_name`` among them (a path object is a path).
        engine: A loaded engine, which has its options already.
        own: Keywords of the adapter itself, for hints.

    Raises:
        OptionError: An option is unknown, impossible, given twice, or given beside an engine.
    """
    left = dict(given)
    names = [name for name in ("model", "model_name") if left.get(name) not in (None, "")]
    models = [os.fspath(left.pop(name)) for name in names]
    left = {name: value for name, value in left.items() if name not in ("model", "model_name")}
    _refuse_unknown(left, own)
    if len(set(models)) > 1:
        raise OptionError(f"model and model_name are the same option, and differ: {models}")
    if engine is not None:
        if left or (models and models[0] != engine.options.model):
            raise OptionError(
                f"the engine has its options already; leave out {sorted({*left, *names})}, or "
                "give them to LateChunkEngine.from_pretrained"
            )
        return engine.options
    return LateChunkOptions.from_mapping({**left, **({"model": models[0]} if models else {})})


def field_options(options: LateChunkOptions) -> dict[str, Any]:
    """The options as the values of `EngineFields`, the key included."""
    return {
        field.name: getattr(options, field.name)
        for field in fields(options)
        if field.name != "model"
    }


def vector_key(options: LateChunkOptions, engine: LateChunkEngine | None = None) -> str | None:
    """A fingerprint for the keys of caches: equal keys, equal vectors for equal input.

    Made of the model's files and of the options that change vectors. Timeouts, batch sizes and
    the device are no part of it, and ``dtype="auto"`` is one value whatever the device makes of
    it. No model is loaded for it.

    Args:
        options: What the engine is asked for.
        engine: The engine, where it is loaded: of an encoder that is no model of this machine its
            own fingerprint is taken.

    Returns:
        32 hex digits; None where the engine must be loaded first: its files are not on this
        machine, or it runs elsewhere.
    """
    identity = _identity(options, engine)
    if identity is None:
        return None
    parts = [str(ALGORITHM_VERSION), identity, options.to_key(_NEUTRAL)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _identity(options: LateChunkOptions, engine: LateChunkEngine | None) -> str | None:
    # An encoder of the user's own may bear the name of a model that it does not run.
    if options.encoder == "local" and (engine is None or _runs_a_model(engine)):
        found = published_identity(options.model, options.revision)
        if found is not None:
            return found
    return None if engine is None else engine.fingerprint


def _runs_a_model(engine: LateChunkEngine) -> bool:
    """Whether the engine's encoder is the one that loads what ``model`` names."""
    try:
        encoder = engine.encoder
    except OptionError:  # it gives chunk vectors only
        return False
    return type(encoder).__module__.startswith("latechunk_integrations.encoders.local.")


def _refuse_unknown(given: Mapping[str, Any], own: Iterable[str]) -> None:
    valid = [*own, *(field.name for field in fields(LateChunkOptions)), "model_name"]
    hints = []
    for name in given:
        if name in valid:
            continue
        if name in _ELSEWHERE:
            hints.append(f"{name!r}: {_ELSEWHERE[name]}")
        else:
            hints.append(f"{name!r}{hint_at(name, valid)}")
    if hints:
        raise OptionError(f"unknown option {'; '.join(hints)}. The options are: {', '.join(valid)}")
