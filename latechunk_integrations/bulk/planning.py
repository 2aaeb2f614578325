"""What a run would do, without doing it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latechunk_integrations.bulk.checkpoint import read_state
from latechunk_integrations.bulk.checkpoint_state import CheckpointState
from latechunk_integrations.bulk.embedder import DocumentEmbedder
from latechunk_integrations.bulk.index_places import open_source
from latechunk_integrations.bulk.index_settings import IndexSettings
from latechunk_integrations.bulk.indexing import make_identity
from latechunk_integrations.bulk.reconciliation import Reconciliation
from latechunk_integrations.bulk.rows import CorpusDocument, Failure
from latechunk_integrations.bulk.targets import Target
from latechunk_integrations.engine import shared_engine
from latechunk_integrations.options import LateChunkOptions

_CHANGED = "its text or header changed"
_UNFINISHED = "a run ended while it was being written"


@dataclass
class IndexPlan:
    """What `index` would do with the same arguments. Documents by id, each with a reason.

    Args:
        added: Documents that the target does not have.
        replaced: Documents whose rows would be written anew.
        removed: Documents whose rows would be deleted, under ``prune``.
        kept: Documents that are gone from the source, and whose rows would stay.
        untold: What cannot be told: files and folders that cannot be read, lines without an id.
        failing: Documents that would be, or stay, dead letters.
        n_unchanged: Documents that would be left as they are.
        removal_refused: Why ``prune`` would remove nothing; ``""``: it would not have to refuse.
        left_out: Links out of the source, and what the run itself writes into it.
    """

    added: dict[str, str] = field(default_factory=dict)
    replaced: dict[str, str] = field(default_factory=dict)
    removed: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    untold: dict[str, str] = field(default_factory=dict)
    failing: dict[str, str] = field(default_factory=dict)
    n_unchanged: int = 0
    removal_refused: str = ""
    left_out: tuple[Path, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Only what JSON holds."""
        return {**vars(self), "left_out": [str(path) for path in self.left_out]}


def plan_index(
    source: str | Path | Iterable[CorpusDocument | Failure],
    target: str,
    options: LateChunkOptions,
    checkpoint: str | Path,
    settings: IndexSettings | None = None,
) -> IndexPlan:
    """Compare source and checkpoint; nothing is written, and the target is not opened.

    The model is loaded, since the rows depend on it. Whether the splitter and the model will
    take a document is not tried.

    The arguments are those of `index`. Without a checkpoint, everything would be added.

    Raises:
        CheckpointError: The checkpoint belongs to something else, or is damaged.
        SourceError: The source cannot be looked at.
        OptionError: An option, the source or the target is impossible.
        ModelError: The model cannot be used.
    """
    settings = settings or IndexSettings()
    where, folder = Target.parse(target), Path(checkpoint)
    documents = open_source(source, where, folder, settings)
    key = DocumentEmbedder(shared_engine(options), settings.chunking).key
    state = CheckpointState()
    if not settings.restart:
        state = read_state(folder, make_identity(key, where))
    plan = IndexPlan()
    found = getattr(documents, "found", None)
    plan.left_out = tuple(found.left_out) if found is not None else ()
    compared = Reconciliation(state, key)
    for document in documents:
        _note(plan, state, compared, document)
    _note_gone(plan, compared, settings)
    return plan


def _note(
    plan: IndexPlan,
    state: CheckpointState,
    compared: Reconciliation,
    document: CorpusDocument | Failure,
) -> None:
    verdict = compared.judge(document)
    name = document.document_id if isinstance(document, Failure) else document.id
    if isinstance(document, Failure) and document.hides:
        plan.untold[name] = f"{document.error}: {document.reason}"
    if verdict == "added":
        plan.added[name] = document.file or "new"
    elif verdict == "replaced":
        plan.replaced[name] = _UNFINISHED if name in state.begun else _CHANGED
    elif verdict == "unchanged":
        plan.n_unchanged += 1
    elif verdict == "unreadable" and isinstance(document, Failure):
        plan.untold[name] = f"{document.error}: {document.reason}"
    elif verdict == "duplicate":
        plan.failing[name] = compared.duplicates[-1].reason
    else:
        known = document if isinstance(document, Failure) else state.failed[name]
        plan.failing[name] = f"{known.error}: {known.reason}"


def _note_gone(plan: IndexPlan, compared: Reconciliation, settings: IndexSettings) -> None:
    gone = compared.gone()
    if settings.prune:
        plan.removal_refused = compared.refuse_removal(settings.prune_at_most)
    for name in gone:
        if settings.prune and not plan.removal_refused:
            plan.removed[name] = "gone from the source"
        elif settings.prune:
            plan.kept[name] = "gone from the source, but the removal is refused"
        elif compared.hiding:
            plan.kept[name] = "not seen, but it may be in what could not be read"
        else:
            plan.kept[name] = "gone from the source; prune removes it"
