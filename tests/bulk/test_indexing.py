"""A corpus into each kind of target: once, again, changed, killed, and with documents that fail."""

from __future__ import annotations

import json
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.bulk import IndexSummary, index
from latechunk_integrations.bulk.checkpoint import Checkpoint
from latechunk_integrations.bulk.rows import CorpusDocument, chunk_id
from latechunk_integrations.errors import CheckpointError, OptionError, WriterError
from tests.bulk import support
from tests.bulk.support import TARGETS, document, documents, read, target

pytestmark = pytest.mark.store


class KilledError(BaseException):
    """The process ends here; nothing catches it."""


def _die(*_: object, **__: object) -> None:
    raise KilledError


class Indexing:
    """One corpus, target and checkpoint, run after run."""

    def __init__(self, kind: str, folder: Path, model: Path) -> None:
        self.kind, self.folder, self.model = kind, folder, model

    def __call__(self, source: Any, **more: Any) -> IndexSummary:
        return index(
            source,
            target(self.kind, self.folder),
            support.options(self.model),
            self.folder / "checkpoint",
            support.settings(**more),
        )

    def rows(self) -> support.Rows:
        return read(self.kind, self.folder)

    def letters(self) -> dict[str, str]:
        lines = (self.folder / "checkpoint" / "dead-letters.jsonl").read_bytes().splitlines()
        letters = [json.loads(line) for line in lines]
        assert len({letter["id"] for letter in letters}) == len(letters)
        return {letter["id"]: letter["error"] for letter in letters}


@pytest.fixture(params=TARGETS)
def indexing(request: pytest.FixtureRequest, tmp_path: Path, tiny_model_path: Path) -> Indexing:
    return Indexing(request.param, tmp_path, tiny_model_path)


@pytest.fixture
def files(tmp_path: Path, tiny_model_path: Path) -> Indexing:
    return Indexing("parquet", tmp_path, tiny_model_path)


def expected(engine: LateChunkEngine, corpus: list[CorpusDocument]) -> support.Rows:
    """Every chunk as the engine embeds it, document by document."""
    rows: support.Rows = {}
    for each in corpus:
        spans = support.fixed_chunks(each.text)
        (result,) = engine.embed([Parent(each.text, spans, header=each.header, id=each.id)])
        for (start, end), vector, mode in zip(spans, result.vectors, result.modes, strict=True):
            rows[chunk_id(each.id, start, end)] = {
                "document_id": each.id,
                "start": start,
                "end": end,
                "first_page": 0,
                "last_page": 0,
                "text": each.text[start:end],
                "mode": mode,
                "vector": np.asarray(vector, np.float32).tobytes(),
            }
    return rows


def without_hashes(rows: support.Rows) -> support.Rows:
    dropped = ("chunk_id", "version", "late_parent", "late_engine")
    return {
        name: {key: value for key, value in row.items() if key not in dropped}
        for name, row in rows.items()
    }


def test_every_chunk_stands_in_the_target_as_the_engine_embeds_it(
    indexing: Indexing, tiny_engine: LateChunkEngine
) -> None:
    corpus = documents(7)
    summary = indexing(corpus)
    rows = indexing.rows()
    assert without_hashes(rows) == expected(tiny_engine, corpus)
    assert (summary.n_documents, summary.n_chunks, summary.n_failed) == (7, len(rows), 0)
    third = [row for row in rows.values() if row["document_id"] == "doc-3"]
    spans = sorted((row["start"], row["end"]) for row in third)
    parent = Parent(corpus[3].text, spans, corpus[3].header)
    assert {row["late_parent"] for row in third} == {parent.fingerprint}
    assert {row["late_engine"] for row in rows.values()} == {tiny_engine.fingerprint}


def test_a_second_run_changes_nothing(indexing: Indexing) -> None:
    indexing(documents(7))
    first = indexing.rows()
    log = (indexing.folder / "checkpoint" / "finished.jsonl").read_bytes()
    summary = indexing(documents(7))
    assert (summary.n_documents, summary.n_unchanged) == (0, 7)
    assert indexing.rows() == first
    assert (indexing.folder / "checkpoint" / "finished.jsonl").read_bytes() == log


