"""Where rows go, as a user writes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from latechunk_integrations.bulk.writers.base import Writer
from latechunk_integrations.bulk.writers.files import FileWriter
from latechunk_integrations.bulk.writers.milvus import MilvusWriter
from latechunk_integrations.bulk.writers.qdrant import QdrantWriter
from latechunk_integrations.errors import OptionError

__all__ = ["Target"]

_Kind: TypeAlias = Literal["milvus", "qdrant", "parquet", "jsonl"]


@dataclass(frozen=True)
class Target:
    """A table or a collection.

    Args:
        kind: What stands there.
        place: Path or URL.
        collection: Name of the collection; ``""`` for files.
    """

    kind: _Kind
    place: str
    collection: str = ""

    @classmethod
    def parse(cls, target: str) -> Target:
        """Read ``milvus:FILE.db#NAME``, ``qdrant:FOLDER#NAME``, a URL there, or a folder.

        Raises:
            OptionError: It is none of these.
        """
        scheme, _, rest = target.partition(":")
        if scheme in ("milvus", "qdrant"):
            place, _, collection = rest.rpartition("#")
            if place and collection:
                return cls(scheme, _absolute(place), collection)  # type: ignore[arg-type]  # one of the two
        elif target.endswith(".parquet"):
            return cls("parquet", _absolute(target))
        elif target.endswith(".jsonl"):
            return cls("jsonl", _absolute(target))
        raise OptionError(
            f"the target {target!r} is none of milvus:FILE.db#COLLECTION, "
            "milvus:http://HOST:PORT#COLLECTION, qdrant:FOLDER#COLLECTION, "
            "qdrant:http://HOST:PORT#COLLECTION, FOLDER.parquet, FOLDER.jsonl"
        )

    @property
    def identity(self) -> str:
        """Names the target in a checkpoint."""
        return f"{self.kind}:{self.place}#{self.collection}"

    def open(self, dimensions: int, run_id: str) -> Writer:
        """Connect.

        Args:
            dimensions: Width of a vector.
            run_id: Names the parts of a run, where there are parts.

        Raises:
            MissingExtraError: The target's package is not installed.
            WriterError: It does not answer, or holds something else.
        """
        if self.kind == "milvus":
            return MilvusWriter(self.place, self.collection, dimensions)
        if self.kind == "qdrant":
            return QdrantWriter(self.place, self.collection, dimensions)
        return FileWriter(Path(self.place), self.kind, run_id, dimensions)


def _absolute(place: str) -> str:
    if place.startswith(("http://", "https://")):
        return place
    return str(Path(place).expanduser().absolute())
