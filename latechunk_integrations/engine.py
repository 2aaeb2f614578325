"""`LateChunkEngine`: parents in, chunk vectors out.

What an encoder gives decides the flow. `flow.token_flow`: token embeddings, which are pooled here.
`flow.service_flow`: vectors of chunks that a service has pooled. Both have one shape: plan, run,
finish.
"""

from __future__ import annotations

import copy
import hashlib
import os
import pickle
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from latechunk_integrations.encoders.base import (
    ChunkEncoder,
    QueryPartner,
    TokenEncoder,
    check_encoder_members,
)
from latechunk_integrations.encoders.description import ModelDescription, describe
from latechunk_integrations.encoders.registry import load_encoder
from latechunk_integrations.errors import (
    FingerprintMismatchError,
    InputTypeError,
    OptionError,
    UnpicklableEncoderError,
)
from latechunk_integrations.flow.failures import Failed
from latechunk_integrations.flow.service_flow import ServiceFlow
from latechunk_integrations.flow.token_flow import TokenFlow
from latechunk_integrations.flow.token_plan import TokenBlock
from latechunk_integrations.flow.window_cache import WindowCache, open_window_cache
from latechunk_integrations.flow.window_sums import WindowSums
from latechunk_integrations.flow.worker_pool import WorkerPool
from latechunk_integrations.options import WORK_OPTIONS, LateChunkOptions
from latechunk_integrations.schema import ChunkVectors, Parent, check_texts
from latechunk_integrations.stats import EngineStats
from latechunk_integrations.telemetry import count_event, trace_span

# Raise this when the same input and options give other vectors than before.
ALGORITHM_VERSION = 4

# Options that change how the work is done but not its result, or that the encoder answers for.
_NEUTRAL_OPTIONS = (
    *("model", "dtype", "revision", "trust_remote_code", "batch_tokens", "strict"),
    *("encoder", *WORK_OPTIONS),
)


_Encoder: TypeAlias = TokenEncoder | ChunkEncoder
# The encoder of this process beside workers, for every copy of their engine.
_load_once = lru_cache(maxsize=4)(load_encoder)
_LOADING = threading.Lock()


