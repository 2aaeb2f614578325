"""The whole migration: rebuild each parent, embed its chunks late, write beside the old vectors."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from latechunk_integrations import marks
from latechunk_integrations.bulk.checkpoint import Checkpoint, hold_checkpoint, read_state
from latechunk_integrations.bulk.device_health import DeviceHealth
from latechunk_integrations.bulk.migration.chunk_fields import mark_record
from latechunk_integrations.bulk.migration.collections.opening import open_collection
from latechunk_integrations.bulk.migration.migration_settings import (
    MigrationPlan,
    MigrationSettings,
    MigrationSummary,
)
from latechunk_integrations.bulk.migration.parent_stream import ParentStream
from latechunk_integrations.bulk.migration.rebuilding import RebuiltParent, Unplaced
from latechunk_integrations.bulk.migration.stored_chunks import (
    LateRow,
    Record,
    StoredChunk,
    StoredCollection,
)
from latechunk_integrations.bulk.rows import DocumentRows, Failure, digest
from latechunk_integrations.engine import LateChunkEngine, shared_engine
from latechunk_integrations.errors import (
    CheckpointError,
    InputError,
    LateChunkError,
    OptionError,
    WriterError,
)
from latechunk_integrations.options import LateChunkOptions
from latechunk_integrations.schema import ChunkVectors, Parent


def plan_migration(collection: str, settings: MigrationSettings | None = None) -> MigrationPlan:
    """Say which chunks can get late vectors, and why others cannot; nothing is changed.

    Args:
        collection: ``qdrant:``, ``chroma:`` or ``milvus:PLACE#NAME``, or ``pgvector:URL#TABLE``.
        settings: How it was written.

    Raises:
        OptionError: The collection or a setting is impossible.
        WriterError: The store does not answer, or has no such collection.
        MissingExtraError: The store's client is not installed.
    """
    settings = settings or MigrationSettings()
    with closing(open_collection(collection, settings)) as opened:
        plan = MigrationPlan(opened.identity)
        for rebuilt in ParentStream(opened, collection, settings).run():
            plan.add(rebuilt)
        return plan


def migrate(
    collection: str,
    options: LateChunkOptions,
    checkpoint: str | Path,
    settings: MigrationSettings | None = None,
) -> MigrationSummary:
    """Write a late vector beside each old one; stopped and called again, it goes on.

    Ids, texts and old vectors stay as they are. Chunks without a proved place are counted by
    reason and get what ``settings.unplaced`` says.

    Args:
        collection: As for `plan_migration`.
        options: Of the engine.
        checkpoint: A folder that keeps what is finished.
        settings: Everything else.

    Raises:
        BulkError: The store or the checkpoint cannot be used; call again.
        ModelError: The model cannot be used.
        OptionError: An option, the collection or a setting is impossible.
        MissingExtraError: An extra is not installed.
    """
    settings = settings or MigrationSettings()
    started = time.perf_counter()
    with closing(open_collection(collection, settings)) as opened:
        engine = shared_engine(options)
        identity = {
            "model or options": engine.fingerprint,
            "collection or fields": digest(opened.identity, _describe(settings)),
        }
        with Checkpoint(Path(checkpoint), identity, restart=settings.restart) as kept:
            if settings.unplaced == "keep" and opened.dimensions() != engine.dimensions:
                raise OptionError(
                    f"unplaced='keep' would mix old vectors of {opened.dimensions()} numbers with "
                    f"late ones of {engine.dimensions}: use 'standalone' or 'leave'"
                )
            _check_late_place(opened, kept, settings)
            opened.prepare(engine.dimensions)
            if kept.state.n_chunks and not opened.count_late():
                raise CheckpointError(
                    f"{opened.place_of_late} holds no vectors, but the checkpoint {kept.folder} "
                    f"counts {kept.state.n_chunks}; --restart (restart=True) does all parents again"
                )
            run = _Migration(opened, engine, kept, collection, settings)
            run.go()
    run.summary.seconds = time.perf_counter() - started
    return run.summary


def _check_late_place(
    opened: StoredCollection, kept: Checkpoint, settings: MigrationSettings
) -> None:
    """What is there already must be this migration's own."""
    if not (kept.state.n_batches or settings.restart) and (n_late := opened.count_late()):
        raise CheckpointError(
            f"{opened.place_of_late} holds {n_late} vectors that the checkpoint {kept.folder} does "
            "not know: choose another late_name (--late-name), or --restart if they may be replaced"
        )