def test_a_lost_checkpoint_costs_time_but_doubles_nothing(
    indexing: Indexing, tmp_path: Path
) -> None:
    indexing(documents(5))
    first = indexing.rows()
    (tmp_path / "checkpoint").rename(tmp_path / "lost")
    if indexing.kind in ("parquet", "jsonl"):
        with pytest.raises(CheckpointError, match="does not know"):
            indexing(documents(5))
        (tmp_path / "checkpoint").rename(tmp_path / "new")
        (tmp_path / "lost").rename(tmp_path / "checkpoint")
    summary = indexing(documents(5), restart=True)
    assert summary.n_documents == 5
    assert indexing.rows().keys() == first.keys()
    if indexing.kind in ("milvus", "qdrant"):
        assert indexing.rows() == first


def test_a_changed_document_replaces_its_chunks_and_leaves_no_orphans(
    indexing: Indexing, tiny_engine: LateChunkEngine
) -> None:
    corpus = documents(6)
    indexing(corpus)
    corpus[2] = document(2, "Short now.")  # had more chunks
    corpus[4] = document(4, corpus[4].text.replace("Part", "Item"))  # same spans, other text
    corpus.insert(0, document(9))
    summary = indexing(corpus)
    assert (summary.n_documents, summary.n_unchanged) == (3, 4)
    assert without_hashes(indexing.rows()) == expected(tiny_engine, corpus)


def test_a_document_changed_back_after_a_kill_is_not_doubled(
    indexing: Indexing, tiny_engine: LateChunkEngine
) -> None:
    """Its present version stands in a former part too, which was not cleared yet."""
    first = documents(3)

    def killed() -> Iterator[CorpusDocument]:
        yield document(0, "Another text, for a moment.")
        yield from first[1:]
        raise KilledError

    indexing(first)
    with pytest.raises(KilledError):
        indexing(killed(), batch_documents=1)
    indexing(first)
    assert without_hashes(indexing.rows()) == expected(tiny_engine, first)


@pytest.mark.parametrize("text", ["Another text.", ""], ids=["changed", "failing"])
def test_a_document_changed_back_after_its_change_was_written_but_not_noted_is_done_again(
    indexing: Indexing, tiny_engine: LateChunkEngine, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    corpus = documents(3)
    indexing(corpus)
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "add", _die)
        with pytest.raises(KilledError):
            indexing([corpus[0], CorpusDocument("doc-1", text), corpus[2]])
    indexing(corpus)
    assert without_hashes(indexing.rows()) == expected(tiny_engine, corpus)


def test_a_document_that_returns_after_its_removal_was_not_noted_is_done_again(
    indexing: Indexing, tiny_engine: LateChunkEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = documents(3)
    indexing(corpus)
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "forget", _die)
        with pytest.raises(KilledError):
            indexing(corpus[:2], prune=True, prune_at_most=1)
    indexing(corpus)
    assert without_hashes(indexing.rows()) == expected(tiny_engine, corpus)


def test_a_document_that_fails_is_listed_and_the_others_are_done(
    indexing: Indexing, tiny_engine: LateChunkEngine
) -> None:
    good = documents(5)
    blank, surrogate = CorpusDocument("blank", " \n"), CorpusDocument("half", "a \ud800 half")
    summary = indexing([*good[:2], blank, *good[2:], surrogate, CorpusDocument("doc-1", "again")])
    assert without_hashes(indexing.rows()) == expected(tiny_engine, good)
    assert summary.n_failed == 3
    assert indexing.letters() == {
        "blank": "EmptyTextError",
        "half": "InvalidCharacterError",
        "doc-1": "InputError",
    }
    # Listed still, when nothing is left to do; gone, when the document is mended.
    assert indexing([*good, blank]).n_failed == 1
    assert indexing.letters() == {"blank": "EmptyTextError"}
    mended = [*good, CorpusDocument("blank", "Text at last.")]
    assert indexing(mended).n_failed == 0
    assert indexing.letters() == {}
    assert without_hashes(indexing.rows()) == expected(tiny_engine, mended)