class LateChunkEngine:
    """Embeds chunks with the context of their parent.

    With ``processes`` or ``devices`` worker processes embed the parents. They start with the
    first parents, and end with `close`, with a ``with`` block or with the engine.

    Args:
        encoder: What turns text into token embeddings, or chunks into vectors; None: what the
            options name. That is loaded now; with worker processes, when this process needs it.
        options: See `LateChunkOptions`.
    """

    def __init__(self, encoder: _Encoder | None, options: LateChunkOptions) -> None:
        self.options = options
        self._stats = EngineStats()
        self._partner: QueryPartner | None = None
        self._cache: WindowCache | None = None
        self._is_named_by_options = encoder is None
        if encoder is not None:
            self._encoder = check_encoder_members(encoder, "the encoder of this engine")
        if encoder is not None or not options.worker_devices:
            _ = self._flow

    @cached_property
    def _encoder(self) -> _Encoder:
        if not self.options.worker_devices:
            return load_encoder(self.options.for_one_process())
        with _LOADING:  # threads that come at once must not load it several times
            return _load_once(self.options.for_one_process())

    @cached_property
    def _flow(self) -> ServiceFlow | TokenFlow:
        encoder, options, known = self._encoder, self.options, None
        if isinstance(encoder, ChunkEncoder):
            return ServiceFlow(encoder, options, self._stats)
        if options.window_cache is not None:
            self._cache = open_window_cache(options.window_cache, options.window_cache_bytes)
            known = WindowSums(self._cache, self.fingerprint, self._stats)
        return TokenFlow(encoder, options, self._stats, known)

    @cached_property
    def _workers(self) -> WorkerPool | None:
        """What embeds parents in the place of the flow."""
        if not self.options.worker_devices:
            return None
        _, fingerprint, encoder, _ = self.rebuild_arguments()
        setups = [
            (self.options.for_one_process(device), fingerprint, encoder)
            for device in self.options.worker_devices
        ]
        return WorkerPool(rebuild_engine, setups, self._stats)

    @classmethod
    def from_pretrained(cls, model: str | os.PathLike[str], **options: Any) -> LateChunkEngine:
        """Load a model from a hub name or a local path.

        Args:
            model: A sentence-transformers or transformers encoder; a path object is a path.
            **options: Fields of `LateChunkOptions`.

        Raises:
            ModelLoadError: The model cannot be found or read.
            OptionError: An option is unknown or impossible.
        """
        return cls.from_options(LateChunkOptions.from_mapping({"model": model, **options}))

    @classmethod
    def from_config(cls, source: str | Path | Mapping[str, Any]) -> LateChunkEngine:
        """Load what a YAML file or a mapping describes; see `LateChunkOptions.from_config`."""
        return cls.from_options(LateChunkOptions.from_config(source))

    @classmethod
    def from_options(cls, options: LateChunkOptions) -> LateChunkEngine:
        """Load the model that the options name; see `LateChunkEngine` for when."""
        return cls(None, options)

    def __copy__(self) -> LateChunkEngine:
        """Another engine over the same loaded model, with counts of its own."""
        twin = type(self)(self._loaded_encoder, self.options)
        vars(twin).update(_partner=self._partner, _is_named_by_options=self._is_named_by_options)
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> LateChunkEngine:
        return self.__copy__()

    def __reduce__(self) -> tuple[object, ...]:
        return rebuild_engine, self.rebuild_arguments()

    def rebuild_arguments(self) -> tuple[Any, ...]:
        """What `rebuild_engine` makes the same engine of in another process.

        Where nothing was loaded here yet, there is no fingerprint to compare.

        Raises:
            UnpicklableEncoderError: The encoder is one that options do not name, and cannot be
                pickled.
        """
        encoder = None if self._is_named_by_options else self._encoder
        if encoder is not None:
            _check_pickle(encoder)
        fingerprint = None if self._loaded_encoder is None else self.fingerprint
        return self.options, fingerprint, encoder, self._partner

    def with_queries(self, partner: QueryPartner) -> LateChunkEngine:
        """This engine, with queries and standalone texts through another encoder.

        Both share their encoder, counts and fingerprint: the partner gives the same vectors
        another way. What is read from a configuration has no partner.

        Args:
            partner: Such as a `NomicQueryEncoder`.

        Raises:
            MismatchedQueriesError: Its vectors are in another space than the chunks.
        """
        partner.check_index(self.encoder, self.options)
        _ = self._workers  # shared too
        engine = object.__new__(type(self))
        vars(engine).update(vars(self), _partner=partner)
        return engine

    @property
    def _loaded_encoder(self) -> Any:
        return vars(self).get("_encoder")

    @property
    def encoder(self) -> TokenEncoder:
        """The encoder, for what needs tokens and their embeddings.

        Raises:
            OptionError: The encoder gives chunk vectors only.
        """
        if isinstance(self._encoder, ChunkEncoder):
            raise OptionError(
                f"encoder={self.options.encoder!r} gives vectors of chunks, no tokens: what was "
                "asked for needs an encoder that gives tokens (local, tei, vllm, llama.cpp), or a "
                "size in characters where that can be chosen"
            )
        return self._encoder

    @property
    def dimensions(self) -> int:
        """Width of a vector."""
        return self._encoder.dimensions

    @cached_property
    def fingerprint(self) -> str:
        """Hash of model and options: equal fingerprints, equal vectors for equal input."""
        options = self.options.to_key(_NEUTRAL_OPTIONS)
        parts = [str(ALGORITHM_VERSION), self._encoder.fingerprint, options]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]

    def describe(self) -> ModelDescription:
        """The model's contract, and what the options made of it; ``print`` shows a table."""
        return describe(
            self._encoder,
            self.options,
            fingerprint=self.fingerprint,
            layout=self._flow.layout,
            header_pooling=self._flow.header_pooling,
        )

    @property
    def stats(self) -> dict[str, int]:
        """Counts since the engine was built: parents, chunks, windows, tokens, fallbacks.

        Of an API: ``requests`` and billed ``tokens`` since its encoder was built.
        """
        usage = {} if self._loaded_encoder is None else self._flow.usage
        return {**usage, **self._stats.to_dict()}

    def close(self) -> None:
        """End the workers, and close what encoder and partner hold open, such as connections.

        A later call opens it again. A window cache in memory is emptied.
        """
        workers, encoder = vars(self).get("_workers"), self._loaded_encoder
        for held in (workers, encoder, self._cache, self._partner):
            if held is not None:
                held.close()

    def __enter__(self) -> LateChunkEngine:  # noqa: PYI034  # Self needs Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def embed(
        self, parents: Sequence[Parent], *, show_progress: bool = False
    ) -> list[ChunkVectors]:
        """Chunk vectors of each parent, in order.

        Args:
            parents: Any number of parents.
            show_progress: Show a progress bar over parents.

        Raises:
            InputTypeError: Something else than parents was given.
            ParentTooLongError: ``fallback="error"`` and a parent is longer than a window.
            ChunkWithoutTokenError: ``strict`` and no token overlaps a chunk.
            EncodingFailedError: The model failed over a parent, which the error names.
            NotFiniteError: A vector is NaN, infinite or zero.
            ServerError: A server or API did not give what was asked of it.
        """
        parents = list(_check_parents(parents))
        results = self.embed_iter(parents)
        with trace_span("latechunk.embed", parents=len(parents)):
            return list(tqdm(results, total=len(parents), unit="parent", disable=not show_progress))

    @overload
    def embed_iter(
        self, parents: Iterable[Parent], *, on_error: Literal["raise"] = ..., together: bool = ...
    ) -> Iterator[ChunkVectors]: ...
    @overload
    def embed_iter(
        self, parents: Iterable[Parent], *, on_error: Literal["yield"], together: bool = ...
    ) -> Iterator[ChunkVectors | Failed]: ...
    def embed_iter(
        self,
        parents: Iterable[Parent],
        *,
        on_error: Literal["raise", "yield"] = "raise",
        together: bool = True,
    ) -> Iterator[ChunkVectors | Failed]:
        """Stream chunk vectors in the order of the parents, in bounded memory.

        Args:
            parents: Any number of parents.
            on_error: ``"raise"``: the first failure ends the stream. ``"yield"``: a parent that
                fails gives a `LateChunkError` in its place, and the stream goes on.
            together: Parents share forward passes, which moves the last bits of a vector;
                ``False``: each is embedded by itself.

        Raises:
            OptionError: ``on_error`` is neither.
            WorkerStartError: Worker processes are wanted, and cannot be started here.

        See `embed` for other errors.
        """
        if on_error not in ("raise", "yield"):
            raise OptionError(f"on_error={on_error!r} is not 'raise' or 'yield'")
        results = (self._workers or self._flow).embed(
            _check_parents(parents), isolate=on_error == "yield", together=together
        )
        return _count_results(results, self.options.encoder)

    def plan(self, parents: Sequence[Parent]) -> TokenBlock:
        """How parents would be embedded: their windows, units, and what is pooled.

        Raises:
            OptionError: The encoder gives chunk vectors only.
        """
        if not isinstance(self._flow, TokenFlow):
            raise OptionError(
                f"encoder={self.options.encoder!r} gives vectors of chunks and shows no windows: "
                "only encoders that give tokens (local, tei, vllm, llama.cpp) have a plan"
            )
        return self._flow.planner.plan(list(_check_parents(parents)))

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """The vector of one query, float32, shape ``(dimensions,)``: never late-chunked."""
        if not isinstance(text, str):
            raise InputTypeError(f"embed_query wants one str, not {type(text).__name__}")
        vector: NDArray[np.float32] = self.embed_queries([text])[0]
        return vector

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Query vectors with the query prompt, float32, shape ``(n, dimensions)``.

        A query that is too long for the model is cut: see `embed_texts`.

        Raises:
            InputTypeError: No list of texts was given.
            ParentTooLongError: ``strict`` and a query would be cut; any that is too long for an
                API.
        """
        check_texts(texts)
        with trace_span("latechunk.embed_queries", texts=len(texts)):
            return self._flow.embed_queries(list(map(str, texts)), self._partner)

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Standalone passage vectors, as the model itself gives them.

        A text longer than the model's own window (whatever ``max_tokens`` is) is cut there,
        as the model does it; that is counted and logged.

        Args:
            texts: Passages without a parent.

        Returns:
            Float32, shape ``(n, dimensions)``.

        Raises:
            InputTypeError: No list of texts was given.
            ParentTooLongError: ``strict`` and a text would be cut.
        """
        check_texts(texts)
        with trace_span("latechunk.embed_texts", texts=len(texts)):
            # Subclasses of str go as a str: a chunk notes who asks for its bytes.
            return self._flow.embed_texts(list(map(str, texts)), self._partner)


