"""Which files of a folder belong to a corpus, and what could not be looked at."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from latechunk_integrations.bulk.rows import Failure
from latechunk_integrations.errors import OptionError, SourceError


@dataclass
class SourceFiles:
    """What a walk found.

    Args:
        files: Regular files with a known suffix, in the order of their names.
        unreadable: Folders and files that could not be looked at.
        left_out: Links out of the folder, and what the run itself writes.
    """

    files: list[Path] = field(default_factory=list)
    unreadable: list[Failure] = field(default_factory=list)
    left_out: list[Path] = field(default_factory=list)


def find_files(
    path: Path,
    suffixes: Collection[str],
    *,
    exclude: Sequence[Path] = (),
    follow_links: bool = False,
) -> SourceFiles:
    """Walk a folder, or take one file.

    Args:
        path: The file or folder.
        suffixes: Of the files that can be read, such as ``.txt``.
        exclude: Files and folders that are no part of the corpus.
        follow_links: Also links that lead out of the folder, and links to folders.

    Raises:
        SourceError: The folder itself cannot be looked at.
        OptionError: There is nothing of that name.
    """
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise OptionError(
                f"{path} does not exist; if it is on a share, see that it is mounted"
            ) from error
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    if not is_folder:
        return SourceFiles([path] if ending_of(path) in suffixes else [])
    walk = _Walk(path, suffixes, [_real(each) for each in exclude], follow_links=follow_links)
    walk.go()
    walk.found.files.sort()
    return walk.found


def ending_of(path: Path) -> str:
    """What tells the kind of a file, in small letters: ``SCAN.PDF`` is a PDF."""
    return path.suffix.lower()


def check_outside(source: Path, output: Path, option: str) -> None:
    """Refuse a file to be written that is in the corpus.

    Raises:
        OptionError: It is.
    """
    where, written = _real(source), _real(output)
    if written == where or where in written.parents:
        raise OptionError(
            f"{option} {output} is in the source {source}, and would be read as a document: name "
            "a place outside"
        )


class _Walk:
    def __init__(
        self, root: Path, suffixes: Collection[str], exclude: list[Path], *, follow_links: bool
    ) -> None:
        self.found = SourceFiles()
        self._root = root
        self._real_root = _real(root)
        self._suffixes = suffixes
        self._exclude = exclude
        self._follow_links = follow_links
        # Folders to look at, each with the real ones from the root to it; as deep as they may be.
        self._pending: deque[tuple[Path, tuple[Path, ...]]] = deque([(root, (self._real_root,))])

    def go(self) -> None:
        """Look at the folder and at those below it."""
        while self._pending:
            self._visit(*self._pending.popleft())

    def _visit(self, folder: Path, here: tuple[Path, ...]) -> None:
        try:
            with os.scandir(folder) as entries:
                names = sorted(entry.name for entry in entries)
        except OSError as error:
            if folder == self._root:
                raise SourceError(f"{folder} cannot be read: {error.strerror}") from error
            self._report(folder, error, hides=True)
            return
        for name in names:
            self._look_at(folder / name, here)

    def _look_at(self, path: Path, above: tuple[Path, ...]) -> None:
        try:
            is_link = path.is_symlink()
            if self._is_left_out(path, is_link=is_link):
                self.found.left_out.append(path)
                return
            mode = path.stat().st_mode
        except OSError as error:
            ending = ending_of(path)
            if ending in self._suffixes or not isinstance(error, FileNotFoundError):
                self._report(path, error, hides=ending not in (".txt", ".md"))
            return
        if stat.S_ISDIR(mode):
            real = _real(path) if is_link else above[-1] / path.name
            if is_link and (not self._follow_links or real in above):
                self.found.left_out.append(path)
                return
            self._pending.append((path, (*above, real)))
        elif stat.S_ISREG(mode) and ending_of(path) in self._suffixes:
            self.found.files.append(path)

    def _is_left_out(self, path: Path, *, is_link: bool) -> bool:
        real = _real(path) if is_link or self._exclude else path
        if any(real == each or each in real.parents for each in self._exclude):
            return True
        if not is_link or self._follow_links:
            return False
        return self._real_root not in real.parents

    def _report(self, path: Path, error: OSError, *, hides: bool) -> None:
        name = path.relative_to(self._root).as_posix()
        self.found.unreadable.append(Failure.of(name, error, file=name, retry=True, hides=hides))


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path.expanduser()))
