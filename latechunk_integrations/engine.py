"""`LateChunkEngine`: parents in, chunk vectors out, in one flow.

The steps, one function in one file each; none looks back:

    parents -> jobs, jobs -> windows        planning.py, one block ahead, which calls
    text -> token ids, offsets              encoders
    character spans -> token spans          core/alignment.py
    tokens -> windows                       core/windows.py
    windows -> batches -> chunk sums        running.py, which calls
    windows -> batches                      core/batching.py
    batch -> token embeddings               encoders
    token embeddings -> chunk sums          core/pooling.py
    chunk sums -> vectors                   the model's heads, then the blend
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import pickle
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from latechunk_integrations.chunk_flow.flow import ChunkFlow
from latechunk_integrations.core.blending import blend, make_unit
from latechunk_integrations.core.passages import SumTable
from latechunk_integrations.encoders.base import (
    ChunkEncoder,
    QueryEncoder,
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
    ParentTooLongError,
    UnpicklableEncoderError,
)
from latechunk_integrations.options import TRANSPORT_OPTIONS, LateChunkOptions
from latechunk_integrations.planning import Job, Planner
from latechunk_integrations.running import WindowRunner
from latechunk_integrations.schema import ChunkVectors, Mode, Parent, check_texts
from latechunk_integrations.stats import EngineStats

__all__ = ["LateChunkEngine", "rebuild_engine", "shared_engine"]

# Raise this when the same input and options give other vectors than before.
ALGORITHM_VERSION = 1

# Windows of about this many batches are planned at once, so that sorting by length pays; of fewer
# large ones, so that a GPU does not wait long for the first.
_BLOCK_BATCHES = 16
_BLOCK_TOKENS = 1 << 17
# Rows that pass through the heads at once.
_FINISH_ROWS = 1_024
# Options that change how the work is done but not its result, or that the encoder answers for.
_NEUTRAL_OPTIONS = (
    *("model", "device", "dtype", "revision", "trust_remote_code", "batch_tokens", "strict"),
    *("encoder", *TRANSPORT_OPTIONS),
)


_Encoder: TypeAlias = TokenEncoder | ChunkEncoder


class LateChunkEngine:
    """Embeds chunks with the context of their parent.

    Args:
        encoder: What turns text into token embeddings, or chunks into vectors.
        options: See `LateChunkOptions`.
    """

    def __init__(self, encoder: _Encoder, options: LateChunkOptions) -> None:
        self._encoder = check_encoder_members(encoder, "the encoder of this engine")
        self.options = options
        self._stats = EngineStats()
        self._partner: QueryPartner | None = None
        self._is_named_by_options = False
        self._chunk_flow: ChunkFlow | None = None
        if isinstance(encoder, ChunkEncoder):
            self._chunk_flow = ChunkFlow(encoder, options, self._stats)
        else:
            self._token_encoder = encoder
            self._planner = Planner(encoder, options, self._stats)
            self._runner = WindowRunner(
                encoder, options.batch_tokens or encoder.batch_tokens, self._stats
            )

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
        """Load the model that the options name."""
        engine = cls(load_encoder(options), options)
        engine._is_named_by_options = True
        return engine

    def __copy__(self) -> LateChunkEngine:
        """Another engine over the same loaded model, with counts of its own."""
        twin = type(self)(self._encoder, self.options)
        vars(twin).update(_partner=self._partner, _is_named_by_options=self._is_named_by_options)
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> LateChunkEngine:
        return self.__copy__()

    def __reduce__(self) -> tuple[object, ...]:
        return rebuild_engine, self.rebuild_arguments()

    def rebuild_arguments(self) -> tuple[Any, ...]:
        """What `rebuild_engine` makes the same engine of in another process.

        Raises:
            UnpicklableEncoderError: The encoder is one that options do not name, and cannot be
                pickled.
        """
        encoder = None if self._is_named_by_options else self._encoder
        if encoder is not None:
            _check_pickle(encoder)
        return self.options, self.fingerprint, encoder, self._partner

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
        engine = object.__new__(type(self))
        vars(engine).update(vars(self), _partner=partner)
        return engine

    @property
    def encoder(self) -> TokenEncoder:
        """The encoder, for what needs tokens and their embeddings.

        Raises:
            OptionError: The encoder gives chunk vectors only.
        """
        if self._chunk_flow is not None:
            raise OptionError(
                f"encoder={self.options.encoder!r} gives vectors of chunks, no tokens: what was "
                "asked for needs an encoder that gives tokens (local, tei, vllm), or a size in "
                "characters where that can be chosen"
            )
        return self._token_encoder

    @property
    def dimensions(self) -> int:
        """Width of a vector."""
        return self._encoder.dimensions

    @property
    def fingerprint(self) -> str:
        """Hash of model and options: equal fingerprints, equal vectors for equal input."""
        options = {
            name: value
            for name, value in self.options.to_dict().items()
            if name not in _NEUTRAL_OPTIONS
        }
        parts = [str(ALGORITHM_VERSION), self._encoder.fingerprint, json.dumps(options)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]

    def describe(self) -> ModelDescription:
        """The model's contract, and what the options made of it; ``print`` shows a table."""
        return describe(self._encoder, self.options, fingerprint=self.fingerprint)

    @property
    def stats(self) -> dict[str, int]:
        """Counts since the engine was built: parents, chunks, windows, tokens, fallbacks.

        Of an API: ``requests`` and billed ``tokens`` since its encoder was built.
        """
        used = {} if self._chunk_flow is None else self._chunk_flow.usage
        return {**used, **self._stats.to_dict()}

    def close(self) -> None:
        """Close what encoder and partner hold open, such as connections; a later call opens it."""
        self._encoder.close()
        if self._partner is not None:
            self._partner.close()

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
        """
        parents = list(_check_parents(parents))
        results = self.embed_iter(parents)
        return list(tqdm(results, total=len(parents), unit="parent", disable=not show_progress))

    def embed_iter(self, parents: Iterable[Parent]) -> Iterator[ChunkVectors]:
        """Stream chunk vectors in the order of the parents, in bounded memory.

        See `embed` for the errors.
        """
        if self._chunk_flow is not None:
            yield from self._chunk_flow.parents(_check_parents(parents))
            return
        waiting: deque[Job] = deque()
        batch = self._runner.batch_tokens
        n_tokens = min(_BLOCK_BATCHES * batch, max(2 * batch, _BLOCK_TOKENS))
        for block in self._planner.blocks(_check_parents(parents), n_tokens):
            waiting.extend(block.jobs)
            self._runner.run(block.windows)
            yield from self._finished(waiting)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """The vector of one query, float32, shape ``(dimensions,)``: never late-chunked."""
        if not isinstance(text, str):
            raise InputTypeError(f"embed_query wants one str, not {type(text).__name__}")
        vector: NDArray[np.float32] = self.embed_queries([text])[0]
        return vector

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Query vectors with the query prompt, float32, shape ``(n, dimensions)``.

        What holds for a text that is too long for the model holds here too: see `embed_texts`.
        """
        check_texts(texts)
        if self._chunk_flow is not None:
            return self._chunk_flow.queries(texts)
        encoder = self._plain_encoder()
        self._check_truncation(texts, encoder.query_prompt)
        return self._scaled(encoder.encode_queries(texts))

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Standalone passage vectors, as the model itself gives them.

        A text longer than the model's own window (whatever ``max_tokens`` is) is cut there,
        as the model does it; that is counted and logged.

        Args:
            texts: Passages without a parent.

        Returns:
            Float32, shape ``(n, dimensions)``.

        Raises:
            ParentTooLongError: ``strict`` and a text would be cut.
        """
        check_texts(texts)
        if self._chunk_flow is not None:
            return self._chunk_flow.texts(texts)
        encoder = self._plain_encoder()
        self._check_truncation(texts, self.encoder.document_prompt)
        self._stats.count("plain_texts", len(texts))
        return self._scaled(encoder.encode_documents(texts))

    def _finished(self, waiting: deque[Job]) -> Iterator[ChunkVectors]:
        while waiting and waiting[0].done:
            yield self._finish(waiting.popleft())

    def _finish(self, job: Job) -> ChunkVectors:
        """Heads, blend, unit length: the sums of one parent become its vectors."""
        self._stats.count("parents")
        if job.skipped:
            nothing = np.zeros((0, self.encoder.dimensions), np.float32)
            return ChunkVectors(job.parent.id, nothing, (), skipped=True)
        n_chunks = len(job.parent.spans)
        is_late = np.zeros(n_chunks, dtype=bool)
        if job.late is None:
            vectors = np.zeros((n_chunks, self.encoder.dimensions), np.float32)
        else:
            is_late = job.late.weights > 0
            vectors = self._vectors(job.late)
        if job.alone is not None:
            alone = self._vectors(job.alone)
            blend(vectors, is_late, alone, job.alone_rows, self.options.context_weight)
        if job.header is not None:
            vectors += np.float32(self.options.header_weight) * self._vectors(job.header)
        late_mode: Mode = "late" if job.plan is None or len(job.plan) == 1 else "windowed"
        modes = tuple(late_mode if late else "standalone" for late in is_late.tolist())
        self._stats.count("chunks", n_chunks)
        self._stats.count("standalone_chunks", n_chunks - int(is_late.sum()))
        if self.options.normalize:
            make_unit(vectors)
        return ChunkVectors(job.parent.id, vectors, modes, job.n_windows)

    def _vectors(self, table: SumTable) -> NDArray[np.float32]:
        """Means through the heads; unit length where sides are to be blended."""
        means = table.means()
        blended = self.options.standalone or self.options.header_weight > 0
        same_width = self.encoder.dimensions == means.shape[1]
        vectors = (
            means if same_width else np.empty((len(means), self.encoder.dimensions), np.float32)
        )
        for start in range(0, len(means), _FINISH_ROWS):
            rows = slice(start, start + _FINISH_ROWS)
            block = self.encoder.finish(means[rows])
            vectors[rows] = block
            if blended:
                make_unit(vectors[rows])
        return vectors

    def _scaled(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.options.normalize:
            make_unit(vectors)
        return vectors

    def _plain_encoder(self) -> QueryEncoder:
        if self._partner is not None:
            return self._partner
        if not isinstance(self.encoder, QueryEncoder):
            raise OptionError(f"{type(self.encoder).__name__} cannot embed queries")
        return self.encoder

    def _check_truncation(self, texts: Sequence[str], prompt: str) -> None:
        longest = self._plain_encoder().plain_tokens
        if longest is None:
            return
        room = longest - len(self.encoder.lead) - len(self.encoder.tail)
        # ASCII makes no more tokens than it has characters (one more for a mark in front), so
        # most texts need no second look. Normalisation may turn one other character into many.
        candidates = [
            text
            for text in texts
            if not (prompt + text).isascii() or len(prompt) + len(text) >= room
        ]
        tokens = self.encoder.tokenize(candidates, prompt)
        n_cut = sum(len(text.prompt) + len(text.ids) > room for text in tokens)
        if not n_cut:
            return
        reason = (
            f"{n_cut} of {len(texts)} standalone texts are longer than the model's window of "
            f"{longest} tokens and are cut there; embed them as chunks of a parent, or split them"
        )
        if self.options.strict:
            raise ParentTooLongError(reason)
        self._stats.report("truncated_texts", reason, n_cut)


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
    """The engine that a copy stands for, with counts of its own.

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
    if fingerprint not in (None, engine.fingerprint):
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
    if isinstance(parents, (str, bytes, Parent)):
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
