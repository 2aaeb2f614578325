"""`ChunkFlow`: parents in, chunk vectors out, where a service pools the chunks.

The steps, as in `engine.py`; none looks back:

    parents -> jobs -> documents         planning.py
    documents -> requests, in flight     requests.py
    vectors of elements -> chunk sums    jobs.py
    chunk sums -> vectors                here: the blend
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.chunk_flow.jobs import ChunkJob, Document
from latechunk_integrations.chunk_flow.planning import ChunkPlanner
from latechunk_integrations.chunk_flow.requests import Requests
from latechunk_integrations.core.blending import blend, make_unit
from latechunk_integrations.encoders.base import ChunkEncoder
from latechunk_integrations.errors import EmptyTextError
from latechunk_integrations.options import LateChunkOptions
from latechunk_integrations.schema import ChunkVectors, Mode, Parent
from latechunk_integrations.stats import EngineStats

__all__ = ["ChunkFlow"]

# Parents wait, with text and vectors, for those in front of them and for requests to fill.
# Beyond this the first one is waited for, and requests go out that are not full.
_MOST_WAITING_BYTES = 1 << 25


class ChunkFlow:
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
        self._planner = ChunkPlanner(encoder, options, stats)

    @property
    def usage(self) -> dict[str, int]:
        """Requests and tokens of the encoder."""
        return self._encoder.usage.to_dict()

    def parents(self, parents: Iterable[Parent]) -> Iterator[ChunkVectors]:
        """Stream chunk vectors in the order of the parents, in bounded memory.

        Raises:
            ServerError: A request failed; the error names parent and request.
            ParentTooLongError: A parent or a chunk is too long for the options.
            ChunkWithoutTokenError: ``strict`` and a chunk holds nothing but white space.
        """
        for job in self._run(map(ChunkJob.of, parents), self._planner.documents):
            yield self._finish(job)

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Standalone passage vectors, float32, shape ``(n, dimensions)``.

        Raises:
            EmptyTextError: A text is empty, which no service takes.
            ServerError: A request failed.
            ParentTooLongError: ``strict`` and a text is longer than the model reads.
        """
        self._stats.count("plain_texts", len(texts))
        return self._plain(texts, "text", self._planner.plain)

    def queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Query vectors, float32, shape ``(n, dimensions)``: read alone, and never cut.

        Raises:
            EmptyTextError: A text is empty, which no service takes.
            ServerError: A request failed.
            ParentTooLongError: A query is longer than the model reads.
        """
        return self._plain(texts, "query", self._planner.query)

    def _plain(
        self, texts: Sequence[str], name: str, plan: Callable[[ChunkJob], Iterator[Document]]
    ) -> NDArray[np.float32]:
        empty = next((row for row, text in enumerate(texts) if not text.strip()), None)
        if empty is not None:
            raise EmptyTextError(f"{name} {empty} is empty, which no service takes; leave it out")
        vectors = np.zeros((len(texts), self._encoder.dimensions), np.float32)
        jobs = (ChunkJob.of(Parent(text, id=f"{name} {i}")) for i, text in enumerate(texts))
        for row, job in enumerate(self._run(jobs, plan)):
            if job.alone is not None:
                vectors[row] = job.alone.means()[0]
        return make_unit(vectors) if self._options.normalize else vectors

    def _run(
        self, jobs: Iterable[ChunkJob], plan: Callable[[ChunkJob], Iterator[Document]]
    ) -> Iterator[ChunkJob]:
        """Jobs with all their sums, in order."""
        waiting: deque[ChunkJob] = deque()
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

    def _size(self, job: ChunkJob) -> int:
        return len(job.parent.text) + len(job.spans) * self._encoder.dimensions * 4

    def _finish(self, job: ChunkJob) -> ChunkVectors:
        """Blend and unit length: the sums of one parent become its vectors."""
        self._stats.count("parents")
        n_chunks, dim = len(job.spans), self._encoder.dimensions
        if job.skipped:
            return ChunkVectors(job.parent.id, np.zeros((0, dim), np.float32), (), skipped=True)
        vectors = np.zeros((n_chunks, dim), np.float32)
        is_late = np.zeros(n_chunks, dtype=bool)
        if job.late is not None:
            is_late = job.late.weights > 0
            vectors = self._side(job.late.means())
        if job.alone is not None:
            rows = np.flatnonzero(job.alone.weights > 0)
            alone = self._side(job.alone.means())[rows]
            blend(vectors, is_late, alone, rows, self._options.context_weight)
        if job.header is not None:
            vectors += np.float32(self._options.header_weight) * self._side(job.header.means())
        if self._options.normalize:
            make_unit(vectors)
        late_mode: Mode = "windowed" if job.windowed else "late"
        modes = [late_mode if is_late[row] else "standalone" for row in job.rows.tolist()]
        self._stats.count("chunks", len(modes))
        self._stats.count("standalone_chunks", modes.count("standalone"))
        self._stats.count("windows", job.n_windows)
        return ChunkVectors(job.parent.id, vectors[job.rows], tuple(modes), job.n_windows)

    def _side(self, means: NDArray[np.float32]) -> NDArray[np.float32]:
        """One side of a blend, which has unit length before it."""
        blended = self._options.standalone or self._options.header_weight > 0
        return make_unit(means) if blended else means
