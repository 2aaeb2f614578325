"""`Chaos` on a Ray that runs already: driver and workers are killed in turn."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from tests.bulk.chaos import Chaos

_ACTOR = "ray::_Worker"


class RayChaos(Chaos):
    """A run embeds in two actors.

    Args:
        cluster: The process that `running_ray` gives.
        given: See `Chaos`.
    """

    def __init__(self, cluster: psutil.Process, *given: Any) -> None:
        super().__init__(*given, ray=True, concurrency=2)
        self._cluster = cluster

    def _kill_one(self) -> None:
        if self.counts["worker killed"] > self.counts["driver killed"]:
            before = self.counts["killed"]
            super()._kill_one()
            self.counts["driver killed"] += self.counts["killed"] - before
            return
        child = self._start()
        # An actor is there once it has loaded the model.
        while not (actors := self._find_actors()) and _is_running(child):
            time.sleep(0.01)
        time.sleep(self._random.random() * 0.2)
        if actors:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._random.choice(actors).kill()
                self.counts["killed"] += 1
                self.counts["worker killed"] += 1
        self._check(self._finish(child))

    def _find_actors(self) -> list[psutil.Process]:
        found = []
        for process in self._cluster.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if " ".join(process.cmdline()).startswith(_ACTOR):
                    found.append(process)
        return found


def _is_running(child: int) -> bool:
    return bool(psutil.Process(child).status() != psutil.STATUS_ZOMBIE)


@contextlib.contextmanager
def running_ray(folder: Path) -> Iterator[psutil.Process]:
    """A Ray of two cores; runs find it by ``RAY_ADDRESS``."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # A cluster of a machine that has a token wants it, and `ray.init` gives it only when told.
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    os.environ.update(secret)
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
        *("--num-cpus", "2", "--port", "0", "--object-store-memory", str(100 << 20)),
        *("--include-dashboard", "false", "--temp-dir", str(folder), "--disable-usage-stats"),
    ]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet)  # our own
    address = folder / "ray_current_cluster"
    try:
        while not address.exists():
            assert process.poll() is None, "ray does not start"
            time.sleep(0.1)
        os.environ["RAY_ADDRESS"] = address.read_text().strip()
        yield psutil.Process(process.pid)
    finally:
        for name in ("RAY_ADDRESS", *secret):
            os.environ.pop(name, None)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.kill()
        for child in children:
            with contextlib.suppress(psutil.Error):
                child.kill()
