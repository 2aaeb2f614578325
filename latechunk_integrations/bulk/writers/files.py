"""Chunk rows into a folder of Parquet or JSON lines parts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from latechunk_integrations.bulk.atomic_file import replace_file, seal_file
from latechunk_integrations.bulk.rows import COLUMNS, DocumentRows, to_table
from latechunk_integrations.errors import CheckpointError, MissingTargetError, WriterError
from latechunk_integrations.plugins import import_extra

FileKind: TypeAlias = Literal["parquet", "jsonl"]


_HOW_TO_MEND = "latechunk repair does its documents again, --restart all of them"
_BATCH_ROWS = 1_024


class PartProblem(NamedTuple):
    """A part that is not as the checkpoint has it.

    Args:
        part: Its name.
        problem: ``missing``, ``damaged`` (another size or hash) or ``unknown``.
    """

    part: str
    problem: Literal["missing", "damaged", "unknown"]


class FileWriter:
    """A part for each batch of documents, put in place whole.

    Args:
        folder: Where the parts are; made if need be.
        kind: ``"parquet"`` or ``"jsonl"``.
        run_id: Names the parts of this run.
        dimensions: Width of a vector; ``None``: the folder is only read.

    Raises:
        MissingExtraError: ``parquet`` and pyarrow is not installed.
        WriterError: The folder is a file, or is only to be read and not there.
    """

    def __init__(self, folder: Path, kind: FileKind, run_id: str, dimensions: int | None) -> None:
        self._folder = folder
        self._kind = kind
        self._prefix = f"part-{run_id}-"
        self._dimensions = dimensions
        if kind == "parquet":
            import_extra("pyarrow.parquet", extra="bulk")
        if dimensions is None:
            if not folder.is_dir():
                raise MissingTargetError(f"there is no folder {folder}")
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise WriterError(f"{folder} is a file; rows go into a folder of parts") from error

    def recover(self, parts: Mapping[str, Collection[str]]) -> None:
        """Drop parts that are not in the checkpoint; refuse those of another run.

        Raises:
            CheckpointError: The folder holds parts of another run, or one of this run is missing
                or has another size.
        """
        for part, problem in self.find_problems(parts, hashes=False):
            if problem == "unknown" and part.startswith(self._prefix):
                (self._folder / part).unlink()
            elif problem == "unknown":
                raise CheckpointError(
                    f"{self._folder} holds parts that the checkpoint does not know, such as "
                    f"{part}; name another folder, or the checkpoint they were made with; if that "
                    "is lost, latechunk repair makes it anew"
                )
            elif problem == "missing":
                raise CheckpointError(
                    f"{self._folder} lacks {part}, which the checkpoint counts as written; "
                    f"{_HOW_TO_MEND}"
                )
            else:
                raise CheckpointError(
                    f"{self._folder / part} is damaged: its size is not what was written; "
                    f"{_HOW_TO_MEND}"
                )
        for temporary in self._folder.glob(".part-*.tmp"):
            temporary.unlink()

    def find_problems(
        self, parts: Mapping[str, Collection[str]], *, hashes: bool
    ) -> list[PartProblem]:
        """Parts that are not as the checkpoint has them; strangers first.

        Args:
            parts: The parts that the checkpoint knows, each with the seals that it may have.
            hashes: Compare hashes too, which reads every part; otherwise sizes.
        """
        present = set(self.parts())
        found = [PartProblem(name, "unknown") for name in sorted(present - parts.keys())]
        found.sort(key=lambda each: each.part.startswith(self._prefix))
        for name in sorted(parts):
            if name not in present:
                found.append(PartProblem(name, "missing"))
            elif not self._is_sealed(name, parts[name], hashes=hashes):
                found.append(PartProblem(name, "damaged"))
        return found

    def parts(self) -> list[str]:
        """Names of the parts in the folder."""
        return sorted(path.name for path in self._folder.glob(f"part-*.{self._kind}"))

    def move(self, part: str, place: Path) -> None:
        """Move a part out of the folder, if it is there."""
        if (self._folder / part).exists():
            shutil.move(self._folder / part, place)

    def _is_sealed(self, part: str, seals: Collection[str], *, hashes: bool) -> bool:
        path = self._folder / part
        if hashes:
            return seal_file(path) in seals
        return str(path.stat().st_size) in {seal.partition(":")[0] for seal in seals}

    def check(self, document: DocumentRows) -> None:
        """A file holds everything."""

    def write(self, documents: Sequence[DocumentRows], number: int) -> str:
        """Write one part, if there are rows; former versions stay in theirs until `purge`."""
        if not any(len(document) for document in documents):
            return ""
        name = f"{self._prefix}{number:08d}.{self._kind}"
        while (self._folder / name).exists():  # of a checkpoint that was made anew
            number += 1
            name = f"{self._prefix}{number:08d}.{self._kind}"
        if self._kind == "parquet":
            self._save(name, self._write_parquet(to_table(documents, self._dimensions or 0)))
        else:
            rows = (row for document in documents for row in document.rows())
            self._save(
                name, _write_lines({**row, "vector": row["vector"].tolist()} for row in rows)
            )
        return name

    def seal(self, part: str) -> str:
        """Size and hash of a part."""
        return seal_file(self._folder / part) if part else ""

    def purge(
        self, part: str, versions: Mapping[str, str], announce: Callable[[str], object]
    ) -> str:
        """Write a part anew with only the rows of these versions; it may be left empty."""
        if self._kind == "parquet":
            arrow = import_extra("pyarrow", extra="bulk")
            table = self._read_table(part)
            pairs = zip(
                *(table[name].to_pylist() for name in ("document_id", "version")), strict=True
            )
            kept = [versions.get(document) == version for document, version in pairs]
            fill = self._write_parquet(table.filter(arrow.array(kept, arrow.bool_())))
        else:
            rows = self._read_lines(part)
            fill = _write_lines(
                row for row in rows if versions.get(row["document_id"]) == row["version"]
            )
        self._save(part, fill, announce)
        return self.seal(part)

    def scan(self) -> Iterator[Mapping[str, Any]]:
        """Every row of every part.

        Raises:
            WriterError: A part cannot be read.
        """
        for part in self.parts():
            yield from self.scan_part(part)

    def scan_part(self, part: str) -> Iterator[Mapping[str, Any]]:
        """Every row of one part.

        Raises:
            WriterError: It cannot be read.
        """
        if self._kind == "jsonl":
            for row in self._read_lines(part):
                yield {**row, "vector": np.asarray(row.get("vector", ()), np.float32)}
            return
        table = self._read_table(part)
        for batch in table.to_batches(_BATCH_ROWS):
            for row in batch.to_pylist():
                yield {**row, "vector": np.asarray(row.get("vector", ()), np.float32)}

    def _read_table(self, part: str) -> Any:
        parquet = import_extra("pyarrow.parquet", extra="bulk")
        try:
            return parquet.read_table(self._folder / part, partitioning=None)
        except (OSError, ValueError) as error:
            raise self._unreadable(part, error) from error

    def _read_lines(self, part: str) -> list[dict[str, Any]]:
        try:
            with (self._folder / part).open("rb") as lines:
                rows = [json.loads(line) for line in lines]
        except (OSError, ValueError, RecursionError) as error:
            raise self._unreadable(part, error) from error
        if not all(isinstance(row, dict) for row in rows):
            raise self._unreadable(part, TypeError("a line is no object"))
        return rows

    def _unreadable(self, part: str, error: Exception) -> WriterError:
        return WriterError(f"{self._folder / part} cannot be read ({error}); {_HOW_TO_MEND}")

    def count(self) -> int:
        """Rows of all parts.

        Raises:
            WriterError: A part cannot be read.
        """
        return sum(map(self._count, self.parts()))

    def _count(self, part: str) -> int:
        path = self._folder / part
        try:
            if self._kind == "parquet":
                read = import_extra("pyarrow.parquet", extra="bulk").read_metadata
                return int(read(path).num_rows)
            return path.read_bytes().count(b"\n")
        except (OSError, ValueError) as error:
            raise self._unreadable(part, error) from error

    def close(self) -> None:
        """Nothing is held open."""

    def _write_parquet(self, table: Any) -> Callable[[Any], None]:
        parquet = import_extra("pyarrow.parquet", extra="bulk")
        return lambda file: parquet.write_table(table.select(COLUMNS), file)

    def _save(
        self,
        name: str,
        fill: Callable[[Any], None],
        announce: Callable[[str], object] | None = None,
    ) -> None:
        path = self._folder / name
        try:
            replace_file(path, fill, announce)
        except OSError as error:
            raise WriterError(
                f"{path} cannot be written ({error}); start the same command again when it can"
            ) from error


def _write_lines(rows: Iterable[Mapping[str, Any]]) -> Callable[[Any], None]:
    def fill(file: Any) -> None:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")

    return fill
