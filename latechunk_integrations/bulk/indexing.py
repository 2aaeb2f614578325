"""The whole run: source, embedder, target and checkpoint, with Ray or without."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from tqdm.auto import tqdm

from latechunk_integrations.bulk.checkpoint import Checkpoint
from latechunk_integrations.bulk.dead_letters import DeadLetters
from latechunk_integrations.bulk.embedder import DocumentEmbedder, Outcome
from latechunk_integrations.bulk.index_places import open_source
from latechunk_integrations.bulk.index_settings import IndexSettings
from latechunk_integrations.bulk.index_summary import IndexSummary, ReportFile
from latechunk_integrations.bulk.ray_pool import RayPool
from latechunk_integrations.bulk.reconciliation import Reconciliation
from latechunk_integrations.bulk.rows import CorpusDocument, DocumentRows, Failure
from latechunk_integrations.bulk.targets import Target
from latechunk_integrations.bulk.writers.writer import Writer
from latechunk_integrations.engine import shared_engine
from latechunk_integrations.errors import CheckpointError, LateChunkError
from latechunk_integrations.options import LateChunkOptions
from latechunk_integrations.telemetry import count_event, trace_span

logger = logging.getLogger(__name__)

_DEAD_LETTERS = "dead-letters.jsonl"
_Embedder: TypeAlias = DocumentEmbedder | RayPool


def index(
    source: str | Path | Iterable[CorpusDocument | Failure],
    target: str,
    options: LateChunkOptions,
    checkpoint: str | Path,
    settings: IndexSettings | None = None,
) -> IndexSummary:
    """Embed a corpus into a table or a vector store; stopped and called again, it goes on.

    Args:
        source: A folder of text, PDF, HTML, DOCX, ``.jsonl``, ``.csv`` or ``.parquet`` files, or
            one such file; or the documents themselves, in the same order each time.
        target: ``milvus:FILE.db#COLLECTION``, ``qdrant:FOLDER#COLLECTION``,
            ``chroma:FOLDER#COLLECTION``, a server's URL in place of the file or folder,
            ``lancedb:FOLDER#TABLE``, ``pgvector:postgresql://USER@HOST/DATABASE#TABLE``, or a
            folder ``NAME.parquet`` or ``NAME.jsonl``.
        options: Of the engine.
        checkpoint: A folder that keeps what is finished.
        settings: Everything else.

    Returns:
        What was done. Failed documents are counted, not raised.

    Raises:
        BulkError: The source, the target, the workers, the device or the checkpoint cannot be
            used; call again.
        ModelError: The model cannot be used.
        OptionError: An option, the source or the target is impossible.
        MissingExtraError: An extra is not installed.
    """
    settings = settings or IndexSettings()
    where, folder = Target.parse(target), Path(checkpoint)
    documents = open_source(source, where, folder, settings)
    summary = IndexSummary(settings.dead_letters or folder / _DEAD_LETTERS)
    found = getattr(documents, "found", None)
    summary.left_out = tuple(found.left_out) if found is not None else ()
    with closing(_make_embedder(options, settings)) as embedder:
        identity = make_identity(embedder.key, where)
        with (
            Checkpoint(folder, identity, restart=settings.restart) as kept,
            closing(where.open(embedder.dimensions, kept.run_id)) as writer,
        ):
            _Run(embedder, writer, kept, settings, summary).go(documents)
    return summary


def make_identity(key: str, where: Target) -> dict[str, str]:
    """What a checkpoint belongs to."""
    return {"model, options or splitter": key, "target": where.identity}


def _make_embedder(options: LateChunkOptions, settings: IndexSettings) -> _Embedder:
    if not settings.ray:
        return DocumentEmbedder(
            shared_engine(options),
            settings.chunking,
            reproducible=settings.reproducible,
            most_failures_in_a_row=settings.most_failures_in_a_row,
        )
    return RayPool(
        options,
        settings.chunking,
        concurrency=settings.concurrency,
        num_cpus=settings.num_cpus,
        num_gpus=settings.num_gpus,
        reproducible=settings.reproducible,
        most_failures_in_a_row=settings.most_failures_in_a_row,
    )


class _Run:
    """The state of one run over the documents."""

    def __init__(
        self,
        embedder: _Embedder,
        writer: Writer,
        checkpoint: Checkpoint,
        settings: IndexSettings,
        summary: IndexSummary,
    ) -> None:
        self._start = time.perf_counter()
        self._embedder = embedder
        self._writer = writer
        self._checkpoint = checkpoint
        self._state = checkpoint.state
        self._settings = settings
        self._source = Reconciliation(self._state, embedder.key)
        self._letters = DeadLetters(summary.dead_letters, self._state.failed.values())
        self._report = ReportFile(settings.report)
        self._retried: list[Failure] = []
        self.summary = summary

    def go(self, documents: Iterable[CorpusDocument | Failure]) -> None:
        """Write the unfinished documents, then clear away the unwanted rows."""
        try:
            with trace_span("latechunk.index"):
                self._writer.recover(self._state.parts)
                self._check_target()
                self._embed(documents)
                if self._settings.prune:
                    self._prune()
                self._purge()
        except BaseException as error:
            self.summary.state, self.summary.error = "aborted", f"{type(error).__name__}: {error}"
            raise
        else:
            self.summary.state = "done"
        finally:
            self._write_report(now=True)

    def _embed(self, documents: Iterable[CorpusDocument | Failure]) -> None:
        self.summary.n_total = getattr(documents, "n_documents", lambda: None)()
        is_quiet = not self._settings.show_progress
        with tqdm(total=self.summary.n_total, unit=" documents", disable=is_quiet) as bar:
            pending = self._select_pending(documents, bar)
            for outcomes in self._embedder.run(self._make_batches(pending)):
                self._finish(outcomes)
                self._write_report()
                bar.update(len(outcomes))
        counts = self._embedder.counts
        self.summary.n_tokens = counts["tokens"]
        self.summary.n_cached_windows = counts["cached_windows"]
        self._letters.write(self._all_failures())

    def _check_target(self) -> None:
        """A target that somebody emptied would stay empty; one of others is theirs."""
        if not (self._state.n_batches or self._settings.restart) and (n := self._writer.count()):
            logger.warning(
                "the target holds %d rows that this checkpoint does not know; those of a document "
                "with the id of one of yours are replaced. If the checkpoint was lost, latechunk "
                "repair makes it anew",
                n,
            )
        if self._state.n_chunks and not self._writer.count():
            raise CheckpointError(
                f"the target holds no rows, but the checkpoint {self._checkpoint.folder} counts "
                f"{self._state.n_chunks}; --restart (restart=True) does every document again"
            )

    def _select_pending(
        self, documents: Iterable[CorpusDocument | Failure], bar: Any
    ) -> Iterator[CorpusDocument | Failure]:
        """Documents that are not finished in this version."""
        for document in documents:
            verdict = self._source.judge(document)
            if verdict in ("added", "replaced", "failing"):
                yield document
                continue
            if verdict == "unreadable":
                self._report_retried([self._source.unreadable[-1]])
            elif verdict == "duplicate":
                self._report_failures(self._source.duplicates[-1:])
            elif verdict == "failed":
                name = document.document_id if isinstance(document, Failure) else document.id
                self.summary.count_error(replace(self._state.failed[name], file=document.file))
            self.summary.n_unchanged += verdict == "unchanged"
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

    def _finish(self, outcomes: Sequence[Outcome]) -> None:
        """Write a batch, then note it: what is noted is there."""
        checked = [self._check(outcome) for outcome in outcomes]
        rows = [each for each in checked if isinstance(each, DocumentRows)]
        failures = [each for each in checked if isinstance(each, Failure) and not each.retry]
        self._report_retried([f for f in checked if isinstance(f, Failure) and f.retry])
        with trace_span("latechunk.index.write", documents=len(rows), failed=len(failures)):
            self._write(rows, failures)
        self._report_failures(failures)
        self.summary.n_documents += len(rows)
        self.summary.n_skipped += sum(document.skipped for document in rows)
        self.summary.n_chunks += sum(map(len, rows))

    def _write(self, rows: Sequence[DocumentRows], failures: Sequence[Failure]) -> None:
        # What a failed document had in the target belongs to a former version of it.
        emptied = [DocumentRows(failure.document_id, failure.version) for failure in failures]
        if rows or failures:
            self._checkpoint.begin(each.document_id for each in (*rows, *emptied))
            part = self._writer.write([*rows, *emptied], self._state.n_batches)
            self._checkpoint.add(part, rows, failures, seal=self._writer.seal(part))
        count_event("latechunk.index.documents", len(rows), outcome="written")
        count_event("latechunk.index.chunks", sum(map(len, rows)))

    def _check(self, outcome: Outcome) -> Outcome:
        if isinstance(outcome, DocumentRows):
            try:
                self._writer.check(outcome)
            except LateChunkError as error:
                version = outcome.version
                return Failure.of(outcome.document_id, error, version, file=outcome.file)
        return outcome

    def _report_retried(self, failures: Sequence[Failure]) -> None:
        self._retried += failures
        self.summary.n_retried += len(failures)
        self._report_failures(failures)

    def _report_failures(self, failures: Sequence[Failure]) -> None:
        if failures:
            self._letters.add(failures)
        for failure in failures:
            self.summary.count_error(failure)
            count_event("latechunk.index.documents", outcome=failure.error)
            logger.info("document %r failed: %s", failure.document_id, failure.reason)

    def _all_failures(self) -> list[Failure]:
        known = [f for name, f in self._state.failed.items() if name in self._source.seen]
        failures = {failure.document_id: failure for failure in (*known, *self._retried)}
        self.summary.n_failed = len(failures) + len(self._source.duplicates)
        return [*failures.values(), *self._source.duplicates]

    def _prune(self) -> None:
        self.summary.removal_refused = self._source.refuse_removal(self._settings.prune_at_most)
        if self.summary.removal_refused:
            return
        gone = self._source.gone()
        for start in range(0, len(gone), self._settings.batch_documents):
            names = gone[start : start + self._settings.batch_documents]
            self._checkpoint.begin(names)
            self._writer.write([DocumentRows(name, "") for name in names], 0)
            self._checkpoint.forget(names)
        self.summary.n_removed = len(gone)

    def _purge(self) -> None:
        """Take rows of former versions out of files."""
        # By part, not by version alone: a document that was changed back has the same version in
        # its former part and in its present one.
        kept: dict[str, dict[str, str]] = {part: {} for part in self._state.stale_parts}
        for name, each in self._state.finished.items():
            if each.part in kept:
                kept[each.part][name] = each.version
        for part, versions in sorted(kept.items()):

            def announce(seal: str, part: str = part) -> None:
                self._checkpoint.announce(part, seal)

            seal = self._writer.purge(part, versions, announce)
            self._checkpoint.purged(part, seal)

    def _write_report(self, *, now: bool = False) -> None:
        self.summary.seconds = time.perf_counter() - self._start
        self._report.write(self.summary, now=now)
