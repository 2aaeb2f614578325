"""Worker processes give what one process gives, and a death costs what it must."""

from __future__ import annotations

import copy
import gc
import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from latechunk_integrations import ChunkVectors, LateChunkEngine, LateChunkOptions, Parent
from latechunk_integrations.errors import (
    EncodingFailedError,
    FingerprintMismatchError,
    LateChunkError,
    WorkerDiedError,
    WorkerStartError,
)
from tests.flow.dying_encoder import DyingEncoder

pytestmark = pytest.mark.slow  # each starts processes

WORDS = "The supplier delivers every part within thirty days of the order as agreed. "
_ROOT = Path(__file__).parents[2]


def make_engine(**options: Any) -> LateChunkEngine:
    return LateChunkEngine(DyingEncoder(), LateChunkOptions(model="words", **options))


def make_parents(n: int, *, chars: int = 2_000) -> list[Parent]:
    """Parents of many lengths, each with several chunks."""
    parents = []
    for seed in range(n):
        text = f"{seed} " + WORDS * (1 + seed * 7 % (2 * chars // len(WORDS)))
        spans = [(at, min(at + 300, len(text))) for at in range(0, len(text), 300)]
        parents.append(Parent(text, spans, id=str(seed)))
    return parents


def spoilt(text: str) -> Parent:
    return Parent(f"{WORDS} {text} {WORDS}", id="spoilt")


def n_workers() -> int:
    return sum(each.name == "latechunk-worker" for each in multiprocessing.active_children())


def check_same(found: list[Any], wanted: list[Any], tolerance: float = 1e-6) -> None:
    assert [each.parent_id for each in found] == [each.parent_id for each in wanted]
    for one, other in zip(found, wanted, strict=True):
        if isinstance(other, ChunkVectors):
            assert (one.modes, one.n_windows) == (other.modes, other.n_windows)
            np.testing.assert_allclose(one.vectors, other.vectors, atol=tolerance, rtol=0)
        else:
            assert type(one) is type(other)


@pytest.fixture(scope="module")
def pooled() -> Iterator[LateChunkEngine]:
    with make_engine(processes=2) as engine:
        yield engine


@pytest.fixture(scope="module")
def plain() -> LateChunkEngine:
    return make_engine()


@pytest.mark.rule(6)
def test_vectors_and_their_order_are_those_of_one_process(
    pooled: LateChunkEngine, plain: LateChunkEngine
) -> None:
    parents = make_parents(120)
    before, wanted_before = pooled.stats, plain.stats
    check_same(pooled.embed(parents), plain.embed(parents))
    for name in ("parents", "chunks", "windows", "tokens", "standalone_chunks"):
        found = pooled.stats[name] - before.get(name, 0)
        assert found == plain.stats[name] - wanted_before.get(name, 0), name
    assert pooled.fingerprint == plain.fingerprint


def test_each_by_itself_is_the_same_to_the_bit(
    pooled: LateChunkEngine, plain: LateChunkEngine
) -> None:
    parents = make_parents(60)
    found = list(pooled.embed_iter(parents, together=False))
    check_same(found, list(plain.embed_iter(parents, together=False)), 0.0)
    check_same(found, [plain.embed([each])[0] for each in parents], 0.0)


@pytest.mark.rule(8)
def test_a_failure_comes_in_its_place(pooled: LateChunkEngine) -> None:
    parents = [*make_parents(30), spoilt("(fail)"), *make_parents(30)]
    found = list(pooled.embed_iter(parents, on_error="yield"))
    assert isinstance(found[30], EncodingFailedError)
    assert found[30].parent_id == "spoilt"
    assert "as the text says" in str(found[30])
    check_same(found[:30] + found[31:], pooled.embed(parents[:30] + parents[31:]))


def test_the_first_failure_ends_the_stream(pooled: LateChunkEngine) -> None:
    results = pooled.embed_iter([*make_parents(60), spoilt("(fail)"), *make_parents(9)])
    found: list[Any] = []
    with pytest.raises(LookupError, match="as the text says") as caught:
        found.extend(iter(results.__next__, None))
    assert "dying_encoder.py" in str(caught.value.__cause__)  # where in the worker it was
    assert len(pooled.embed(make_parents(3))) == 3


@pytest.mark.rule(8)
def test_a_worker_that_is_killed_costs_one_parent(
    pooled: LateChunkEngine, plain: LateChunkEngine
) -> None:
    good = make_parents(40)
    parents = [*good[:20], spoilt("(die)"), *good[20:]]
    found = list(pooled.embed_iter(parents, on_error="yield"))
    assert isinstance(found[20], WorkerDiedError)
    assert found[20].parent_id == "spoilt"
    assert "SIGKILL" in str(found[20])
    assert "fewer processes=" in str(found[20])
    check_same(found[:20] + found[21:], plain.embed(good))
    with pytest.raises(WorkerDiedError, match="'spoilt'"):
        pooled.embed(parents)


def test_a_worker_that_is_killed_once_costs_nothing(
    pooled: LateChunkEngine, plain: LateChunkEngine, tmp_path: Path
) -> None:
    parents = [*make_parents(20), spoilt(f"(die unless {tmp_path / 'died'})"), *make_parents(9)]
    found = pooled.embed(parents)
    assert (tmp_path / "died").exists()
    check_same(found, plain.embed(parents))


def test_what_a_worker_logs_is_logged_here(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "latechunk_integrations"), make_engine(processes=2) as one:
        one.embed([spoilt("(log)")])
    assert "logged" in caplog.messages


def test_no_more_is_drawn_than_the_workers_need(pooled: LateChunkEngine) -> None:
    n_drawn = 0

    def endless() -> Iterator[Parent]:
        nonlocal n_drawn
        while True:
            n_drawn += 1
            yield Parent(WORDS * 13, id=str(n_drawn))  # some 1,000 characters

    results = pooled.embed_iter(endless())
    for n_read in range(1, 200):
        next(results)
        # Four blocks for two workers, and what of one is left; each of at least 16 KiB.
        assert n_drawn <= n_read + 5 * 17
    del results
    assert len(pooled.embed(make_parents(3))) == 3


def test_processes_start_with_the_first_parents_and_end_with_the_engine() -> None:
    n_before = n_workers()
    engine = make_engine(processes=2)
    engine.embed_queries(["where"])
    assert engine.embed([]) == []
    assert n_workers() == n_before
    engine.embed(make_parents(60))
    assert n_workers() == n_before + 2
    engine.close()
    assert n_workers() == n_before
    engine.embed(make_parents(1))  # opened again, for one block
    assert n_workers() == n_before + 1
    del engine
    gc.collect()
    assert n_workers() == n_before


def test_closing_ends_what_is_under_way(pooled: LateChunkEngine) -> None:
    engine = make_engine(processes=2)
    results = engine.embed_iter([*make_parents(30), spoilt("(wait)")])
    next(results)
    engine.close()
    with pytest.raises(WorkerDiedError, match="closed"):
        list(results)


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])
def test_a_copy_has_the_option_and_no_process(pooled: LateChunkEngine, way: Any) -> None:
    n_before = n_workers()
    twin = way(pooled)
    assert twin.options.processes == 2
    with twin:
        twin.embed([Parent(WORDS)])
        assert n_workers() == n_before + 1
    assert n_workers() == n_before


