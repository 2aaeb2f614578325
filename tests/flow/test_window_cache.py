"""A window that did not change is not encoded again, and nothing else is ever taken for it."""

from __future__ import annotations

import multiprocessing
import re
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.encoders.base import TokenBatch
from latechunk_integrations.errors import NotFiniteError, OptionError
from latechunk_integrations.flow.window_cache import WindowCache, open_window_cache
from tests.prepared import Prepared, run_script

WORDS = (
    *("Berlin", "capital", "Germany", "inhabitants", "東京", "café", "the", "of", "has", "3.85"),
    *("supplier", "delivers", "part"),
)
# Small windows, so that a short text has many.
SMALL: dict[str, Any] = {"max_tokens": 32, "batch_tokens": 64}


def text_of(words: list[int]) -> str:
    return " ".join(WORDS[word % len(WORDS)] for word in words) + "."


def parent_of(paragraphs: list[list[int]], header: str = "", **given: Any) -> Parent:
    """Paragraphs as chunks."""
    text = "\n".join(map(text_of, paragraphs))
    return Parent(text, [match.span() for match in re.finditer(r".+", text)], header, **given)


@pytest.fixture
def engine_of(tiny_model_path: Path) -> Callable[..., LateChunkEngine]:
    def build(**options: Any) -> LateChunkEngine:
        given = {"dtype": "float32", "device": "cpu", **SMALL, **options}
        return LateChunkEngine.from_pretrained(str(tiny_model_path), **given)

    return build


def vectors(engine: LateChunkEngine, *parents: Parent) -> list[np.ndarray]:
    return [result.vectors for result in engine.embed(list(parents))]


def encoded(engine: LateChunkEngine, *parents: Parent) -> int:
    """Tokens that go through the encoder for some parents."""
    before = engine.stats.get("tokens", 0)
    engine.embed(list(parents))
    return engine.stats["tokens"] - before


paragraphs_of = st.lists(
    st.lists(st.integers(0, 50), min_size=1, max_size=30), min_size=1, max_size=25
)
edits = st.lists(
    st.tuples(st.sampled_from(["change", "insert", "delete", "header"]), st.integers(0, 99)),
    min_size=1,
    max_size=6,
)


