"""What the log of a checkpoint says, entry after entry: no file is opened here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from latechunk_integrations.bulk.rows import Failure


class Finished(NamedTuple):
    """A document that the target holds.

    Args:
        version: See `CorpusDocument.version`.
        n_chunks: Rows of it.
        digest: Hash of these rows, `DocumentRows.digest`.
        part: The file that holds them; ``""`` in a store.
    """

    version: str
    n_chunks: int
    digest: str
    part: str


class CheckpointState:
    """Documents that are finished, have failed, or were begun and never noted.

    Attributes:
        finished: What the target holds, by document id.
        failed: Documents that cannot be embedded, by id.
        begun: Documents whose rows were about to be written or deleted: nobody can tell what
            the target holds of them.
        parts: Files of the target by name, each with the seals that it may have: two, where the
            process may have died between an announcement and the replacement.
        stale_parts: Files that still hold former versions.
        n_batches: Entries so far; numbers the parts.
        n_chunks: Rows that the target holds.
    """

    def __init__(self) -> None:
        self.finished: dict[str, Finished] = {}
        self.failed: dict[str, Failure] = {}
        self.begun: set[str] = set()
        self.parts: dict[str, set[str]] = {}
        self.stale_parts: set[str] = set()
        self.n_batches = 0
        self.n_chunks = 0

    def knows(self, document_id: str, version: str) -> bool:
        """Whether this version of a document is finished, or has failed before.

        Of what was begun and not noted, nobody can tell what the target holds.
        """
        if document_id in self.begun:
            return False
        if document_id in self.failed:
            return self.failed[document_id].version == version
        return document_id in self.finished and self.finished[document_id].version == version

    def documents(self) -> Iterator[str]:
        """Every document that is known, whatever became of it."""
        return iter(dict.fromkeys([*self.finished, *self.failed, *self.begun]))

    def documents_with_rows(self) -> set[str]:
        """Documents of which the target holds rows, or may."""
        return {name for name, each in self.finished.items() if each.n_chunks} | self.begun

    def apply(self, entry: Mapping[str, Any]) -> None:
        """Take in an entry of the log, whose checksum is right."""
        part = entry.get("part", "")
        self.begun.update(entry.get("begun", ()))
        for document_id, (version, n_chunks, digest) in entry.get("finished", {}).items():
            self._retire(document_id)
            self.finished[document_id] = Finished(version, n_chunks, digest, part)
            self.n_chunks += n_chunks
        for document_id, error, reason, version in entry.get("failed", ()):
            self._retire(document_id)
            self.failed[document_id] = Failure(document_id, error, reason, version)
        for document_id in entry.get("removed", ()):
            self._retire(document_id)
        for name, seal in entry.get("seals", {}).items():
            self.parts[name] = {seal}
        for name, seal in entry.get("announced", {}).items():
            self.parts.setdefault(name, set()).add(seal)
        for name, seal in entry.get("purged", {}).items():
            self.parts[name] = {seal}
            self.stale_parts.discard(name)
        self.stale_parts.update(entry.get("stale", ()))
        if "dropped" in entry:
            self._drop(entry["dropped"])
        self.n_batches += 1

    def _drop(self, parts: Iterable[str]) -> None:
        """Files that are damaged or gone: what they held is to be done again."""
        dropped = set(parts)
        lost = [name for name, each in self.finished.items() if each.part in dropped]
        for name in lost:
            self._retire(name)
            self.begun.add(name)
        for part in dropped:
            self.parts.pop(part, None)
            self.stale_parts.discard(part)

    def _retire(self, document_id: str) -> None:
        self.begun.discard(document_id)
        self.failed.pop(document_id, None)
        former = self.finished.pop(document_id, None)
        if former is None:
            return
        self.n_chunks -= former.n_chunks
        if former.part:
            self.stale_parts.add(former.part)
