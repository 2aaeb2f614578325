"""The source compared with the checkpoint: what is new, changed, gone, and what nobody can tell."""

from __future__ import annotations

from typing import Literal, TypeAlias

from latechunk_integrations.bulk.checkpoint_state import CheckpointState
from latechunk_integrations.bulk.rows import CorpusDocument, Failure
from latechunk_integrations.errors import InputError

Verdict: TypeAlias = Literal[
    "added", "replaced", "unchanged", "failing", "failed", "unreadable", "duplicate"
]
"""What a document of the source is to the target.

``failing`` is a failure that the checkpoint does not know yet, ``failed`` one that it does.
"""


class Reconciliation:
    """Judges the documents of a source, one after the other; then it knows which are gone.

    A document is present, unreadable or gone. It is gone only if the whole source was read and
    it was not there.

    Args:
        state: What the checkpoint knows.
        key: Fingerprint of engine and splitter.
    """

    def __init__(self, state: CheckpointState, key: str) -> None:
        self._state = state
        self._key = key
        self.seen: set[str] = set()
        self.unreadable: list[Failure] = []
        self.hiding: list[Failure] = []
        self.duplicates: list[Failure] = []

    def judge(self, document: CorpusDocument | Failure) -> Verdict:
        """What this document is; call it once for each of the source."""
        name = document.document_id if isinstance(document, Failure) else document.id
        if isinstance(document, Failure) and document.hides:
            self.hiding.append(document)
        if name in self.seen:
            error = InputError(f"the id {name!r} is in the source twice; ids must be unique")
            self.duplicates.append(Failure.of(name, error, file=document.file))
            return "duplicate"
        self.seen.add(name)
        if isinstance(document, Failure):
            return self._judge_failure(document)
        if self._state.knows(name, document.version(self._key)):
            return "failed" if name in self._state.failed else "unchanged"
        has_rows = name in self._state.finished or name in self._state.begun
        return "replaced" if has_rows else "added"

    def _judge_failure(self, failure: Failure) -> Verdict:
        if failure.retry:
            self.unreadable.append(failure)
            return "unreadable"
        is_known = self._state.knows(failure.document_id, failure.version)
        return "failed" if is_known else "failing"

    def gone(self) -> list[str]:
        """Documents that the checkpoint knows and the source no longer has."""
        return [name for name in self._state.documents() if name not in self.seen]

    def refuse_removal(self, at_most: float) -> str:
        """Why the documents that are gone may not be removed; ``""``: they may.

        Args:
            at_most: The share of the documents in the target that may go at once.
        """
        with_rows = self._state.documents_with_rows()
        gone = with_rows - self.seen
        if not gone:
            return ""
        if self.hiding:
            first = self.hiding[0]
            return (
                f"{len(gone)} documents seem to be gone, but {len(self.hiding)} places in the "
                f"source could not be read and may hold them, such as {first.document_id!r} "
                f"({first.error}: {first.reason}); nothing was removed"
            )
        share = len(gone) / len(with_rows)
        if share > at_most:
            return (
                f"{len(gone)} of {len(with_rows)} documents are gone from the source "
                f"({share:.1%}), more than prune_at_most allows ({at_most:.1%}); nothing was "
                f"removed. If they are to go, run again with --prune-at-most {_round_up(share)}"
            )
        return ""


def _round_up(share: float) -> str:
    """A number that is not below the share, in few digits."""
    return f"{min(1.0, -(-share * 100 // 1) / 100):g}"
