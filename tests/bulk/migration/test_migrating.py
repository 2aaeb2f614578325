"""From early vectors to late ones: in each store, as each framework's own code wrote them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.bulk import MigrationSettings, migrate, plan_migration, switch_vectors
from latechunk_integrations.bulk.migration import migrating
from latechunk_integrations.bulk.migration.collections import opening
from latechunk_integrations.errors import (
    CheckpointError,
    EncodingFailedError,
    OptionError,
    WriterError,
)
from tests.bulk import support
from tests.bulk.migration import collections
from tests.bulk.migration.collections import WAYS, Rows, Written

pytestmark = [
    pytest.mark.store,
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect"),  # local Qdrant says so
]


@pytest.fixture(params=sorted(WAYS))
def way(request: pytest.FixtureRequest) -> Written:
    return WAYS[request.param]


def settings(way: Written, **more: Any) -> MigrationSettings:
    return MigrationSettings(framework=cast("Any", way.framework), batch_parents=2, **more)


def expected(engine: LateChunkEngine, corpus: dict[str, str], rows: Rows) -> dict[str, Any]:
    """Each chunk's vector from its whole document, by id; the chunks are found by a plain search.

    The corpus repeats no chunk, so that a plain search finds the one place.
    """
    vectors: dict[str, Any] = {}
    for name, text in corpus.items():
        own = [key for key, row in rows.items() if row.source.endswith(name)]
        spans = {}
        for key in own:
            assert text.count(rows[key].text) == 1
            start = text.index(rows[key].text)
            spans[key] = (start, start + len(rows[key].text))
        order = sorted(own, key=lambda key: spans[key])
        (result,) = engine.embed([Parent(text, [spans[key] for key in order])])
        vectors |= dict(zip(order, result.vectors, strict=True))
    return vectors


def check_vectors(found: Rows, right: dict[str, Any]) -> None:
    assert found.keys() == right.keys()
    ids = sorted(found)
    np.testing.assert_allclose(
        [found[key].vector for key in ids], [right[key] for key in ids], rtol=0, atol=1e-5
    )


def check_directions(found: Rows, right: Rows) -> None:
    """The same but for the length, which a store that compares by the cosine may change."""
    assert found.keys() == right.keys()
    for key, row in found.items():
        one, other = np.array(row.vector), np.array(right[key].vector)
        assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 1 - 1e-6


def without_marks(rows: Rows) -> dict[str, Any]:
    return {key: (row.text, row.source, row.vector) for key, row in rows.items()}


def test_every_chunk_gets_the_vector_of_its_rebuilt_parent_beside_the_old_one(
    way: Written, tmp_path: Path, tiny_engine: LateChunkEngine, tiny_model_path: Path
) -> None:
    corpus = collections.texts(5)
    collection = way.write(tmp_path, corpus)
    before = way.read_old(tmp_path)
    assert len(before) > 12
    plan = plan_migration(collection, settings(way))
    assert (plan.n_chunks, plan.n_parents, plan.n_placed) == (len(before), 5, len(before))
    assert way.read_old(tmp_path) == before
    summary = migrate(collection, support.options(tiny_model_path), tmp_path / "c", settings(way))
    assert (summary.n_written, summary.plan.n_unplaced) == (len(before), 0)
    assert without_marks(way.read_old(tmp_path)) == without_marks(before)
    late = way.read_late(tmp_path)
    check_vectors(late, expected(tiny_engine, corpus, before))
    for key, row in late.items():
        made = row.metadata
        assert (row.text, row.source) == (before[key].text, before[key].source)
        assert made["late_engine"] == tiny_engine.fingerprint
        assert made["late_mode"] in ("late", "windowed")
        text = next(text for name, text in corpus.items() if row.source.endswith(name))
        assert text[int(made["late_start"]) : int(made["late_end"])] == row.text
        kept = {name: value for name, value in made.items() if not name.startswith("late_")}
        assert kept.keys() == before[key].metadata.keys()
    again = migrate(collection, support.options(tiny_model_path), tmp_path / "c", settings(way))
    assert (again.n_written, again.n_unchanged) == (0, 5)


def test_a_stopped_migration_goes_on_and_ends_like_one_that_was_not(
    way: Written,
    tmp_path: Path,
    tiny_engine: LateChunkEngine,
    tiny_model_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three times the store fails, before or after it took a batch."""
    corpus = collections.texts(7)
    collection = way.write(tmp_path, corpus)
    before = way.read_old(tmp_path)
    options = support.options(tiny_model_path)
    with pytest.MonkeyPatch.context() as patch:
        for after in (False, True, False):
            _fail_at_second_write(patch, after=after)
            with pytest.raises(KeyboardInterrupt):
                migrate(collection, options, tmp_path / "c", settings(way))
            patch.undo()
    done = migrate(collection, options, tmp_path / "c", settings(way))
    assert 0 < done.n_unchanged < 7
    check_vectors(way.read_late(tmp_path), expected(tiny_engine, corpus, before))
    assert without_marks(way.read_old(tmp_path)) == without_marks(before)


