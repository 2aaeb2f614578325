"""What a chunk's metadata say about its vector: how it was made, and of which parent.

Every adapter writes these keys, flat and unseen by models, so that a store can tell of each of its
vectors where it comes from.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from typing import Any, TypeVar

PARENT_KEY = "late_parent"
"""Fingerprint of the parent, on which a chunk's vector depends."""

START_KEY = "late_start"
"""Where the chunk begins in its parent, in code points."""

END_KEY = "late_end"
"""One past where the chunk ends in its parent, in code points."""

ENGINE_KEY = "late_engine"
"""Fingerprint of the model and the options that made the vector."""

MODE_KEY = "late_mode"
"""How the vector came about: ``late``, ``windowed`` or ``standalone``."""

CONTENT_KEY = "late_content"
"""Hashes of what was embedded of the chunk itself, and of how its parent and header were found, so
that a later change of them is noticed."""

SUB_START_KEY = "late_sub_start"
"""Where the sub-span that the vector is of begins in the parent, in code points."""

SUB_END_KEY = "late_sub_end"
"""One past where it ends."""

PLACE_KEYS = (PARENT_KEY, START_KEY, END_KEY)
"""What names the parent of a chunk, and its place there."""

VECTOR_KEYS = (*PLACE_KEYS, SUB_START_KEY, SUB_END_KEY, ENGINE_KEY, MODE_KEY, CONTENT_KEY)
"""All that say how a vector was made."""

CHUNK_KEY = "late_chunk"
"""The id of the chunk that a sub-span is a part of, where the chunk has one."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def without_marks(metadata: Mapping[_Key, _Value]) -> dict[_Key, _Value]:
    """The metadata without what they say about a vector."""
    return {key: one for key, one in metadata.items() if key not in (*VECTOR_KEYS, CHUNK_KEY)}


def read_bound(value: object) -> int:
    """A position that metadata hold; -1: they hold no position."""
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) else -1


def read_span(metadata: Mapping[Any, Any], start_key: str, end_key: str) -> tuple[int, int]:
    """A place that metadata name; -1 is no place. Some stores make floats or texts of integers."""
    return read_bound(metadata.get(start_key)), read_bound(metadata.get(end_key))


def name_sub_span(chunk_id: str, offset: int) -> str:
    """The id of the sub-span that begins so many code points after its chunk."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{chunk_id}/{offset}"))


def digest_text(*texts: str) -> str:
    """A hash of texts (32 hex digits), which keeps their borders."""
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.hexdigest()[:32]