@lru_cache(maxsize=4)
def shared_engine(options: LateChunkOptions) -> LateChunkEngine:
    """The engine of these options, loaded once in this process.

    What adapters load lazily, so that unpickled copies in one worker share a model.
    """
    return LateChunkEngine.from_options(options)


def rebuild_engine(
    options: LateChunkOptions,
    fingerprint: str | None,
    encoder: _Encoder | None = None,
    partner: QueryPartner | None = None,
) -> LateChunkEngine:
    """The engine that a copy is of, with counts of its own.

    Args:
        options: Of the original.
        fingerprint: Of the original; None: it was never loaded, so that nothing is compared.
        encoder: The original's, where options do not name it; None: the model of the options,
            loaded once in this process.
        partner: What queries go through, if not through the encoder.

    Raises:
        FingerprintMismatchError: It would give other vectors than the original.
    """
    if encoder is None:
        engine = copy.copy(shared_engine(options))
    else:
        engine = LateChunkEngine(encoder, options)
    if fingerprint is not None and fingerprint != engine.fingerprint:
        raise FingerprintMismatchError(
            f"the copy of an engine of {options.model!r} would give other vectors than its "
            f"original (fingerprint {engine.fingerprint} instead of {fingerprint}). Name what may "
            "differ here: revision=<commit>, dtype= (auto goes by the device), the files of a "
            "local path, the version of this package; or index anew with this engine",
            expected=fingerprint,
            found=engine.fingerprint,
        )
    engine._partner = partner  # noqa: SLF001  # of our own class
    return engine


