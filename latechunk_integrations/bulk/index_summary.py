"""What a run has done, for a person and for a program."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from latechunk_integrations.bulk.atomic_file import replace_file
from latechunk_integrations.bulk.rows import Failure
from latechunk_integrations.errors import OptionError

logger = logging.getLogger(__name__)

_REPORT = "latechunk index"
_EVERY_SECONDS = 5.0


@dataclass
class IndexSummary:
    """What a run has done, in documents but for chunks and tokens.

    Args:
        dead_letters: Where failed documents are listed.
        n_documents: Embedded and written in this run.
        n_chunks: Their chunks.
        n_tokens: Tokens that went through the model.
        n_cached_windows: Windows that the window cache knew.
        n_unchanged: Finished before, and left as they were.
        n_skipped: Of `n_documents`, those left without rows, under ``fallback="skip"``.
        n_failed: Listed among the dead letters, those of former runs included.
        n_retried: Those among them that keep their rows and are tried again by the next run.
        n_removed: Taken out of the target, under ``prune``.
        removal_refused: Why ``prune`` removed nothing although documents are gone; ``""``: it
            did not have to refuse.
        left_out: Links out of the source, and what the run itself writes into it.
        errors: Names of errors by file; ``""`` where the file is not known.
        n_total: Documents of the source; ``None``: not known before it was read.
        seconds: How long it took.
        state: ``running``, ``done``, or ``aborted`` by ``error``.
        error: What ended the run.
    """

    dead_letters: Path
    n_documents: int = 0
    n_chunks: int = 0
    n_tokens: int = 0
    n_cached_windows: int = 0
    n_unchanged: int = 0
    n_skipped: int = 0
    n_failed: int = 0
    n_retried: int = 0
    n_removed: int = 0
    removal_refused: str = ""
    left_out: tuple[Path, ...] = ()
    errors: dict[str, Counter[str]] = field(default_factory=dict)
    n_total: int | None = None
    seconds: float = 0.0
    state: Literal["running", "done", "aborted"] = "running"
    error: str = ""

    def count_error(self, failure: Failure) -> None:
        """Count a failure under its file."""
        self.errors.setdefault(failure.file, Counter())[failure.error] += 1

    @property
    def seconds_left(self) -> float | None:
        """How long the rest will take at the pace so far; ``None``: nobody can tell."""
        n_done = self.n_documents + self.n_unchanged + self.n_failed
        if self.n_total is None or not self.n_documents:
            return None
        return self.seconds / self.n_documents * max(0, self.n_total - n_done)

    def to_dict(self) -> dict[str, Any]:
        """The report: counts, errors, rates in units per second; only what JSON holds."""
        seconds = max(self.seconds, 1e-9)
        left = self.seconds_left
        return {
            "report": _REPORT,
            "state": self.state,
            "error": self.error,
            "documents": {
                "total": self.n_total,
                "written": self.n_documents,
                "unchanged": self.n_unchanged,
                "skipped": self.n_skipped,
                "failed": self.n_failed,
                "to_be_retried": self.n_retried,
                "removed": self.n_removed,
            },
            "removal_refused": self.removal_refused,
            "left_out": [str(path) for path in self.left_out],
            "chunks": self.n_chunks,
            "tokens": self.n_tokens,
            "cached_windows": self.n_cached_windows,
            "seconds": round(self.seconds, 3),
            "seconds_left": None if left is None else round(left, 1),
            "documents_per_second": round(self.n_documents / seconds, 3),
            "chunks_per_second": round(self.n_chunks / seconds, 3),
            "tokens_per_second": round(self.n_tokens / seconds, 3),
            "errors_by_file": {name: dict(each) for name, each in sorted(self.errors.items())},
            "dead_letters": str(self.dead_letters),
        }


class ReportFile:
    """The report of a run as a file that is whole at every moment.

    Args:
        path: The file; ``None``: nothing is written.

    Raises:
        OptionError: A file of another make is there.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._written = 0.0
        if path is not None:
            _check_is_report(path)
            path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, summary: IndexSummary, *, now: bool = False) -> None:
        """Replace the file; without ``now`` only where the last time was some seconds ago."""
        if self._path is None or not (now or time.monotonic() - self._written > _EVERY_SECONDS):
            return
        self._written = time.monotonic()
        try:
            replace_file(self._path, json.dumps(summary.to_dict(), indent=1).encode() + b"\n")
        except OSError as error:  # a full disk ends the run for a better reason than this
            logger.warning(
                "the report %s cannot be written, and the run goes on: %s", self._path, error
            )


def _check_is_report(path: Path) -> None:
    if not path.exists():
        return
    try:
        if json.loads(path.read_bytes()).get("report") == _REPORT:
            return
    except (ValueError, AttributeError, RecursionError, OSError):
        pass
    raise OptionError(
        f"{path} is no report of a run, and would be replaced: name another file for the report"
    )