def edited(paragraphs: list[list[int]], header: str, kind: str, at: int) -> tuple[Any, str]:
    place = at % len(paragraphs)
    changed = list(paragraphs)
    if kind == "change":
        changed[place] = [*changed[place][: at % 7], at, at + 1]
    elif kind == "insert":
        changed.insert(place, [at, at + 2, at + 5])
    elif kind == "delete" and len(changed) > 1:
        del changed[place]
    return changed, f"Part {at}" if kind == "header" else header


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stable_windows": True},
        {"layout": "text", "focus": 1.0},
        {"layout": "text", "focus": 0.0},
        {"sub_span_tokens": 6, "context_weight": 0.5},
        {"pooling": "weighted", "header_weight": 0.1, "header_pooling": 0.5},
    ],
    ids=str,
)
@settings(
    max_examples=6,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(paragraphs=paragraphs_of, changes=edits)
def test_edits_give_what_an_engine_without_a_cache_gives(
    engine_of: Callable[..., LateChunkEngine],
    options: dict[str, Any],
    paragraphs: list[list[int]],
    changes: list[tuple[str, int]],
) -> None:
    cached, fresh = engine_of(window_cache=":memory:", **options), engine_of(**options)
    header = "Handbook"
    for kind, at in changes:
        parents = [parent_of(paragraphs, header), parent_of(paragraphs[::-1], "")]
        for found, expected in zip(
            vectors(cached, *parents), vectors(fresh, *parents), strict=True
        ):
            np.testing.assert_allclose(found, expected, atol=1e-6)
        paragraphs, header = edited(paragraphs, header, kind, at)
    cached.close()  # the cache of this process is empty again


@pytest.mark.parametrize(
    "options", [{}, {"layout": "text"}, {"sub_span_tokens": 6, "context_weight": 0.5}], ids=str
)
def test_an_unchanged_parent_costs_no_token_and_keeps_every_bit(
    engine_of: Callable[..., LateChunkEngine], tmp_path: Path, options: dict[str, Any]
) -> None:
    rng = np.random.default_rng(1)
    parents = [
        parent_of([rng.integers(0, 99, size).tolist() for size in sizes], "Title", id=str(at))
        for at, sizes in enumerate(([3, 70, 9, 12], [5] * 30, [1]))
    ]
    fresh = engine_of(**options)
    expected = vectors(fresh, *parents)
    place = tmp_path / "windows.sqlite"
    first = engine_of(window_cache=place, **options)
    for found, right in zip(vectors(first, *parents), expected, strict=True):
        np.testing.assert_array_equal(found, right)
    assert first.stats["cached_windows"] == 0
    n_windows = first.stats["windows"]
    # Another engine, another order, one at a time: other blocks, the same windows.
    again = engine_of(window_cache=place, **options)
    for found, right in zip(vectors(again, *parents), expected, strict=True):
        np.testing.assert_array_equal(found, right)
    assert again.stats["tokens"] == again.stats["windows"] == 0
    assert again.stats["cached_windows"] == n_windows
    for parent, right in zip(parents[::-1], expected[::-1], strict=True):
        assert encoded(again, parent) == 0
        np.testing.assert_allclose(vectors(again, parent)[0], right, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_one_paragraph_costs_the_windows_around_it(
    engine_of: Callable[..., LateChunkEngine], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    paragraphs = [rng.integers(0, 99, rng.integers(3, 25)).tolist() for _ in range(900)]
    options = {"window_cache": ":memory:", "stable_windows": True, "batch_tokens": 1_024}
    engine = engine_of(**{**options, "max_tokens": 128})
    whole = encoded(engine, parent_of(paragraphs))
    for kind in ("change", "insert", "delete"):
        changed, _ = edited(paragraphs, "", kind, int(rng.integers(900)))
        parent = parent_of(changed)
        assert encoded(engine, parent) <= 4 * 1_024 < whole / 3
        assert encoded(engine, parent) == 0
    engine.close()


@pytest.mark.slow
def test_stable_windows_are_others_in_long_parents_alone(
    engine_of: Callable[..., LateChunkEngine],
) -> None:
    rng = np.random.default_rng(5)
    paragraphs = [rng.integers(0, 99, rng.integers(3, 25)).tolist() for _ in range(900)]
    stable = engine_of(stable_windows=True, max_tokens=128)
    even = engine_of(stable_windows=False, max_tokens=128)
    short, long = parent_of(paragraphs[:60]), parent_of(paragraphs)
    np.testing.assert_allclose(vectors(stable, short)[0], vectors(even, short)[0], atol=1e-6)
    assert np.abs(vectors(stable, long)[0] - vectors(even, long)[0]).max() > 1e-4


@pytest.mark.slow
def test_what_reaches_encoder_or_pooling_is_in_the_key(
    engine_of: Callable[..., LateChunkEngine],
) -> None:
    """Each change of one thing alone: the same as without a cache, and something is encoded."""
    paragraphs = [[1, 2, 3], [4, 5, 6, 7], [8, 9]]
    text = "\n".join(map(text_of, paragraphs))
    assert "capital Germany" in text
    spans = parent_of(paragraphs).spans.array.tolist()
    variants = [
        Parent(text, spans),
        Parent(text, spans, "Title"),
        Parent(text, spans, headers=["Title", "", ""]),
        Parent(text, [(0, spans[1][1]), tuple(spans[2])]),
        Parent(text, [*spans, (0, len(text))]),
        Parent(text, [(0, spans[0][1] - 5), (spans[0][1] - 5, spans[1][1]), tuple(spans[2])]),
        Parent(text.replace("capital Germany", "Germany capital"), spans),  # as many tokens
    ]
    for options in ({}, {"layout": "text", "focus": 1.0}, {"layout": "text", "focus": 0.0}):
        engine, fresh = engine_of(window_cache=":memory:", **options), engine_of(**options)
        for parent in variants:
            np.testing.assert_allclose(
                vectors(engine, parent)[0], vectors(fresh, parent)[0], atol=1e-6
            )
        engine.close()


def test_an_engine_with_another_fingerprint_never_hits(
    engine_of: Callable[..., LateChunkEngine], tmp_path: Path, tiny_model_paths: dict[str, Path]
) -> None:
    parent = parent_of([[1, 2, 3], [4, 5]], "Title")
    place = str(tmp_path / "windows.sqlite")
    engine_of(window_cache=place).embed([parent])
    others = [
        engine_of(window_cache=place, focus=2.5),
        engine_of(window_cache=place, dtype="bfloat16"),
    ]
    for engine in others:
        engine.embed([parent])
        assert engine.stats["cached_windows"] == 0
    neutral = engine_of(window_cache=place, batch_tokens=999, window_cache_bytes=1 << 21)
    assert neutral.fingerprint == engine_of().fingerprint
    assert encoded(neutral, parent) == 0


_EMBED = """
import sys
from latechunk_integrations import LateChunkEngine, Parent
engine = LateChunkEngine.from_pretrained(
    sys.argv[1], dtype="float32", device="cpu", window_cache=sys.argv[2], max_tokens=32
)
(result,) = engine.embed([Parent("Berlin is the capital of Germany. " * 9, [(0, 34), (34, 200)])])
print(engine.stats["tokens"], result.vectors.tobytes().hex())
"""


@pytest.mark.slow
def test_a_file_outlives_the_process(
    engine_of: Callable[..., LateChunkEngine], tiny_model_path: Path, tmp_path: Path
) -> None:
    place = str(tmp_path / "windows.sqlite")
    engine = engine_of(window_cache=place)
    parent = Parent("Berlin is the capital of Germany. " * 9, [(0, 34), (34, 200)])
    vector = vectors(engine, parent)[0]
    assert engine.stats["tokens"] > 0
    script = tmp_path / "embed.py"
    script.write_text(_EMBED, encoding="utf-8")
    finished = Prepared(tmp_path, run_script, script, str(tiny_model_path), place).finish()
    assert finished.stdout.split() == ["0", vector.tobytes().hex()], finished.stderr


def damage(place: Path, kind: str) -> None:
    content = bytearray(place.read_bytes())
    if kind == "no database":
        content = bytearray(b"something else entirely" * 1_000)
    elif kind == "cut off":
        content = content[: len(content) // 2]
    elif kind == "zeros":
        content[4_096:] = bytes(len(content) - 4_096)
    place.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["no database", "cut off", "zeros"])
def test_a_damaged_file_is_a_miss(
    engine_of: Callable[..., LateChunkEngine],
    tmp_path: Path,
    kind: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    place = tmp_path / "windows.sqlite"
    parents = [parent_of([[seed, 2, 3], [4, 5]] * 30, str(seed)) for seed in range(5)]
    engine = engine_of(window_cache=place)
    expected = vectors(engine, *parents)
    engine.close()
    damage(place, kind)
    engine = engine_of(window_cache=place)
    for found, right in zip(vectors(engine, *parents), expected, strict=True):
        np.testing.assert_allclose(found, right, atol=1e-6)
    assert engine.stats["tokens"] > 0
    assert engine.stats["window_cache_failures"] > 0
    assert "delete it" in caplog.text
    assert place.is_file()


@pytest.mark.parametrize("how", ["bit", "short", "swapped", "text"])
def test_a_damaged_value_is_a_miss(
    engine_of: Callable[..., LateChunkEngine], tmp_path: Path, how: str
) -> None:
    place = tmp_path / "windows.sqlite"
    parents = [parent_of([[seed, 2, 3]]) for seed in range(2)]
    engine = engine_of(window_cache=place)
    expected = vectors(engine, *parents)
    engine.close()
    with sqlite3.connect(place) as connection:
        rows = connection.execute("SELECT key, value FROM windows").fetchall()
        assert len(rows) == 2
        values: list[Any] = [value for _, value in rows]
        if how == "bit":
            values = [value[:-1] + bytes([value[-1] ^ 1]) for value in values]
        elif how == "short":
            values = [value[:-4] for value in values]
        elif how == "text":
            values = ["text"] * 2
        else:
            values.reverse()
        for (key, _), value in zip(rows, values, strict=True):
            connection.execute("UPDATE windows SET value = ? WHERE key = ?", (value, key))
    connection.close()
    for _ in range(2):
        engine = engine_of(window_cache=place)
        for found, right in zip(vectors(engine, *parents), expected, strict=True):
            np.testing.assert_array_equal(found, right)
        n_cached = engine.stats["cached_windows"]
    assert n_cached == 2, "the damaged values were replaced"


def test_somebody_elses_database_is_left_as_it_is(
    engine_of: Callable[..., LateChunkEngine], tmp_path: Path
) -> None:
    place = tmp_path / "notes.sqlite"
    with sqlite3.connect(place) as connection:
        connection.execute("CREATE TABLE notes (text)")
    connection.close()
    before = place.read_bytes()
    with pytest.raises(OptionError, match="something else"):
        engine_of(window_cache=place)
    assert place.read_bytes() == before
    with pytest.raises(OptionError, match="can be written"):
        engine_of(window_cache=tmp_path / "missing" / "windows.sqlite")


@pytest.mark.parametrize("place", [":memory:", "file"])
def test_the_cache_keeps_its_bytes_and_forgets_what_was_longest_unused(
    tmp_path: Path, place: str
) -> None:
    file = tmp_path / "w.sqlite"
    limit = 1 << 20
    cache = WindowCache(str(file) if place == "file" else place, limit)
    rng = np.random.default_rng(0)
    first = {b"first": rng.bytes(5_000)}
    cache.put(first)
    for turn in range(300):
        cache.put(
            {f"{turn}-{at}".encode(): rng.bytes(int(rng.integers(1, 9_000))) for at in range(9)}
        )
        assert cache.get([b"first"]) == first, "it is used all the time"
    assert not cache.get([b"0-0", b"150-3"])
    assert len(cache.get([f"299-{at}".encode() for at in range(9)])) == 9
    cache.put({b"huge": bytes(limit)})
    assert not cache.get([b"huge"])
    cache.close()
    if place == "file":
        assert limit / 2 < file.stat().st_size <= limit


def test_sums_that_are_not_finite_are_not_kept(
    engine_of: Callable[..., LateChunkEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(window_cache=":memory:")
    parent = parent_of([[1, 2]])
    forward: Any = engine.encoder.forward
    with monkeypatch.context() as patch:
        patch.setattr(engine.encoder, "forward", lambda batch: forward(batch) * float("nan"))
        with pytest.raises(NotFiniteError):
            engine.embed([parent])
    np.testing.assert_array_equal(vectors(engine, parent)[0], vectors(engine_of(), parent)[0])
    engine.close()


def test_memory_that_runs_out_on_the_way_loses_no_window(
    engine_of: Callable[..., LateChunkEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    paragraphs = [[at, at + 1, at + 2] * 3 for at in range(30)]
    engine = engine_of(window_cache=":memory:", batch_tokens=256)
    engine.embed([parent_of(paragraphs[:10])])
    forward: Any = engine.encoder.forward

    def fail(batch: TokenBatch) -> Any:
        if len(batch.lengths) > 2:
            raise MemoryError
        return forward(batch)

    monkeypatch.setattr(engine.encoder, "forward", fail)
    parent = parent_of(paragraphs)
    found = vectors(engine, parent)[0]
    assert engine.stats["out_of_memory"]
    np.testing.assert_allclose(found, vectors(engine_of(), parent)[0], atol=1e-6)
    assert encoded(engine, parent) == 0
    engine.close()


def _embed_in_child(engine: LateChunkEngine, parent: Parent, queue: Any) -> None:
    queue.put((encoded(engine, parent), vectors(engine, parent)[0]))


@pytest.mark.slow
def test_threads_and_forks_share_a_file(
    engine_of: Callable[..., LateChunkEngine], tmp_path: Path
) -> None:
    engine = engine_of(window_cache=tmp_path / "w.sqlite")
    parents = [parent_of([[at, 2, 3], [at, 5]]) for at in range(8)]
    expected = [vectors(engine_of(), parent)[0] for parent in parents]
    found: dict[int, np.ndarray] = {}

    def work(at: int) -> None:
        found[at] = vectors(engine, parents[at])[0]

    threads = [threading.Thread(target=work, args=(at,)) for at in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for at, right in enumerate(expected):
        np.testing.assert_allclose(found[at], right, atol=1e-6)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_embed_in_child, args=(engine, parents[0], queue))
    child.start()
    n_tokens, vector = queue.get(timeout=60)
    child.join()
    assert n_tokens == 0
    np.testing.assert_array_equal(vector, found[0])
    assert encoded(engine, parents[0]) == 0


def test_engines_of_one_process_share_a_cache(
    engine_of: Callable[..., LateChunkEngine], tmp_path: Path
) -> None:
    place = tmp_path / "w.sqlite"
    one = open_window_cache(str(place), 1 << 20)
    assert open_window_cache(str(tmp_path / "." / "w.sqlite"), 1 << 20) is one
    assert open_window_cache(str(place), 1 << 21) is not one


@pytest.mark.parametrize(
    "given",
    [
        {"window_cache": ""},
        {"window_cache": 3},
        {"window_cache_bytes": 1_000},
        {"stable_windows": 1},
        {"stable_windows": True, "layout": "text"},
    ],
    ids=str,
)
def test_impossible_options_are_refused(given: dict[str, Any]) -> None:
    from latechunk_integrations.options import LateChunkOptions

    with pytest.raises(OptionError):
        LateChunkOptions(model="x", **given)
