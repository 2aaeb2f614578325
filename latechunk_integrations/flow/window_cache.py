"""`WindowCache`: bytes by key in an SQLite database, in memory or in a file, bounded in bytes."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence

from latechunk_integrations.errors import OptionError

_MEMORY = ":memory:"
# Marks a file as ours, so that nobody's own database is written to.
_APPLICATION_ID = 0x6C617463
_BUSY_SECONDS = 5.0
# What a row takes besides its value: key, index, and a page that is not full.
_ROW_BYTES = 256
_TABLES = (
    "CREATE TABLE IF NOT EXISTS windows (key BLOB PRIMARY KEY, used INTEGER, value BLOB)",
    "CREATE INDEX IF NOT EXISTS windows_by_use ON windows (used)",
    f"PRAGMA application_id = {_APPLICATION_ID}",
)
# A write-ahead log lets others read meanwhile, and asks the disk to be done only now and then.
_SETTINGS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA journal_size_limit = 4194304",
)
_DELETE = "DELETE FROM windows WHERE rowid IN (SELECT rowid FROM windows ORDER BY used LIMIT ?)"


class WindowCache:
    """Values by key; those longest unused make room for others.

    Threads and processes may share a file. After a fork it is opened anew, and a cache in memory
    is empty. What SQLite says against a look or a write is an ``sqlite3.Error``.

    Args:
        place: A file, made if missing; ``":memory:"``: in this process.
        max_bytes: What the database takes at most.

    Raises:
        OptionError: The file is the database of something else, or cannot be made.
    """

    def __init__(self, place: str, max_bytes: int) -> None:
        self._place = place
        self._max_bytes = max_bytes
        self._session = _OpenDatabase()
        try:
            with self._transaction():
                pass
        except sqlite3.OperationalError as error:
            raise OptionError(
                f"window_cache={place!r} cannot be opened ({error}): name a file in a folder that "
                "is there and can be written to, or ':memory:'"
            ) from error
        except sqlite3.DatabaseError:
            pass  # a damaged file: whoever looks into it is told

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The values that are there, by key."""
        with self._transaction() as connection:
            look = "SELECT value FROM windows WHERE key = ?"
            rows = [(key, connection.execute(look, (key,)).fetchone()) for key in keys]
            found = {key: row[0] for key, row in rows if row is not None}
            now = time.time_ns()
            touch = "UPDATE windows SET used = ? WHERE key = ?"
            connection.executemany(touch, [(now, key) for key in found])
        return found

    def put(self, values: Mapping[bytes, bytes]) -> None:
        """Keep values, unless they are more than all that may be kept."""
        with self._transaction() as connection:
            if self._make_room(connection, values):
                now = time.time_ns()
                rows = [(key, now, value) for key, value in values.items()]
                connection.executemany("INSERT OR REPLACE INTO windows VALUES (?, ?, ?)", rows)

    def close(self) -> None:
        """Let go of the database; a later call opens it again. One in memory is gone."""
        session, self._session = self._session, _OpenDatabase()
        session.close()

    def _make_room(self, connection: sqlite3.Connection, values: Mapping[bytes, bytes]) -> bool:
        """Whether values fit, once enough rows are gone."""

        def read(name: str) -> int:
            return int(connection.execute(f"PRAGMA {name}").fetchone()[0])

        page = read("page_size")
        wanted = sum(len(value) + page + _ROW_BYTES for value in values.values())
        while (read("page_count") - read("freelist_count")) * page + wanted > self._max_bytes:
            if not connection.execute(_DELETE, (2 * len(values),)).rowcount:
                return False
        return True

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        if self._session.pid != os.getpid():
            # A fork copies a connection that must not be used, and perhaps a lock that is held.
            _of_parents.append(self._session)
            self._session = _OpenDatabase()
        session = self._session
        with session.lock:
            if session.connection is None:
                session.connection = _connect(self._place)
                weakref.finalize(self, session.close)
            connection = session.connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")


class _OpenDatabase:
    """A connection of this process, and the lock of its threads."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.connection: sqlite3.Connection | None = None

    def close(self) -> None:
        """Close the connection; one of the process that this was forked from is left alone."""
        if self.pid == os.getpid():
            with self.lock:
                if self.connection is not None:
                    self.connection.close()
                self.connection = None


_of_parents: list[_OpenDatabase] = []
_opened: weakref.WeakValueDictionary[tuple[str, int], WindowCache] = weakref.WeakValueDictionary()
_opening = threading.Lock()


def open_window_cache(place: str, max_bytes: int) -> WindowCache:
    """The cache of a place; engines of one process share it."""
    where = place if place == _MEMORY else os.path.realpath(place)
    with _opening:
        cache = _opened.get((where, max_bytes))
        if cache is None:
            cache = _opened[where, max_bytes] = WindowCache(where, max_bytes)
        return cache


def _connect(place: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        place, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        _set_up(connection, place)
    except BaseException:
        connection.close()
        raise
    return connection


def _set_up(connection: sqlite3.Connection, place: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    own = connection.execute("PRAGMA application_id").fetchone()[0]
    n_tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if own != _APPLICATION_ID and (own or n_tables):
        raise OptionError(
            f"window_cache={place!r} is the database of something else, and is left as it is: "
            "name another file"
        )
    for statement in _TABLES:
        connection.execute(statement)
    connection.execute("COMMIT")
    for statement in _SETTINGS:
        connection.execute(statement)
