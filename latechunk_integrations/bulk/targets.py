"""Where rows go, as a user writes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs, urlsplit

from latechunk_integrations.bulk.writers.files import FileKind, FileWriter
from latechunk_integrations.bulk.writers.writer import Writer
from latechunk_integrations.errors import OptionError
from latechunk_integrations.plugins import WRITERS


@dataclass(frozen=True)
class Target:
    """A table or a collection.

    Args:
        kind: What is there: a name of `WRITERS`, or ``parquet`` or ``jsonl``.
        place: Path or URL.
        collection: Name of the collection; ``""`` for files.
    """

    kind: str
    place: str
    collection: str = ""

    @classmethod
    def parse(cls, target: str) -> Target:
        """Read ``STORE:PLACE#NAME``, where a place is a path or a URL, or a folder of parts.

        In place of a store's the name of an entry point (group
        ``latechunk_integrations.writers``) or ``module:Class`` names a writer of another package.

        Raises:
            OptionError: It is not one of these.
        """
        kind, _, rest = target.partition(":")
        is_named = kind in WRITERS.names()
        if not is_named:
            name, _, rest = rest.partition(":")
            kind = f"{kind}:{name}"
        place, _, collection = rest.rpartition("#")
        if place and collection:
            return cls(kind, _make_absolute(place), collection)
        for suffix in ("parquet", "jsonl"):
            if target.endswith(f".{suffix}") and not is_named:
                return cls(suffix, _make_absolute(target))
        raise OptionError(
            f"the target {target!r} is not one of milvus:FILE.db#COLLECTION, "
            "milvus:http://HOST:PORT#COLLECTION, qdrant:FOLDER#COLLECTION, "
            "qdrant:http://HOST:PORT#COLLECTION, chroma:FOLDER#COLLECTION, "
            "pgvector:postgresql://USER@HOST/DATABASE#TABLE, lancedb:FOLDER#TABLE, "
            "FOLDER.parquet, FOLDER.jsonl, "
            "module:Class:PLACE#COLLECTION (a writer of your own)"
        )

    @property
    def identity(self) -> str:
        """Names the target in a checkpoint."""
        return f"{self.kind}:{self.place}#{self.collection}"

    @property
    def local_path(self) -> Path | None:
        """Where it is on this machine; ``None`` for a server."""
        return None if "://" in self.place else Path(self.place)

    def open(self, dimensions: int | None, run_id: str) -> Writer:
        """Connect.

        Args:
            dimensions: Width of a vector; ``None``: only to read what is there.
            run_id: Names the parts of a run, where there are parts.

        Raises:
            MissingExtraError: The target's package is not installed.
            OptionError: There is no writer of that name.
            WriterError: It does not answer, or holds something else.
        """
        if self.collection:
            writer: Writer = WRITERS.find(self.kind)(self.place, self.collection, dimensions)
            return writer
        return FileWriter(Path(self.place), cast("FileKind", self.kind), run_id, dimensions)


def _make_absolute(place: str) -> str:
    if "://" in place:
        if holds_password(place):
            raise OptionError(
                "a password does not belong into a target, which is logged and kept in the "
                "checkpoint: give it in the environment"
            )
        return place
    return str(Path(place).expanduser().absolute())


def holds_password(url: str) -> bool:
    """Whether a URL holds a password, before its host or among its parameters."""
    parts = urlsplit(url)
    return bool(parts.password) or "password" in parse_qs(parts.query, keep_blank_values=True)
