"""`LateChunkOptions`: the one home of every option, its default and its check."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

from pydantic import SecretStr

from latechunk_integrations.errors import OptionError, hint_at
from latechunk_integrations.options_file import read_engine_section

DType: TypeAlias = Literal["auto", "float32", "bfloat16", "float16"]
Layout: TypeAlias = Literal["auto", "units", "text"]
PoolingChoice: TypeAlias = Literal["auto", "mean", "last", "cls", "weighted"]
Fallback: TypeAlias = Literal["window", "standard", "skip", "error"]
# Known names, for completion; further ones, and "module:Class", are resolved when it is loaded.
EncoderChoice: TypeAlias = (
    Literal["local", "tei", "vllm", "llama.cpp", "jina", "voyage", "perplexity"] | str  # noqa: PYI051
)

# What changes how the work is done and no vector, but for what dtype="auto" becomes.
WORK_OPTIONS = (
    *("device", "devices", "processes"),
    *("base_url", "timeout_seconds", "max_retries", "max_concurrency"),
    *("window_cache", "window_cache_bytes"),
)

_SERVED = get_args(get_args(EncoderChoice)[0])[1:]

_MIN_WINDOW = 8
_STRINGS = (
    *("model", "device", "revision", "document_prompt", "query_prompt"),
    *("query_prompt_name", "document_lora", "query_lora", "base_url", "tokenizer"),
    *("encoder", "window_cache"),
)
_FLAGS = ("trust_remote_code", "pool_edges", "normalize", "stable_windows", "strict", "enabled")
_NUMBERS = (
    *("focus", "header_focus", "header_pooling", "header_weight", "context_weight"),
    *("sub_spans_per_chunk", "timeout_seconds"),
)
_LEAST_CACHE_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class LateChunkOptions:
    """Every option of an engine. Unknown or impossible values are refused when built.

    Args:
        model: A sentence-transformers or transformers model: a hub name or a local path.
        device: ``"cuda"``, ``"mps"``, ``"cpu"``, ...; ``None``: the best one present.
        devices: Several of them, such as ``["cuda:0", "cuda:1"]``: a worker process for each embeds
            parents. Queries and texts without a parent stay in this process, on the first one.
        processes: Number of worker processes that embed parents, each with a model of its own and
            its share of the cores; with ``devices`` they take turns. ``None``: one for each of
            ``devices``, else no worker.
        dtype: Of the weights and the forward pass; ``"auto"``: bfloat16 where the device
            computes it fast, else float32. Sums are always float32.
        revision: Branch, tag or commit of a hub model.
        trust_remote_code: Allow the model's repository to run its own code.
        pooling: ``"auto"``: the model's own mode.
        max_tokens: Window length in tokens, special tokens included; ``None``: the model's
            ``max_seq_length``.
        layout: How a window is laid out: whole chunks, each with its own special tokens, prompt
            and header (``"units"``), or the parent's running text (``"text"``, the textbook's).
            ``"auto"``: units where the encoder takes them.
        focus: How much more a chunk's tokens attend to their own unit than to its neighbours:
            nats that are added to the attention logits. 0: all context alike; infinity: the chunk
            alone. ``"auto"``: the more units share the window, and the more of it a chunk takes,
            the more. Running text: toward the own chunk, special tokens and prompt.
        header_focus: The same toward the own header; ``"auto"``: half a nat below the focus, 0 at
            least.
        header_pooling: Weight of a header's tokens in the pooling, from 0 (attended only) to 1;
            ``None``: 1 for a model whose document prompt has a title slot, else 0.
        overlap_tokens: Tokens that neighbouring windows of running text share; ``None``: half of
            the room that a window leaves to the parent's text, at most 512.
        fallback: What happens to a parent longer than the model's own window: several windows
            (``"window"``), chunks embedded alone (``"standard"``), nothing (``"skip"``) or
            an error (``"error"``).
        min_parent_tokens: Parents with fewer tokens are embedded standalone.
        context_weight: w in ``normalize(w * late + (1 - w) * standalone)``. Below 1 the
            standalone pass runs too; at 0 it runs alone.
        header_weight: Adds this much of the header's own vector to each chunk's.
        pool_edges: Pool special tokens and prompt with the chunks that hold the parent's first
            or last token, as the model's own pooling does; ``False``: they are attended only.
            Models that read one token (``last``, ``cls``) need theirs: there it does nothing.
        sub_span_tokens: About as many tokens make a sub-span, a part of a chunk with a vector of
            its own from the same pass; ``None``: there are none. Each is a unit in the windows, and
            a chunk pools what its sub-spans pool. Special tokens and prompts of such units are
            attended only. 32 is what was measured.
        sub_spans_per_chunk: Most sub-spans of a parent, as the mean over its chunks: the most
            similar neighbours are joined until it is met. ``None``: as many as there are.
        dimensions: Matryoshka truncation of the vectors; ``None``: all dimensions.
        normalize: Give vectors unit length.
        document_prompt: Prefix of every unit, or window of running text; ``{title}`` in it is a
            slot for the header. ``None``: the model's own, ``""``: none.
        query_prompt: Prefix of every query; ``None``: the model's own, ``""``: none.
        query_prompt_name: Name of the prompt in the model's files that queries get; ``None``: the
            one called ``query``.
        document_lora: LoRA that documents go through (extra ``peft``).
        query_lora: LoRA that queries go through.
        batch_tokens: Padded tokens of one forward pass; ``None``: what suits the device.
        window_cache: File in which the sums of windows are kept, so that a window that did not
            change is not encoded again; ``":memory:"``: in this process; ``None``: nowhere.
        window_cache_bytes: Bytes that it takes at most; the windows longest unused go first.
        stable_windows: Let the units near a border decide where windows begin in a long parent,
            so that an edit changes only the windows around it. Such windows hold a little less.
        strict: Turn everything that could not be done late into a typed error.
        enabled: ``False`` is ``context_weight=0``: early chunking, for ablation.
        encoder: Where the model runs: ``"local"``, in this process; else the server or API,
            and ``model`` is the name that it knows the model by. ``"module:Class"`` or the name
            of an entry point (group ``latechunk_integrations.encoders``): an encoder of another
            package, whose class has ``load(options)``.
        base_url: Address of the server; ``None``: the service's own.
        api_key: Key of the server, a ``SecretStr`` (a str is wrapped); ``None``: from the
            environment. It stays in this process: not in `to_dict`, not in a pickle.
        timeout_seconds: Longest wait for one attempt at a request.
        max_retries: Further attempts where a failure may pass.
        max_concurrency: Most requests in flight; ``None``: 8, of Jina's service 5, which are what
            its free tier takes.
        tokenizer: Hub name or local folder of a served model's tokenizer and configuration, for
            servers that take token ids; ``None``: ``model``. An API's tokenizer counts tokens
            before they are sent; ``None``: they are estimated.

    Raises:
        OptionError: A value is outside its range.
    """

    model: str
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
    api_key: SecretStr | None = None
    timeout_seconds: float = 120.0
    max_retries: int = 5
    max_concurrency: int | None = None
    tokenizer: str | None = None

    def __post_init__(self) -> None:
        """Check types and ranges; `enabled` becomes a context weight, so one path exists."""
        for name in ("model", "tokenizer", "window_cache"):
            if isinstance(getattr(self, name), os.PathLike):
                object.__setattr__(self, name, os.fspath(getattr(self, name)))
        for name in _STRINGS:
            if not isinstance(getattr(self, name), (str, type(None))):
                raise OptionError(f"{name} must be a string, not {getattr(self, name)!r}")
        if not self.model:
            raise OptionError("model must be a hub name or a local path")
        for name in _FLAGS:
            if not isinstance(getattr(self, name), bool):
                raise OptionError(f"{name} must be true or false, not {getattr(self, name)!r}")
        if self.query_prompt is not None and self.query_prompt_name is not None:
            raise OptionError("give query_prompt= or query_prompt_name=, not both")
        _check_choice("dtype", self.dtype, get_args(DType))
        _check_choice("pooling", self.pooling, get_args(PoolingChoice))
        _check_choice("fallback", self.fallback, get_args(Fallback))
        _check_count("max_tokens", self.max_tokens, least=_MIN_WINDOW)
        _check_count("dimensions", self.dimensions, least=1)
        _check_count("batch_tokens", self.batch_tokens, least=1)
        _check_count("overlap_tokens", self.overlap_tokens, least=0)
        _check_count("min_parent_tokens", self.min_parent_tokens, least=0, optional=False)
        self._check_sub_spans()
        self._check_layout()
        self._check_cache()
        _check_weight("context_weight", self.context_weight, most=1.0)
        _check_weight("header_weight", self.header_weight, most=math.inf)
        self._check_server()
        self._check_workers()
        self._make_floats()
        if not self.enabled:
            object.__setattr__(self, "context_weight", 0.0)

    def _make_floats(self) -> None:
        """2 and 2.0 are one option: both give one fingerprint."""
        for name in _NUMBERS:
            if isinstance(getattr(self, name), int):
                object.__setattr__(self, name, float(getattr(self, name)))

    def _check_layout(self) -> None:
        _check_choice("layout", self.layout, get_args(Layout))
        _check_focus("focus", self.focus)
        _check_focus("header_focus", self.header_focus)
        if self.header_pooling is not None:
            _check_weight("header_pooling", self.header_pooling, most=1.0)
        if self.stable_windows and self.layout == "text":
            raise OptionError("stable_windows is for windows of units: leave layout='text' out")
        if self.header_focus != "auto" and math.inf in (self.focus, self.header_focus):
            raise OptionError("an infinite focus takes the header along: leave header_focus='auto'")

    def _check_sub_spans(self) -> None:
        _check_count("sub_span_tokens", self.sub_span_tokens, least=1)
        if self.sub_spans_per_chunk is None:
            return
        _check_weight("sub_spans_per_chunk", self.sub_spans_per_chunk, most=math.inf)
        if self.sub_spans_per_chunk < 1:
            raise OptionError("sub_spans_per_chunk must be at least 1: each chunk keeps one")
        if self.sub_span_tokens is None:
            raise OptionError("sub_spans_per_chunk needs sub_span_tokens, such as 32")

    def _check_cache(self) -> None:
        if self.window_cache == "":
            raise OptionError("window_cache must be the path of a file, or ':memory:'")
        least = _LEAST_CACHE_BYTES
        _check_count("window_cache_bytes", self.window_cache_bytes, least=least, optional=False)

    def _check_server(self) -> None:
        if not self.encoder:
            raise OptionError("encoder must be a name or 'module:Class', not ''")
        _check_count("max_concurrency", self.max_concurrency, least=1)
        check_transport(self.base_url, self.timeout_seconds, self.max_retries)
        if self.encoder == "local" and (self.base_url is not None or self.api_key is not None):
            raise OptionError("base_url and api_key are for a server: say which with encoder=")
        object.__setattr__(self, "api_key", wrap_key(self.api_key))

    def _check_workers(self) -> None:
        _check_count("processes", self.processes, least=1)
        given: Any = self.devices
        if given is not None:
            if not isinstance(given, (list, tuple)) or not given or {*map(type, given)} != {str}:
                raise OptionError(f"devices must be a list such as ['cuda:0'], not {given!r}")
            object.__setattr__(self, "devices", tuple(given))
            if self.device is not None:
                raise OptionError("give device= or devices=, not both")
            if (self.processes or len(given)) < len(given):
                raise OptionError(f"processes={self.processes} leaves some of devices={given} idle")
        if self.worker_devices and self.window_cache == ":memory:":
            raise OptionError("workers cannot share window_cache=':memory:': name a file")
        served = self.base_url is not None or self.api_key is not None or self.encoder in _SERVED
        if served and (given or self.worker_devices):
            raise OptionError(
                "devices and processes are for a model of this machine; a server is kept busy by "
                "max_concurrency"
            )

    @property
    def worker_devices(self) -> tuple[str | None, ...]:
        """The device of each worker process; empty where all runs in this process."""
        devices = self.devices or (self.device,)
        n_workers = self.processes or len(devices)
        return tuple(devices[n % len(devices)] for n in range(n_workers)) if n_workers > 1 else ()

    def for_one_process(self, device: str | None = None) -> LateChunkOptions:
        """These options without workers, for one device; ``None``: their own, or the first."""
        chosen = device or self.device or (self.devices[0] if self.devices else None)
        return replace(self, device=chosen, devices=None, processes=None)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the key behind: a pickle is read in other places than it was written."""
        return {**vars(self), "api_key": None}

    def __copy__(self) -> LateChunkOptions:
        return replace(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> LateChunkOptions:
        return replace(self)

    @property
    def late(self) -> bool:
        """Whether the late pass runs at all."""
        return self.context_weight > 0.0

    @property
    def standalone(self) -> bool:
        """Whether the standalone pass runs for every chunk."""
        return self.context_weight < 1.0

    def to_dict(self) -> dict[str, Any]:
        """The options as plain values, which `from_config` reads back; without the key."""
        return {name: value for name, value in asdict(self).items() if name != "api_key"}

    def to_key(self, neutral: Collection[str]) -> str:
        """What differs from the defaults, as text for a fingerprint.

        An option that a later version brings leaves the fingerprints of older indexes as they are.

        Args:
            neutral: Options that do not count.
        """
        defaults = {option.name: option.default for option in fields(self)}
        changed = {
            name: value
            for name, value in self.to_dict().items()
            if name not in neutral and value != defaults[name]
        }
        return json.dumps(changed, sort_keys=True)

    @classmethod
    def from_config(cls, source: str | Path | Mapping[str, Any]) -> LateChunkOptions:
        """Options from a YAML file or a mapping.

        Args:
            source: Path of a YAML file, or the mapping itself. The options may be at the top,
                below ``engine:`` or below ``retrieval: late_chunking:``; a section
                ``chunking:`` is for `ChunkingOptions`.

        Returns:
            The checked options.

        Raises:
            OptionError: The file cannot be read, a key is unknown or a value impossible.
        """
        return cls.from_mapping(read_engine_section(source))

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> LateChunkOptions:
        """Options from a flat mapping.

        Raises:
            OptionError: A key is unknown, ``model`` is missing or a value impossible.
        """
        valid = [field.name for field in fields(cls)]
        unknown = [str(key) for key in mapping if key not in valid]
        if unknown:
            hints = ", ".join(f"{key!r}{hint_at(key, valid)}" for key in unknown)
            raise OptionError(f"unknown option {hints}; the options are: {', '.join(valid)}")
        if "model" not in mapping:
            raise OptionError("the option 'model' is missing: a hub name or a local path")
        return cls(**mapping)


def check_transport(base_url: object, timeout_seconds: object, max_retries: object) -> None:
    """Check how a server is reached; see `LateChunkOptions` for the meanings.

    Raises:
        OptionError: A value is impossible, or the address holds what may be secret.
    """
    _check_count("max_retries", max_retries, least=0, optional=False)
    _check_weight("timeout_seconds", timeout_seconds, most=math.inf)
    if not timeout_seconds:
        raise OptionError("timeout_seconds must be more than 0")
    if base_url is not None:
        _check_url("base_url", base_url)


def wrap_key(key: object) -> SecretStr | None:
    """A key so that it is not printed; a file or an untyped caller gives a str.

    Raises:
        OptionError: It is neither; the error does not show it.
    """
    if isinstance(key, str):
        return SecretStr(key)
    if not isinstance(key, (SecretStr, type(None))):
        raise OptionError("api_key must be a SecretStr or a str")
    return key


def _check_choice(name: str, value: object, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise OptionError(f"{name}={value!r} is not one of {', '.join(map(repr, valid))}")


def _check_count(name: str, value: object, *, least: int, optional: bool = True) -> None:
    if value is None and optional:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise OptionError(f"{name} must be an integer of at least {least}, not {value!r}")


def _check_weight(name: str, value: object, *, most: float) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (number and math.isfinite(value) and 0.0 <= value <= most):  # type: ignore[arg-type, operator]  # a number by then
        raise OptionError(f"{name} must be a number from 0 to {most}, not {value!r}")


def _check_focus(name: str, value: object) -> None:
    if isinstance(value, str) and value == "auto":
        return
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not value >= 0:  # type: ignore[operator]  # a number by then
        raise OptionError(
            f"{name} must be 'auto' or a number of at least 0 (infinity: math.inf, in YAML .inf), "
            f"not {value!r}"
        )


def _check_url(name: str, url: object) -> None:
    """An address without what must not be written down, or would be lost."""
    if not isinstance(url, str):
        raise OptionError(f"{name} must be a string, not {url!r}")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise OptionError(f"{name} is no address: {error}") from None
    # The address is shown in messages and files; whatever it holds beside the host may be secret.
    if parts.username is not None or parts.password is not None:
        raise OptionError(f"{name} must not hold a user or password; use api_key")
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise OptionError(f"{name} must look like http://host:port/path, without ? and #")
