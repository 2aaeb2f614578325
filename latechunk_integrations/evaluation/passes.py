"""The passes that configurations are blended from, each computed once and shared.

A blend is ``normalize(w * late + (1 - w) * standalone + h * header)``, so every weight over the
same late and standalone vectors costs nothing more. Where no window depends on the chunks, one
late pass pools those of all chunk sizes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from latechunk_integrations.core.blending import make_unit
from latechunk_integrations.core.headings import find_kind, find_title, heading_paths, join_header
from latechunk_integrations.engine import LateChunkEngine
from latechunk_integrations.errors import OptionError
from latechunk_integrations.evaluation.dataset import GoldenDocument, GoldenSet
from latechunk_integrations.evaluation.pass_cache import CachedVectors, VectorCache, input_key
from latechunk_integrations.evaluation.results import Configuration, Costs, HeaderUse
from latechunk_integrations.evaluation.similarity import comparable
from latechunk_integrations.schema import CharSpans, ChunkVectors, Parent

_MEBIBYTE = 1 << 20
_SAMPLE_SECONDS = 0.02


class Passes:
    """Computes late, standalone and header vectors of a golden set on demand.

    Args:
        engine: The model, and the options that configurations do not name.
        golden: The documents.
        spans: For each chunk size, the chunks of each document.
        cache: Where vectors are kept.
        show_progress: Show a progress bar for each pass.
    """

    def __init__(
        self,
        engine: LateChunkEngine,
        golden: GoldenSet,
        spans: Mapping[int | None, Sequence[CharSpans]],
        cache: VectorCache,
        *,
        show_progress: bool = False,
    ) -> None:
        self._engine = engine
        self._golden = golden
        self._spans = spans
        self._cache = cache
        self._show_progress = show_progress
        self._kept: dict[tuple[object, ...], CachedVectors] = {}
        self._lengths: dict[tuple[HeaderUse, int | None], int] = {}

    def notes(self) -> list[str]:
        """Where the engine's options are not those that are measured."""
        options = self._engine.options
        notes = []
        if comparable(options).fallback != options.fallback:
            notes.append(
                f"fallback={options.fallback!r} would leave out documents longer than a window, "
                "and holes in the comparison: they are read in windows here"
            )
        if options.fallback == "standard":
            notes.append(
                "fallback='standard': the costs of a blend count the chunks of documents longer "
                "than a window twice"
            )
        if not options.normalize:
            notes.append("normalize=False: similarities are cosines here, not dot products")
        return notes

    def vectors(
        self, configuration: Configuration, chunk_size: int | None
    ) -> tuple[NDArray[np.float32], Costs]:
        """Chunk vectors of a configuration, as the engine gives them, and what they cost.

        Returns:
            Unit vectors, float32, shape ``(n_chunks, dim)``, documents in order, and the costs of
            this configuration alone.

        Raises:
            OptionError: The title is prepended in a late pass, which would move every chunk.
        """
        weight = configuration.context_weight
        if weight > 0 and configuration.header == "prepended":
            raise OptionError(f"{configuration.name}: a prepended title belongs to early chunking")
        if configuration.sub_span_tokens and (weight not in (0, 1) or configuration.header_weight):
            raise OptionError(f"{configuration.name}: sub-spans are not blended with other vectors")
        used = []
        late = alone = header = None
        if weight > 0:
            late = self._embed_late(configuration, chunk_size)
            used.append(late)
        if weight < 1:
            alone = self._embed_standalone(configuration, chunk_size)
            used.append(alone)
        if configuration.header_weight and configuration.header != "none":
            header = self._embed_headers(configuration, chunk_size)
            used.append(header)
        costs = _sum_costs([vectors.costs for vectors in used])
        return blend(late, alone, header, weight, configuration.header_weight), costs

    def parts(
        self, configuration: Configuration, chunk_size: int | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
        """Unit vectors of sub-spans, and the row of the chunk that each belongs to, ascending.

        Returns:
            ``None`` where a chunk has one vector.
        """
        if not configuration.sub_span_tokens:
            return None
        embed = self._embed_late if configuration.context_weight else self._embed_standalone
        found = embed(configuration, chunk_size)
        if found.parts is None or found.owners is None:
            return None
        return make_unit(found.parts.copy()), found.owners

    def queries(self) -> NDArray[np.float32]:
        """Query vectors in the order of the set, unit length, shape ``(n_queries, dim)``."""
        parents = [Parent(query.text) for query in self._golden.queries]
        key = input_key(self._engine.fingerprint + "queries", parents)

        def compute() -> CachedVectors:
            start = time.perf_counter()
            vectors = self._engine.embed_queries([query.text for query in self._golden.queries])
            costs = Costs(time.perf_counter() - start, 0)
            return CachedVectors(vectors, np.zeros(len(vectors), bool), costs)

        shape = (len(self._golden.queries), self._engine.dimensions)
        return make_unit(self._cache.get(key, shape, compute).vectors.copy())

    def _embed_late(self, configuration: Configuration, chunk_size: int | None) -> CachedVectors:
        options = configuration.options() | {"context_weight": 1.0, "header_weight": 0.0}
        # Whole chunks share a window, or a chunk is what focus is about: one size is one pass.
        shared = configuration.layout == "text" and configuration.focus == 0
        shared = shared and not configuration.sub_span_tokens
        key = ("late", configuration.header, "all" if shared else chunk_size, *options.values())
        if key not in self._kept:
            sizes = list(self._spans.values()) if shared else [self._spans[chunk_size]]
            spans = [CharSpans(np.concatenate([s.array for s in each])) for each in zip(*sizes)]  # noqa: B905
            parents = self._make_parents(spans, configuration.header)
            self._kept[key] = self._embed(parents, options, configuration.name)
        return self._select(self._kept[key], chunk_size) if shared else self._kept[key]

    def _select(self, all_sizes: CachedVectors, chunk_size: int | None) -> CachedVectors:
        """The rows of one chunk size: each document's rows come size after size."""
        counts = np.array([[len(s) for s in spans] for spans in self._spans.values()]).T
        sizes = np.repeat(np.tile(list(range(len(self._spans))), len(counts)), counts.ravel())
        rows = sizes == list(self._spans).index(chunk_size)
        return CachedVectors(all_sizes.vectors[rows], all_sizes.late[rows], all_sizes.costs)

    def _embed_standalone(
        self, configuration: Configuration, chunk_size: int | None
    ) -> CachedVectors:
        header = configuration.header
        options = self._alone_options(configuration, chunk_size)
        key = ("standalone", header, chunk_size, *options.values())
        if key not in self._kept:
            spans = self._spans[chunk_size]
            if header == "prepended":
                parents = [
                    Parent(prepended(document, start, end))
                    for document, each in zip(self._golden.documents, spans, strict=True)
                    for start, end in each.array.tolist()
                ]
            else:
                parents = self._make_parents(spans, header)
            what = f"standalone, title {header}, {chunk_size}"
            self._kept[key] = self._embed(parents, options, what)
        return self._kept[key]

    def _alone_options(
        self, configuration: Configuration, chunk_size: int | None
    ) -> dict[str, Any]:
        """The options that standalone vectors depend on: not those of windows, if one is enough."""
        if self._find_longest(configuration.header, chunk_size) > self._engine.encoder.max_tokens:
            return configuration.options() | _ALONE
        own = ("pool_edges", "sub_span_tokens")
        return _ALONE | {name: configuration.options()[name] for name in own}

    def _find_longest(self, header: HeaderUse, chunk_size: int | None) -> int:
        """Tokens of the longest chunk with all that is around it."""
        if (header, chunk_size) not in self._lengths:
            encoder, longest = self._engine.encoder, 0
            for parent in self._make_parents(self._spans[chunk_size], header):
                texts = [parent.chunk_text(row) for row in range(len(parent.spans))]
                tokens = encoder.tokenize(texts, encoder.document_prompt)
                inner = max((len(each.prompt) + len(each.ids) for each in tokens), default=0)
                headers = {parent.header, *(parent.headers or ())}
                header_tokens = max(len(encoder.tokenize_header(each)) for each in headers)
                longest = max(longest, inner + header_tokens)
            longest += len(encoder.lead) + len(encoder.tail)
            self._lengths[header, chunk_size] = longest
        return self._lengths[header, chunk_size]

    def _embed_headers(self, configuration: Configuration, chunk_size: int | None) -> CachedVectors:
        """The vector of each document's title, a row for each of its chunks; zeros without one."""
        options = configuration.options() | _ALONE
        key = ("header", *options.values())
        documents = self._golden.documents
        titled = [n for n, document in enumerate(documents) if document.title.strip()]
        if not titled:
            raise OptionError("header_weight needs documents with titles; none has one")
        if key not in self._kept:
            parents = [Parent(documents[n].title) for n in titled]
            self._kept[key] = self._embed(parents, options, "titles")
        found = self._kept[key]
        table = np.zeros((len(documents), found.vectors.shape[1]), np.float32)
        table[titled] = found.vectors
        counts = [len(spans) for spans in self._spans[chunk_size]]
        rows = np.repeat(np.arange(len(documents)), counts)
        return CachedVectors(table[rows], np.zeros(len(rows), bool), found.costs)

    def _make_parents(self, spans: Sequence[CharSpans], header: HeaderUse) -> list[Parent]:
        return [
            make_parent(document, each, header)
            for document, each in zip(self._golden.documents, spans, strict=True)
        ]

    def _embed(
        self, parents: Sequence[Parent], options: Mapping[str, Any], what: str
    ) -> CachedVectors:
        asked = replace(comparable(self._engine.options), **options)
        engine = LateChunkEngine(self._engine.encoder, asked)

        def compute() -> CachedVectors:
            start = time.perf_counter()
            with _peak_memory() as peak:
                bar = tqdm(
                    engine.embed_iter(parents),
                    desc=what,
                    total=len(parents),
                    unit="document",
                    disable=not self._show_progress,
                )
                results = list(bar)
            costs = Costs(time.perf_counter() - start, engine.stats.get("tokens", 0), peak())
            late = [mode != "standalone" for result in results for mode in result.modes]
            vectors = np.concatenate([result.vectors for result in results])
            return CachedVectors(vectors, np.array(late, bool), costs, *_join_parts(results))

        if options.get("sub_span_tokens"):
            return compute()
        shape = (sum(len(parent.spans) for parent in parents), engine.dimensions)
        return self._cache.get(input_key(engine.fingerprint, parents), shape, compute)


def _join_parts(
    results: Sequence[ChunkVectors],
) -> tuple[NDArray[np.float32] | None, NDArray[np.int64] | None]:
    """The sub-spans of all documents, and the row of each one's chunk among all chunks."""
    if not any(result.sub_spans is not None for result in results):
        return None, None
    vectors, owners, first = [], [], 0
    for result in results:
        parts = result.sub_spans
        vectors.append(result.vectors if parts is None else parts.vectors)
        owners.append(first + (np.arange(len(result)) if parts is None else parts.chunks))
        first += len(result)
    return np.concatenate(vectors), np.concatenate(owners)


_ALONE: dict[str, Any] = {"context_weight": 0.0, "header_weight": 0.0}


def make_parent(document: GoldenDocument, spans: CharSpans, header: HeaderUse) -> Parent:
    """A document with its chunks and the headers that they attend to; ``"auto"`` as adapters."""
    if header != "auto":
        title = "" if header == "none" else document.title
        return Parent(document.text, spans, title, document.doc_id)
    metadata = {"title": document.title}
    title = find_title(metadata, document.text)
    paths = heading_paths(document.text, spans, kind=find_kind(metadata, document.text))
    headers = [join_header(title, path) for path in paths] if any(paths) else None
    return Parent(document.text, spans, title, document.doc_id, headers)


def prepended(document: GoldenDocument, start: int, end: int) -> str:
    """A chunk with its document's title in front, as most pipelines build it."""
    return f"{document.title}\n{document.text[start:end]}".lstrip("\n")


def blend(
    late: CachedVectors | None,
    alone: CachedVectors | None,
    header: CachedVectors | None,
    context_weight: float,
    header_weight: float,
) -> NDArray[np.float32]:
    """The engine's blend over unit vectors: rows that could not be done late stay standalone.

    Args:
        late: Of the late pass; ``None`` when the weight is 0.
        alone: Of the standalone pass; ``None`` when the weight is 1.
        header: The title's vector for each row, where it is wanted.
        context_weight: w.
        header_weight: h.

    Returns:
        Unit vectors, float32, shape ``(n, dim)``.
    """
    if late is None or alone is None:
        only = late or alone
        assert only is not None  # noqa: S101  # one of them is there for every weight
        vectors = only.vectors.copy()
    else:
        weight = np.where(late.late, np.float32(context_weight), 0)[:, None].astype(np.float32)
        vectors = weight * late.vectors + (1 - weight) * alone.vectors
    if header is not None:
        vectors += np.float32(header_weight) * header.vectors
    return make_unit(vectors)


def _sum_costs(costs: Sequence[Costs]) -> Costs:
    peaks = [cost.peak_memory_mb for cost in costs if cost.peak_memory_mb is not None]
    return Costs(
        seconds=sum(cost.seconds for cost in costs),
        encoder_tokens=sum(cost.encoder_tokens for cost in costs),
        peak_memory_mb=max(peaks, default=None),
    )


class _Peak:
    """The largest resident memory that was seen, MiB; nothing without psutil."""

    def __init__(self) -> None:
        self.bytes = 0
        self.stop = threading.Event()

    def __call__(self) -> float | None:
        return self.bytes / _MEBIBYTE if self.bytes else None

    def watch(self) -> None:
        try:
            import psutil  # noqa: PLC0415  # optional
        except ImportError:
            return
        process = psutil.Process()
        while True:
            self.bytes = max(self.bytes, process.memory_info().rss)
            if self.stop.wait(_SAMPLE_SECONDS):
                return


@contextmanager
def _peak_memory() -> Iterator[_Peak]:
    peak = _Peak()
    thread = threading.Thread(target=peak.watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        peak.stop.set()
        thread.join()