def switch_vectors(
    collection: str, checkpoint: str | Path, settings: MigrationSettings | None = None
) -> str:
    """Let applications find the late vectors where they found the old ones; nothing is deleted.

    Args:
        collection: As for `migrate`.
        checkpoint: That of the migration.
        settings: As for `migrate`.

    Returns:
        What was done, and where the old vectors are now.

    Raises:
        WriterError: Chunks have no late vector, or the store cannot switch.
    """
    settings, folder = settings or MigrationSettings(), Path(checkpoint)
    if not (folder / "run.json").exists():
        raise CheckpointError(f"{checkpoint} is no checkpoint of a migration: migrate first")
    with hold_checkpoint(folder), closing(open_collection(collection, settings)) as opened:
        n_chunks, n_late = opened.count(), opened.count_late()
        if n_late < n_chunks:
            raise WriterError(
                f"{n_chunks - n_late} of {n_chunks} chunks have no vector in "
                f"{opened.place_of_late} and would not be found any more. Migrate again, with "
                "unplaced='standalone' for those that have no place. Add --restart (restart=True) "
                "where the application has written chunks anew since"
            )
        if n_late > n_chunks:
            raise WriterError(
                f"{opened.place_of_late} holds {n_late} vectors for {n_chunks} chunks: some were "
                "deleted since. Delete it with the store's own client, and migrate with --restart"
            )
        state = read_state(folder, {})
        if state.begun or state.n_chunks < n_late:
            raise WriterError(
                f"{opened.place_of_late} holds {n_late} vectors, of which this migration has made "
                f"{state.n_chunks} so far: the others are of another model or other options. "
                "Migrate again to its end"
            )
        return opened.switch()


def _describe(settings: MigrationSettings) -> str:
    """What changes the rows."""
    folder = settings.source_folder
    return json.dumps(
        {
            "framework": settings.framework,
            "fields": dict(settings.fields),
            "source_folder": str(folder.resolve()) if folder else None,
            "vector": settings.vector,
            "late_name": settings.late_name,
        },
        sort_keys=True,
    )


@dataclass(frozen=True)
class _Job:
    """A parent to embed; `parent` is None where nothing of it has a place."""

    rebuilt: RebuiltParent
    parent: Parent | None
    rows: tuple[int, ...]
    """For each placed chunk its row in the parent: chunks of one span share it."""
    version: str
    error: InputError | None = None
    """Why there is no parent, where chunks have a place."""