def _fail_at_second_write(patch: pytest.MonkeyPatch, *, after: bool) -> None:
    opened = opening.open_collection

    def open_failing(*given: Any) -> Any:
        store = opened(*given)
        write, calls = store.write, iter(range(9))

        def failing(rows: Any) -> None:
            last = next(calls) == 1
            if not last or after:
                write(rows)
            if last:
                raise KeyboardInterrupt

        patch.setattr(store, "write", failing)
        return store

    patch.setattr(migrating, "open_collection", open_failing)


def test_nothing_is_switched_while_chunks_have_no_late_vector(
    way: Written, tmp_path: Path, tiny_model_path: Path
) -> None:
    """One file is missing: its chunks have no place, unless they may be embedded alone."""
    corpus = collections.texts(4)
    collection = way.write(tmp_path, corpus)
    before = way.read_old(tmp_path)
    (tmp_path / "docs").mkdir()
    for name, text in list(corpus.items())[1:]:
        (tmp_path / "docs" / name).write_text(text)
    given = settings(way, source_folder=tmp_path / "docs")
    options = support.options(tiny_model_path)
    n_lost = sum(row.source.endswith("part-0.txt") for row in before.values())
    summary = migrate(collection, options, tmp_path / "c", given)
    assert dict(summary.plan.unplaced) == {"no_source_file": n_lost}
    assert len(way.read_late(tmp_path)) == len(before) - n_lost
    with pytest.raises(WriterError, match=f"{n_lost} of {len(before)} chunks"):
        switch_vectors(collection, tmp_path / "c", given)
    alone = settings(way, source_folder=tmp_path / "docs", unplaced="standalone")
    migrate(collection, options, tmp_path / "c", alone)
    late = way.read_late(tmp_path)
    modes = {row.metadata["late_mode"] for row in late.values() if "part-0" in row.source}
    assert modes == {"standalone"}
    switch_vectors(collection, tmp_path / "c", alone)
    check_directions(way.read_old(tmp_path), late)


