"""Is the target what source and checkpoint say it is?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from latechunk_integrations.bulk.checkpoint import read_state
from latechunk_integrations.bulk.checkpoint_state import CheckpointState, Finished
from latechunk_integrations.bulk.embedder import DocumentEmbedder
from latechunk_integrations.bulk.index_places import open_source
from latechunk_integrations.bulk.index_settings import IndexSettings
from latechunk_integrations.bulk.indexing import make_identity
from latechunk_integrations.bulk.reconciliation import Reconciliation, Verdict
from latechunk_integrations.bulk.rows import CorpusDocument, Failure
from latechunk_integrations.bulk.target_rows import HeldDocument, TargetRows
from latechunk_integrations.bulk.targets import Target
from latechunk_integrations.bulk.writers.files import FileWriter
from latechunk_integrations.engine import shared_engine
from latechunk_integrations.errors import DamagedCheckpointError, MissingTargetError
from latechunk_integrations.options import LateChunkOptions

DamageKind: TypeAlias = Literal[
    "checkpoint lost",
    "checkpoint damaged",
    "target lost",
    "part missing",
    "part damaged",
    "part unknown",
    "document missing",
    "rows missing",
    "rows doubled",
    "rows altered",
    "vectors unsound",
    "other version",
    "other engine",
    "document unknown",
]
"""What can be wrong. A document that is unsound in several ways counts once, as the first."""


_UNSOUND = "not finite, without length or of another width"
_ALTERED = "text, place or vector is not what was written"


class Damage(NamedTuple):
    """Something that is not as it should be.

    Args:
        kind: What.
        name: The document, file or folder.
        detail: What was found, and what was expected.
    """

    kind: DamageKind
    name: str
    detail: str


@dataclass
class Verification:
    """What was found.

    Args:
        damages: What was found damaged.
        n_documents: Documents in the target.
        n_chunks: Rows in the target.
        source: Documents of the source by what the next run would do with them.
        untold: Places of the source that could not be read.
        present: Documents of the source that can be read.
        parts: Files that hold rows of damaged documents.
    """

    damages: list[Damage] = field(default_factory=list)
    n_documents: int = 0
    n_chunks: int = 0
    source: Counter[Verdict] = field(default_factory=Counter)
    untold: list[Failure] = field(default_factory=list)
    present: set[str] = field(default_factory=set)
    parts: set[str] = field(default_factory=set)

    def to_dict(self) -> dict[str, Any]:
        """Only what JSON holds."""
        return {
            "damages": [each._asdict() for each in self.damages],
            "documents": self.n_documents,
            "chunks": self.n_chunks,
            "source": dict(self.source),
            "untold": [f"{each.document_id}: {each.reason}" for each in self.untold],
        }


def verify(
    source: str | Path | Iterable[CorpusDocument | Failure],
    target: str,
    options: LateChunkOptions,
    checkpoint: str | Path,
    settings: IndexSettings | None = None,
) -> Verification:
    """Compare every row in the target with the checkpoint, and that with the source.

    Nothing is embedded and nothing written. A document that has merely changed in the source is
    no damage: the next run replaces it.

    The arguments are those of `index`.

    Raises:
        CheckpointError: The checkpoint belongs to something else.
        SourceError: The source cannot be looked at.
        WriterError: The target does not answer.
        ModelError: The model cannot be used.
    """
    settings = settings or IndexSettings()
    where, folder = Target.parse(target), Path(checkpoint)
    documents = open_source(source, where, folder, settings)
    embedder = DocumentEmbedder(shared_engine(options), settings.chunking)
    found = Verification()
    state = _read_checkpoint(found, folder, make_identity(embedder.key, where))
    compared = Reconciliation(state, embedder.key)
    for document in documents:
        verdict = compared.judge(document)
        found.source[verdict] += 1
        if isinstance(document, CorpusDocument):
            found.present.add(document.id)
    found.untold = [*compared.unreadable, *compared.hiding]
    _check_target(found, where, state, embedder)
    return found


def _read_checkpoint(
    found: Verification, folder: Path, identity: dict[str, str]
) -> CheckpointState:
    try:
        return read_state(folder, identity)
    except DamagedCheckpointError as error:
        found.damages.append(Damage("checkpoint damaged", str(folder), str(error)))
        return CheckpointState()


def _check_target(
    found: Verification, where: Target, state: CheckpointState, embedder: DocumentEmbedder
) -> None:
    try:
        writer = where.open(None, "")
    except MissingTargetError as error:
        if state.n_chunks:
            found.damages.append(Damage("target lost", where.identity, str(error)))
        return
    with closing(writer):
        bad = _check_parts(found, writer, state)
        held = TargetRows(writer, state, embedder.dimensions, bad)
    found.n_documents, found.n_chunks = len(held.documents), held.n_rows
    is_new = not (state.finished or state.failed or state.begun)
    if is_new and held.n_rows and not found.damages:
        detail = f"the target holds {held.n_rows} rows that no checkpoint knows"
        found.damages.append(Damage("checkpoint lost", where.identity, detail))
    damages = list(_compare(state, held.documents, embedder.engine, bad))
    found.damages += damages
    found.parts = {
        part
        for each in damages
        if each.name in held.documents
        for part in held.documents[each.name].parts
        if part
    }


def _check_parts(found: Verification, writer: Any, state: CheckpointState) -> set[str]:
    """Damaged files; they are not read any further."""
    if not isinstance(writer, FileWriter):
        return set()
    bad = set()
    for part, problem in writer.find_problems(state.parts, hashes=True):
        if problem == "unknown" and not state.parts:
            continue  # said of the checkpoint
        details = {
            "missing": "the checkpoint counts it as written",
            "damaged": "size or hash are not what was written",
            "unknown": "the checkpoint does not know it",
        }
        kind: DamageKind = f"part {problem}"  # type: ignore[assignment]  # one of three
        found.damages.append(Damage(kind, part, details[problem]))
        bad.add(part)
    return bad


def _compare(
    state: CheckpointState, held: dict[str, HeldDocument], engine: str, bad: set[str]
) -> Iterator[Damage]:
    for name, known in state.finished.items():
        if name in state.begun or known.part in bad:
            continue
        damage = _judge(name, known, held.get(name), engine)
        if damage is not None:
            yield damage
    if not state.finished:
        return
    for name, each in held.items():
        if name not in state.finished and name not in state.begun:
            detail = f"{each.rows.n_rows} rows that the checkpoint does not know"
            yield Damage("document unknown", name, detail)


def _judge(name: str, known: Finished, held: HeldDocument | None, engine: str) -> Damage | None:
    """The first thing that is wrong with a document."""
    n_rows = 0 if held is None else held.rows.n_rows
    counted = f"{n_rows} rows instead of {known.n_chunks}"
    if held is None or not n_rows:
        return Damage("document missing", name, counted) if known.n_chunks else None
    n_other = n_rows - held.versions[known.version]
    n_foreign = n_rows - held.engines[engine]
    checks: tuple[tuple[bool, DamageKind, str], ...] = (
        (held.n_bad > 0, "vectors unsound", f"{held.n_bad} of {n_rows}: {_UNSOUND}"),
        (n_other > 0, "other version", f"{n_other} of {n_rows} rows"),
        (n_foreign > 0, "other engine", f"{n_foreign} of {n_rows} rows"),
        (n_rows < known.n_chunks, "rows missing", counted),
        (n_rows > known.n_chunks, "rows doubled", counted),
        (held.rows.value != known.digest, "rows altered", _ALTERED),
    )
    return next((Damage(kind, name, said) for wrong, kind, said in checks if wrong), None)