def _count_results(
    results: Iterator[ChunkVectors | Failed], encoder: str
) -> Iterator[ChunkVectors | Failed]:
    for result in results:
        if isinstance(result, ChunkVectors):
            count_event("latechunk.parents", encoder=encoder, outcome="embedded")
            count_event("latechunk.chunks", len(result.modes), encoder=encoder)
        else:
            count_event("latechunk.parents", encoder=encoder, outcome=type(result).__name__)
        yield result


def _check_pickle(encoder: _Encoder) -> None:
    """Try it first: an error from the middle of a pickle would not say what to do."""
    try:
        pickle.dumps(encoder)
    except Exception as error:
        raise UnpicklableEncoderError(
            f"this engine was given an encoder of its own, a {type(encoder).__name__}, which no "
            f"copy can be rebuilt from: it cannot be pickled ({error}). Give its class "
            "__getstate__ and __setstate__, or name it in the options (encoder='module:Class') "
            "and build the engine with LateChunkEngine.from_options"
        ) from error


def _check_parents(parents: Iterable[Parent]) -> Iterator[Parent]:
    if isinstance(parents, (str, bytes, Parent)) or not isinstance(parents, Iterable):
        raise InputTypeError(
            f"embed wants a list of Parent, not one {type(parents).__name__}: "
            "engine.embed([Parent(text, spans)])"
        )
    return _each_parent(parents)


def _each_parent(parents: Iterable[Parent]) -> Iterator[Parent]:
    for parent in parents:
        if not isinstance(parent, Parent):
            raise InputTypeError(f"embed wants Parent objects, not {type(parent).__name__}")
        yield parent
