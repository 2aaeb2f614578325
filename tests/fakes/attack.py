"""A hostile socket in the place of a service, and what an engine makes of its faults."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import psutil
from pydantic import SecretStr
from typing_extensions import Self

from latechunk_integrations import LateChunkEngine, LateChunkOptions, Parent
from latechunk_integrations.errors import LateChunkError
from tests.fakes.chunk_services import KEY, TinyReader
from tests.fakes.hostile import Altered, Bytes, HostileServer, shows
from tests.fakes.llama_cpp import LlamaCppServer
from tests.fakes.loopback import LoopbackServer
from tests.fakes.support import SERVICES, service_of
from tests.fakes.tei import TeiServer
from tests.fakes.vllm import VllmServer
from tests.tiny_models import WIDTH

MOST_BYTES = 64 << 20
"""What memory may grow by."""

_PARENT = Parent("A text of two chunks. Here is the second one.", [(0, 21), (22, 45)])
_SECONDS = 3.0
_THREAD = "latechunk-http"
_SERVERS = {"tei": TeiServer, "vllm": VllmServer, "llama.cpp": LlamaCppServer}

NAMES = (*_SERVERS, *SERVICES)
"""The services."""


class Attack:
    """A service that is healthy until `go`.

    Args:
        name: One of `NAMES`.
        folder: Of the tiny model that it serves.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self._name, self._folder = name, folder
        self._stack = ExitStack()
        self._log = _Log()
        self._n_threads = _count_threads()  # clients of other tests may be open still
        self.most_grown = 0

    def __enter__(self) -> Self:
        logger = logging.getLogger("latechunk_integrations")
        level = logger.level
        logger.addHandler(self._log)
        logger.setLevel(logging.DEBUG)
        self._stack.callback(logger.setLevel, level)
        self._stack.callback(logger.removeHandler, self._log)
        healthy = self._stack.enter_context(self._serve())
        self._hostile = self._stack.enter_context(HostileServer(healthy.url))
        self._engine = self._stack.enter_context(closing(self._load()))
        (self._right,) = self._engine.embed([_PARENT])
        self._engine.embed_queries(["a text"])
        with closing(self._load()) as again:  # what every load needs is there
            again.embed([_PARENT])
        self._peak = self._stack.enter_context(_Peak())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def paths(self) -> list[str]:
        """What a loaded and used engine asks for."""
        return sorted(self._hostile.paths)

    def go(self, armed: Mapping[str, Bytes | Altered], path: str) -> Counter[str]:
        """Answer one path with each fault, an engine at work and one that loads; count outcomes.

        Raises:
            AssertionError: A vector is wrong, an error has no type of ours or shows the key,
                memory grows, or connections stay open.
        """
        outcomes: Counter[str] = Counter()
        self._hostile.only = path
        for fault, send in armed.items():
            self._hostile.fault = send
            for load in (False, True):
                error = self._try(load=load)
                where = (self._name, path, fault, "load" if load else "embed")
                outcomes[type(error).__name__ if error else "right"] += 1
                if not (error is None or isinstance(error, LateChunkError)):
                    raise AssertionError((*where, error)) from error
                is_shown = self._log.shown or shows(error, KEY)
                assert not is_shown, (*where, "the key")
                n_threads = _count_threads() - self._n_threads
                assert n_threads <= 1, (*where, "a load that failed keeps its connections")
                self.most_grown = self._peak.most - self._peak.start
                assert self.most_grown < MOST_BYTES, (*where, f"{self.most_grown >> 20} MiB")
        self._hostile.fault = None
        assert self._try(load=False) is None, "it does not recover"
        return outcomes

    def _try(self, *, load: bool) -> Exception | None:
        try:
            engine = self._load() if load else self._engine
            try:
                (result,) = engine.embed([_PARENT])
            finally:
                if load:
                    engine.close()
            if not np.allclose(result.vectors, self._right.vectors, atol=1e-6):
                raise AssertionError("wrong vectors")  # noqa: TRY301  # looked at by the caller
        except Exception as error:  # noqa: BLE001  # looked at by the caller
            return error
        return None

    def _serve(self) -> LoopbackServer:
        if self._name in _SERVERS:
            server: LoopbackServer = _SERVERS[self._name](self._folder)
            return server
        return LoopbackServer(service_of(self._name, TinyReader(self._folder)).respond)

    def _load(self) -> LateChunkEngine:
        is_server = self._name in _SERVERS
        own = {"layout": "text", "focus": 0.0} if is_server else {"dimensions": WIDTH}
        options = LateChunkOptions(
            model=str(self._folder) if is_server else "tiny",
            encoder=self._name,
            base_url=self._hostile.url,
            api_key=SecretStr(KEY),
            max_retries=0,
            timeout_seconds=_SECONDS,
            max_tokens=None if is_server else 500,
            **own,
        )
        return LateChunkEngine.from_options(options)


def _count_threads() -> int:
    return [thread.name for thread in threading.enumerate()].count(_THREAD)


class _Peak:
    """The most memory that was used while it watched, in bytes."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._done = threading.Event()

    def __enter__(self) -> Self:
        self.start = self.most = self._process.memory_info().rss
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()

    def _watch(self) -> None:
        while not self._done.is_set():
            self.most = max(self.most, self._process.memory_info().rss)
            time.sleep(0.002)


class _Log(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.shown = False

    def emit(self, record: logging.LogRecord) -> None:
        self.shown |= KEY in record.getMessage()
