"""What a run may be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from latechunk_integrations.bulk.chunking import Chunking
from latechunk_integrations.bulk.corpus_files import MOST_DOCUMENT_BYTES
from latechunk_integrations.bulk.device_health import MOST_FAILURES_IN_A_ROW
from latechunk_integrations.bulk.rows import Columns
from latechunk_integrations.errors import OptionError

_COUNTS = (
    "concurrency",
    "batch_documents",
    "batch_chars",
    "most_failures_in_a_row",
    "most_document_bytes",
)


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
        reproducible: Embed each document by itself, so that its rows have the same bits always.
        restart: Forget what the checkpoint holds.
        prune: Remove documents from the target that the source no longer has.
        prune_at_most: The share of documents that ``prune`` may remove at once, 0 to 1; more is
            refused.
        follow_links: Read links that lead out of the source folder, and links to folders.
        dead_letters: Where failed documents are listed; ``None``: in the checkpoint's folder.
        report: A JSON file that is kept up to date while the run goes on; ``None``: none.
        batch_documents: Documents that are written and noted together, at most.
        batch_chars: About as many characters end such a batch too.
        most_failures_in_a_row: Documents in a row that the model or its server may fail over
            before the run ends.
        most_document_bytes: Bytes of a text file or of a line, at most.
        show_progress: Show a progress bar over documents.

    Raises:
        OptionError: A number is out of its range.
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
    prune_at_most: float = 0.1
    follow_links: bool = False
    dead_letters: Path | None = None
    report: Path | None = None
    batch_documents: int = 64
    batch_chars: int = 1 << 18
    most_failures_in_a_row: int = MOST_FAILURES_IN_A_ROW
    most_document_bytes: int = MOST_DOCUMENT_BYTES
    show_progress: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.prune_at_most <= 1:
            raise OptionError(f"prune_at_most is a share from 0 to 1, not {self.prune_at_most:g}")
        if self.concurrency > 1 and not self.ray:
            raise OptionError("concurrency is a number of Ray actors: it needs ray")
