"""The target brought back to what the source says; a lost checkpoint made anew from its rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from latechunk_integrations.bulk.checkpoint import Checkpoint, hold_checkpoint, put_in_place
from latechunk_integrations.bulk.checkpoint_state import CheckpointState, Finished
from latechunk_integrations.bulk.embedder import DocumentEmbedder
from latechunk_integrations.bulk.index_places import open_source
from latechunk_integrations.bulk.index_settings import IndexSettings
from latechunk_integrations.bulk.index_summary import IndexSummary
from latechunk_integrations.bulk.indexing import index, make_identity
from latechunk_integrations.bulk.rows import CorpusDocument, DocumentRows, Failure
from latechunk_integrations.bulk.target_rows import HeldDocument, TargetRows, outline_of
from latechunk_integrations.bulk.targets import Target
from latechunk_integrations.bulk.verification import Damage, Verification, verify
from latechunk_integrations.bulk.writers.files import FileWriter
from latechunk_integrations.bulk.writers.writer import Writer
from latechunk_integrations.engine import shared_engine
from latechunk_integrations.errors import InputTypeError, WriterError
from latechunk_integrations.options import LateChunkOptions
from latechunk_integrations.schema import Parent

_OF_CHECKPOINT = ("checkpoint lost", "checkpoint damaged")
_DAMAGED_FOLDER, _REBUILT_FOLDER = "damaged-parts", "rebuilt"


@dataclass
class RepairSummary:
    """What was found and what was mended.

    Args:
        found: What was wrong before.
        left: What is wrong still.
        n_adopted: Documents whose rows a new checkpoint took over as they were.
        run: The run that wrote documents anew.
    """

    found: list[Damage]
    left: list[Damage]
    n_adopted: int
    run: IndexSummary

    def to_dict(self) -> dict[str, Any]:
        """Only what JSON holds."""
        return {
            "found": [each._asdict() for each in self.found],
            "left": [each._asdict() for each in self.left],
            "adopted": self.n_adopted,
            "run": self.run.to_dict(),
        }


def repair(
    source: str | Path | Sequence[CorpusDocument | Failure],
    target: str,
    options: LateChunkOptions,
    checkpoint: str | Path,
    settings: IndexSettings | None = None,
) -> RepairSummary:
    """Find what is wrong, do these documents again, and look once more.

    A document that the source no longer has, or that cannot be read, keeps the rows it has.
    Damaged files are moved into the checkpoint's folder, not deleted.

    Arguments and errors are those of `index`; the source is read several times.

    Raises:
        InputTypeError: The source is an iterator, which can be read only once.
    """
    if not isinstance(source, (str, Path, Sequence)):
        raise InputTypeError("repair reads the source several times: give a folder or a list")
    settings = settings or IndexSettings()
    where, folder = Target.parse(target), Path(checkpoint)
    embedder = DocumentEmbedder(shared_engine(options), settings.chunking)
    n_adopted = 0
    with hold_checkpoint(folder) as lock:
        found = verify(source, target, options, folder, settings)
        if any(each.kind in _OF_CHECKPOINT for each in found.damages):
            documents = open_source(source, where, folder, settings)
            n_adopted = _rebuild_checkpoint(documents, where, folder, embedder)
        elif found.damages:
            with Checkpoint(folder, make_identity(embedder.key, where), lock=lock) as kept:
                _mark_damages(found, where, kept, embedder, prune=settings.prune)
    done = index(source, target, options, folder, replace(settings, restart=False))
    left = verify(source, target, options, folder, settings)
    return RepairSummary(found.damages, left.damages, n_adopted, done)


def _mark_damages(
    found: Verification, where: Target, kept: Checkpoint, embedder: DocumentEmbedder, *, prune: bool
) -> None:
    """Note in the checkpoint what is to be done again, and clear the way for it."""
    parts = {each.name for each in found.damages if each.kind in ("part missing", "part damaged")}
    strange = {each.name for each in found.damages if each.kind == "part unknown"}
    is_lost = any(each.kind == "target lost" for each in found.damages)
    # What nobody can write again keeps the rows that it has, and stays reported.
    documents = {each.name for each in found.damages if each.name in found.present or prune}
    if is_lost:
        kept.forget(kept.state.documents_with_rows())
        kept.drop(kept.state.parts)
    kept.begin(sorted(documents - parts - strange))
    kept.drop(parts)
    # Rows that are too many may be in a part of which no document is known to be replaced.
    kept.mark_stale(found.parts - parts - strange)
    with closing(where.open(embedder.dimensions, kept.run_id)) as writer:
        for part in sorted(parts | strange):
            _move_part(writer, part, kept.folder)
        # All rows, for those that are too many may have the right version.
        again = sorted(documents & found.present)
        if again and not isinstance(writer, FileWriter):
            writer.write([DocumentRows(name, "") for name in again], 0)


def _move_part(writer: Writer, part: str, folder: Path) -> None:
    if isinstance(writer, FileWriter):
        (folder / _DAMAGED_FOLDER).mkdir(exist_ok=True)
        writer.move(part, folder / _DAMAGED_FOLDER / part)


def _rebuild_checkpoint(
    documents: Iterable[CorpusDocument | Failure],
    where: Target,
    folder: Path,
    embedder: DocumentEmbedder,
) -> int:
    """A new checkpoint of what the target holds and the source confirms.

    Returns:
        Documents whose rows were taken over.
    """
    made, identity = folder / _REBUILT_FOLDER, make_identity(embedder.key, where)
    with closing(where.open(None, "")) as writer:
        bad = _move_unreadable_parts(writer, folder)
        held = TargetRows(writer, CheckpointState(), embedder.dimensions, bad).documents
        sound = _find_sound(documents, held, embedder)
        run_id = _find_run_id(writer)
        with Checkpoint(made, identity, restart=True, run_id=run_id) as kept:
            _adopt(kept, writer, held, sound)
    put_in_place(made, folder)
    return len(sound)


def _find_sound(
    documents: Iterable[CorpusDocument | Failure],
    held: dict[str, HeldDocument],
    embedder: DocumentEmbedder,
) -> dict[str, Finished]:
    """Documents whose rows are what the source and the splitter say, and those that are gone."""
    sound = {}
    present = set()
    for document in documents:
        if isinstance(document, Failure):
            continue
        present.add(document.id)
        rows = held.get(document.id)
        if rows is not None and _is_whole(document, rows, embedder):
            sound[document.id] = rows
    # Nobody can tell whether all of these is there; what is there stays.
    sound |= {
        name: rows
        for name, rows in held.items()
        if name not in present and _is_consistent(rows, embedder.engine)
    }
    return {
        name: Finished(next(iter(rows.versions)), rows.rows.n_rows, rows.rows.value, part)
        for name, rows in sound.items()
        for part in rows.parts
    }


def _is_consistent(rows: HeldDocument, engine: str) -> bool:
    one_of_each = len(rows.versions) == len(rows.parts) == 1 and set(rows.engines) == {engine}
    return one_of_each and not rows.n_bad


def _is_whole(document: CorpusDocument, rows: HeldDocument, embedder: DocumentEmbedder) -> bool:
    version = document.version(embedder.key)
    if not (_is_consistent(rows, embedder.engine) and version in rows.versions):
        return False
    spans = embedder.split(document)
    if isinstance(spans, Failure):
        return False
    parent = Parent(document.text, spans, header=document.header, id=document.id)
    return outline_of(document, parent, version, embedder.engine) == rows.outline.value


def _adopt(
    kept: Checkpoint, writer: Writer, held: dict[str, HeldDocument], sound: dict[str, Finished]
) -> None:
    parts = writer.parts() if isinstance(writer, FileWriter) else [""]
    for part in parts:
        found = {name: each for name, each in sound.items() if each.part == part}
        others = [name for name, each in held.items() if part in each.parts and name not in found]
        kept.adopt(part, writer.seal(part), found, bool(others))
    kept.begin(sorted(held.keys() - sound.keys()))


def _move_unreadable_parts(writer: Writer, folder: Path) -> set[str]:
    if not isinstance(writer, FileWriter):
        return set()
    bad = {part for part in writer.parts() if not _is_readable(writer, part)}
    for part in sorted(bad):
        _move_part(writer, part, folder)
    return bad


def _is_readable(writer: FileWriter, part: str) -> bool:
    try:
        for _ in writer.scan_part(part):
            pass
    except WriterError:
        return False
    return True


def _find_run_id(writer: Writer) -> str:
    """What the names of the parts begin with; ``""``: several beginnings, or no parts."""
    parts = writer.parts() if isinstance(writer, FileWriter) else []
    names = {part.split("-")[1] for part in parts if part.count("-") == 2}  # noqa: PLR2004
    return names.pop() if len(names) == 1 else ""
