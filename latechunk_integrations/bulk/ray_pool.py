"""Documents to chunk rows in Ray actors, each of which loads the model once."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

from latechunk_integrations.bulk.chunking import Chunking
from latechunk_integrations.bulk.device_health import MOST_FAILURES_IN_A_ROW
from latechunk_integrations.bulk.embedder import DocumentEmbedder, Outcome
from latechunk_integrations.bulk.rows import CorpusDocument, Failure
from latechunk_integrations.engine import shared_engine
from latechunk_integrations.errors import LateChunkError, OptionError, WorkerError
from latechunk_integrations.options import LateChunkOptions
from latechunk_integrations.plugins import import_extra

# A batch whose worker dies is given to another this often; then it is likely the batch's fault.
_RETRIES = 5
# One batch is being embedded while the next one waits, so that no worker does.
_BATCHES_EACH = 2


class RayPool:
    """Workers that do what `DocumentEmbedder` does, in any order.

    Ray starts a worker that died anew and gives it its batch again. Without a running cluster
    (``RAY_ADDRESS``, or `ray.init` before), Ray is started on this machine and stopped at the end.

    Args:
        options: Of the engine.
        chunking: What splits.
        concurrency: Number of workers.
        num_cpus: Cores of each worker, which Ray also makes the number of its threads.
        num_gpus: Accelerators of each worker; may be a fraction.
        how: What else `DocumentEmbedder` may be told; of each worker.

    Raises:
        MissingExtraError: Ray, or something that the engine needs, is not installed.
        ModelError: The model cannot be used.
        OptionError: An option is impossible, the workers' machines make another dtype of
            ``auto``, or there are not GPUs enough in the Ray that is started here.
    """

    def __init__(
        self,
        options: LateChunkOptions,
        chunking: Chunking,
        *,
        concurrency: int = 1,
        num_cpus: float = 1,
        num_gpus: float = 0,
        reproducible: bool = True,
        most_failures_in_a_row: int = MOST_FAILURES_IN_A_ROW,
    ) -> None:
        refuse_processes(options)
        how = {"reproducible": reproducible, "most_failures_in_a_row": most_failures_in_a_row}
        self._ray = import_extra("ray", extra="ray")
        self._is_ours = not self._ray.is_initialized()
        if self._is_ours:
            _start(self._ray, concurrency, num_cpus, num_gpus)
        make = self._ray.remote(_Worker).options(
            num_cpus=num_cpus, num_gpus=num_gpus, max_restarts=-1, max_task_retries=_RETRIES
        )
        self._workers = [make.remote(options, chunking, how) for _ in range(concurrency)]
        try:
            # Every worker loads its model now; the first one to fail says why.
            described = self._get([worker.describe.remote() for worker in self._workers])
            self.key, self.dimensions, _ = described[0]
            for key, _, _ in described:
                _check_key(key, self.key)
        except BaseException:
            self.close()
            raise
        self.process_ids = [process_id for _, _, process_id in described]

    def run(self, batches: Iterable[Sequence[CorpusDocument | Failure]]) -> Iterator[list[Outcome]]:
        """The outcomes of each batch, as they are finished.

        Raises:
            WorkerError: A batch's worker died again and again.
            OptionError: A worker was started anew on a machine where it gives other vectors.
        """
        waiting: dict[Any, Any] = {}
        todo = iter(batches)
        idle = self._workers * _BATCHES_EACH
        while True:
            while idle and (batch := next(todo, None)) is not None:
                worker = idle.pop()
                waiting[worker.embed.remote(batch, self.key)] = worker
            if not waiting:
                return
            (finished,), _ = self._ray.wait(list(waiting), num_returns=1)
            idle.append(waiting.pop(finished))
            yield self._get(finished)

    @property
    def counts(self) -> Counter[str]:
        """What the engines of the workers that are there now have counted."""
        counted = self._get([worker.counts.remote() for worker in self._workers])
        return sum(counted, Counter[str]())

    def close(self) -> None:
        """Stop the workers, and Ray if it was started here."""
        for worker in self._workers:
            self._ray.kill(worker)
        if self._is_ours:
            self._ray.shutdown()

    def _get(self, references: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(references)
        except errors.RayTaskError as error:
            if isinstance(error.cause, LateChunkError):
                raise error.cause from error
            raise
        except errors.RayError as error:
            raise WorkerError(
                f"a worker died {_RETRIES + 1} times over the same batch, perhaps for want of "
                f"memory; what is finished is in the checkpoint ({error})"
            ) from error


class _Worker:
    """A `DocumentEmbedder` in its own process.

    It loads the model with the first call: an error of a constructor would reach the caller as
    text only.
    """

    def __init__(self, options: LateChunkOptions, chunking: Chunking, how: dict[str, Any]) -> None:
        self._asked = options, chunking, how

    def describe(self) -> tuple[str, int, int]:
        """Fingerprint, width of a vector, id of the process."""
        return self._embedder.key, self._embedder.dimensions, os.getpid()

    def embed(self, documents: Sequence[CorpusDocument | Failure], key: str) -> list[Outcome]:
        """See `DocumentEmbedder.embed`; refused where the pool's key is another one."""
        _check_key(self._embedder.key, key)
        return self._embedder.embed(documents)

    def counts(self) -> Counter[str]:
        """What its engine has counted."""
        return self._embedder.counts

    @cached_property
    def _embedder(self) -> DocumentEmbedder:
        options, chunking, how = self._asked
        return DocumentEmbedder(shared_engine(options), chunking, **how)


def refuse_processes(options: LateChunkOptions) -> None:
    """Ray's workers load a model each, and need none of ours.

    Raises:
        OptionError: The options want some.
    """
    if options.worker_devices:
        raise OptionError(
            "processes and devices are worker processes of one machine, Ray has workers of its "
            "own: leave them out, and give Ray a concurrency and num_gpus"
        )


def workers_that_fit(n_gpus: float, num_gpus: float) -> int:
    """How many workers find room on some GPUs, a part of one or several whole ones for each.

    Args:
        n_gpus: GPUs there are.
        num_gpus: GPUs of each worker, more than 0.
    """
    if num_gpus >= 1:
        return int(n_gpus // num_gpus)
    return int(n_gpus) * int(1 / num_gpus + 1e-9)


def _check_key(key: str, expected: str) -> None:
    if key != expected:
        raise OptionError(
            "Ray's workers would not give the same vectors: on their machines the dtype, the "
            "model's files or the splitter differ. Name the dtype, such as dtype='float32', "
            "instead of 'auto', and see that all have the same files"
        )


def _start(ray: Any, concurrency: int, num_cpus: float, num_gpus: float) -> None:
    if os.environ.get("RAY_ADDRESS"):
        ray.init()
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody was asked whether to report
    # With fewer, some would wait for ever.
    n_cpus = max(math.ceil(concurrency * num_cpus), os.cpu_count() or 1)
    ray.init(address="local", num_cpus=n_cpus, include_dashboard=False, log_to_driver=False)
    n_gpus = ray.cluster_resources().get("GPU", 0)
    if num_gpus > 0 and workers_that_fit(n_gpus, num_gpus) < concurrency:
        ray.shutdown()
        raise OptionError(
            f"{concurrency} workers with {num_gpus:g} GPUs each do not fit on this machine, which "
            f"has {n_gpus:g}: lower concurrency or num_gpus, or set RAY_ADDRESS to use a cluster"
        )