def test_a_file_whose_name_is_no_text_does_not_end_the_run(
    indexing: Indexing, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.txt").write_text("A text.", encoding="utf-8")
    try:
        for name in (b"caf\xe9.txt", b"caf\xe9.jsonl"):
            (source / os.fsdecode(name)).write_text("no JSON", encoding="utf-8")
    except OSError:
        pytest.skip("this file system has no names that are not UTF-8")
    for _ in range(2):
        assert indexing(source).n_failed == 2
        assert indexing.letters() == {
            "caf\\udce9.txt": "InvalidCharacterError",
            "caf\\udce9.jsonl:1": "JSONDecodeError",
        }
    assert {row["document_id"] for row in indexing.rows().values()} == {"a.txt"}


def test_chunks_of_a_document_that_no_longer_embeds_are_removed(
    indexing: Indexing, tiny_engine: LateChunkEngine
) -> None:
    corpus = documents(4)
    indexing(corpus)
    indexing([corpus[0], CorpusDocument(corpus[1].id, ""), *corpus[2:]])
    assert without_hashes(indexing.rows()) == expected(tiny_engine, [corpus[0], *corpus[2:]])


def test_documents_that_left_the_source_stay_unless_they_are_pruned(
    indexing: Indexing, tiny_engine: LateChunkEngine
) -> None:
    corpus = documents(5)
    indexing(corpus)
    indexing(corpus[:3])
    assert without_hashes(indexing.rows()) == expected(tiny_engine, corpus)
    assert indexing(corpus[:3], prune=True, prune_at_most=1).n_removed == 2
    assert without_hashes(indexing.rows()) == expected(tiny_engine, corpus[:3])
    assert indexing(corpus, prune=True, prune_at_most=1).n_documents == 2


def test_an_id_may_hold_any_printable_character(indexing: Indexing) -> None:
    names = ['O\'Hara "quoted"', "back\\slash", "ü/日本 🎉", "a,b;c#d", "tab\tnbsp\u00a0"]
    indexing([CorpusDocument(name, "A first text.") for name in names])
    second = "A second text that has more than forty letters."
    indexing([CorpusDocument(name, second) for name in names])
    found: dict[str, list[int]] = {name: [] for name in names}
    for row in indexing.rows().values():
        found[row["document_id"]].append(row["start"])
    assert {name: sorted(starts) for name, starts in found.items()} == {
        key: [0, 40] for key in names
    }


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_ten_times_every_chunk_stands_there_once(
    indexing: Indexing,
    tiny_engine: LateChunkEngine,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    """It dies while it reads, or as it makes a part or a line of the log durable."""
    rng = random.Random(seed)
    corpus = documents(14)
    n_killed = 0
    while n_killed < 10:
        corpus = _changed(corpus, rng)
        with monkeypatch.context() as patch:
            _die_somewhere(patch, rng)
            try:
                indexing(_dying(corpus, rng), prune=True, prune_at_most=1)
            except KilledError:
                n_killed += 1
        _cut_last_line(indexing.folder / "checkpoint" / "finished.jsonl", rng)
    indexing(corpus, prune=True, prune_at_most=1)
    assert without_hashes(indexing.rows()) == expected(tiny_engine, corpus)


def _changed(corpus: list[CorpusDocument], rng: random.Random) -> list[CorpusDocument]:
    """Documents come, go, change and change back."""
    by_id = {each.id: each for each in corpus}
    for number in rng.sample(range(18), 3):
        first = document(number)
        now = by_id.pop(first.id, None)
        if now != first:
            by_id[first.id] = first
        elif rng.random() < 0.7:
            by_id[first.id] = document(number, f"Number {number} says something else.")
    return list(by_id.values())


def _dying(corpus: list[CorpusDocument], rng: random.Random) -> Iterator[CorpusDocument]:
    last = rng.randrange(2 * len(corpus))
    for number, each in enumerate(corpus):
        if number == last:
            raise KilledError
        yield each


def _die_somewhere(patch: pytest.MonkeyPatch, rng: random.Random) -> None:
    left = rng.randrange(12)
    durable = os.fsync

    def fsync(file: int) -> None:
        nonlocal left
        if threading.current_thread() is not threading.main_thread():
            return durable(file)  # Milvus Lite's own
        left -= 1
        if left < 0:
            raise KilledError
        return durable(file)

    patch.setattr(os, "fsync", fsync)


def _cut_last_line(log: Path, rng: random.Random) -> None:
    """What a power failure may leave of a line that was being written."""
    if not log.exists() or rng.random() < 0.5:
        return
    lines = log.read_bytes().splitlines(keepends=True)
    if lines and (b'"part"' in lines[-1] or b'"removed"' in lines[-1]):
        lines[-1] = lines[-1][: rng.randrange(len(lines[-1]))]
        log.write_bytes(b"".join(lines))


def test_a_splitter_that_chokes_on_one_document_does_not_end_the_run(files: Indexing) -> None:
    def choking(text: str) -> list[str]:
        if "boom" in text:
            raise ZeroDivisionError("cannot cut this")
        return ["somewhere else"] if "elsewhere" in text else [text]

    from latechunk_integrations.bulk.chunking import Chunking

    corpus = [
        document(0),
        CorpusDocument("boom", "boom"),
        CorpusDocument("lost", "it stands elsewhere"),
    ]
    summary = files(corpus, chunking=Chunking(choking))
    assert (summary.n_documents, summary.n_failed) == (1, 2)
    assert files.letters() == {"boom": "ZeroDivisionError", "lost": "ChunkNotFoundError"}


@pytest.mark.parametrize("reproducible", [True, False])
@pytest.mark.parametrize("fallback", ["error", "skip"])
def test_an_over_long_document_is_listed_or_counted(
    files: Indexing, *, fallback: Literal["error", "skip"], reproducible: bool
) -> None:
    from dataclasses import replace

    long = CorpusDocument("long", "A text that is far longer than one window. " * 9)
    asked = replace(support.options(files.model), fallback=fallback)
    corpus = [document(0, "Short."), long, document(1, "Short as well.")]
    place = target("parquet", files.folder)
    settings = support.settings(reproducible=reproducible)
    summary = index(corpus, place, asked, files.folder / "checkpoint", settings)
    assert {row["document_id"] for row in files.rows().values()} == {"doc-0", "doc-1"}
    if fallback == "error":
        assert files.letters() == {"long": "ParentTooLongError"}
    else:
        assert (summary.n_skipped, summary.n_failed) == (1, 0)


def test_other_options_need_another_checkpoint_or_a_restart(files: Indexing) -> None:
    from dataclasses import replace

    files(documents(3))
    other = replace(support.options(files.model), max_tokens=32)
    place, kept = target("parquet", files.folder), files.folder / "checkpoint"
    with pytest.raises(CheckpointError, match="another model, options or splitter"):
        index(documents(3), place, other, kept, support.settings())
    with pytest.raises(CheckpointError, match="another target"):
        index(
            documents(3),
            place[:-8] + "2.parquet",
            support.options(files.model),
            kept,
            support.settings(),
        )
    before = files.rows()
    summary = index(documents(3), place, other, kept, support.settings(restart=True))
    assert summary.n_documents == 3
    assert files.rows().keys() == before.keys()
    assert files.rows() != before


def test_an_emptied_target_is_not_taken_for_a_full_one(indexing: Indexing) -> None:
    import shutil

    indexing(documents(3))
    if indexing.kind == "milvus":
        from pymilvus import MilvusClient

        client = MilvusClient(uri=str(indexing.folder / "milvus.db"))
        client.drop_collection("chunks")
        client.close()
    else:
        (store,) = (path for path in indexing.folder.iterdir() if path.name != "checkpoint")
        shutil.rmtree(store)
    with pytest.raises(CheckpointError, match="restart"):
        indexing(documents(3))
    assert indexing(documents(3), restart=True).n_documents == 3


@pytest.mark.parametrize("kind", ["milvus", "qdrant"])
def test_a_collection_of_another_width_is_refused(
    kind: str, tmp_path: Path, tiny_model_path: Path
) -> None:
    from dataclasses import replace

    indexing = Indexing(kind, tmp_path, tiny_model_path)
    indexing(documents(2))
    narrow = replace(support.options(tiny_model_path), dimensions=8)
    with pytest.raises(WriterError, match="vectors of 32"):
        index(documents(2), target(kind, tmp_path), narrow, tmp_path / "other", support.settings())


@pytest.mark.parametrize("wrong", ["milvus:x.db", "qdrant:#c", "rows.csv", "postgres:x#y", ""])
def test_a_target_that_is_none_is_refused_with_the_ones_there_are(
    wrong: str, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match="COLLECTION"):
        index([], wrong, support.options(tmp_path), tmp_path / "checkpoint")


def test_milvus_lists_what_its_strings_cannot_hold(tmp_path: Path, tiny_model_path: Path) -> None:
    indexing = Indexing("milvus", tmp_path, tiny_model_path)
    odd = [CorpusDocument("bell\a", "Text."), CorpusDocument("x" * 1_025, "Text.")]
    summary = indexing([document(0), *odd])
    assert (summary.n_documents, summary.n_failed) == (1, 2)
