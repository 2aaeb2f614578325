"""`LateChunkEngine`: parents in, chunk vectors out, in one flow.

The steps, one function in one file each; none looks back:

    text -> token ids, offsets              encoders
    character spans -> token spans          core/alignment.py
    tokens -> windows                       core/windows.py
    windows -> batches                      core/batching.py
    batch -> token embeddings               encoders
    token embeddings -> chunk sums          core/pooling.py
    chunk sums -> vectors                   the model's heads, then the blend
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm

from latechunk_integrations.core.alignment import Aligner
from latechunk_integrations.core.batching import pack
from latechunk_integrations.core.passages import (
    Passage,
    SumTable,
    TokenBuffer,
    Window,
    passage_windows,
)
from latechunk_integrations.core.pooling import join_bags, sum_bags
from latechunk_integrations.core.windows import WindowBudget, divide_budget, plan_windows
from latechunk_integrations.encoders.base import QueryEncoder, TokenEncoder, TokenizedText
from latechunk_integrations.encoders.local import LocalEncoder
from latechunk_integrations.errors import (
    ChunkWithoutTokenError,
    InputTypeError,
    OptionError,
    ParentTooLongError,
)
from latechunk_integrations.options import LateChunkOptions
from latechunk_integrations.schema import ChunkVectors, Mode, Parent, TokenSpans

__all__ = ["LateChunkEngine", "shared_engine"]

logger = logging.getLogger(__name__)

# Raise this when the same input and options give other vectors than before.
ALGORITHM_VERSION = 1

# Windows wait until this many batches are full, so that sorting by length pays.
_BUFFER_BATCHES = 16
# Texts are handed to the tokenizer in groups of this size, which it spreads over threads.
_GROUP_TEXTS = 64
_GROUP_CHARS = 1 << 18
# Longer texts are tokenized piece by piece, in bounded memory.
_LONG_TEXT_CHARS = 1 << 17
# Rows that pass through the heads at once.
_FINISH_ROWS = 1_024
# Options that change how the work is done but not its result.
_NEUTRAL_OPTIONS = ("model", "device", "revision", "trust_remote_code", "batch_tokens", "strict")


@dataclass
class _Job:
    """One parent on its way: its passages' sums until all of its windows are done."""

    parent: Parent
    late: SumTable | None = None
    alone: SumTable | None = None
    header: SumTable | None = None
    alone_rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    passage: Passage | None = None
    budget: WindowBudget | None = None
    n_windows: int = 0
    skipped: bool = False
    planned: bool = False

    @property
    def done(self) -> bool:
        tables = (self.late, self.alone, self.header)
        return self.planned and all(table is None or table.n_open == 0 for table in tables)


