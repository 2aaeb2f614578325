"""`WorkerPool`: parents in, chunk vectors out, by several processes of this machine.

parents -> blocks of about as many characters    in the caller's thread
block -> a worker process that has nothing to do a thread for each, worker_process.py
results -> the order of the parents              in the caller's thread
"""

from __future__ import annotations

import atexit
import logging
import os
import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, TypeAlias

from latechunk_integrations.errors import FingerprintMismatchError, WorkerDiedError
from latechunk_integrations.flow.failures import Failed
from latechunk_integrations.flow.worker_process import (
    CLOSED,
    BlockAnswer,
    ParentBlock,
    WorkerProcess,
    WorkerSetup,
)
from latechunk_integrations.schema import ChunkVectors, Parent
from latechunk_integrations.stats import EngineStats

# A block is a part of what was drawn before it, so that few processes wait for the last one, and
# a short corpus is divided too.
_LEAST_CHARS, _MOST_CHARS = 1 << 14, 1 << 19
_PART = 32
# Blocks under way or waiting for those before them, for each worker.
_BLOCKS_EACH = 2
# What a parent costs besides its characters, so that the number of tiny ones is bounded too.
_PARENT_CHARS = 32

_Answers: TypeAlias = "Future[list[BlockAnswer]]"


class WorkerPool:
    """Worker processes, started when there is work for them. Thread-safe.

    Args:
        build: Makes the engine of a worker; a function that can be imported.
        arguments: What it is given, for each worker.
        stats: Where that is counted which the workers did.
    """

    def __init__(
        self, build: Callable[..., Any], arguments: Sequence[tuple[Any, ...]], stats: EngineStats
    ) -> None:
        affinity = getattr(os, "sched_getaffinity", None)  # not everywhere
        n_cores = len(affinity(0)) if affinity else os.cpu_count() or 1
        n_threads = max(1, n_cores // len(arguments))
        level = logging.getLogger(__name__).getEffectiveLevel()
        self._setups = [WorkerSetup(build, each, n_threads, level) for each in arguments]
        self._stats = stats
        self._fingerprint: str | None = None
        self._crew: _Crew | None = None
        self._lock = threading.Lock()

    def embed(
        self, parents: Iterable[Parent], *, isolate: bool, together: bool
    ) -> Iterator[ChunkVectors | Failed]:
        """Stream chunk vectors in the order of the parents, in bounded memory.

        A parent goes to one worker, however long it is. The arguments are those of a `TokenFlow`.

        Raises:
            WorkerStartError: A worker cannot be started.
        """
        crew = self._gather()
        most = _BLOCKS_EACH * len(self._setups)
        waiting: deque[_Answers] = deque()
        try:
            for group in _group_parents(parents, len(self._setups)):
                waiting.append(crew.submit(ParentBlock(group, isolate, together)))
                while waiting and (waiting[0].done() or len(waiting) >= most):
                    yield from self._take(waiting.popleft())
            while waiting:
                yield from self._take(waiting.popleft())
        finally:
            for answers in waiting:
                answers.cancel()

    def close(self) -> None:
        """End the processes; `embed` starts others."""
        with self._lock:
            crew, self._crew = self._crew, None
        if crew is not None:
            crew.close()

    def _gather(self) -> _Crew:
        with self._lock:
            # A forked process has none of the threads of the one that it was forked from.
            if self._crew is None or self._crew.process_id != os.getpid():
                self._crew = _Crew(self._setups)
                weakref.finalize(self, self._crew.close).atexit = False  # `_Crew` sees to that
            return self._crew

    def _take(self, answers: _Answers) -> Iterator[ChunkVectors | Failed]:
        for answer in answers.result():
            self._check_fingerprint(answer.fingerprint)
            for name, n in (answer.counts or {}).items():
                self._stats.count(name, n)
            for record in answer.records:
                logger = logging.getLogger(record.name)
                if logger.isEnabledFor(record.levelno):
                    logger.handle(record)
            yield from answer.results
            if answer.error is not None:
                where = RuntimeError(f"in a worker process:\n{answer.trace}")
                raise answer.error from (where if answer.trace else None)

    def _check_fingerprint(self, found: str | None) -> None:
        self._fingerprint = self._fingerprint or found
        if found not in (None, self._fingerprint):
            raise FingerprintMismatchError(
                "two workers would not give the same vectors: name the dtype, such as "
                "dtype='float32', since 'auto' goes by the device",
                expected=self._fingerprint,
                found=found,
            )


class _Crew:
    """The processes, and a thread for each that hands it what nobody has taken yet.

    It knows nothing of its pool, which can so be let go of.
    """

    def __init__(self, setups: Sequence[WorkerSetup]) -> None:
        self.process_id = os.getpid()
        self._blocks: queue.SimpleQueue[tuple[ParentBlock, _Answers] | None] = queue.SimpleQueue()
        self._workers = [WorkerProcess(setup) for setup in setups]
        self._closed = False
        self._lock = threading.Lock()
        # Before multiprocessing ends its daemons at exit, whose deaths would look like accidents.
        atexit.register(self.close)
        for worker in self._workers:
            threading.Thread(target=self._serve, args=(worker,), daemon=True).start()

    def submit(self, block: ParentBlock) -> _Answers:
        """Give a block to whichever worker is free first."""
        answers: _Answers = Future()
        with self._lock:
            if self._closed:
                raise WorkerDiedError(CLOSED)
            self._blocks.put((block, answers))
        return answers

    def close(self) -> None:
        """End all processes and threads."""
        atexit.unregister(self.close)
        if self.process_id != os.getpid():
            return
        with self._lock:
            self._closed = True
            for _ in self._workers:
                self._blocks.put(None)
        for worker in self._workers:
            worker.stop()

    def _serve(self, worker: WorkerProcess) -> None:
        while (given := self._blocks.get()) is not None:
            block, answers = given
            if not answers.set_running_or_notify_cancel():
                continue
            try:
                answers.set_result(worker.embed(block))
            except BaseException as error:  # noqa: BLE001  # raised where it is waited for
                answers.set_exception(error)
            del given, block, answers  # the vectors are not kept until the next block


def _group_parents(parents: Iterable[Parent], n_workers: int) -> Iterator[list[Parent]]:
    group: list[Parent] = []
    n_chars = n_before = 0
    for parent in parents:
        group.append(parent)
        n_chars += len(parent.text) + _PARENT_CHARS
        if n_chars >= min(max(n_before // (_PART * n_workers), _LEAST_CHARS), _MOST_CHARS):
            yield group
            n_before += n_chars
            group, n_chars = [], 0
    if group:
        yield group
