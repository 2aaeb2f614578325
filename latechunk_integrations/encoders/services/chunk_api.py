"""What the encoders of hosted APIs that pool chunks themselves have in common."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from latechunk_integrations.core.token_estimate import estimate_tokens
from latechunk_integrations.encoders.base import ChunkLimits, Reading
from latechunk_integrations.encoders.http.client import HttpClient, HttpSettings, json_call
from latechunk_integrations.encoders.http.settings import DEFAULT_CONCURRENCY
from latechunk_integrations.encoders.model.published import PublishedFiles
from latechunk_integrations.encoders.model.tokenizer_files import read_tokenizer
from latechunk_integrations.errors import OptionError, RequestRefusedError, ServerAnswerError
from latechunk_integrations.options import LateChunkOptions
from latechunk_integrations.stats import EngineStats

# What a service does itself, or does not offer. An option that would be ignored is refused.
_MEANINGLESS = (
    *("device", "dtype", "revision", "trust_remote_code", "pooling"),
    *("document_prompt", "query_prompt", "query_prompt_name", "pool_edges", "batch_tokens"),
    *("document_lora", "query_lora"),
)
_TOO_LONG = re.compile(
    r"tokens?\b.*\b(exceed|too many|lower|limit|max)|"
    r"(exceed|too long|too many|limit|max).*\btoken",
    re.IGNORECASE | re.DOTALL,
)

# A quota that is used up (402) and a model that is not there (404) may speak of tokens too.
_CONTENT_TOO_LARGE = 413
_TOO_LONG_STATUS = (400, _CONTENT_TOO_LARGE, 422)


@dataclass(frozen=True)
class ApiModel:
    """What a service says of a model.

    Args:
        dimensions: Width of a vector where none is asked for.
        widths: Widths that may be asked for.
        limits: What it takes.
    """

    dimensions: int
    widths: Sequence[int]
    limits: ChunkLimits


@dataclass(frozen=True)
class ApiService:
    """A service, as it documents itself.

    Args:
        name: Names it in errors and in the fingerprint.
        address: Where it is, unless ``base_url`` says something else.
        path: Of its requests.
        key_variable: Environment variable of the key.
        models: The models that are known.
        other_limits: Limits of any other model; ``max_tokens`` gives its length.
        concurrency: Requests in flight where the options do not say.
    """

    name: str
    address: str
    path: str
    key_variable: str
    models: Mapping[str, ApiModel]
    other_limits: ChunkLimits
    concurrency: int = DEFAULT_CONCURRENCY


class ChunkApiEncoder:
    """A hosted API as a `ChunkEncoder`; the subclasses know its requests and answers.

    Args:
        options: What the engine was asked for.

    Raises:
        AuthenticationError: No key is given, and none is in the environment.
        ModelLoadError: The tokenizer that tokens are to be counted with cannot be loaded.
        OptionError: An option has no meaning for an API or does not fit the model.
    """

    service: ClassVar[ApiService]
    """Where it is and what it takes."""
    joined: ClassVar[bool]
    """See `ChunkEncoder`."""
    contract = dtype = device = None  # the service says nothing of them

    def __init__(self, options: LateChunkOptions) -> None:
        service = self.service
        _refuse_meaningless(options, service.name)
        self.model = options.model
        self._asked_width = options.dimensions
        known = self._find_model(options)
        self.dimensions = options.dimensions or known.dimensions
        self.limits = known.limits
        self.usage = EngineStats()
        self._count_all = _load_counter(options.tokenizer) if options.tokenizer else None
        identity = "\0".join((service.name, self.model))
        self.fingerprint = hashlib.sha256(identity.encode()).hexdigest()[:32]
        settings = HttpSettings.from_options(
            options,
            base_url=service.address,
            key_variable=service.key_variable,
            concurrency=service.concurrency,
        )
        self.max_concurrency = settings.max_concurrency
        self.client = HttpClient(settings, key_needed=options.base_url is None)

    @classmethod
    def load(cls, options: LateChunkOptions) -> Self:
        """The encoder that options describe; nothing is sent yet."""
        return cls(options)

    def count_tokens(self, texts: Sequence[str]) -> list[tuple[int, int]]:
        """Counts of the given tokenizer, else bounds: see `estimate_tokens`."""
        if self._count_all is None:
            return [estimate_tokens(text) for text in texts]
        return [(n_tokens, n_tokens) for n_tokens in self._count_all(texts)]

    def submit(
        self, documents: Sequence[Sequence[str]], reading: Reading, *, parent_id: str | None
    ) -> Future[list[NDArray[np.float32]]]:
        """Send one request: see `ChunkEncoder.submit`."""
        sizes = [len(elements) for elements in documents]

        def check(answer: Any) -> list[NDArray[np.float32]]:
            vectors = self._vectors(answer, sizes, reading)
            self.usage.count("requests")
            self.usage.count("tokens", _count_billed(answer))
            return vectors

        body = self._body(documents, reading)
        return self.client.submit(json_call(self.service.path, body, check, parent_id=parent_id))

    def is_too_long(self, error: Exception) -> bool:
        """Whether the service said that there are too many tokens."""
        if not isinstance(error, RequestRefusedError) or error.status not in _TOO_LONG_STATUS:
            return False
        said = _TOO_LONG.search(str(error.args[0])) is not None
        return said or error.status == _CONTENT_TOO_LARGE

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def _body(self, documents: Sequence[Sequence[str]], reading: Reading) -> dict[str, Any]:
        """The request."""
        raise NotImplementedError

    def _vectors(
        self, answer: Any, sizes: Sequence[int], reading: Reading
    ) -> list[NDArray[np.float32]]:
        """The vectors of an answer, for documents of these sizes, in their order."""
        raise NotImplementedError

    def _matrix(self, items: Any, n_elements: int) -> NDArray[np.float32]:
        """Checked vectors of one document, shape ``(n_elements, dimensions)``."""
        rows = [self._decoded(item["embedding"]) for item in in_order(items, n_elements)]
        wrong = next((row for row in rows if row.shape != (self.dimensions,)), None)
        if wrong is not None:
            raise ServerAnswerError(
                f"{self.service.name} gave a vector of {wrong.size} numbers where "
                f"{self.dimensions} were expected; give the model's width as dimensions"
            )
        matrix = np.stack(rows)
        if not np.isfinite(matrix).all():
            raise ServerAnswerError(f"{self.service.name} gave a vector that is not all numbers")
        return matrix

    def _decoded(self, embedding: Any) -> NDArray[np.float32]:
        """A vector as the service writes it."""
        with np.errstate(over="ignore"):  # beyond float32 it is infinite, and refused as such
            return np.array(embedding, np.float32)

    def _find_model(self, options: LateChunkOptions) -> ApiModel:
        known = self.service.models.get(options.model)
        width = options.dimensions
        if known is None:
            if width is None or options.max_tokens is None:
                raise OptionError(
                    f"model {options.model!r} of {self.service.name} is not known here (known: "
                    f"{', '.join(self.service.models)}); give its dimensions and its max_tokens"
                )
            limits = {**vars(self.service.other_limits), "document_tokens": options.max_tokens}
            limits["request_tokens"] = max(limits["request_tokens"], options.max_tokens)
            return ApiModel(width, [width], ChunkLimits(**limits))
        if width is not None and width not in known.widths:
            widths = known.widths
            said = f"{widths[0]} to {widths[-1]}" if isinstance(widths, range) else list(widths)
            raise OptionError(
                f"dimensions={width}: the vectors of {options.model!r} may have {said}"
            )
        return known


def in_order(items: Any, n_expected: int) -> list[Any]:
    """The items of an answer by their index, whatever order they came in.

    Raises:
        ServerAnswerError: One is missing, too many, or there twice.
    """
    by_index = {item["index"]: item for item in items}
    if len(items) != n_expected or sorted(by_index) != list(range(n_expected)):
        raise ServerAnswerError(
            f"{n_expected} vectors or documents were expected, the answer holds {len(items)} "
            f"with the indices {sorted(by_index)[:10]}"
        )
    return [by_index[index] for index in range(n_expected)]


def unpacked(embedding: str, dtype: str) -> NDArray[np.float32]:
    """A base64 string of little-endian numbers as float32.

    Args:
        embedding: The string.
        dtype: NumPy's name of the numbers in it, such as ``"<f4"`` or ``"i1"``.

    Raises:
        ValueError: It is no such string.
    """
    return np.frombuffer(base64.b64decode(embedding, validate=True), dtype).astype(np.float32)


def _count_billed(answer: Any) -> int:
    usage = answer.get("usage")
    n_tokens = usage.get("total_tokens") if isinstance(usage, dict) else None
    return n_tokens if isinstance(n_tokens, int) else 0


def _refuse_meaningless(options: LateChunkOptions, service: str) -> None:
    defaults = {field.name: field.default for field in fields(options)}
    given = [name for name in _MEANINGLESS if getattr(options, name) != defaults[name]]
    if given:
        raise OptionError(
            f"{', '.join(given)}: {service} pools and prompts by itself; leave it out"
        )


def _load_counter(tokenizer: str) -> Callable[[Sequence[str]], Iterator[int]]:
    """Counts tokens, special tokens left out."""
    loaded = read_tokenizer(PublishedFiles(tokenizer))
    loaded.no_truncation()
    loaded.no_padding()

    def count(texts: Sequence[str]) -> Iterator[int]:
        return map(len, loaded.encode_batch(list(texts), add_special_tokens=False))

    return count