class LateChunkEngine:
    """Embeds chunks with the context of their parent.

    Args:
        encoder: What turns text into token embeddings.
        options: See `LateChunkOptions`.
    """

    def __init__(self, encoder: TokenEncoder, options: LateChunkOptions) -> None:
        self.encoder = encoder
        self.options = options
        self._batch_tokens = options.batch_tokens or encoder.batch_tokens
        self._stats: Counter[str] = Counter()
        self._stats_lock = threading.Lock()

    @classmethod
    def from_pretrained(cls, model: str, **options: Any) -> LateChunkEngine:
        """Load a model from a hub name or a local path.

        Args:
            model: A sentence-transformers or transformers encoder.
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
        return cls(LocalEncoder.load(options), options)

    @property
    def dimensions(self) -> int:
        """Width of a vector."""
        return self.encoder.dimensions

    @property
    def fingerprint(self) -> str:
        """Hash of model and options: equal fingerprints, equal vectors for equal input."""
        options = {
            name: value
            for name, value in self.options.to_dict().items()
            if name not in _NEUTRAL_OPTIONS
        }
        parts = [str(ALGORITHM_VERSION), self.encoder.fingerprint, json.dumps(options)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]

    @property
    def stats(self) -> dict[str, int]:
        """Counts since the engine was built: parents, chunks, windows, tokens, fallbacks."""
        with self._stats_lock:
            return dict(self._stats)

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
        waiting: deque[_Job] = deque()
        windows: list[Window] = []
        n_buffered = 0
        for job in self._jobs(_check_parents(parents)):
            waiting.append(job)
            for window in self._windows(job):
                windows.append(window)
                n_buffered += window.length
                if n_buffered >= _BUFFER_BATCHES * self._batch_tokens:
                    self._run(windows)
                    windows, n_buffered = [], 0
                    yield from self._finished(waiting)
            job.planned = True
        self._run(windows)
        yield from self._finished(waiting)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """The vector of one query, float32, shape ``(dimensions,)``: never late-chunked."""
        if not isinstance(text, str):
            raise InputTypeError(f"embed_query wants one str, not {type(text).__name__}")
        return self.embed_queries([text])[0]

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Query vectors with the query prompt, float32, shape ``(n, dimensions)``."""
        _check_texts(texts)
        return self._scaled(self._plain_encoder().encode_queries(texts))

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Standalone passage vectors, as the model itself gives them.

        A text longer than the model's window is cut there, as the model does it; that is
        counted and logged.

        Args:
            texts: Passages without a parent.

        Returns:
            Float32, shape ``(n, dimensions)``.

        Raises:
            ParentTooLongError: ``strict`` and a text would be cut.
        """
        _check_texts(texts)
        self._check_truncation(texts)
        self._count("plain_texts", len(texts))
        return self._scaled(self._plain_encoder().encode_documents(texts))

    def _jobs(self, parents: Iterable[Parent]) -> Iterator[_Job]:
        """Tokenize parents in groups, and decide what is done with each."""
        for group in _grouped(parents):
            if not self.options.late:
                yield from (self._standalone_job(parent) for parent in group)
                continue
            short = [parent for parent in group if len(parent.text) <= _LONG_TEXT_CHARS]
            prompt = self.encoder.document_prompt
            tokens = iter(self.encoder.tokenize([parent.text for parent in short], prompt))
            for parent in group:
                long = len(parent.text) > _LONG_TEXT_CHARS
                yield self._job(
                    parent,
                    self.encoder.tokenize_pieces(parent.text, prompt)
                    if long
                    else [next(tokens)],
                )

    def _job(self, parent: Parent, pieces: Iterable[TokenizedText]) -> _Job:
        aligner = Aligner(parent.spans)
        ids: list[NDArray[np.int32]] = []
        prompts: list[NDArray[np.int32]] = []
        for piece in pieces:
            aligner.add(piece.offsets)
            ids.append(piece.ids)
            prompts.append(piece.prompt)
        tokens, prompt = TokenBuffer(ids), np.concatenate(prompts)
        if tokens.n_tokens < self.options.min_parent_tokens:
            self._count("short_parents")
            return self._standalone_job(parent)
        budget = self._share(tokens, prompt, parent.header)
        self._report_cut(parent, budget)
        if tokens.n_tokens > budget.room and self.options.fallback != "window":
            return self._long_job(parent, tokens.n_tokens, budget.room)
        spans = aligner.token_spans()
        without = np.flatnonzero(spans.lengths == 0)
        if len(without):
            self._report_without_token(parent, without)
        job = _Job(parent, late=SumTable(len(spans), self.encoder.token_dim), budget=budget)
        job.passage = self._passage(tokens, prompt, budget, parent.header, spans, job.late)
        job.alone_rows = np.arange(len(spans)) if self.options.standalone else without
        return job

    def _long_job(self, parent: Parent, n_tokens: int, room: int) -> _Job:
        reason = (
            f"parent {parent.id!r} has {n_tokens} tokens, a window leaves room for {room}; "
            "raise max_tokens or use fallback='window'"
        )
        if self.options.fallback == "error" or self.options.strict:
            raise ParentTooLongError(reason, parent_id=parent.id)
        if self.options.fallback == "skip":
            self._report("skipped_parents", f"skipped: {reason}")
            return _Job(parent, skipped=True)
        self._report("long_parents_standalone", f"chunks embedded standalone: {reason}")
        return self._standalone_job(parent)

    def _standalone_job(self, parent: Parent) -> _Job:
        return _Job(parent, alone_rows=np.arange(len(parent.spans)))

    def _windows(self, job: _Job) -> Iterator[Window]:
        """The windows of a job: its late pass, its standalone pass, its header."""
        if job.passage is not None and job.budget is not None:
            for window in self._passage_windows(job.passage, job.budget):
                job.n_windows += 1
                yield window
            job.passage = None
        if len(job.alone_rows):
            job.alone = SumTable(len(job.parent.spans), self.encoder.token_dim)
            texts = (job.parent.chunk_text(int(row)) for row in job.alone_rows)
            yield from self._text_windows(texts, job.alone_rows, job.parent.header, job.alone)
        if self.options.header_weight and job.parent.header.strip() and not job.skipped:
            job.header = SumTable(1, self.encoder.token_dim)
            yield from self._text_windows([job.parent.header], np.arange(1), "", job.header)

    def _text_windows(
        self, texts: Iterable[str], rows: NDArray[np.int64], header: str, table: SumTable
    ) -> Iterator[Window]:
        """The windows of texts embedded alone, each one chunk: a row of the table."""
        at = 0
        for group in _grouped_texts(texts):
            for text in self.encoder.tokenize(group, self.encoder.document_prompt):
                tokens = TokenBuffer([text.ids])
                budget = self._share(tokens, text.prompt, header)
                spans = TokenSpans([(0, tokens.n_tokens)])
                row = rows[at : at + 1]
                passage = self._passage(
                    tokens, text.prompt, budget, header, spans, table, rows=row
                )
                yield from self._passage_windows(passage, budget)
                at += 1

    def _passage_windows(self, passage: Passage, budget: WindowBudget) -> Iterator[Window]:
        plan = plan_windows(passage.tokens.n_tokens, budget)
        return passage_windows(passage, plan, self.encoder.pooling)

    def _passage(  # noqa: PLR0913  # a passage is made of that many parts
        self,
        tokens: TokenBuffer,
        prompt: NDArray[np.int32],
        budget: WindowBudget,
        header: str,
        spans: TokenSpans,
        table: SumTable,
        *,
        rows: NDArray[np.int64] | None = None,
    ) -> Passage:
        lead = np.concatenate([self.encoder.lead, prompt])
        unpooled = len(prompt) and not self.encoder.prompt_pooled
        return Passage(
            lead=lead,
            # sentence-transformers leaves out what stands before the prompt along with it.
            lead_pooled=len(lead) if unpooled else 0,
            header=self.encoder.tokenize_header(header)[: budget.header],
            tokens=tokens,
            tail=self.encoder.tail,
            spans=spans,
            rows=np.arange(len(spans)) if rows is None else rows,
            table=table,
        )

    def _share(
        self, tokens: TokenBuffer, prompt: NDArray[np.int32], header: str
    ) -> WindowBudget:
        encoder = self.encoder
        return divide_budget(
            encoder.max_tokens,
            fixed=len(encoder.lead) + len(prompt) + len(encoder.tail),
            header=len(encoder.tokenize_header(header)),
            n_tokens=tokens.n_tokens,
            preamble=self.options.preamble_tokens,
            overlap=self.options.overlap_tokens,
        )

    def _report_cut(self, parent: Parent, budget: WindowBudget) -> None:
        for what in budget.cut:
            self._report(
                f"{what}s_cut",
                f"the {what} of parent {parent.id!r} was shortened: half of a window of "
                f"{self.encoder.max_tokens} tokens belongs to the text",
            )

    def _run(self, windows: list[Window]) -> None:
        """Encode windows in batches; when memory runs out, halve the batches and go on."""
        lengths = np.array([window.length for window in windows], dtype=np.int64)
        batches = deque(pack(lengths, self._batch_tokens))
        while batches:
            batch = batches[0]
            try:
                self._run_batch([windows[i] for i in batch])
                batches.popleft()
            except torch.OutOfMemoryError:
                if len(batch) == 1:
                    raise
                self._batch_tokens = int(lengths[batch].max()) * len(batch) // 2
                self._report(
                    "out_of_memory",
                    f"out of memory: batches are cut to {self._batch_tokens} tokens from here on",
                )
                left = np.concatenate(list(batches))
                batches = deque(left[b] for b in pack(lengths[left], self._batch_tokens))
        self._count("windows", len(windows))
        self._count("tokens", int(lengths.sum()))

    def _run_batch(self, windows: Sequence[Window]) -> None:
        lengths = np.array([window.length for window in windows], dtype=np.int64)
        ids = np.full((len(windows), int(lengths.max())), self.encoder.pad_id, np.int64)
        for row, window in zip(ids, windows, strict=True):
            row[: window.length] = window.ids
        bags = join_bags([window.bags for window in windows], ids.shape[1])
        device_sums, weights = sum_bags(self.encoder.forward(ids, lengths), bags)
        sums: NDArray[np.float32] = device_sums.cpu().numpy()
        end = 0
        for window in windows:
            start, end = end, end + len(window.bags.chunks)
            window.table.add(window.rows, sums[start:end], weights[start:end])

    def _finished(self, waiting: deque[_Job]) -> Iterator[ChunkVectors]:
        while waiting and waiting[0].done:
            yield self._finish(waiting.popleft())

    def _finish(self, job: _Job) -> ChunkVectors:
        """Heads, blend, unit length: the sums of one parent become its vectors."""
        self._count("parents")
        if job.skipped:
            nothing = np.zeros((0, self.encoder.dimensions), np.float32)
            return ChunkVectors(job.parent.id, nothing, (), skipped=True)
        options, n_chunks = self.options, len(job.parent.spans)
        is_late = np.zeros(n_chunks, dtype=bool)
        if job.late is not None:
            is_late = job.late.weights > 0
        vectors = self._vectors(job.late) if job.late is not None else None
        alone = self._vectors(job.alone) if job.alone is not None else None
        if vectors is None:
            vectors = (
                np.zeros((n_chunks, self.encoder.dimensions), np.float32)
                if alone is None
                else alone
            )
        elif alone is not None:
            weight = np.where(is_late, np.float32(options.context_weight), np.float32(0))[:, None]
            vectors *= weight
            alone *= 1 - weight
            vectors += alone
        if job.header is not None:
            vectors += np.float32(options.header_weight) * self._vectors(job.header)
        late_mode: Mode = "late" if job.n_windows <= 1 else "windowed"
        modes = tuple(late_mode if late else "standalone" for late in is_late.tolist())
        self._count("chunks", n_chunks)
        self._count("standalone_chunks", n_chunks - int(is_late.sum()))
        if options.normalize:
            _make_unit(vectors)
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
                _make_unit(vectors[rows])
        return vectors

    def _scaled(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.options.normalize:
            _make_unit(vectors)
        return vectors

    def _plain_encoder(self) -> QueryEncoder:
        if not isinstance(self.encoder, QueryEncoder):
            raise OptionError(f"{type(self.encoder).__name__} cannot embed queries")
        return self.encoder

    def _check_truncation(self, texts: Sequence[str]) -> None:
        room = self.encoder.max_tokens - len(self.encoder.lead) - len(self.encoder.tail)
        # No tokenizer makes more tokens than bytes, so most texts need no second look.
        candidates = [text for text in texts if len(text.encode("utf-8", "replace")) > room]
        tokens = self.encoder.tokenize(candidates, self.encoder.document_prompt)
        n_cut = sum(len(text.prompt) + len(text.ids) > room for text in tokens)
        if not n_cut:
            return
        reason = (
            f"{n_cut} of {len(texts)} standalone texts are longer than the model's window of "
            f"{self.encoder.max_tokens} tokens and are cut there; embed them as chunks of a "
            "parent, or split them"
        )
        if self.options.strict:
            raise ParentTooLongError(reason)
        self._report("truncated_texts", reason, n_cut)

    def _report_without_token(self, parent: Parent, rows: NDArray[np.int64]) -> None:
        start, end = (int(bound) for bound in parent.spans.array[rows[0]])
        reason = (
            f"no token overlaps {len(rows)} chunks of parent {parent.id!r}, the first at "
            f"[{start}, {end}): they hold white space or characters that the tokenizer drops"
        )
        if self.options.strict:
            raise ChunkWithoutTokenError(reason, parent_id=parent.id, span=(start, end))
        self._report("chunks_without_token", f"{reason}; embedded standalone", len(rows))

    def _count(self, what: str, n: int = 1) -> None:
        with self._stats_lock:
            self._stats[what] += n

    def _report(self, what: str, message: str, n: int = 1) -> None:
        """Count what was not as asked for; log the first of a kind as a warning."""
        with self._stats_lock:
            level = logging.INFO if self._stats[what] else logging.WARNING
            self._stats[what] += n
        logger.log(level, "%s (counted in stats[%r])", message, what)


@lru_cache(maxsize=4)
def shared_engine(options: LateChunkOptions) -> LateChunkEngine:
    """The engine of these options, loaded once in this process.

    What adapters load lazily, so that unpickled copies in one worker share a model.
    """
    return LateChunkEngine.from_options(options)


def _make_unit(vectors: NDArray[np.float32]) -> None:
    """Give rows unit length, in place and in blocks: no second array of their size."""
    for start in range(0, len(vectors), _FINISH_ROWS):
        rows = vectors[start : start + _FINISH_ROWS]
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        rows /= np.maximum(norms, np.float32(1e-12))


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


def _check_texts(texts: Sequence[str]) -> None:
    if isinstance(texts, str):
        raise InputTypeError("a list of texts is wanted, not one str: pass [text]")
    for text in texts:
        if not isinstance(text, str):
            raise InputTypeError(f"a list of texts is wanted; it holds {type(text).__name__}")


def _grouped(parents: Iterable[Parent]) -> Iterator[list[Parent]]:
    group: list[Parent] = []
    n_chars = 0
    for parent in parents:
        group.append(parent)
        n_chars += len(parent.text)
        if len(group) == _GROUP_TEXTS or n_chars >= _GROUP_CHARS:
            yield group
            group, n_chars = [], 0
    if group:
        yield group


def _grouped_texts(texts: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(texts)
    while group := list(islice(iterator, _GROUP_TEXTS)):
        yield group
