"""Over a hundred faults of a raw socket against each of the six services.

After each, the engine must have given the right vectors or a typed error. Memory must stay within
64 MiB of where it was, and no error or log line may show the key.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import psutil

from latechunk_integrations import LateChunkEngine, LateChunkOptions, Parent
from latechunk_integrations.errors import LateChunkError
from tests.fakes.chunk_services import KEY, TinyReader
from tests.fakes.hostile import Bytes, HostileServer, faults, shows
from tests.fakes.llama_cpp import LlamaCppServer
from tests.fakes.loopback import LoopbackServer
from tests.fakes.support import SERVICES, service_of
from tests.fakes.tei import TeiServer
from tests.fakes.vllm import VllmServer
from tests.tiny_models import WIDTH, save_tiny_model

_PARENT = Parent("A text of two chunks. Here is the second one.", [(0, 21), (22, 45)])
_MOST_BYTES = 64 << 20
_SECONDS = 3.0
_SERVERS = {"tei": TeiServer, "vllm": VllmServer, "llama.cpp": LlamaCppServer}


class _Peak:
    """The most memory that was used while it watched."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self.start = self.most = self._process.memory_info().rss
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            self.most = max(self.most, self._process.memory_info().rss)
            time.sleep(0.002)


class _Log(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.shown = False

    def emit(self, record: logging.LogRecord) -> None:
        self.shown |= KEY in record.getMessage()


def _healthy(name: str, folder: Path) -> LoopbackServer:
    if name in _SERVERS:
        return _SERVERS[name](folder)
    return LoopbackServer(service_of(name, TinyReader(folder)).respond)


def _load(name: str, url: str, folder: Path) -> LateChunkEngine:
    own = {"layout": "text", "focus": 0.0} if name in _SERVERS else {"dimensions": WIDTH}
    model = str(folder) if name in _SERVERS else "tiny"
    window = {} if name in _SERVERS else {"max_tokens": 500}
    options = LateChunkOptions(
        model=model,
        encoder=name,
        base_url=url,
        api_key=KEY,
        max_retries=0,
        timeout_seconds=_SECONDS,
        **own,
        **window,
    )
    return LateChunkEngine.from_options(options)


def _attack(
    name: str, folder: Path, log: _Log, armed: dict[str, Bytes]
) -> tuple[Counter[str], int]:
    outcomes: Counter[str] = Counter()
    with ExitStack() as stack:
        healthy = stack.enter_context(_healthy(name, folder))
        hostile = stack.enter_context(HostileServer(healthy.url))
        engine = _load(name, hostile.url, folder)
        stack.callback(engine.close)
        (right,) = engine.embed([_PARENT])
        peak = _Peak()
        for fault, send in armed.items():
            hostile.fault = send
            for what in ("embed", "load"):
                error = _try(engine, right.vectors, (name, hostile.url, folder), what)
                outcomes[f"{what}: {type(error).__name__ if error else 'right'}"] += 1
                assert error is None or isinstance(error, LateChunkError), (name, fault, error)
                is_shown = log.shown or shows(error, KEY)
                assert not is_shown, (name, fault, "the key")
                grown = peak.most - peak.start
                assert grown < _MOST_BYTES, (name, fault, f"{grown >> 20} MiB")
        hostile.fault = None
        (again,) = engine.embed([_PARENT])
        assert np.allclose(again.vectors, right.vectors, atol=1e-6)
    return outcomes, peak.most - peak.start


def _try(
    engine: LateChunkEngine,
    right: np.ndarray,
    load: tuple[str, str, Path],
    what: str,
) -> BaseException | None:
    try:
        if what == "load":
            _load(*load).embed([_PARENT])
        else:
            (result,) = engine.embed([_PARENT])
            assert np.allclose(result.vectors, right, atol=1e-6), "wrong vectors"
    except Exception as error:  # noqa: BLE001  # looked at by the caller
        return error
    return None


def _names(asked: list[str] | None) -> Iterator[str]:
    yield from asked or [*_SERVERS, *SERVICES]


def main() -> None:
    """Attack each service, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", nargs="+")
    asked = parser.parse_args()
    log = _Log()
    logging.getLogger("latechunk_integrations").addHandler(log)
    logging.getLogger("latechunk_integrations").setLevel(logging.DEBUG)
    armed = faults()
    with tempfile.TemporaryDirectory() as name:
        prompts = {"document": "search_document: ", "query": "query: "}
        folder = save_tiny_model(Path(name), "wordpiece", prompts=prompts, heads=["normalize"])
        for service in _names(asked.services):
            outcomes, grown = _attack(service, folder, log, armed)
            said = ", ".join(f"{n} {kind}" for kind, n in sorted(outcomes.items()))
            print(f"{service}: {len(armed)} faults, {grown >> 20} MiB more; {said}", flush=True)


if __name__ == "__main__":
    main()
