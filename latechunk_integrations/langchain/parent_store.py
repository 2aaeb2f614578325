"""Where parents and their vectors are kept: bounded memory, over any `BaseStore`."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Sequence
from typing import Any

from langchain_core.stores import BaseStore

from latechunk_integrations.core.packing import pack_parent, unpack_parent
from latechunk_integrations.flow.kept_vectors import MEMORY_BYTES, BoundedMemory, KeptVectors
from latechunk_integrations.schema import Parent

ALIVE: weakref.WeakValueDictionary[str, Parent] = weakref.WeakValueDictionary()
"""Parents that anything in this process still uses. Keyed by fingerprint, which covers text, spans
and headers, so that whoever finds one finds the right one."""

_PARENT_PREFIX = "late_parent-"


class BoundedStore(BoundedMemory, BaseStore[str, Any]):
    """Parents and vectors in memory; the least recently used go first. Thread-safe.

    Args:
        max_bytes: Bound on texts and vectors together. The newest entry always stays; 0 keeps none.
    """


class ParentStore(KeptVectors):
    """Parents by fingerprint, and their vectors by engine and parent.

    Who holds `embedding` embeds, so that a parent that several threads want is embedded once. A
    pickle leaves behind what is in memory.

    Args:
        outer: A store of bytes, such as a ``LocalFileStore`` or a ``RedisStore``, that other
            processes read too; None: what is kept stays in this process.
        max_bytes: Bound on what is kept in memory; 0: nothing is.
    """

    def __init__(
        self, outer: BaseStore[str, bytes] | None = None, max_bytes: int = MEMORY_BYTES
    ) -> None:
        super().__init__(outer, max_bytes, "parent_store")
        self.embedding = threading.RLock()
        self._max_bytes = max_bytes

    def __reduce__(self) -> tuple[object, ...]:
        return ParentStore, (self.outer, self._max_bytes)

    def hold(self, parents: Sequence[Parent]) -> None:
        """Keep parents, so that chunks rebuilt from their metadata find them."""
        named = {_PARENT_PREFIX + one.fingerprint: _shared(one) for one in parents}
        self._write(named, pack_parent)

    def find(self, fingerprints: Iterable[str]) -> dict[str, Parent]:
        """The parents that are held, by fingerprint."""
        asked = list(dict.fromkeys(fingerprints))
        alive = {one: parent for one in asked if (parent := ALIVE.get(one))}
        missing = [one for one in asked if one not in alive]
        keys = [_PARENT_PREFIX + one for one in missing]
        found = self._read(keys, lambda row, packed: unpack_parent(packed, missing[row]))
        return alive | {one.fingerprint: _shared(one) for one in found if one}


def _shared(parent: Parent) -> Parent:
    """The parent of this fingerprint that is in use already, else this one."""
    return ALIVE.setdefault(parent.fingerprint, parent)
