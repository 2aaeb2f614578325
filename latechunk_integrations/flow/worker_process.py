"""A worker process: an engine of its own, which embeds blocks of parents that come by a pipe."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from latechunk_integrations.errors import EncodingFailedError, WorkerDiedError, WorkerStartError
from latechunk_integrations.flow.failures import Failed
from latechunk_integrations.schema import ChunkVectors, Parent

_GUARD = (
    "a script that embeds with processes= or devices= is imported by each worker process: put "
    "what it does under `if __name__ == '__main__':`"
)
CLOSED = "the engine was closed while it embedded these parents; embed them again"
# Read when torch and tokenizers begin; later only torch can be told.
_THREADS = ("OMP_NUM_THREADS", "RAYON_NUM_THREADS")
_STOP_SECONDS = 5.0


class WorkerSetup(NamedTuple):
    """How a worker process makes its engine (`build` can be imported), and how it works."""

    build: Callable[..., Any]
    arguments: tuple[Any, ...]
    n_threads: int
    log_level: int


class ParentBlock(NamedTuple):
    """Parents that a worker is given at once, and how; see `LateChunkEngine.embed_iter`."""

    parents: Sequence[Parent]
    isolate: bool
    together: bool


class BlockAnswer(NamedTuple):
    """What became of a block: vectors or failures, up to the error that ended it.

    Also what the engine counted and logged, and which engine it was.
    """

    results: list[ChunkVectors | Failed]
    error: Exception | None = None
    trace: str = ""
    counts: dict[str, int] | None = None
    records: Sequence[logging.LogRecord] = ()
    fingerprint: str | None = None


class _LostError(Exception):
    """The process ended by itself; says how."""


class WorkerProcess:
    """A process that is started when it is first asked, and again when it has died.

    Args:
        setup: How it gets its engine.
    """

    def __init__(self, setup: WorkerSetup) -> None:
        self._setup = setup
        self._process: Any = None
        self._pipe: Connection | None = None
        self._closed = False
        self._lock = threading.Lock()

    def embed(self, block: ParentBlock) -> list[BlockAnswer]:
        """What became of a block; after a death of each parent, so that it is told which it was.

        Raises:
            LateChunkError: The process cannot be started, or was stopped.
        """
        try:
            return [self._ask(block)]
        except _LostError:
            answers: list[BlockAnswer] = []
        for parent in block.parents:
            try:
                answers.append(self._ask(block._replace(parents=[parent])))
            except _LostError as lost:
                error = WorkerDiedError(
                    f"a worker process died over parent {parent.id!r}, twice ({lost}). SIGKILL is "
                    "mostly the system's, for want of memory: take fewer processes= or a smaller "
                    "batch_tokens=, or divide the parent",
                    parent_id=parent.id,
                )
                answers.append(BlockAnswer([error]) if block.isolate else BlockAnswer([], error))
            if answers[-1].error is not None:
                break
        return answers

    def stop(self) -> None:
        """End the process for good, whatever it is doing; safe in any thread."""
        with self._lock:
            self._closed = True
        if self._process is not None:
            self._process.terminate()
            self._process.join(_STOP_SECONDS)

    def _ask(self, block: ParentBlock) -> BlockAnswer:
        pipe = self._pipe or self._start()
        try:
            pipe.send(block)
            answer: BlockAnswer = pipe.recv()
        except (EOFError, OSError) as error:
            raise _LostError(self._note_end()) from error
        return answer

    def _start(self) -> Connection:
        if multiprocessing.current_process().daemon:
            raise WorkerStartError(
                "this process is a daemon worker itself (of a multiprocessing.Pool, of "
                "IngestionPipeline.run(num_workers=...)), which may start no other: take its "
                "workers or ours, and leave processes= and devices= out here"
            )
        # Forked, a process would share locks of torch and tokenizers, and could not use CUDA.
        context = multiprocessing.get_context("spawn")
        pipe, theirs = context.Pipe()
        # Without the setup: the death of a process that has not read a large one would block.
        process = context.Process(
            target=_work, args=(theirs,), name="latechunk-worker", daemon=True
        )
        with self._lock, theirs:
            self._check_open()
            try:
                process.start()
            except RuntimeError as error:  # this process is being started, and imports a script
                raise WorkerStartError(_GUARD) from error
            self._process = process
        try:
            pipe.send(self._setup)
            failure = pipe.recv()
        except (EOFError, OSError) as error:
            raise WorkerStartError(
                f"a worker process ended ({self._note_end()}) before its engine was ready: "
                f"{_GUARD}. If it is there, see what the worker has printed, or take fewer "
                "processes: each loads the model"
            ) from error
        if failure is not None:
            raise failure
        self._pipe = pipe
        return pipe

    def _note_end(self) -> str:
        self._pipe = None
        self._process.join(_STOP_SECONDS)
        code = self._process.exitcode
        self._check_open()
        return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"

    def _check_open(self) -> None:
        if self._closed:
            raise WorkerDiedError(CLOSED)


# In the worker process.


def _work(pipe: Connection) -> None:
    """Embed blocks until the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whether to go on is for the starter to say
    threading.Thread(target=_end_with_starter, daemon=True).start()
    with suppress(EOFError, OSError):  # the starter has gone
        setup: WorkerSetup = pipe.recv()
        for name in _THREADS:
            os.environ.setdefault(name, str(setup.n_threads))
        records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        logger = logging.getLogger("latechunk_integrations")
        logger.addHandler(QueueHandler(records))  # the starter has handlers for them
        logger.setLevel(setup.log_level)
        logger.propagate = False
        try:
            engine = setup.build(*setup.arguments)
        except Exception as error:  # noqa: BLE001  # raised again where it was asked for
            pipe.send(_make_portable(error))
            return
        torch = sys.modules.get("torch")
        if torch is not None:  # a script may have imported it first
            torch.set_num_threads(min(setup.n_threads, torch.get_num_threads()))
        pipe.send(None)
        while True:
            answer = _embed(engine, pipe.recv())
            pipe.send(answer._replace(records=[records.get() for _ in range(records.qsize())]))


def _end_with_starter() -> None:
    """In the middle of a block too: the end of the pipe would be seen only after it."""
    starter = multiprocessing.parent_process()
    if starter is not None:
        starter.join()
        os._exit(1)


def _embed(engine: Any, block: ParentBlock) -> BlockAnswer:
    before = engine.stats
    on_error = "yield" if block.isolate else "raise"
    results: list[ChunkVectors | Failed] = []
    error, trace = None, ""
    try:
        for result in engine.embed_iter(block.parents, on_error=on_error, together=block.together):
            failed = not isinstance(result, ChunkVectors)
            results.append(_make_portable(result) if failed else result)
    except Exception as raised:  # noqa: BLE001  # as above
        error, trace = _make_portable(raised), traceback.format_exc()
    counts = {name: n - before.get(name, 0) for name, n in engine.stats.items()}
    return BlockAnswer(results, error, trace, counts, fingerprint=engine.fingerprint)


def _make_portable(error: Exception) -> Any:
    """The error, or what says the same where it does not come through a pipe."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # our own
    except Exception:  # noqa: BLE001  # any class can go wrong in any way
        parent_id = getattr(error, "parent_id", None)
        return EncodingFailedError(f"{type(error).__name__}: {error}", parent_id=parent_id)
    return error
