"""What names a model's weights, found without loading them."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from latechunk_integrations.encoders.model.published import PublishedFiles

# Whole files, so that no fine-tuned layer is overlooked; about a second for each gigabyte.
_HASHED = {".json", ".model", ".py", ".safetensors", ".txt"}
_BLOCK_BYTES = 1 << 20


def folder_identity(folder: Path) -> str:
    """Hash of the content of a model's folder; read again only where a file was changed."""
    return _content_hash(folder, _sign_files(folder))


def published_identity(model: str, revision: str | None) -> str | None:
    """The content of a local folder, or the commit of a hub model that lies on this machine.

    Args:
        model: Hub name or local path.
        revision: Branch, tag or commit of a hub model.

    Returns:
        None where it was not downloaded yet.
    """
    if Path(model).is_dir():
        return folder_identity(Path(model))
    files = PublishedFiles(model, revision)
    for name in ("config.json", "modules.json"):
        try:
            found = try_to_load_from_cache(
                files.repository, name, cache_dir=files.cache_folder, revision=revision
            )
        except ValueError:  # no name that a hub could have
            return None
        if isinstance(found, str):
            return f"{model}@{Path(found).parent.name}"
    return None


def _sign_files(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, size and time of each file that counts."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix in _HASHED and path.is_file():
            about = path.stat()
            found.append((path.relative_to(folder).as_posix(), about.st_size, about.st_mtime_ns))
    return tuple(found)


@lru_cache(maxsize=16)
def _content_hash(folder: Path, signature: tuple[tuple[str, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for name, size, _ in signature:
        digest.update(f"{name}\0{size}\0".encode())
        with (folder / name).open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()
