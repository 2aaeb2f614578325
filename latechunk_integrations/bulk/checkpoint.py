"""What is finished: a log that is written after the target has acknowledged."""

from __future__ import annotations

import json
import logging
import os
import shutil
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from latechunk_integrations.bulk.atomic_file import replace_file
from latechunk_integrations.bulk.checkpoint_state import CheckpointState, Finished
from latechunk_integrations.bulk.rows import DocumentRows, Failure
from latechunk_integrations.errors import CheckpointError, DamagedCheckpointError, OptionError
from latechunk_integrations.plugins import import_extra

logger = logging.getLogger(__name__)

FORMAT = 3
_HEAD, _LOG, _LOCK = CHECKPOINT_FILES = "run.json", "finished.jsonl", "lock"
_SUM = "sum"
_HOW_TO_MEND = (
    "--restart (restart=True) does all again; that of an index is made anew from the rows by "
    "latechunk repair"
)


class Checkpoint:
    """Finished documents by id, with their version; held by one run at a time.

    ``run.json`` says what the checkpoint belongs to and is put in place whole. Each line of
    ``finished.jsonl`` is one batch that the target holds, with a checksum; a last line that was
    cut off when the process died is dropped, and its batch done again.

    Args:
        folder: Where it is kept; made if need be.
        identity: What the rows depend on, and where they go: short strings by name.
        restart: Forget what was finished.
        run_id: Names the parts of a new checkpoint; ``""``: a new name.
        lock: What `hold_checkpoint` gave; ``None``: nobody holds the folder yet.

    Raises:
        CheckpointError: It belongs to something else, is damaged, or another run holds it.
        MissingExtraError: filelock is not installed.
    """

    def __init__(
        self,
        folder: Path,
        identity: Mapping[str, str],
        *,
        restart: bool = False,
        run_id: str = "",
        lock: Any = None,
    ) -> None:
        self.folder = folder
        self.state = CheckpointState()
        self._lock = _lock(folder) if lock is None else lock.acquire().lock
        try:
            if restart:
                (folder / _LOG).unlink(missing_ok=True)
            self.run_id = self._claim(identity, restart=restart, run_id=run_id)
            n_good = _read_log(folder, self.state)
            if (folder / _LOG).exists():
                os.truncate(folder / _LOG, n_good)
            self._log = (folder / _LOG).open("ab")
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Checkpoint:  # noqa: PYI034  # Self needs Python 3.11
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._log.close()
        finally:
            self._lock.release()

    def begin(self, document_ids: Iterable[str]) -> None:
        """Note documents whose rows are about to be written or deleted.

        Until they are noted as finished, failed or removed, no version of them counts as known.
        """
        self._append({"begun": list(document_ids)})

    def add(
        self,
        part: str,
        rows: Sequence[DocumentRows],
        failures: Sequence[Failure],
        *,
        seal: str = "",
    ) -> None:
        """Note a batch that the target has acknowledged; on disk when this returns.

        Args:
            part: The file that holds its rows; ``""`` in a store.
            rows: Finished documents.
            failures: Documents that have failed.
            seal: Size and hash of the part.
        """
        done = {each.document_id: [each.version, len(each), each.digest] for each in rows}
        failed = [[f.document_id, f.error, f.reason, f.version] for f in failures]
        seals = {part: seal} if part else {}
        self._append({"part": part, "seals": seals, "finished": done, "failed": failed})

    def adopt(self, part: str, seal: str, found: Mapping[str, Finished], stale: bool) -> None:  # noqa: FBT001  # one of four facts
        """Note what was found in the target, as if it had been written now.

        Args:
            part: The file that holds it; ``""`` in a store.
            seal: Its size and hash.
            found: Documents, as they were found.
            stale: The part also holds rows of other documents or versions.
        """
        done = {name: [each.version, each.n_chunks, each.digest] for name, each in found.items()}
        seals = {part: seal} if part else {}
        stale_parts = [part] if part and stale else []
        self._append({"part": part, "seals": seals, "finished": done, "stale": stale_parts})

    def forget(self, document_ids: Iterable[str]) -> None:
        """Note that the target no longer holds these documents."""
        self._append({"removed": sorted(document_ids)})

    def announce(self, part: str, seal: str) -> None:
        """Note what a part will be, before it takes its place."""
        self._append({"announced": {part: seal}})

    def purged(self, part: str, seal: str) -> None:
        """Note that this part holds no former versions any more."""
        self._append({"purged": {part: seal}})

    def mark_stale(self, parts: Iterable[str]) -> None:
        """Note that these parts hold rows that are to be cleared away."""
        self._append({"stale": sorted(parts)})

    def drop(self, parts: Iterable[str]) -> None:
        """Note that these parts count no longer; their documents are to be done again."""
        self._append({"dropped": sorted(parts)})

    def _append(self, entry: dict[str, Any]) -> None:
        self._log.write(json.dumps({_SUM: _sum(entry), **entry}).encode() + b"\n")
        self._log.flush()
        os.fsync(self._log.fileno())
        self.state.apply(entry)

    def _claim(self, identity: Mapping[str, str], *, restart: bool, run_id: str) -> str:
        """The run's id; the checkpoint must be new or belong to the same thing."""
        head = _read_head(self.folder, restart=restart)
        if head is not None and not restart:
            _check_identity(self.folder, head, identity)
            return str(head["run"])
        run_id = run_id or (str(head["run"]) if head is not None else uuid.uuid4().hex[:12])
        new = {"format": FORMAT, "run": run_id, "identity": dict(identity)}
        replace_file(self.folder / _HEAD, json.dumps(new, indent=1).encode())
        return run_id