def test_workers_with_other_vectors_are_refused() -> None:
    options = {"model": "words", "encoder": "tests.flow.dying_encoder:OtherEverywhere"}
    with LateChunkEngine.from_config({**options, "processes": 2}) as engine:
        with pytest.raises(FingerprintMismatchError, match="two workers"):
            engine.embed(make_parents(120))
        assert engine._loaded_encoder is None  # noqa: SLF001  # this process needed none


def test_a_daemon_worker_is_told_that_it_may_start_none(monkeypatch: pytest.MonkeyPatch) -> None:
    own: Any = multiprocessing.current_process()
    monkeypatch.setitem(own._config, "daemon", True)  # noqa: SLF001  # as a pool makes its workers
    for on_error in ("raise", "yield"):
        with make_engine(processes=2) as engine, pytest.raises(WorkerStartError, match="num_work"):
            list(engine.embed_iter([Parent(WORDS)], on_error=on_error))


_SCRIPT = """
import multiprocessing
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
from tests.flow.test_worker_pool import make_engine, make_parents, spoilt
engine = make_engine(processes=2)
GUARD
    for n, _ in enumerate(engine.embed_iter([*make_parents(60), spoilt("(wait)")])):
        if not n:
            print(*[each.pid for each in multiprocessing.active_children()], flush=True)
"""


def _start(folder: Path, guard: str) -> subprocess.Popen[str]:
    script = folder / "script.py"
    script.write_text(_SCRIPT.replace("GUARD", guard), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", str(script)],
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    _, said = _start(tmp_path, "if True:").communicate(timeout=120)
    assert said.strip().splitlines()[-1].startswith("latechunk_integrations.errors.WorkerStartErr")
    assert "if __name__ == '__main__':" in said.strip().splitlines()[-1]


@pytest.mark.parametrize("how", ["one", "group", "kill"])
def test_an_interrupted_script_leaves_no_process(tmp_path: Path, how: str) -> None:
    """Ctrl-C in a terminal reaches the whole group; `kill -INT` and a kill the script alone."""
    script = _start(tmp_path, "if __name__ == '__main__':")
    assert script.stdout is not None
    workers = [psutil.Process(int(each)) for each in script.stdout.readline().split()]
    time.sleep(1)  # one waits by now, in the middle of a block
    if how == "group":
        os.killpg(script.pid, signal.SIGINT)
    else:
        script.send_signal(signal.SIGINT if how == "one" else signal.SIGKILL)
    start = time.monotonic()
    _, said = script.communicate(timeout=60)
    assert time.monotonic() - start < 20
    assert how == "kill" or "KeyboardInterrupt" in said
    _, alive = psutil.wait_procs(workers, timeout=20)
    for each in alive:
        each.kill()
    assert workers
    assert not alive


def test_errors_that_no_pipe_carries_arrive_as_ours(pooled: LateChunkEngine) -> None:
    """See `errors.LateChunkError.__reduce__` for our own."""
    error = LateChunkError("wrong", parent_id="one")
    error.held = open(os.devnull)  # type: ignore[attr-defined]  # noqa: PTH123, SIM115  # no pickle
    from latechunk_integrations.flow.worker_process import _make_portable

    found = _make_portable(error)
    error.held.close()  # type: ignore[attr-defined]  # as above
    assert isinstance(found, EncodingFailedError)
    assert (str(found), found.parent_id) == ("LateChunkError: wrong", "one")
