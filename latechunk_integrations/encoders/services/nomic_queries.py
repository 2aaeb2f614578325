"""Queries and standalone texts through Nomic's inference, for an index of the local weights."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import SecretStr

from latechunk_integrations.encoders.base import QueryEncoder, TokenEncoder
from latechunk_integrations.encoders.http.client import Call, HttpClient, HttpSettings, json_call
from latechunk_integrations.errors import (
    AuthenticationError,
    MismatchedQueriesError,
    MissingExtraError,
    OptionError,
    ServerAnswerError,
)
from latechunk_integrations.options import LateChunkOptions, check_transport, wrap_key
from latechunk_integrations.schema import check_texts

Inference: TypeAlias = Literal["hosted", "local"]
_Task: TypeAlias = Literal["search_query", "search_document"]

# Full width of each model, and whether it was trained to be cut.
_WIDTH = 768
_MODELS = {"nomic-embed-text-v1": False, "nomic-embed-text-v1.5": True}
_MIN_DIMENSIONS = 64

_PATH = "/v1/embedding/text"
_KEY_VARIABLE = "NOMIC_API_KEY"
# What the client calls its own override of the address.
_ADDRESS_VARIABLE = "ATLAS_API_PATH"
_ADDRESS = "https://api-atlas.nomic.ai"
# The client sends no more texts at once, and the service cuts a text after so many tokens.
_REQUEST_TEXTS = 10
_TEXT_TOKENS = 8_192
_CONCURRENCY = 8

_PROBE = "Late chunking reads the whole document before it pools a chunk."
# Half precision on either side costs less than 0.001; unrelated weights have nothing in common.
_LEAST_COSINE = 0.99

# The client keeps the model that it runs on this machine as a global.
_LOCAL_INFERENCE = threading.Lock()


class NomicQueryEncoder:
    """A `QueryEncoder` that asks Nomic instead of the weights of this machine.

    Late chunking needs token embeddings, which Nomic's service does not give; an index
    is therefore made with the local weights. Its queries need only whole vectors::

        engine = LateChunkEngine.from_pretrained("nomic-ai/nomic-embed-text-v1.5")
        engine = engine.with_queries(NomicQueryEncoder("nomic-embed-text-v1.5"))

    Args:
        model: Model name as Nomic's service knows it.
        dimensions: Width that vectors are cut to, as the engine's; None: all.
        inference: ``"hosted"``: Nomic's service; ``"local"``: gpt4all on this machine, through
            the client.
        api_key: Key for the service; None: ``NOMIC_API_KEY``, else the login of the client
            (``nomic login``). It is left out of copies, pickles and everything that is printed.
        base_url: Address of the service; None: ``ATLAS_API_PATH``, else that of the login.
        device: Device of local inference, as the client names it.
        timeout_seconds: Longest wait for one attempt.
        max_retries: Further attempts where a failure may pass.

    Raises:
        AuthenticationError: There is no key, or the login has expired.
        MissingExtraError: The client is needed and not installed.
        OptionError: The model is unknown or was not trained for the dimensions, or the address
            or another value cannot be.
    """

    query_prompt = "search_query: "
    document_prompt = "search_document: "
    plain_tokens: int | None = _TEXT_TOKENS

    def __init__(
        self,
        model: str = "nomic-embed-text-v1.5",
        *,
        dimensions: int | None = None,
        inference: Inference = "hosted",
        api_key: SecretStr | str | None = None,
        base_url: str | None = None,
        device: str | None = None,
        timeout_seconds: float = 30.0,
        max_retries: int = 5,
    ) -> None:
        _check_model(model, dimensions)
        if inference not in ("hosted", "local"):
            raise OptionError(f"inference={inference!r} is not one of 'hosted', 'local'")
        self.model = model
        self.dimensions = dimensions or _WIDTH
        self.inference: Inference = inference
        self.device = device
        self._settings: HttpSettings | None = None
        if inference == "hosted":
            key = wrap_key(api_key)
            self._settings = _settings(key, base_url, timeout_seconds, max_retries)
        else:
            _local_client()
        self._client = _connect(self._settings)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the connections behind; the settings leave the key."""
        return {**vars(self), "_client": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the key from here: from the environment, or the login."""
        vars(self).update(state)
        self._client = _connect(self._settings)

    def __repr__(self) -> str:
        """Model, dimensions and where it runs; never the key."""
        return (
            f"NomicQueryEncoder({self.model!r}, dimensions={self.dimensions}, "
            f"inference={self.inference!r})"
        )

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        if self._client is not None:
            self._client.close()

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Query vectors, unit length, shape ``(n, dimensions)``.

        Raises:
            ServerError: The service failed after all retries, or its answer is wrong.
        """
        return self._encode(texts, "search_query")

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Standalone passage vectors, unit length, shape ``(n, dimensions)``.

        Raises:
            ServerError: The service failed after all retries, or its answer is wrong.
        """
        return self._encode(texts, "search_document")

    def check_index(self, encoder: TokenEncoder, options: LateChunkOptions) -> None:
        """See that an engine's chunks and our vectors are in one space.

        Names, widths and prompts are compared, then the vectors of one text, each way.

        Raises:
            MismatchedQueriesError: They are not; the message says in what they differ.
            ServerError: The service failed.
        """
        found = _compare(self, encoder, options)
        if not found and isinstance(encoder, QueryEncoder):
            pairs = {
                "a query": (encoder.encode_queries, self.encode_queries),
                "a passage": (encoder.encode_documents, self.encode_documents),
            }
            cosines = {name: _measure_cosine(ours, its) for name, (ours, its) in pairs.items()}
            found = [
                f"{name} of both sides has a cosine of {cosine:.3f} instead of 1"
                for name, cosine in cosines.items()
                if cosine < _LEAST_COSINE
            ]
        if found:
            raise MismatchedQueriesError(
                f"{self!r} cannot embed queries for an index of {options.model!r}: "
                + "; ".join(found)
            )

    def _encode(self, texts: Sequence[str], task: _Task) -> NDArray[np.float32]:
        check_texts(texts)
        if not texts:
            return np.zeros((0, self.dimensions), np.float32)
        if self._client is None:
            return self._encode_here(texts, task)
        calls = [
            self._call(texts[start : start + _REQUEST_TEXTS], task)
            for start in range(0, len(texts), _REQUEST_TEXTS)
        ]
        return np.concatenate(list(self._client.run_all(calls)))

    def _call(self, texts: Sequence[str], task: _Task) -> Call[NDArray[np.float32]]:
        body = {
            "texts": list(texts),
            "model": self.model,
            "task_type": task,
            "dimensionality": self._asked_width(),
            "long_text_mode": "truncate",
        }
        return json_call(_PATH, body, lambda answer: self._read_vectors(answer, len(texts)))

    def _encode_here(self, texts: Sequence[str], task: _Task) -> NDArray[np.float32]:
        with _LOCAL_INFERENCE:
            answer = _local_client().text(
                list(texts),
                model=self.model,
                task_type=task,
                dimensionality=self._asked_width(),
                inference_mode="local",
                device=self.device,
            )
        return self._read_vectors(answer, len(texts))

    def _asked_width(self) -> int | None:
        """Only v1.5 knows the parameter; the full width needs none."""
        return None if self.dimensions == _WIDTH else self.dimensions

    def _read_vectors(self, answer: Any, n_texts: int) -> NDArray[np.float32]:
        vectors = np.array(answer["embeddings"], dtype=np.float32)
        if answer["model"] != self.model:
            raise ServerAnswerError(f"asked for {self.model!r}, answered by {answer['model']!r}")
        if vectors.shape != (n_texts, self.dimensions):
            raise ServerAnswerError(
                f"{n_texts} vectors of {self.dimensions} dimensions were asked for; the answer "
                f"has the shape {vectors.shape}"
            )
        if not np.isfinite(vectors).all():
            raise ServerAnswerError("a vector in the answer is not finite")
        return vectors


def _check_model(model: str, dimensions: int | None) -> None:
    if model not in tuple(_MODELS):
        raise OptionError(f"model={model!r} is not one of {', '.join(map(repr, _MODELS))}")
    if dimensions is None or dimensions == _WIDTH:
        return
    if not isinstance(dimensions, int):
        raise OptionError(f"dimensions must be an integer, not {dimensions!r}")
    if not _MODELS[model]:
        raise OptionError(f"dimensions={dimensions}: {model} has {_WIDTH} and cannot be cut")
    if not _MIN_DIMENSIONS <= dimensions < _WIDTH:
        raise OptionError(
            f"dimensions={dimensions} is outside of {_MIN_DIMENSIONS} to {_WIDTH}, which {model} "
            "was trained for"
        )


def _settings(
    key: SecretStr | None, base_url: str | None, timeout_seconds: float, max_retries: int
) -> HttpSettings:
    address = base_url or os.environ.get(_ADDRESS_VARIABLE)
    check_transport(address, timeout_seconds, max_retries)
    if key is None and not os.environ.get(_KEY_VARIABLE):
        key, own_address = _login()
        address = address or own_address
    return HttpSettings(
        base_url=(address or _ADDRESS).rstrip("/"),
        key_variable=_KEY_VARIABLE,
        api_key=key,
        timeout_seconds=timeout_seconds,
        max_retries=max_retries,
        max_concurrency=_CONCURRENCY,
    )


def _connect(settings: HttpSettings | None) -> HttpClient | None:
    """The client of a hosted encoder; a copy that came without its key looks for one here."""
    if settings is None:
        return None
    if settings.api_key is None and settings.key() is None:
        settings = replace(settings, api_key=_login()[0])
    return HttpClient(settings, key_needed=True)


def _login() -> tuple[SecretStr, str]:
    """Token and address of the client's login, read from its file without any request."""
    try:
        from nomic import cli  # noqa: PLC0415  # an extra, needed only without a key
    except ImportError as error:
        raise MissingExtraError("nomic", extra="nomic") from error
    try:
        credentials = cli.get_api_credentials()  # type: ignore[no-untyped-call]  # the client has no types there
        token = SecretStr(credentials["token"].strip())
        tenant = cli.tenants.get(credentials["tenant"], credentials)
        address = f"https://{tenant['api_domain']}"
        expires = float(credentials.get("expires") or "inf")
    # Also what is there and is no login, such as an empty list or a token that is null.
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AuthenticationError(
            f"no key for Nomic: pass api_key=, set {_KEY_VARIABLE}, or run `nomic login`"
        ) from error
    # The client would renew it by a request without a time-out, with the token in its address.
    if time.time() >= expires:
        raise AuthenticationError("the login of the nomic client has expired: run `nomic login`")
    return token, address


def _local_client() -> Any:
    """The client's module of embeddings, which uses gpt4all."""
    try:
        from nomic import embed  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise MissingExtraError("nomic", extra="nomic") from error
    if getattr(embed, "Embed4All", None) is None:
        raise MissingExtraError("gpt4all", extra="nomic-local")
    return embed


def _compare(
    queries: NomicQueryEncoder, encoder: TokenEncoder, options: LateChunkOptions
) -> list[str]:
    """What can be told without embedding anything."""
    pairs = {
        "dimensions": (encoder.dimensions, queries.dimensions),
        "document_prompt": (encoder.document_prompt, queries.document_prompt),
        "query_prompt": (
            encoder.query_prompt if isinstance(encoder, QueryEncoder) else None,
            queries.query_prompt,
        ),
        "normalize": (options.normalize, True),
    }
    found = [
        f"{name} is {index!r} there and {ours!r} here"
        for name, (index, ours) in pairs.items()
        if index != ours
    ]
    name = options.model.rstrip("/").rpartition("/")[2]
    if name.startswith("nomic-embed-text-") and name != queries.model:
        found.insert(0, f"the model is {name!r} there and {queries.model!r} here")
    return found


def _measure_cosine(index: Any, ours: Any) -> float:
    left, right = index([_PROBE])[0].astype(np.float64), ours([_PROBE])[0].astype(np.float64)
    return float(left @ right / (np.linalg.norm(left) * np.linalg.norm(right)))