def read_state(folder: Path, identity: Mapping[str, str]) -> CheckpointState:
    """What a checkpoint knows; nothing is written, and nobody is kept from writing.

    Raises:
        CheckpointError: It belongs to something else, or is damaged.
    """
    state = CheckpointState()
    head = _read_head(folder, restart=False)
    if head is not None:
        _check_identity(folder, head, identity)
        _read_log(folder, state)
    return state


@contextmanager
def hold_checkpoint(folder: Path) -> Iterator[Any]:
    """Keep other runs out of a checkpoint, whatever is in it.

    Returns:
        The lock, for `Checkpoint`.

    Raises:
        CheckpointError: Another run holds it, or the folder is of another make.
        MissingExtraError: filelock is not installed.
    """
    lock = _lock(folder)
    try:
        yield lock
    finally:
        lock.release()


def put_in_place(made: Path, folder: Path) -> None:
    """Replace the files of a checkpoint by those of one that was made in another folder.

    Copies of the former files stay. At every moment there is the former checkpoint, or one that
    counts as damaged, or the new one.
    """
    for name in (_HEAD, _LOG):
        if (folder / name).exists():
            shutil.copyfile(folder / name, _unused_name(folder / name))
    (folder / _HEAD).unlink(missing_ok=True)
    for name in (_LOG, _HEAD):
        (made / name).replace(folder / name)
    shutil.rmtree(made)


def _unused_name(path: Path) -> Path:
    names = (path.with_name(f"{path.name}.damaged-{number}") for number in count(1))
    return next(name for name in names if not name.exists())


def _lock(folder: Path) -> Any:
    _check_is_ours(folder)
    locks = import_extra("filelock", extra="bulk")
    lock = locks.FileLock(folder / _LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except locks.Timeout as error:
        raise CheckpointError(
            f"another run is using the checkpoint {folder}: wait for it, or name another folder"
        ) from error
    except (FileExistsError, FileNotFoundError, NotADirectoryError) as error:
        raise OptionError(
            f"no checkpoint can be made at {folder} ({error.strerror}): name a folder, or a new one"
        ) from error
    return lock


def _check_is_ours(folder: Path) -> None:
    """Refuse a folder whose files of these names no checkpoint wrote."""
    named = [folder / name for name in (_HEAD, _LOG) if (folder / name).exists()]
    if not named or (folder / _LOCK).exists() or _parse_head(folder / _HEAD) is not None:
        return
    raise CheckpointError(
        f"{named[0]} was not written by a checkpoint, and would be replaced: name another folder "
        "for the checkpoint"
    )


def _parse_head(path: Path) -> dict[str, Any] | None:
    try:
        head: dict[str, Any] = json.loads(path.read_bytes())
        is_known = head["format"] == FORMAT and isinstance(head["run"], str)
        return head if is_known and isinstance(head["identity"], dict) else None
    except (ValueError, KeyError, TypeError, IndexError, RecursionError, OSError):
        return None


def _read_head(folder: Path, *, restart: bool) -> dict[str, Any] | None:
    """What ``run.json`` says; ``None`` where there is none, or where it does not matter."""
    path = folder / _HEAD
    head = _parse_head(path)
    if head is not None or restart:
        return head
    if path.exists():
        raise DamagedCheckpointError(f"{path} cannot be read; {_HOW_TO_MEND}")
    if (folder / _LOG).exists():
        raise DamagedCheckpointError(f"{path} is missing beside {_LOG}; {_HOW_TO_MEND}")
    return None


def _check_identity(folder: Path, head: Mapping[str, Any], identity: Mapping[str, str]) -> None:
    differing = [name for name in identity if head["identity"].get(name) != identity[name]]
    if differing:
        what = " and another ".join(differing)
        raise CheckpointError(
            f"the checkpoint {folder} was made with another {what}; "
            "name another folder, or do all again with --restart (restart=True)"
        )


def _read_log(folder: Path, state: CheckpointState) -> int:
    """Take in the log; returns the bytes up to a last line that was cut off."""
    path = folder / _LOG
    n_good = 0
    if not path.exists():
        return 0
    with path.open("rb") as log:
        for number, line in enumerate(log, 1):
            if _apply(line, state):
                n_good += len(line)
            elif log.read(1) or line.endswith(b"\n"):
                raise DamagedCheckpointError(f"line {number} of {path} is damaged; {_HOW_TO_MEND}")
            else:
                logger.warning("the last line of %s was cut off: its batch is done again", path)
                break
    return n_good


def _sum(entry: Mapping[str, Any]) -> str:
    """What tells an entry from one of which a bit is another."""
    return f"{zlib.crc32(json.dumps(entry).encode()):08x}"


def _apply(line: bytes, state: CheckpointState) -> bool:
    """Take in a line of the log; False if it is not one, or was not written to its end."""
    try:
        entry = json.loads(line)
        if not (line.endswith(b"\n") and isinstance(entry, dict)):
            return False
        if entry.pop(_SUM, None) != _sum(entry):
            return False
    except (ValueError, RecursionError):
        return False
    state.apply(entry)
    return True
