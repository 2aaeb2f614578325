"""What is finished, a log written after the target has acknowledged, and what has failed."""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from latechunk_integrations.bulk.rows import DocumentRows, Failure
from latechunk_integrations.errors import CheckpointError
from latechunk_integrations.plugins import import_extra

__all__ = ["Checkpoint", "DeadLetters", "format_letter", "replace_file"]

logger = logging.getLogger(__name__)

FORMAT = 1
_HEAD, _LOG, _LOCK = "run.json", "finished.jsonl", "lock"


class Checkpoint:
    """Finished documents by id, with their version; held by one run at a time.

    ``run.json`` says what the checkpoint belongs to and is put in place whole. Each line of
    ``finished.jsonl`` is one batch that the target holds; a last line that was cut off when the
    process died is dropped, and its batch done again.

    Args:
        folder: Where it is kept; made if need be.
        identity: What the rows depend on, and where they go: short strings by name.
        restart: Forget what was finished.

    Raises:
        CheckpointError: It belongs to something else, is damaged, or another run holds it.
        MissingExtraError: filelock is not installed.
    """

    def __init__(self, folder: Path, identity: Mapping[str, str], *, restart: bool = False) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        locks = import_extra("filelock", extra="bulk")
        self._lock = locks.FileLock(folder / _LOCK)
        try:
            self._lock.acquire(timeout=0)
        except locks.Timeout as error:
            raise CheckpointError(f"another run is using the checkpoint {folder}") from error
        self.finished: dict[str, tuple[str, str, int]] = {}
        self.failed: dict[str, Failure] = {}
        self.begun: set[str] = set()
        self.stale_parts: set[str] = set()
        self.parts: set[str] = set()
        self.n_batches = 0
        self.n_chunks = 0
        try:
            if restart:
                (folder / _LOG).unlink(missing_ok=True)
            self.run_id = self._claim(identity, restart=restart)
            self._load()
            self._log = (folder / _LOG).open("ab")
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Checkpoint:  # noqa: PYI034  # Self needs Python 3.11
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._log.close()
        self._lock.release()

    def knows(self, document_id: str, version: str) -> bool:
        """Whether this version of a document is finished, or has failed before.

        Of what was begun and not noted, nobody can tell what the target holds.
        """
        if document_id in self.begun:
            return False
        if document_id in self.failed:
            return self.failed[document_id].version == version
        return document_id in self.finished and self.finished[document_id][0] == version

    def begin(self, document_ids: Iterable[str]) -> None:
        """Note documents whose rows are about to be written or deleted.

        Until they are noted as finished, failed or removed, no version of them counts as known.
        """
        self._append({"begun": list(document_ids)})

    def add(self, part: str, rows: Sequence[DocumentRows], failures: Sequence[Failure]) -> None:
        """Note a batch that the target has acknowledged; on disk when this returns.

        Args:
            part: The file that holds its rows; ``""`` in a store.
            rows: Finished documents.
            failures: Documents that have failed.
        """
        done = {each.document_id: [each.version, len(each)] for each in rows}
        failed = [[f.document_id, f.error, f.reason, f.version] for f in failures]
        self._append({"part": part, "finished": done, "failed": failed})

    def forget(self, document_ids: Iterable[str]) -> None:
        """Note that the target no longer holds these documents."""
        self._append({"removed": sorted(document_ids)})

    def purged(self, parts: Iterable[str]) -> None:
        """Note that these parts hold no former versions any more."""
        self._append({"purged": sorted(parts)})

    def _append(self, entry: dict[str, Any]) -> None:
        self._log.write(json.dumps(entry).encode() + b"\n")
        self._log.flush()
        os.fsync(self._log.fileno())
        self._apply(entry)

    def _apply(self, entry: Mapping[str, Any]) -> None:
        part = entry.get("part", "")
        self.begun.update(entry.get("begun", ()))
        for document_id, (version, n_chunks) in entry.get("finished", {}).items():
            self._retire(document_id)
            self.finished[document_id] = (version, part, n_chunks)
            self.n_chunks += n_chunks
        for failure in entry.get("failed", ()):
            self._retire(failure[0])
            self.failed[failure[0]] = Failure(*failure)
        for document_id in entry.get("removed", ()):
            self._retire(document_id)
        self.stale_parts -= set(entry.get("purged", ()))
        if part:
            self.parts.add(part)
        self.n_batches += 1

    def _retire(self, document_id: str) -> None:
        self.begun.discard(document_id)
        self.failed.pop(document_id, None)
        _, part, n_chunks = self.finished.pop(document_id, ("", "", 0))
        self.n_chunks -= n_chunks
        if part:
            self.stale_parts.add(part)

    def _claim(self, identity: Mapping[str, str], *, restart: bool) -> str:
        """The run's id; the checkpoint must be new or belong to the same thing."""
        path = self.folder / _HEAD
        head = None if not path.exists() else self._read_head(path, restart=restart)
        if head is None and (self.folder / _LOG).exists():
            raise CheckpointError(f"{path} is missing beside {_LOG}; start anew with restart")
        if head is not None and not restart:
            self._check_identity(head, identity)
            return str(head["run"])
        run_id = str(head["run"]) if head is not None else uuid.uuid4().hex[:12]
        new = {"format": FORMAT, "run": run_id, "identity": dict(identity)}
        replace_file(path, json.dumps(new, indent=1).encode())
        return run_id

    def _read_head(self, path: Path, *, restart: bool) -> dict[str, Any] | None:
        try:
            head: dict[str, Any] = json.loads(path.read_bytes())
            if head["format"] == FORMAT and isinstance(head["run"], str) and head["identity"]:
                return head
        except (ValueError, KeyError, TypeError):
            pass
        if restart:
            return None
        raise CheckpointError(f"{path} cannot be read; start anew with restart")

    def _check_identity(self, head: Mapping[str, Any], identity: Mapping[str, str]) -> None:
        differing = [name for name in identity if head["identity"].get(name) != identity[name]]
        if differing:
            what = " and another ".join(differing)
            raise CheckpointError(
                f"the checkpoint {self.folder} was made with another {what}; "
                "name another folder, or restart it to do every document again"
            )

    def _load(self) -> None:
        """Read the log, and cut off what was half written."""
        path = self.folder / _LOG
        if not path.exists():
            return
        good = 0
        with path.open("rb") as log:
            for number, line in enumerate(log, 1):
                entry = _read_entry(line)
                if entry is None:
                    if log.read(1):
                        raise CheckpointError(
                            f"line {number} of {path} is damaged; start anew with restart"
                        )
                    logger.warning("the last line of %s was cut off: that batch is redone", path)
                    break
                self._apply(entry)
                good += len(line)
        os.truncate(path, good)


def _read_entry(line: bytes) -> dict[str, Any] | None:
    """What a line of the log says; ``None`` if it was not written to its end."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if line.endswith(b"\n") and isinstance(entry, dict) else None


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
        replace_file(self.path, b"".join(map(format_letter, failures)))

    def add(self, failures: Iterable[Failure]) -> None:
        """Append documents."""
        with self.path.open("ab") as file:
            file.write(b"".join(map(format_letter, failures)))


def format_letter(failure: Failure) -> bytes:
    """The line of a failed document."""
    line = {"id": failure.document_id, "error": failure.error, "reason": failure.reason}
    return json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def replace_file(path: Path, content: bytes | Callable[[BinaryIO], object]) -> None:
    """Put a file in place: after a crash there is the old one or the new one.

    Args:
        path: The file.
        content: What it holds, or what writes it.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        if callable(content):
            content(file)
        else:
            file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    if os.name == "posix":  # elsewhere a folder cannot be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
