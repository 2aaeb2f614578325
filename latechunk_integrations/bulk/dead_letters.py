"""The file of documents that have failed: JSON lines of id, error and reason."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from latechunk_integrations.bulk.durable import replace_file
from latechunk_integrations.bulk.rows import Failure

__all__ = ["DeadLetters"]


class DeadLetters:
    """Follows the checkpoint, which is the truth: each failed document stands here once.

    Args:
        path: The file; its folder is made if need be.
        failures: What has failed so far.
    """

    def __init__(self, path: Path, failures: Iterable[Failure]) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.write(failures)

    def write(self, failures: Iterable[Failure]) -> None:
        """Replace the file."""
        replace_file(self.path, b"".join(map(letter, failures)))

    def add(self, failures: Iterable[Failure]) -> None:
        """Append documents."""
        with self.path.open("ab") as file:
            file.write(b"".join(map(letter, failures)))


def letter(failure: Failure) -> bytes:
    """The line of a failed document."""
    line = {"id": failure.document_id, "error": failure.error, "reason": failure.reason}
    return json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
