"""The whole run: source, embedder, target and checkpoint, with Ray or without."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

from tqdm.auto import tqdm

from latechunk_integrations.bulk.checkpoint import Checkpoint, DeadLetters
from latechunk_integrations.bulk.corpus_files import FileSource
from latechunk_integrations.bulk.embedder import DocumentEmbedder, Outcome
from latechunk_integrations.bulk.index_settings import IndexSettings, IndexSummary
from latechunk_integrations.bulk.ray_pool import RayPool
from latechunk_integrations.bulk.rows import CorpusDocument, DocumentRows, Failure
from latechunk_integrations.bulk.targets import Target
from latechunk_integrations.bulk.writers.writer import Writer
from latechunk_integrations.engine import shared_engine
from latechunk_integrations.errors import CheckpointError, InputError, LateChunkError
from latechunk_integrations.options import LateChunkOptions

__all__ = ["index"]

logger = logging.getLogger(__name__)

_DEAD_LETTERS = "dead-letters.jsonl"


class _Embedder(Protocol):
    """What embeds batches: `DocumentEmbedder` in their order, `RayPool` in any."""

    key: str
    dimensions: int

    def run(
        self, batches: Iterable[Sequence[CorpusDocument | Failure]]
    ) -> Iterator[list[Outcome]]: ...

    def close(self) -> None: ...


def index(
    source: str | Path | Iterable[CorpusDocument | Failure],
    target: str,
    options: LateChunkOptions,
    checkpoint: str | Path,
    settings: IndexSettings | None = None,
) -> IndexSummary:
    """Embed a corpus into a table or a vector store; stopped and called again, it goes on.

    Args:
        source: A folder of ``.txt``, ``.md``, ``.jsonl`` or ``.parquet`` files, or one such file;
            or the documents themselves, in the same order each time.
        target: ``milvus:FILE.db#COLLECTION``, ``qdrant:FOLDER#COLLECTION``, a server's URL in
            place of the file or folder, or a folder ``NAME.parquet`` or ``NAME.jsonl``.
        options: Of the engine.
        checkpoint: A folder that keeps what is finished.
        settings: Everything else.

    Returns:
        What was done. Failed documents are counted, not raised.

    Raises:
        BulkError: The target, the workers or the checkpoint cannot be used; call again.
        ModelError: The model cannot be used.
        OptionError: An option, the source or the target is impossible.
        MissingExtraError: An extra is not installed.
    """
    settings = settings or IndexSettings()
    start = time.perf_counter()
    where = Target.parse(target)
    documents: Any = source
    if isinstance(source, (str, Path)):
        documents = FileSource(Path(source), settings.columns)
    with closing(_make_embedder(options, settings)) as embedder:
        identity = {"model, options or splitter": embedder.key, "target": where.identity}
        with (
            Checkpoint(Path(checkpoint), identity, restart=settings.restart) as kept,
            closing(where.open(embedder.dimensions, kept.run_id)) as writer,
        ):
            run = _Run(embedder, writer, kept, settings)
            run.go(documents)
    run.summary.seconds = time.perf_counter() - start
    return run.summary


def _make_embedder(options: LateChunkOptions, settings: IndexSettings) -> _Embedder:
    if not settings.ray:
        engine = shared_engine(options)
        return DocumentEmbedder(engine, settings.chunking, reproducible=settings.reproducible)
    return RayPool(
        options,
        settings.chunking,
        concurrency=settings.concurrency,
        num_cpus=settings.num_cpus,
        num_gpus=settings.num_gpus,
        reproducible=settings.reproducible,
    )


class _Run:
    """The state of one run over the documents."""

    def __init__(
        self, embedder: _Embedder, writer: Writer, checkpoint: Checkpoint, settings: IndexSettings
    ) -> None:
        self._embedder = embedder
        self._writer = writer
        self._checkpoint = checkpoint
        self._settings = settings
        self._seen: set[str] = set()
        letters = settings.dead_letters or checkpoint.folder / _DEAD_LETTERS
        self._letters = DeadLetters(letters, checkpoint.failed.values())
        self._duplicates: list[Failure] = []
        self.summary = IndexSummary(letters)

    def go(self, documents: Iterable[CorpusDocument | Failure]) -> None:
        """Write what is not finished, then clear away what is not wanted any more."""
        self._writer.recover(self._checkpoint.parts)
        self._check_target()
        total = getattr(documents, "n_documents", lambda: None)()
        with tqdm(total=total, unit=" documents", disable=not self._settings.show_progress) as bar:
            pending = self._select_pending(documents, bar)
            for outcomes in self._embedder.run(self._make_batches(pending)):
                self._finish(outcomes)
                bar.update(len(outcomes))
        if self._settings.prune:
            self._prune()
        self._purge()
        failed = [f for name, f in self._checkpoint.failed.items() if name in self._seen]
        self._letters.write([*failed, *self._duplicates])
        self.summary.n_failed = len(failed) + len(self._duplicates)

    def _check_target(self) -> None:
        """A target that was emptied behind our back would stay empty."""
        if self._checkpoint.n_chunks and not self._writer.count():
            raise CheckpointError(
                f"the target holds no rows, but the checkpoint {self._checkpoint.folder} counts "
                f"{self._checkpoint.n_chunks}; restart to do every document again"
            )

    def _select_pending(
        self, documents: Iterable[CorpusDocument | Failure], bar: Any
    ) -> Iterator[CorpusDocument | Failure]:
        """Documents that are not finished in this version."""
        for document in documents:
            if isinstance(document, Failure):
                name, version = document.document_id, document.version
            else:
                name, version = document.id, document.version(self._embedder.key)
            if name in self._seen:
                self._report_duplicate(name)
                bar.update(1)
                continue
            self._seen.add(name)
            if not self._checkpoint.knows(name, version):
                yield document
                continue
            self.summary.n_unchanged += name not in self._checkpoint.failed
            bar.update(1)

    def _make_batches(
        self, documents: Iterable[CorpusDocument | Failure]
    ) -> Iterator[list[CorpusDocument | Failure]]:
        batch: list[CorpusDocument | Failure] = []
        n_chars = 0
        for document in documents:
            batch.append(document)
            n_chars += 0 if isinstance(document, Failure) else len(document.text)
            if (
                len(batch) == self._settings.batch_documents
                or n_chars >= self._settings.batch_chars
            ):
                yield batch
                batch, n_chars = [], 0
        if batch:
            yield batch

    def _report_duplicate(self, name: str) -> None:
        error = InputError(f"the id {name!r} stands in the source before; ids must be unique")
        self._duplicates.append(Failure.of(name, error))
        self._letters.add(self._duplicates[-1:])

    def _finish(self, outcomes: Sequence[Outcome]) -> None:
        """Write a batch, then note it: what is noted is there."""
        checked = [self._check(outcome) for outcome in outcomes]
        rows = [each for each in checked if isinstance(each, DocumentRows)]
        failures = [each for each in checked if isinstance(each, Failure)]
        # What a failed document had in the target belongs to a former version of it.
        emptied = [DocumentRows(failure.document_id, failure.version) for failure in failures]
        self._checkpoint.begin(outcome.document_id for outcome in checked)
        part = self._writer.write([*rows, *emptied], self._checkpoint.n_batches)
        self._checkpoint.add(part, rows, failures)
        self._letters.add(failures)
        for failure in failures:
            logger.info("document %r failed: %s", failure.document_id, failure.reason)
        self.summary.n_documents += len(rows)
        self.summary.n_skipped += sum(document.skipped for document in rows)
        self.summary.n_chunks += sum(map(len, rows))

    def _check(self, outcome: Outcome) -> Outcome:
        if isinstance(outcome, DocumentRows):
            try:
                self._writer.check(outcome)
            except LateChunkError as error:
                return Failure.of(outcome.document_id, error, outcome.version)
        return outcome

    def _prune(self) -> None:
        kept = self._checkpoint
        known = dict.fromkeys([*kept.finished, *kept.failed, *kept.begun])
        gone = [name for name in known if name not in self._seen]
        for start in range(0, len(gone), self._settings.batch_documents):
            names = gone[start : start + self._settings.batch_documents]
            kept.begin(names)
            self._writer.write([DocumentRows(name, "") for name in names], 0)
            self._checkpoint.forget(names)
        self.summary.n_removed = len(gone)

    def _purge(self) -> None:
        """Take rows of former versions out of files."""
        # By part, not by version alone: a document that was changed back has the same version in
        # its former part and in its present one.
        kept: dict[str, dict[str, str]] = {part: {} for part in self._checkpoint.stale_parts}
        for name, (version, part, _) in self._checkpoint.finished.items():
            if part in kept:
                kept[part][name] = version
        for part, versions in sorted(kept.items()):
            self._writer.purge(part, versions)
            self._checkpoint.purged([part])