def test_a_switch_that_was_stopped_loses_no_old_vector(
    tmp_path: Path, tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    way = WAYS["langchain-qdrant"]
    collection = way.write(tmp_path, collections.texts(3))
    before = way.read_old(tmp_path)
    migrate(collection, support.options(tiny_model_path), tmp_path / "c", settings(way))
    late = way.read_late(tmp_path)
    from latechunk_integrations.bulk.migration.collections import qdrant_collection

    monkeypatch.setattr(qdrant_collection, "_POINTS", 5)
    update, calls = qdrant_collection.QdrantCollection._update, iter(range(99))  # noqa: SLF001  # where it is stopped

    def failing(self: Any, name: str, vectors: Any) -> None:
        update(self, name, vectors)
        if name == "" and next(calls) == 1:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(qdrant_collection.QdrantCollection, "_update", failing)
        with pytest.raises(KeyboardInterrupt):
            switch_vectors(collection, tmp_path / "c", settings(way))
    switch_vectors(collection, tmp_path / "c", settings(way))
    check_directions(way.read_old(tmp_path), late)
    aside = collections.read_qdrant(tmp_path, "late_before")
    check_directions(aside, before)


def test_a_qdrant_that_cannot_add_a_vector_gets_a_second_collection(
    tmp_path: Path, tiny_engine: LateChunkEngine, tiny_model_path: Path
) -> None:
    """As a server of before says it: there is no such call."""
    from httpx import Headers
    from qdrant_client import QdrantClient
    from qdrant_client.http.exceptions import UnexpectedResponse

    def refuse(*_: Any, **__: Any) -> None:
        raise UnexpectedResponse(404, "Not Found", b"", Headers())

    way, corpus = WAYS["langchain-qdrant"], collections.texts(4)
    collection = way.write(tmp_path, corpus)
    before = way.read_old(tmp_path)
    options = support.options(tiny_model_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(QdrantClient, "create_vector_name", refuse)
        migrate(collection, options, tmp_path / "c", settings(way))
        again = migrate(collection, options, tmp_path / "c", settings(way))
        assert again.place_of_late == "the collection 'chunks-late'"
        with pytest.raises(WriterError, match="open the collection 'chunks-late'"):
            switch_vectors(collection, tmp_path / "c", settings(way))
    assert again.n_unchanged == 4
    assert without_marks(way.read_old(tmp_path)) == without_marks(before)
    late = collections.read_qdrant(tmp_path, name="chunks-late")
    check_vectors(late, expected(tiny_engine, corpus, before))
    assert {row.metadata["late_engine"] for row in late.values()} == {tiny_engine.fingerprint}


def test_a_chunk_that_was_deleted_since_does_not_come_back_by_a_switch(
    tmp_path: Path, tiny_model_path: Path
) -> None:
    import chromadb

    way = WAYS["langchain-chroma"]
    collection = way.write(tmp_path, collections.texts(2))
    migrate(collection, support.options(tiny_model_path), tmp_path / "c", settings(way))
    gone = next(iter(way.read_old(tmp_path)))
    client = chromadb.PersistentClient(str(tmp_path / "chroma"))
    client.get_collection("chunks").delete(ids=[gone])
    with pytest.raises(WriterError, match="deleted since"):
        switch_vectors(collection, tmp_path / "c", settings(way))


def test_vectors_of_somebody_else_are_not_written_over(
    way: Written, tmp_path: Path, tiny_model_path: Path
) -> None:
    """What is where the late vectors go, and no checkpoint knows it."""
    collection, options = (
        way.write(tmp_path, collections.texts(2)),
        support.options(tiny_model_path),
    )
    migrate(collection, options, tmp_path / "theirs", settings(way))
    before = way.read_late(tmp_path)
    with pytest.raises(CheckpointError, match="late_name"):
        migrate(collection, options, tmp_path / "ours", settings(way, unplaced="standalone"))
    assert way.read_late(tmp_path) == before
    migrate(collection, options, tmp_path / "ours", settings(way, restart=True))


@pytest.mark.parametrize("name", ["langchain-qdrant", "llama-index-chroma"])
def test_vectors_of_two_models_are_not_switched(
    name: str, tmp_path: Path, tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Migrated, then again with other options, and stopped: every chunk has a late vector."""
    way = WAYS[name]
    collection, options = (
        way.write(tmp_path, collections.texts(6)),
        support.options(tiny_model_path),
    )
    migrate(collection, options, tmp_path / "c", settings(way))
    before = without_marks(way.read_old(tmp_path))
    other = replace(options, context_weight=0.5)
    again = settings(way, restart=True)
    with monkeypatch.context() as patch:
        _fail_at_second_write(patch, after=False)
        with pytest.raises(KeyboardInterrupt):
            migrate(collection, other, tmp_path / "c", again)
    with pytest.raises(WriterError, match="Migrate again"):
        switch_vectors(collection, tmp_path / "c", settings(way))
    assert without_marks(way.read_old(tmp_path)) == before
    migrate(collection, other, tmp_path / "c", settings(way))
    switch_vectors(collection, tmp_path / "c", settings(way))


def test_the_old_vectors_are_not_taken_for_the_late_ones(
    tmp_path: Path, tiny_model_path: Path
) -> None:
    from qdrant_client import QdrantClient, models

    client = QdrantClient(path=str(tmp_path / "qdrant"))
    size = models.VectorParams(size=32, distance=models.Distance.COSINE)
    client.create_collection("c", vectors_config={"body": size})
    payload = {"text": "A text.", "source": "a", "start": 0, "end": 7}
    point = models.PointStruct(id=1, vector={"body": [1.0] + [0.0] * 31}, payload=payload)
    client.upsert("c", [point])
    client.close()
    given = MigrationSettings(vector="body", late_name="body")
    options = support.options(tiny_model_path)
    with pytest.raises(OptionError, match="'body'"):
        migrate(f"qdrant:{tmp_path / 'qdrant'}#c", options, tmp_path / "c", given)


def test_a_parent_that_fails_is_reported_and_the_others_go_on(
    tmp_path: Path, tiny_engine: LateChunkEngine, tiny_model_path: Path
) -> None:
    """A model that fails over it may not fail the next time; a document too long will."""
    way, corpus = WAYS["langchain-qdrant"], collections.texts(4)
    collection = way.write(tmp_path, corpus)
    before = way.read_old(tmp_path)
    options = support.options(tiny_model_path)
    planner = type(tiny_engine._flow)  # noqa: SLF001  # where a forward pass is
    embed = planner.embed

    def failing(self: Any, parents: Any, **how: bool) -> Any:
        held = list(parents)
        results = embed(self, iter(held), **how)
        for parent, result in zip(held, results, strict=True):
            if parent.id.endswith("part-1.txt"):
                yield EncodingFailedError("the device failed", parent_id=parent.id)
            else:
                yield result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner, "embed", failing)
        summary = migrate(collection, options, tmp_path / "c", settings(way))
    assert list(summary.failed) == ["docs/part-1.txt"]
    assert summary.n_parents == 3
    again = migrate(collection, options, tmp_path / "c", settings(way))
    assert (again.failed, again.n_parents, again.n_unchanged) == ({}, 1, 3)
    check_vectors(way.read_late(tmp_path), expected(tiny_engine, corpus, before))
