"""Indexing runs that are killed while an operator does his worst; what must hold at the end.

Each run is a forked process, so that a kill is the operating system's and the model is loaded once.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import importlib
import io
import json
import os
import pickle
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from latechunk_integrations import LateChunkOptions
from latechunk_integrations.bulk import index, repair
from latechunk_integrations.cli.exit_codes import ExitCode, exit_code_of
from latechunk_integrations.engine import shared_engine
from latechunk_integrations.errors import DamagedCheckpointError
from tests.bulk import support

N_FILES = 14
N_LINES = 6
_LONGEST_SECONDS = 300.0
_SMALL_DISK = 1 << 30
# Imported once for all forks; of lancedb and pymilvus, whose import starts a thread, a part.
_CLIENTS = {
    "chroma": "chromadb",
    "lancedb": "lance_namespace",
    "milvus": "grpc",
    "pgvector": "psycopg",
    "qdrant": "qdrant_client",
}


class Chaos:
    """A source, a target and a checkpoint under a seed.

    Args:
        folder: Where everything is; empty.
        target: The target of a folder, such as `support.target` of a kind.
        options: Of the engine.
        seed: What happens, and when.
        more: Settings of every run.
    """

    def __init__(
        self,
        folder: Path,
        target: Callable[[Path], str],
        options: LateChunkOptions,
        seed: int,
        **more: Any,
    ) -> None:
        self._folder, self._target, self._options, self._more = folder, target, options, more
        self._random = random.Random(seed)
        self._source = folder / "source"
        self._closed: set[str] = set()
        self._seconds = 1.0
        self.counts: Counter[str] = Counter()
        shared_engine(options).embed_texts(["Loaded once, before the first fork."])
        for name in ("filelock", _CLIENTS.get(target(folder).partition(":")[0], "pyarrow.parquet")):
            importlib.import_module(name)
        for number in range(N_FILES):
            self._write(self._source / f"{number % 3}" / f"{number}.txt")
        self._write_lines()

    def go(self, kills: int) -> None:
        """Kill so many runs, with something done between any two of them."""
        start = time.perf_counter()
        self._check(self._finish(self._start()))
        self._seconds = time.perf_counter() - start
        while self.counts["killed"] < kills:
            for _ in range(self._random.randint(1, 3)):
                self._happen()
            self._kill_one()

    def compare(self) -> int:
        """Let it finish, and compare with a fresh index; returns the number of rows."""
        self._closed.clear()
        self._check(self._finish(self._start()))
        self._check(self._finish(self._start()))
        fresh = self._folder / "fresh"
        fresh.mkdir()
        self._more = {}  # in one process
        self._check(self._finish(self._start(fresh)))
        rows, expected = self._read(self._folder), self._read(fresh)
        shutil.rmtree(fresh)
        assert rows.keys() == expected.keys(), "chunks are lost or too many"
        assert rows == expected, "rows are not equal bit for bit"
        return len(rows)

    def _read(self, folder: Path) -> support.Rows:
        """The rows of a target; a store's client is never used in the process that forks."""
        file = self._folder / "read.pickle"
        child = self._start(work=lambda _: _dump(support.scan(self._target(folder)), file))
        assert self._finish(child) == 0
        rows: support.Rows = pickle.loads(file.read_bytes())  # written above
        return rows

    # What happens between two runs.

    def _happen(self) -> None:
        events: list[Callable[[], None]] = [
            *(self._edit, self._edit, self._edit_line, self._delete, self._add, self._rename),
            *(self._close, self._open, self._cut_log),
        ]
        rare = [self._damage_log, self._lose_checkpoint, self._run_two, self._fill_disk]
        event = self._random.choice(events if self._random.random() < 0.8 else rare)
        self.counts[event.__name__.strip("_")] += 1
        event()

    def _files(self) -> list[Path]:
        return sorted(self._source.rglob("*.txt"))

    def _write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        word = self._random.choice(["first", "second", "third"])  # so that it can change back
        text = f"The {word} text of {path.stem}. " * self._random.randint(1, 4)
        path.write_text(text, encoding="utf-8")

    def _write_lines(self) -> None:
        lines = [
            json.dumps({"id": f"line-{n}", "text": f"Line {n}, {self._random.randint(1, 3)}. " * 3})
            for n in self._random.sample(range(N_LINES), N_LINES - 1)
        ]
        (self._source / "lines.jsonl").write_text("\n".join(lines), encoding="utf-8")

    def _edit(self) -> None:
        self._write(self._random.choice(self._files()))

    def _edit_line(self) -> None:
        self._write_lines()

    def _delete(self) -> None:
        if len(self._files()) > N_FILES // 2:
            self._random.choice(self._files()).unlink()

    def _add(self) -> None:
        number = self._random.randrange(2 * N_FILES)
        self._write(self._source / f"{number % 3}" / f"{number}.txt")

    def _rename(self) -> None:
        path = self._random.choice(self._files())
        path.rename(path.with_name(f"{self._random.randrange(2 * N_FILES)}.txt"))

    def _close(self) -> None:
        """Permission is lost for a folder or a file."""
        path = self._random.choice([*self._files(), *sorted(self._source.iterdir())])
        self._closed.add(str(path))

    def _open(self) -> None:
        self._closed.clear()

    @property
    def _log(self) -> Path:
        return self._folder / "checkpoint" / "finished.jsonl"

    def _cut_log(self) -> None:
        """What a power failure may leave of a line of which the target has nothing yet."""
        if self._log.exists():
            with self._log.open("ab") as log:
                log.write(b'{"begun": ["doc'[: self._random.randint(1, 15)])

    def _damage_log(self) -> None:
        if self._log.exists() and self._log.stat().st_size:
            content = bytearray(self._log.read_bytes())
            content[self._random.randrange(len(content))] ^= 1 << self._random.randrange(8)
            self._log.write_bytes(content)
            self._repair()

    def _lose_checkpoint(self) -> None:
        shutil.rmtree(self._folder / "checkpoint", ignore_errors=True)
        self._repair()

    def _repair(self) -> None:
        """An operator sees the error and repairs, before anything else happens."""
        self._check(self._finish(self._start(work=self._repair_here)))

    def _run_two(self) -> None:
        codes = [self._finish(child) for child in (self._start(), self._start())]
        assert ExitCode.STOPPED in codes or set(codes) <= {0, 1, 4}, codes

    def _fill_disk(self) -> None:
        """Of a small file system all but a little is taken; else `os.fsync` says that it is."""
        free = shutil.disk_usage(self._folder).free
        if free > _SMALL_DISK:
            code = self._finish(self._start(full_after=self._random.randrange(12)))
        else:
            ballast = self._folder.parent / "ballast"
            ballast.write_bytes(b"\0" * max(0, free - self._random.randrange(200_000)))
            code = self._finish(self._start())
            ballast.unlink()
        assert code in (0, 1, 4, ExitCode.STOPPED), f"a run on a full disk ended with {code}"

    # Runs.

    def _kill_one(self) -> None:
        child = self._start()
        time.sleep(self._random.random() * self._seconds)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        self.counts["killed" if os.WIFSIGNALED(status) else "too late to be killed"] += 1
        # Runs take longer or shorter as the corpus and the machine do.
        self._seconds *= 1.05 if os.WIFSIGNALED(status) else 0.8
        if not os.WIFSIGNALED(status):
            self._check(os.WEXITSTATUS(status))

    def _check(self, code: int) -> None:
        assert code in (0, 1, 4), f"a run ended with {code}"

    def _finish(self, child: int) -> int:
        deadline = time.monotonic() + _LONGEST_SECONDS
        while time.monotonic() < deadline:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise AssertionError("a run hangs")

    def _start(
        self,
        folder: Path | None = None,
        work: Callable[[Path], None] | None = None,
        full_after: int | None = None,
    ) -> int:
        child = os.fork()
        if child:
            return child
        code = int(ExitCode.FAULT)
        faulthandler.dump_traceback_later(0.8 * _LONGEST_SECONDS)  # where a run hangs
        try:
            with _closed_paths(self._closed), _full_disk(full_after):
                (work or self._index_here)(folder or self._folder)
            code = 0
        except BaseException as error:  # noqa: BLE001  # the parent looks at the code
            code = int(exit_code_of(error))
            if code == ExitCode.FAULT:
                import traceback

                traceback.print_exc()
        finally:
            os._exit(code)

    def _index_here(self, folder: Path) -> None:
        arguments = self._arguments(folder)
        try:
            index(*arguments)
        except DamagedCheckpointError:
            repair(*arguments)

    def _repair_here(self, folder: Path) -> None:
        repair(*self._arguments(folder))

    def _arguments(self, folder: Path) -> tuple[Any, ...]:
        return (
            self._source,
            self._target(folder),
            self._options,
            folder / "checkpoint",
            support.settings(prune=True, prune_at_most=1, **self._more),
        )


def _dump(rows: support.Rows, file: Path) -> None:
    file.write_bytes(pickle.dumps(rows))


@contextlib.contextmanager
def _closed_paths(closed: set[str]) -> Iterator[None]:
    """What the process may not read; root may read everything, so that modes would not do."""
    opened, scan = io.open, os.scandir

    def refuse(path: Any) -> None:
        if str(path) in closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

    def open_file(file: Any, *args: Any, **more: Any) -> Any:
        refuse(file)
        return opened(file, *args, **more)

    def scan_folder(path: Any = ".") -> Any:
        refuse(path)
        return scan(path)

    io.open, os.scandir = open_file, scan_folder
    try:
        yield
    finally:
        io.open, os.scandir = opened, scan


@contextlib.contextmanager
def _full_disk(after: int | None) -> Iterator[None]:
    """Nothing can be made durable after so many files; ``None``: there is room."""
    durable, left = os.fsync, after

    def fsync(fd: Any) -> None:
        nonlocal left
        if left is not None:
            left -= 1
            if left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
        durable(fd)

    os.fsync = fsync
    try:
        yield
    finally:
        os.fsync = durable
