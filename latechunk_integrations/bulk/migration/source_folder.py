"""The files that chunks were cut from, by the names that their metadata have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

from latechunk_integrations.bulk.corpus_walk import ending_of
from latechunk_integrations.bulk.document_formats import FORMATS, read_format
from latechunk_integrations.errors import InputError, OptionError


class SourceText(NamedTuple):
    """The text of a file, or why there is none."""

    text: str | None
    reason: str = ""


class SourceFolder:
    """Texts of files below a folder, wherever the folder was when they were indexed.

    Metadata hold paths of another time or machine. The beginning that most of the names share,
    and without which they are files here, is taken off. A name with another beginning does not
    count: an equal file name is no proof.

    Args:
        folder: The folder.
        names: Every name that may be asked for.
        max_file_bytes: Larger files are refused.

    Raises:
        OptionError: There is no such folder.
    """

    def __init__(self, folder: Path, names: Iterable[str], max_file_bytes: int) -> None:
        if not folder.is_dir():
            raise OptionError(f"the source folder {folder} is no folder")
        self._folder = folder.resolve()
        self._max_bytes = max_file_bytes
        votes: Counter[tuple[str, ...]] = Counter()
        for name in names:
            parts = _split_path(name)
            votes.update(parts[:n] for n in range(len(parts)) if self._find(parts[n:]))
        best = max(votes.values(), default=0)
        self._prefix = min(
            (prefix for prefix in votes if votes[prefix] == best), default=(), key=len
        )

    def read(self, name: str) -> SourceText:
        """The text of a file, or the reason for none: each costs only its own chunks."""
        parts = _split_path(name)
        n = len(self._prefix)
        path = self._find(parts[n:]) if parts[:n] == self._prefix else None
        if path is None:
            return SourceText(None, "no_source_file")
        try:
            if path.stat().st_size > self._max_bytes:
                return SourceText(None, "source_file_too_large")
            kind = ending_of(path)
            if kind in FORMATS:
                return SourceText(read_format(kind, path.read_bytes(), name, self._max_bytes))
            return SourceText(path.read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError, InputError):
            return SourceText(None, "source_file_unreadable")

    def _find(self, parts: tuple[str, ...]) -> Path | None:
        """The file, if it is one and lies in the folder."""
        if not parts or ".." in parts:
            return None
        try:
            path = self._folder.joinpath(*parts).resolve()
            return path if path.is_file() and path.is_relative_to(self._folder) else None
        except (OSError, ValueError):  # a name that no file can have
            return None


def _split_path(name: str) -> tuple[str, ...]:
    """The parts of a path of any system, its root left out."""
    name = name.removeprefix("file://")
    kind = PureWindowsPath if "\\" in name else PurePosixPath
    path = kind(name)
    return path.relative_to(path.anchor).parts if path.anchor else path.parts
