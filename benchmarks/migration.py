"""A collection of 10,000 chunks, written by a framework's own code, migrated through three kills.

Each of the stores that are named is filled by LangChain's and by LlamaIndex' vector store class,
then ``latechunk migrate`` is killed three times and started again. At the end every id and text is
what it was, every old vector too, and every late vector equals the engine's for the whole document
to 1e-5.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import psycopg

from latechunk_integrations import LateChunkEngine, Parent
from tests.bulk.migration.collections import WAYS, Rows, Written, texts
from tests.bulk.migration.postgres_collections import plain
from tests.bulk.migration.postgres_collections import ways as postgres_ways
from tests.postgres import running_postgres
from tests.tiny_models import save_tiny_model

_COMMAND = [sys.executable, "-m", "latechunk_integrations", "migrate"]
# What the splitter of each framework makes of a document, at least.
_CHUNKS_A_DOCUMENT = {"langchain": 9, "llama-index": 3}
_KILLS = 3
_POSTGRES = ("langchain-pgvector", "llama-index-pgvector")
_TOLERANCE = 1e-5


def _migrate(collection: str, framework: str, model: Path, state: Path, n_parents: int) -> int:
    """Run the command, killing it three times at random points; returns the kills that hit."""
    arguments = [
        *(*_COMMAND, collection, "--from-framework", framework, "--checkpoint", str(state)),
        *("--model", str(model), "-o", "dtype=float32", "-o", "device=cpu"),
        *("--batch-parents", "16", "--quiet"),
    ]
    log, draw, n_kills = state / "finished.jsonl", random.Random(0), 0
    for kill in range(_KILLS):
        target = n_parents // 16 * (kill + 1) // (_KILLS + 1) - draw.randrange(3)
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)  # noqa: S603  # our own command
        while process.poll() is None:
            if log.exists() and log.read_bytes().count(b'"part"') >= target:
                process.kill()
                process.wait()
                n_kills += 1
                break
            time.sleep(0.02)
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)  # noqa: S603  # our own command
    return n_kills


def _worst(engine: LateChunkEngine, corpus: dict[str, str], before: Rows, late: Rows) -> float:
    """The largest difference of a late vector to the engine's."""
    assert late.keys() == before.keys()
    assert all(late[key].text == before[key].text for key in late)
    by_document: dict[str, list[str]] = {}
    for key, row in before.items():
        by_document.setdefault(Path(row.source).name, []).append(key)
    worst = 0.0
    for name, keys in by_document.items():
        text = corpus[name]
        spans = {key: text.index(before[key].text) for key in keys}
        keys.sort(key=spans.__getitem__)
        given = [(spans[key], spans[key] + len(before[key].text)) for key in keys]
        (result,) = engine.embed([Parent(text, given)])
        found = np.array([late[key].vector for key in keys], np.float32)
        worst = max(worst, float(np.abs(found - result.vectors).max()))
    return worst


def _way(name: str, url: str) -> Written:
    return WAYS[name] if name in WAYS else postgres_ways(url)[name]


def _write(name: str, url: str, place: Path, corpus: dict[str, str]) -> str:
    return _way(name, url).write(place, corpus)


def _read(name: str, url: str, place: Path, late: bool) -> Rows:  # noqa: FBT001  # through a pool
    way = _way(name, url)
    return way.read_late(place) if late else way.read_old(place)


def _measure(
    name: str, url: str, place: Path, corpus: dict[str, str], model: Path, engine: LateChunkEngine
) -> None:
    """Fill, migrate and check one collection; prints its line."""
    place.mkdir()
    framework = _way(name, url).framework
    # Each in a process of its own: a store in a file belongs to the process that opened it.
    with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        collection = pool.apply(_write, (name, url, place, corpus))
        before = pool.apply(_read, (name, url, place, False))
    start = time.perf_counter()
    n_kills = _migrate(collection, framework, model, place / "state", len(corpus))
    seconds = time.perf_counter() - start
    with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        after = pool.apply(_read, (name, url, place, False))
        late = pool.apply(_read, (name, url, place, True))
    assert {key: row.vector for key, row in after.items()} == {
        key: row.vector for key, row in before.items()
    }
    worst = _worst(engine, corpus, before, late)
    print(f"{place.name:22} {len(before):7} {n_kills:5} {seconds:8.1f} {worst:9.1e}", flush=True)
    assert worst <= _TOLERANCE


def main() -> None:
    """Run the command line."""
    names = (*sorted(WAYS), *_POSTGRES)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=10_000)
    parser.add_argument("--only", nargs="*", default=list(names), choices=names)
    given = parser.parse_args()
    print(f"{'collection':22} {'chunks':>7} {'kills':>5} {'seconds':>8} {'worst':>9}")
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        url = ""
        if not WAYS.keys() >= set(given.only):
            url = stack.enter_context(running_postgres())
            with psycopg.connect(plain(url), autocommit=True) as connection:
                connection.execute("create extension if not exists vector")
        model = save_tiny_model(Path(folder) / "model", "wordpiece")
        engine = LateChunkEngine.from_pretrained(model, dtype="float32", device="cpu")
        for name in given.only:
            n_documents = given.chunks // _CHUNKS_A_DOCUMENT[_way(name, url).framework]
            corpus = texts(n_documents + 1)
            _measure(name, url, Path(folder) / name, corpus, model, engine)


if __name__ == "__main__":
    main()
