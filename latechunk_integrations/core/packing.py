"""Parents and their vectors as bytes: JSON and plain arrays, which run no code when they are read.

What was kept elsewhere may be damaged or another's: reading either gives what was packed, or an
error.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.errors import InputError, LateChunkError
from latechunk_integrations.schema import CharSpans, ChunkVectors, Mode, Parent, SubSpanVectors

PACKED_FORM = 2
"""Of packed vectors: a part of their key, so that none of another form is taken for damaged."""
DAMAGED_ZIP = (zipfile.BadZipFile, zlib.error, RuntimeError)
"""What reading an archive raises where it is damaged, or seems encrypted or of another method."""

_MODES: tuple[Mode, ...] = get_args(Mode)
# What NumPy raises where bytes are not what they should be.
_DAMAGED = (ValueError, KeyError, IndexError, EOFError, OSError, LateChunkError, *DAMAGED_ZIP)


def pack_parent(parent: Parent) -> bytes:
    """The parent as bytes."""
    fields = {name: getattr(parent, name) for name in ("text", "header", "id", "headers")}
    spans = parent.spans.array.tolist()
    return json.dumps({**fields, "spans": spans}, ensure_ascii=False).encode()


def unpack_parent(content: bytes, fingerprint: str) -> Parent:
    """The parent of this fingerprint.

    Raises:
        InputError: The bytes are damaged, or another parent's.
    """
    try:
        parent = Parent(**json.loads(content))
    except (ValueError, TypeError, RecursionError) as error:  # our own errors are ValueErrors
        raise InputError(f"no parent lies under {fingerprint}: {error}") from error
    if parent.fingerprint != fingerprint:
        raise InputError(f"another parent lies under {fingerprint}")
    return parent


def pack_vectors(vectors: ChunkVectors, key: str) -> bytes:
    """The vectors and modes of a parent's chunks, and of their sub-spans, as bytes.

    Args:
        vectors: The vectors.
        key: What they will be asked for by; it names engine and parent.
    """
    content = io.BytesIO()
    modes = np.array([_MODES.index(mode) for mode in vectors.modes], np.uint8)
    arrays: dict[str, NDArray[Any]] = {
        "vectors": vectors.vectors,
        "modes": modes,
        "n_windows": np.array(vectors.n_windows),
        "key": np.array(key),
    }
    if vectors.sub_spans is not None:
        parts = vectors.sub_spans
        arrays |= {"sub_vectors": parts.vectors, "sub_chunks": parts.chunks}
        arrays |= {"sub_spans": parts.spans.array}
    np.savez(content, allow_pickle=False, **arrays)
    return content.getvalue()


def unpack_vectors(content: bytes, key: str, parent: Parent) -> ChunkVectors:
    """The vectors of this parent's chunks.

    Raises:
        InputError: The bytes are damaged, or were packed under another key.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            rows, modes, own = arrays["vectors"], arrays["modes"], arrays["key"].tolist()
            n_windows = int(arrays["n_windows"])
            parts = None
            if "sub_vectors" in arrays:
                spans = CharSpans(arrays["sub_spans"])
                parts = SubSpanVectors(arrays["sub_vectors"], arrays["sub_chunks"], spans)
        if own != key:
            raise ValueError(f"they are those of {own!r}")
        if rows.dtype != np.float32 or rows.shape[:1] != (len(parent.spans),) or rows.ndim != 2:  # noqa: PLR2004  # a matrix
            raise ValueError(f"{rows.dtype} {rows.shape} for {len(parent.spans)} chunks")
        if parts is not None and parts.vectors.shape[1:] != rows.shape[1:]:
            raise ValueError(f"sub-spans of width {parts.vectors.shape} for {rows.shape}")
        every = [rows] if parts is None else [rows, parts.vectors]
        if not all(np.isfinite(some).all() for some in every):
            raise ValueError("not all of them are finite")
        found = tuple(_MODES[mode] for mode in modes)
        return ChunkVectors(parent.id, rows, found, n_windows, sub_spans=parts)
    except _DAMAGED as error:
        raise InputError(f"damaged vectors of parent {parent.id!r}: {error}") from error
