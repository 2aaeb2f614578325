"""What the log of a checkpoint says, entry after entry: no file is opened here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from latechunk_integrations.bulk.rows import Failure

__all__ = ["CheckpointState", "Finished"]


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
        """Take in an entry of the log.

        Raises:
            TypeError: A value is of the wrong type.
            ValueError: A list is of the wrong length.
        """
        finished, failed = _read_finished(entry), _read_failed(entry)
        part = _check(entry.get("part", ""), str)
        begun, removed = _names(entry, "begun"), _names(entry, "removed")
        sealed = {key: _seals(entry, key) for key in ("seals", "announced", "purged")}
        self.begun.update(begun)
        for document_id, each in finished.items():
            self._retire(document_id)
            self.finished[document_id] = each
            self.n_chunks += each.n_chunks
        for failure in failed:
            self._retire(failure.document_id)
            self.failed[failure.document_id] = failure
        for document_id in removed:
            self._retire(document_id)
        for name, seal in sealed["seals"].items():
            self.parts[name] = {seal}
        for name, seal in sealed["announced"].items():
            self.parts.setdefault(name, set()).add(seal)
        for name, seal in sealed["purged"].items():
            self.parts[name] = {seal}
            self.stale_parts.discard(name)
        if part and part not in self.parts:
            raise ValueError("a part without a seal")
        self.stale_parts.update(_names(entry, "stale"))
        self._drop(_names(entry, "dropped"))
        self.n_batches += 1

    def _drop(self, parts: list[str]) -> None:
        """Files that are damaged or gone: what they held is to be done again."""
        if not parts:
            return
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


def _check(value: Any, kind: type[Any]) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{type(value).__name__} in place of {kind.__name__}")
    return value


def _names(entry: Mapping[str, Any], key: str) -> list[str]:
    return [_check(name, str) for name in _check(entry.get(key, []), list)]


def _seals(entry: Mapping[str, Any], key: str) -> dict[str, str]:
    given: dict[str, str] = _check(entry.get(key, {}), dict)
    return {name: _check(seal, str) for name, seal in given.items()}


def _read_finished(entry: Mapping[str, Any]) -> dict[str, Finished]:
    part = entry.get("part", "")
    found = {}
    for document_id, values in _check(entry.get("finished", {}), dict).items():
        version, n_chunks, digest = _check(values, list)
        found[document_id] = Finished(
            _check(version, str), _check(n_chunks, int), _check(digest, str), part
        )
    return found


def _read_failed(entry: Mapping[str, Any]) -> list[Failure]:
    found = []
    for values in _check(entry.get("failed", []), list):
        document_id, error, reason, version = (_check(each, str) for each in _check(values, list))
        found.append(Failure(document_id, error, reason, version))
    return found
