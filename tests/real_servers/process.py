"""A server in a process of its own, on loopback, for a bounded time."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["free_port", "serving"]

# Loading takes seconds for llama.cpp and a minute for vLLM, several where the cores are busy.
_START_SECONDS = 900.0
_STOP_SECONDS = 10.0
_LOG_CHARS = 3_000


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(
    command: Sequence[str], log: Path, port: int, environment: Mapping[str, str]
) -> Iterator[str]:
    """The address of a server that answers `/health`; it ends with the context.

    Args:
        command: Starts it; it must listen on this port of 127.0.0.1.
        log: File for what it prints.
        port: Where it listens.
        environment: Variables that are set for it besides ours.

    Raises:
        RuntimeError: It ended or did not answer in time, with the end of its log.
    """
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,  # its own processes end with it
        )
        try:
            _wait(process, url, log)
            yield url
        finally:
            _stop(process)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        if _answers(url):
            return
        time.sleep(0.5)
    raise RuntimeError(
        f"no server at {url} (exit status {process.poll()}):\n"
        + log.read_text(errors="replace")[-_LOG_CHARS:]
    )


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5):  # noqa: S310  # loopback
            return True
    except OSError:  # no connection, a time-out, or the status of a server that still loads
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the server and its own processes to end, and end what is left of them."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(_STOP_SECONDS)
