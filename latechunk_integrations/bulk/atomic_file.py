"""Files that a crash leaves whole: the old one or the new one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

_BLOCK_BYTES = 1 << 20


def replace_file(
    path: Path,
    content: bytes | Callable[[BinaryIO], object],
    announce: Callable[[str], object] | None = None,
) -> None:
    """Put a file in place: after a crash there is the old one or the new one.

    Args:
        path: The file.
        content: What it holds, or what writes it.
        announce: Called with the seal of the new file before it takes the old one's place.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        if callable(content):
            content(file)
        else:
            file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if announce is not None:
        announce(seal_file(temporary))
    temporary.replace(path)
    if os.name == "posix":  # elsewhere a folder cannot be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def seal_file(path: Path) -> str:
    """Size and hash of a file, ``BYTES:SHA256``: what tells whether it is still the same."""
    hashed = hashlib.sha256()
    n_bytes = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            hashed.update(block)
            n_bytes += len(block)
    return f"{n_bytes}:{hashed.hexdigest()}"