class _Migration:
    """The state of one run."""

    def __init__(
        self,
        collection: StoredCollection,
        engine: LateChunkEngine,
        checkpoint: Checkpoint,
        spec: str,
        settings: MigrationSettings,
    ) -> None:
        self._collection = collection
        self._engine = engine
        self._checkpoint = checkpoint
        self._settings = settings
        self._health = DeviceHealth()
        self._rebuilding = ParentStream(collection, spec, settings)
        plan = MigrationPlan(collection.identity)
        self.summary = MigrationSummary(plan, collection.place_of_late)

    def go(self) -> None:
        """Embed and write the unfinished parents."""
        total, hide = self._rebuilding.n_parents, not self._settings.show_progress
        batch: list[_Job] = []
        with tqdm(total=total, unit=" parents", disable=hide) as bar:
            for rebuilt in self._rebuilding.run():
                bar.update(1)
                self.summary.plan.add(rebuilt)
                job = self._make_job(rebuilt)
                if self._checkpoint.state.knows(rebuilt.source, job.version):
                    self._count_known(rebuilt)
                    continue
                batch.append(job)
                n_chunks = sum(len(each.rows) for each in batch)
                full = len(batch) == self._settings.batch_parents
                if full or n_chunks >= self._settings.batch_chunks:
                    self._finish(batch)
                    batch = []
            if batch:
                self._finish(batch)

    def _count_known(self, rebuilt: RebuiltParent) -> None:
        failed = self._checkpoint.state.failed.get(rebuilt.source)
        if failed is None:
            self.summary.n_unchanged += 1
        else:
            self.summary.failed[rebuilt.source] = failed.reason

    def _make_job(self, rebuilt: RebuiltParent) -> _Job:
        spans = [(each.start, each.end) for each in rebuilt.placed]
        own = sorted(set(spans))
        row_of = {span: row for row, span in enumerate(own)}
        parent, error = None, None
        try:
            parent = _make_parent(rebuilt, own) if own else None
        except InputError as refused:  # such as a lone surrogate: one document's error
            error = refused
        keys = [f"{each.chunk.key}:{each.start}:{each.end}" for each in rebuilt.placed]
        lost = [f"{each.chunk.key}:{each.chunk.text}" for each in rebuilt.unplaced]
        fingerprint = parent.fingerprint if parent else ""
        version = digest(fingerprint, self._settings.unplaced, *sorted(keys), "lost", *sorted(lost))
        return _Job(rebuilt, parent, tuple(row_of[span] for span in spans), version, error)

    def _finish(self, batch: Sequence[_Job]) -> None:
        """Embed and write a batch, then note it: what is noted is there."""
        rows: list[LateRow] = []
        done: list[DocumentRows] = []
        failures: list[Failure] = []
        parents = [job.parent for job in batch if job.parent is not None]
        results = self._engine.embed_iter(parents, on_error="yield")
        for job in batch:
            result = next(results) if job.parent is not None else job.error
            if isinstance(result, LateChunkError):
                self.summary.failed[job.rebuilt.source] = str(result)
                if not self._health.note_failure(job.rebuilt.source, result):
                    failures.append(Failure.of(job.rebuilt.source, result, job.version))
                continue
            self._health.note_success()
            own = [*self._late_rows(job, result), *self._other_rows(job.rebuilt.unplaced)]
            rows += own
            done.append(_note(job, own))
            self.summary.n_parents += bool(result)
        self._checkpoint.begin(job.rebuilt.source for job in batch)
        self._collection.write(rows)
        self._checkpoint.add("", done, failures)
        self.summary.n_written += len(rows)

    def _late_rows(self, job: _Job, result: ChunkVectors | None) -> Iterator[LateRow]:
        if result is None or result.skipped or job.parent is None:
            return
        for each, row in zip(job.rebuilt.placed, job.rows, strict=True):
            made = {
                marks.ENGINE_KEY: self._engine.fingerprint,
                marks.MODE_KEY: result.modes[row],
                marks.PARENT_KEY: job.parent.fingerprint,
                marks.START_KEY: each.start,
                marks.END_KEY: each.end,
            }
            yield LateRow(self._mark(each.chunk, made), result.vectors[row])

    def _other_rows(self, unplaced: Sequence[Unplaced]) -> Iterator[LateRow]:
        """What chunks without a place get, if anything."""
        chunks = [each.chunk for each in unplaced]
        if self._settings.unplaced == "keep":
            for chunk in chunks:
                yield LateRow(Record(chunk.key, chunk.values or {}), None)
        if self._settings.unplaced != "standalone":
            return
        chunks = [chunk for chunk in chunks if chunk.text.strip()]
        made = {marks.ENGINE_KEY: self._engine.fingerprint, marks.MODE_KEY: "standalone"}
        if chunks:
            vectors = self._engine.embed_texts([chunk.text for chunk in chunks])
            for chunk, vector in zip(chunks, vectors, strict=True):
                yield LateRow(self._mark(chunk, made), vector)

    def _mark(self, chunk: StoredChunk, made: dict[str, Any]) -> Record:
        record = mark_record(chunk.values or {}, self._rebuilding.fields, made)
        return Record(chunk.key, record)


def _make_parent(rebuilt: RebuiltParent, own: Sequence[tuple[int, int]]) -> Parent:
    headers = _headers_of(rebuilt, own)
    if len(set(headers)) == 1:
        return Parent(rebuilt.text, own, header=headers[0], id=rebuilt.source)
    return Parent(rebuilt.text, own, id=rebuilt.source, headers=headers)


def _headers_of(rebuilt: RebuiltParent, own: Sequence[tuple[int, int]]) -> list[str]:
    """The header of each span; of chunks that share one, the first that has any."""
    found = dict.fromkeys(own, "")
    for each in rebuilt.placed:
        found[each.start, each.end] = found[each.start, each.end] or each.chunk.header
    return [found[span] for span in own]


def _note(job: _Job, rows: Sequence[LateRow]) -> DocumentRows:
    """What the checkpoint keeps of a parent: how many rows it has, and of which ids."""
    n = len(rows)
    keys = tuple(str(row.record.key) for row in rows)
    spans, vectors = np.zeros((n, 2), np.int64), np.zeros((n, 0), np.float32)
    return DocumentRows(
        job.rebuilt.source, job.version, "", spans, keys, vectors, ("standalone",) * n
    )
