"""What a run may be told, and what it says at its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from latechunk_integrations.bulk.chunking import Chunking
from latechunk_integrations.bulk.rows import Columns
from latechunk_integrations.errors import OptionError

__all__ = ["IndexSettings", "IndexSummary"]


@dataclass(frozen=True, kw_only=True)
class IndexSettings:
    """What a run may be told besides source, target, options and checkpoint.

    Args:
        chunking: The splitter.
        columns: Where records keep their document.
        ray: Embed in Ray actors; otherwise in this process.
        concurrency: Number of actors.
        num_cpus: Cores of each actor, which are also its threads.
        num_gpus: Accelerators of each actor.
        reproducible: Embed each document by itself, see `DocumentEmbedder`.
        restart: Forget what the checkpoint holds.
        prune: Remove documents from the target that the source no longer has.
        dead_letters: Where failed documents are listed; ``None``: in the checkpoint's folder.
        batch_documents: Documents that are written and noted together, at most.
        batch_chars: Characters of these, about.
        show_progress: Show a progress bar over documents.

    Raises:
        OptionError: A number is less than 1.
    """

    chunking: Chunking = field(default_factory=Chunking)
    columns: Columns = field(default_factory=Columns)
    ray: bool = False
    concurrency: int = 1
    num_cpus: float = 1
    num_gpus: float = 0
    reproducible: bool = True
    restart: bool = False
    prune: bool = False
    dead_letters: Path | None = None
    batch_documents: int = 64
    batch_chars: int = 1 << 18
    show_progress: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("concurrency", "batch_documents", "batch_chars"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.concurrency > 1 and not self.ray:
            raise OptionError("concurrency is a number of Ray actors: it needs ray")


@dataclass
class IndexSummary:
    """What a run has done, in documents but for ``n_chunks``.

    Args:
        dead_letters: Where failed documents are listed.
        n_documents: Embedded and written in this run.
        n_chunks: Their chunks.
        n_unchanged: Finished before, and left as they were.
        n_skipped: Embedded in this run to nothing, under ``fallback="skip"``.
        n_failed: Listed among the dead letters, those of former runs included.
        n_removed: Taken out of the target, under ``prune``.
        seconds: How long it took.
    """

    dead_letters: Path
    n_documents: int = 0
    n_chunks: int = 0
    n_unchanged: int = 0
    n_skipped: int = 0
    n_failed: int = 0
    n_removed: int = 0
    seconds: float = 0.0
