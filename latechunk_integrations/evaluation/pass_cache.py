"""Computed vectors on disk, so that a run goes on where it stopped."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.packing import DAMAGED_ZIP
from latechunk_integrations.evaluation.results import Costs
from latechunk_integrations.schema import Parent

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class CachedVectors:
    """Vectors of one pass, and what they cost.

    Args:
        vectors: Float32, shape ``(n, dim)``.
        late: Whether each row was pooled from its parent, bool, shape ``(n,)``.
        costs: What computing them took, at the time it was done.
        parts: Vectors of parts of the chunks, float32, shape ``(n_parts, dim)``; ``None``: none.
            They are not kept on disk.
        owners: The row that each part belongs to, ascending, int64, shape ``(n_parts,)``.
    """

    vectors: NDArray[np.float32]
    late: NDArray[np.bool_]
    costs: Costs
    parts: NDArray[np.float32] | None = None
    owners: NDArray[np.int64] | None = None


def input_key(fingerprint: str, parents: Sequence[Parent]) -> str:
    """A name for what an engine gives for these parents.

    Returns:
        A hash in hex: equal engines and parents, equal keys.
    """
    digest = hashlib.sha256(fingerprint.encode())
    for parent in parents:
        digest.update(parent.fingerprint.encode())
        digest.update(len(parent.spans).to_bytes(8, "little"))
        digest.update(parent.spans.array.tobytes())
    return digest.hexdigest()[:40]


class VectorCache:
    """A folder of ``.npz`` files, one for each pass over a golden set.

    Args:
        folder: Created if missing; ``None``: nothing is kept.
    """

    def __init__(self, folder: str | Path | None) -> None:
        self._folder = None if folder is None else Path(folder)
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)

    def get(
        self, key: str, shape: tuple[int, int], compute: Callable[[], CachedVectors]
    ) -> CachedVectors:
        """The vectors kept under a key; computed and kept if there are none, or damaged ones."""
        if self._folder is None:
            return compute()
        path = self._folder / f"{key}.npz"
        if path.is_file():
            try:
                return _check(_read(path), shape)
            except (ValueError, TypeError, KeyError, EOFError, *DAMAGED_ZIP) as error:
                logger.warning("kept vectors in %s are damaged, computed anew: %s", path, error)
        made = compute()
        _write(path, made)
        return made


def _read(path: Path) -> CachedVectors:
    # Opened here, for NumPy leaves what it cannot read open.
    with path.open("rb") as file, np.load(file) as arrays:
        seconds, tokens, memory = arrays["costs"].tolist()
        costs = Costs(seconds, int(tokens), None if memory < 0 else memory)
        return CachedVectors(arrays["vectors"], arrays["late"], costs)


def _check(found: CachedVectors, shape: tuple[int, int]) -> CachedVectors:
    if found.vectors.shape != shape or found.vectors.dtype != np.float32:
        raise ValueError(f"{found.vectors.dtype} of shape {found.vectors.shape}, not {shape}")
    if found.late.shape != shape[:1] or found.late.dtype != np.bool_:
        raise ValueError(f"{found.late.dtype} marks of shape {found.late.shape}")
    return found


def _write(path: Path, made: CachedVectors) -> None:
    memory = -1.0 if made.costs.peak_memory_mb is None else made.costs.peak_memory_mb
    costs = np.array([made.costs.seconds, made.costs.encoder_tokens, memory], np.float64)
    # A run that is stopped while writing must not leave half a file under the name.
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.savez(file, vectors=made.vectors, late=made.late, costs=costs)
    partial.replace(path)
