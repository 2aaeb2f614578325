"""The file that lists documents that failed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from latechunk_integrations.bulk.atomic_file import replace_file
from latechunk_integrations.bulk.rows import Failure
from latechunk_integrations.errors import OptionError

_KEYS = {"id", "error", "reason"}
# A letter that is cut off begins so, and goes on so after the id.
_BEGINNING, _NEXT = b'{"id": "', b'", "error": "'
_CUT_LETTER = re.compile(_BEGINNING.replace(b"{", b"\\{") + rb'(?:[^"\\]|\\.)*\\?(.*)', re.DOTALL)


class DeadLetters:
    """Each failed document once: those that the checkpoint knows, and those of this run.

    Args:
        path: The file; its folder is made if need be.
        failures: What has failed so far.

    Raises:
        OptionError: A file of another make is there.
    """

    def __init__(self, path: Path, failures: Iterable[Failure]) -> None:
        self.path = path
        check_is_ours(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.write(failures)

    def write(self, failures: Iterable[Failure]) -> None:
        """Replace the file."""
        replace_file(self.path, b"".join(map(format_letter, failures)))

    def add(self, failures: Iterable[Failure]) -> None:
        """Append documents."""
        with self.path.open("ab") as file:
            file.write(b"".join(map(format_letter, failures)))


def check_is_ours(path: Path) -> None:
    """Refuse a file that holds something else than dead letters, so that it is not replaced."""
    if not path.exists():
        return
    try:
        with path.open("rb") as file:
            *lines, last = file.read().split(b"\n")
        if not _was_cut(last):
            lines.append(last)
        letters = [json.loads(line) for line in lines]
        if all(isinstance(each, dict) and each.keys() == _KEYS for each in letters):
            return
    except (ValueError, RecursionError, OSError):
        pass
    raise OptionError(
        f"{path} is no file of dead letters, and would be replaced: name another file for "
        "dead_letters (--dead-letters)"
    )


def _was_cut(line: bytes) -> bool:
    """Whether this is the beginning of a letter: a full disk, or a kill, cuts the last one off."""
    found = _CUT_LETTER.fullmatch(line)
    if found is None:
        return _BEGINNING.startswith(line)
    try:
        json.loads(line)
    except ValueError:
        return found[1].startswith(_NEXT) or _NEXT.startswith(found[1])
    return False


def format_letter(failure: Failure) -> bytes:
    """The line of a failed document."""
    line = {"id": failure.document_id, "error": failure.error, "reason": failure.reason}
    return json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
