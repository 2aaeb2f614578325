"""`ServiceFlow`: parents in, chunk vectors out, where a service pools the chunks.

The steps, none of which looks back:

    parents -> jobs -> documents         service_plan.py
    documents -> requests, in flight     service_run.py
    vectors of elements -> chunk sums    service_jobs.py
    chunk sums -> vectors                finish.py
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.blending import check_vectors, make_unit
from latechunk_integrations.encoders.base import ChunkEncoder, QueryPartner
from latechunk_integrations.errors import EmptyTextError, OptionError
from latechunk_integrations.flow.chunk_sums import ChunkSums
from latechunk_integrations.flow.failures import Failed, isolate_failures
from latechunk_integrations.flow.finish import Sides, finish_parent, finish_sides
from latechunk_integrations.flow.resolution import check_running_text
from latechunk_integrations.flow.service_jobs import ElementList, ServiceJob
from latechunk_integrations.flow.service_plan import ServicePlanner
from latechunk_integrations.flow.service_run import Requests
from latechunk_integrations.options import LateChunkOptions
from latechunk_integrations.schema import ChunkVectors, Parent
from latechunk_integrations.stats import EngineStats

# Parents wait, with text and vectors, for those in front of them and for requests to fill.
# Beyond this the first one is waited for, and requests go out that are not full.
_MOST_WAITING_BYTES = 1 << 25
# Parents that share requests where failures are isolated: those of a failed block are sent anew.
_ISOLATED_PARENTS = 64


class ServiceFlow:
    """Embeds chunks with the context of their parent, by an encoder that pools itself.

    Args:
        encoder: Gives a vector for each element of a document.
        options: What was asked for.
        stats: Counts what was done, and what could not be done as asked.

    Raises:
        OptionError: An option does not fit the encoder.
    """

    def __init__(
        self, encoder: ChunkEncoder, options: LateChunkOptions, stats: EngineStats
    ) -> None:
        self._encoder = encoder
        self._options = options
        self._stats = stats
        check_running_text(options)
        if options.header_pooling is not None:
            raise OptionError(
                f"encoder={options.encoder!r} pools by itself: leave header_pooling out"
            )
        if options.sub_span_tokens is not None:
            raise OptionError(
                f"encoder={options.encoder!r} gives vectors of chunks, no tokens to pool sub-spans "
                "from: leave sub_span_tokens out, or use an encoder that gives tokens (local, tei, "
                "vllm, llama.cpp)"
            )
        if options.window_cache is not None:
            raise OptionError(
                f"encoder={options.encoder!r} gives vectors of chunks: there are no windows to "
                "keep, leave window_cache out"
            )
        self._planner = ServicePlanner(encoder, options, stats)

    layout = "text"
    header_pooling = 0.0

    @property
    def usage(self) -> dict[str, int]:
        """Requests and tokens of the encoder."""
        return self._encoder.usage.to_dict()

    def embed(
        self, parents: Iterable[Parent], *, isolate: bool, together: bool
    ) -> Iterator[ChunkVectors | Failed]:
        """Stream chunk vectors in the order of the parents, in bounded memory.

        The arguments are those of a `TokenFlow`; ``together``: parents share requests.

        Raises:
            ServerError: A request failed; the error names parent and request.
            ParentTooLongError: A parent or a chunk is too long for the options.
            ChunkWithoutTokenError: ``strict`` and a chunk holds nothing but white space.
        """
        if together and not isolate:
            yield from self._embed(parents)
            return
        iterator = iter(parents)
        while block := list(islice(iterator, _ISOLATED_PARENTS if together else 1)):
            if isolate:
                yield from isolate_failures(
                    block, self._embed(block), lambda parent: self._embed([parent])
                )
            else:
                yield from self._embed(block)

    def _embed(self, parents: Iterable[Parent]) -> Iterator[ChunkVectors]:
        for job in self._run(map(ServiceJob.of, parents), self._planner.documents):
            yield self._finish(job)

    def embed_texts(
        self, texts: Sequence[str], partner: QueryPartner | None
    ) -> NDArray[np.float32]:
        """Standalone passage vectors, float32, shape ``(n, dimensions)``.

        Raises:
            EmptyTextError: A text is empty, which no service takes.
            ServerError: A request failed.
            ParentTooLongError: ``strict`` and a text is longer than the model reads.
        """
        self._stats.count("plain_texts", len(texts))
        return self._plain(texts, "text", self._planner.plain)

    def embed_queries(
        self, texts: Sequence[str], partner: QueryPartner | None
    ) -> NDArray[np.float32]:
        """Query vectors, float32, shape ``(n, dimensions)``: read alone, and never cut.

        Raises:
            EmptyTextError: A text is empty, which no service takes.
            ServerError: A request failed.
            ParentTooLongError: A query is longer than the model reads.
        """
        return self._plain(texts, "query", self._planner.query)

    def _plain(
        self, texts: Sequence[str], name: str, plan: Callable[[ServiceJob], Iterator[ElementList]]
    ) -> NDArray[np.float32]:
        empty = next((row for row, text in enumerate(texts) if not text.strip()), None)
        if empty is not None:
            raise EmptyTextError(f"{name} {empty} is empty, which no service takes; leave it out")
        vectors = np.zeros((len(texts), self._encoder.dimensions), np.float32)
        jobs = (ServiceJob.of(Parent(text, id=f"{name} {i}")) for i, text in enumerate(texts))
        for row, job in enumerate(self._run(jobs, plan)):
            if job.alone is not None:
                vectors[row] = job.alone.means()[0]
        check_vectors(vectors, f"the {name}s", None)
        return make_unit(vectors) if self._options.normalize else vectors

    def _run(
        self, jobs: Iterable[ServiceJob], plan: Callable[[ServiceJob], Iterator[ElementList]]
    ) -> Iterator[ServiceJob]:
        """Jobs with all their sums, in order."""
        waiting: deque[ServiceJob] = deque()
        requests = Requests(self._encoder, self._planner)
        n_bytes = 0
        try:
            for job in chain(jobs, (None,)):
                if job is not None:
                    waiting.append(job)
                    n_bytes += self._size(job)
                    for document in plan(job):
                        requests.add(document)
                    job.planned = True
                most = 0 if job is None else _MOST_WAITING_BYTES
                while waiting and (waiting[0].done or n_bytes > most):
                    if not waiting[0].done:
                        requests.collect()
                        continue
                    n_bytes -= self._size(waiting[0])
                    yield waiting.popleft()
        finally:
            requests.cancel()

    def _size(self, job: ServiceJob) -> int:
        return len(job.parent.text) + len(job.spans) * self._encoder.dimensions * 4

    def _finish(self, job: ServiceJob) -> ChunkVectors:
        """The sums of one parent become its vectors."""
        if job.skipped:
            self._stats.count("parents")
            nothing = np.zeros((0, self._encoder.dimensions), np.float32)
            return ChunkVectors(job.parent.id, nothing, (), skipped=True)
        late, alone = (None if sums is None else sums.means() for sums in (job.late, job.alone))
        is_late = np.zeros(len(job.rows), dtype=bool)
        if job.late is not None:
            is_late = job.late.weights[job.rows] > 0
        has_alone = np.zeros(len(job.rows), dtype=bool)
        if job.alone is not None:
            has_alone = job.alone.weights[job.rows] > 0
        rows = np.flatnonzero(has_alone)
        nothing = np.zeros((0, self._encoder.dimensions), np.float32)
        self._stats.count("windows", job.n_windows)
        sides = Sides(
            late=np.zeros((len(job.rows), nothing.shape[1]), np.float32)
            if late is None
            else late[job.rows],
            is_late=is_late,
            alone=nothing if alone is None else alone[job.rows[rows]],
            alone_rows=rows,
            headers=None if job.header is None else self._repeat(job.header, len(job.rows)),
        )
        return finish_parent(
            job.parent.id,
            finish_sides(sides, self._options),
            is_late,
            self._stats,
            None,
            n_windows=job.n_windows,
            windowed=job.windowed,
        )

    @staticmethod
    def _repeat(header: ChunkSums, n_chunks: int) -> NDArray[np.float32]:
        return np.repeat(make_unit(header.means()), n_chunks, axis=0)
