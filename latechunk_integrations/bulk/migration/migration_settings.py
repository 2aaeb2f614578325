"""What a migration may be told, what it would do, and what it did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from latechunk_integrations.bulk.migration.chunk_fields import Framework
from latechunk_integrations.bulk.migration.rebuilding import RebuiltParent, Unplaced
from latechunk_integrations.errors import OptionError

UnplacedPolicy: TypeAlias = Literal["leave", "standalone", "keep"]
"""What becomes of chunks without a place: no vector beside the old one, the vector of the chunk
alone, or a copy of the old vector."""

# Chunks that are named for each reason.
_EXAMPLES = 3


@dataclass(frozen=True, kw_only=True)
class MigrationSettings:
    """What a migration may be told besides collection, options and checkpoint.

    Args:
        framework: Whose class wrote the collection; None: written by hand.
        fields: Where a record keeps ``id``, ``text``, ``source``, ``file``, ``start``, ``end``,
            ``order``, ``next``, ``header`` or ``marks``, where that differs.
        source_folder: The files that chunks were cut from: each chunk is searched for there.
        vector: Name of the old vector, or of its field, where the store does not say it.
        late_name: Names what the late vectors are put in beside the old ones.
        unplaced: What chunks without a proved place get: ``"leave"``: no late vector,
            ``"standalone"``: that of the chunk alone, ``"keep"``: a copy of the old one.
        restart: Forget what the checkpoint holds.
        batch_parents: Parents that are embedded and noted together, at most.
        batch_chunks: Chunks of these, about.
        max_file_bytes: Larger source files are refused.
        show_progress: Show a progress bar over parents.

    Raises:
        OptionError: A value is impossible.
    """

    framework: Framework | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    source_folder: Path | None = None
    vector: str | None = None
    late_name: str = "late"
    unplaced: UnplacedPolicy = "leave"
    restart: bool = False
    batch_parents: int = 64
    batch_chunks: int = 512
    max_file_bytes: int = 64 << 20
    show_progress: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("batch_parents", "batch_chunks", "max_file_bytes"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.unplaced not in get_args(UnplacedPolicy):
            raise OptionError(
                f"unplaced={self.unplaced!r} is not one of {get_args(UnplacedPolicy)}"
            )
        if not self.late_name.isidentifier():
            raise OptionError(f"late_name={self.late_name!r} must be a plain name, such as 'late'")


@dataclass
class MigrationPlan:
    """How many chunks can get late vectors, and why others cannot.

    Args:
        collection: What was looked at.
        n_chunks: Chunks in it.
        n_parents: Parents that were rebuilt.
        n_placed: Chunks that have a place in one.
        n_gap_chars: Characters between chunks that no chunk holds.
        n_unmerged: Neighbours whose overlap could not be told.
        built_from: Parents by what they were rebuilt from.
        unplaced: Chunks without a place by reason.
        examples: A few of their ids by reason.
    """

    collection: str
    n_chunks: int = 0
    n_parents: int = 0
    n_placed: int = 0
    n_gap_chars: int = 0
    n_unmerged: int = 0
    built_from: Counter[str] = field(default_factory=Counter)
    unplaced: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    @property
    def n_unplaced(self) -> int:
        """Chunks without a place."""
        return self.unplaced.total()

    def add(self, rebuilt: RebuiltParent) -> None:
        """Count a parent."""
        self.n_chunks += len(rebuilt.placed) + len(rebuilt.unplaced)
        self.n_placed += len(rebuilt.placed)
        self.n_gap_chars += rebuilt.n_gap_chars
        self.n_unmerged += rebuilt.n_unmerged
        if rebuilt.placed:
            self.n_parents += 1
            self.built_from[rebuilt.how] += 1
        for each in rebuilt.unplaced:
            self.add_unplaced(each)

    def add_unplaced(self, each: Unplaced) -> None:
        """Count a chunk that has no place; its parent is counted elsewhere."""
        self.unplaced[each.reason] += 1
        examples = self.examples.setdefault(each.reason, [])
        if len(examples) < _EXAMPLES:
            examples.append(str(each.chunk.key))

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        counted = {"built_from": dict(self.built_from), "unplaced": dict(self.unplaced)}
        return {**vars(self), **counted, "n_unplaced": self.n_unplaced}


@dataclass
class MigrationSummary:
    """What a migration has done.

    Args:
        plan: What was found.
        place_of_late: Where the late vectors are, in words.
        n_parents: Parents embedded in this run.
        n_written: Vectors written in this run.
        n_unchanged: Parents that were finished before.
        failed: Parents that could not be embedded, with the reason.
        seconds: How long it took.
    """

    plan: MigrationPlan
    place_of_late: str = ""
    n_parents: int = 0
    n_written: int = 0
    n_unchanged: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {**vars(self), "plan": self.plan.to_dict()}
