"""Planted damages: `verify` finds each, and `repair` mends it to what a fresh index would be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latechunk_integrations.bulk import (
    IndexPlan,
    IndexSummary,
    RepairSummary,
    Verification,
    audit,
    index,
    plan_index,
    repair,
    verify,
)
from latechunk_integrations.bulk.atomic_file import seal_file
from latechunk_integrations.bulk.checkpoint import Checkpoint
from latechunk_integrations.bulk.embedder import DocumentEmbedder
from latechunk_integrations.bulk.indexing import make_identity
from latechunk_integrations.bulk.rows import CorpusDocument
from latechunk_integrations.bulk.targets import Target
from latechunk_integrations.engine import shared_engine
from tests.bulk import support
from tests.bulk.support import document, documents, read, target

pytestmark = pytest.mark.slow  # each indexes into a store first

N = 9


class Index:
    """An index of nine documents."""

    def __init__(self, kind: str, folder: Path, model: Path) -> None:
        self.kind, self.folder, self.model = kind, folder, model
        self.corpus = documents(N)
        self.index()
        self.fresh = read(kind, folder)

    def _arguments(self, **more: Any) -> tuple[Any, ...]:
        return (
            self.corpus,
            target(self.kind, self.folder),
            support.options(self.model),
            self.folder / "checkpoint",
            support.settings(**more),
        )

    def identity(self) -> dict[str, str]:
        _, place, options, _, settings = self._arguments()
        embedder = DocumentEmbedder(shared_engine(options), settings.chunking)
        return make_identity(embedder.key, Target.parse(place))

    def index(self, **more: Any) -> IndexSummary:
        return index(*self._arguments(**more))

    def plan(self, **more: Any) -> IndexPlan:
        return plan_index(*self._arguments(**more))

    def verify(self, **more: Any) -> Verification:
        return verify(*self._arguments(**more))

    def repair(self, **more: Any) -> RepairSummary:
        return repair(*self._arguments(**more))

    def found(self) -> list[tuple[str, str]]:
        return [(each.kind, each.name) for each in self.verify().damages]

    def rows(self) -> support.Rows:
        return read(self.kind, self.folder)

    @property
    def parts(self) -> list[Path]:
        return sorted((self.folder / f"rows.{self.kind}").glob("part-*"))

    @property
    def log(self) -> Path:
        return self.folder / "checkpoint" / "finished.jsonl"


# --- damages of a store ------------------------------------------------------------------------

Points = dict[str, Any]


def _edit_points(here: Index, edit: Callable[[list[Any]], list[Any]]) -> None:
    """Take the points of document 4 out, and put others in."""
    from qdrant_client import QdrantClient, models

    client = QdrantClient(path=str(here.folder / "qdrant.db"))
    match = models.FieldCondition(key="document_id", match=models.MatchValue(value="doc-4"))
    points, _ = client.scroll("chunks", models.Filter(must=[match]), limit=100, with_vectors=True)
    kept = sorted(points, key=lambda point: (point.payload or {})["start"])
    client.delete("chunks", models.FilterSelector(filter=models.Filter(must=[match])))
    made = [
        models.PointStruct(id=each.id, vector=each.vector, payload=each.payload)
        for each in edit(kept)
    ]
    if made:
        client.upsert("chunks", made)
    client.close()


def _with_payload(points: list[Any], **values: Any) -> list[Any]:
    points[0].payload.update(values)
    return points


def _doubled(points: list[Any]) -> list[Any]:
    from copy import deepcopy

    twin = deepcopy(points[0])
    twin.id = "00000000-0000-5000-8000-000000000001"
    twin.payload["chunk_id"] = twin.id
    return [*points, twin]


def _with_vector(points: list[Any], change: Callable[[Any], Any]) -> list[Any]:
    points[0].vector = np.asarray(change(np.array(points[0].vector, np.float32))).tolist()
    return points


def _swapped(points: list[Any]) -> list[Any]:
    points[0].vector, points[1].vector = points[1].vector, points[0].vector
    return points


def _renamed(points: list[Any]) -> list[Any]:
    stranger = _doubled(points)[-1]
    stranger.payload["document_id"] = "nobody"
    return [*points, stranger]


STORE_DAMAGES: dict[str, Callable[[list[Any]], list[Any]]] = {
    "document missing": lambda points: [],
    "rows missing": lambda points: points[1:],
    "rows doubled": _doubled,
    "rows altered: text": lambda points: _with_payload(points, text="Other words."),
    "rows altered: place": lambda points: _with_payload(points, end=7),
    "rows altered: vector": lambda points: _with_vector(points, lambda vector: -vector),
    "rows altered: swapped": _swapped,
    "vectors unsound: zero": lambda points: _with_vector(points, lambda vector: 0 * vector),
    "other version": lambda points: _with_payload(points, version="0" * 32),
    "other engine": lambda points: _with_payload(points, late_engine="0" * 32),
}


@pytest.fixture
def store(tmp_path: Path, tiny_model_path: Path) -> Index:
    return Index("qdrant", tmp_path, tiny_model_path)


@pytest.mark.parametrize("damage", STORE_DAMAGES)
def test_a_damage_in_a_store_is_found_and_mended(store: Index, damage: str) -> None:
    assert store.found() == []
    _edit_points(store, STORE_DAMAGES[damage])
    assert store.found() == [(damage.partition(":")[0], "doc-4")]
    summary = store.repair()
    assert (summary.left, summary.run.n_documents, summary.n_adopted) == ([], 1, 0)
    assert store.rows() == store.fresh


def test_a_document_that_nobody_knows_is_reported_and_stays_unless_it_is_pruned(
    store: Index,
) -> None:
    _edit_points(store, _renamed)
    assert store.found() == [("document unknown", "nobody")]
    assert [each.name for each in store.repair().left] == ["nobody"]
    assert len(store.rows()) == len(store.fresh) + 1
    assert store.repair(prune=True, prune_at_most=1).left == []
    assert store.rows() == store.fresh


@pytest.mark.parametrize("kind", ["lancedb", "qdrant"])
def test_a_store_that_is_gone_is_written_anew(
    kind: str, tmp_path: Path, tiny_model_path: Path
) -> None:
    store = Index(kind, tmp_path, tiny_model_path)
    shutil.rmtree(store.folder / f"{kind}.db")
    assert [kind for kind, _ in store.found()][:1] == ["target lost"]
    assert store.repair().run.n_documents == N
    assert store.rows() == store.fresh


# --- damages of files --------------------------------------------------------------------------


@pytest.fixture(params=["jsonl", "parquet"])
def files(request: pytest.FixtureRequest, tmp_path: Path, tiny_model_path: Path) -> Index:
    return Index(request.param, tmp_path, tiny_model_path)


def _flip(path: Path) -> None:
    """Another byte in the middle: the size stays."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


FILE_DAMAGES: dict[str, Callable[[Path], object]] = {
    "part missing": Path.unlink,
    "part damaged: cut": lambda path: path.write_bytes(path.read_bytes()[:-40]),
    "part damaged: empty": lambda path: path.write_bytes(b""),
    "part damaged: a bit": _flip,
}


@pytest.mark.parametrize("damage", FILE_DAMAGES)
def test_a_damaged_part_is_found_and_mended(files: Index, damage: str) -> None:
    assert files.found() == []
    part = files.parts[1]
    FILE_DAMAGES[damage](part)
    assert files.found() == [(damage.partition(":")[0], part.name)]
    summary = files.repair()
    assert (summary.left, summary.run.n_documents) == ([], 3)
    assert files.rows() == files.fresh


def test_rows_that_stand_in_a_second_part_are_found_and_mended(files: Index) -> None:
    """As after a run that was killed before it cleared away, and whose checkpoint forgot it."""
    here = files
    with Checkpoint(here.folder / "checkpoint", here.identity()) as kept:
        twin = here.parts[0].with_name(here.parts[0].name.replace(".", "9.", 1))
        shutil.copy(here.parts[0], twin)
        kept.adopt(twin.name, seal_file(twin), {}, stale=False)
    assert {kind for kind, _ in here.found()} == {"rows doubled"}
    assert here.repair().left == []
    assert here.rows() == here.fresh


def test_a_part_of_nobody_is_moved_out_of_the_folder(files: Index) -> None:
    part = files.parts[1]
    stranger = part.with_name(f"part-{'f' * 12}-00000000{part.suffix}")
    shutil.copy(part, stranger)
    assert files.found() == [("part unknown", stranger.name)]
    assert files.repair().left == []
    assert files.rows() == files.fresh
    assert (files.folder / "checkpoint" / "damaged-parts" / stranger.name).exists()


# --- the checkpoint ----------------------------------------------------------------------------


def _lose_checkpoint(here: Index) -> None:
    shutil.rmtree(here.folder / "checkpoint")


def _damage_log(here: Index) -> None:
    here.log.write_bytes(b"\0\0" + here.log.read_bytes()[2:])


def _damage_head(here: Index) -> None:
    here.log.with_name("run.json").write_text("{", encoding="utf-8")


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "qdrant", "milvus"])
@pytest.mark.parametrize("damage", [_lose_checkpoint, _damage_log, _damage_head])
def test_a_checkpoint_is_made_anew_from_the_rows(
    tmp_path: Path, tiny_model_path: Path, kind: str, damage: Callable[[Index], None]
) -> None:
    here = Index(kind, tmp_path, tiny_model_path)
    damage(here)
    (found,) = here.found()
    assert found[0] == ("checkpoint lost" if damage is _lose_checkpoint else "checkpoint damaged")
    summary = here.repair()
    assert (summary.left, summary.n_adopted, summary.run.n_documents) == ([], N, 0)
    assert here.rows() == here.fresh
    # It goes on from there, and what it took over is replaced and removed as ever.
    here.corpus[0] = document(0, "Another text.")
    del here.corpus[8]
    changed = here.index(prune=True, prune_at_most=0.2)
    assert (changed.n_documents, changed.n_removed, changed.n_unchanged) == (1, 1, N - 2)
    assert here.found() == []


def test_a_new_checkpoint_does_not_take_over_what_is_not_whole(store: Index) -> None:
    _edit_points(store, STORE_DAMAGES["rows missing"])
    _lose_checkpoint(store)
    summary = store.repair()
    assert (summary.left, summary.n_adopted, summary.run.n_documents) == ([], N - 1, 1)
    assert store.rows() == store.fresh


@pytest.mark.parametrize(
    "content",
    [
        '{"finished": 3}',
        '{"finished": {"a": 1}}',
        "[]",
        "1e999",
        '{"failed": [["a"]]}',
        '{"seals": {"p": 4}}',
        "[" * 9_000,
        '{"begun": "doc-1"}',
    ],
)
def test_a_log_of_another_shape_is_damage_and_no_traceback(store: Index, content: str) -> None:
    lines = store.log.read_bytes().splitlines(keepends=True)
    store.log.write_bytes(b"".join([lines[0], content.encode() + b"\n", *lines[1:]]))
    assert [kind for kind, _ in store.found()] == ["checkpoint damaged"]
    assert store.repair().left == []
    assert store.rows() == store.fresh


# --- the plan ----------------------------------------------------------------------------------


def test_a_plan_says_what_a_run_then_does_and_writes_nothing(files: Index) -> None:
    here = files
    here.corpus = [*here.corpus[1:], document(20), CorpusDocument("blank", " ")]
    here.corpus[3] = document(4, "Changed.")
    before = {path: path.read_bytes() for path in here.folder.rglob("*") if path.is_file()}
    plan = here.plan(prune=True, prune_at_most=0.2)
    assert {path: path.read_bytes() for path in here.folder.rglob("*") if path.is_file()} == before
    assert (list(plan.replaced), list(plan.removed)) == (["doc-4"], ["doc-0"])
    assert set(plan.added) == {"doc-20", "blank"}  # whether it embeds is not tried
    assert plan.n_unchanged == N - 2
    assert "prune removes it" in here.plan().kept["doc-0"]
    assert "1 of 9 documents" in here.plan(prune=True).removal_refused
    summary = here.index(prune=True, prune_at_most=0.2)
    assert (summary.n_documents, summary.n_removed, summary.n_unchanged) == (2, 1, N - 2)
    assert here.plan().failing == {
        "blank": "EmptyTextError: parent 'blank' has no text; leave out empty documents"
    }
    json.dumps(here.plan().to_dict())


def test_a_plan_without_a_checkpoint_adds_everything_and_makes_none(
    tmp_path: Path, tiny_model_path: Path
) -> None:
    place = target("qdrant", tmp_path)
    options, settings = support.options(tiny_model_path), support.settings()
    plan = plan_index(documents(3), place, options, tmp_path / "state", settings)
    assert (len(plan.added), plan.n_unchanged) == (3, 0)
    assert list(tmp_path.iterdir()) == []


# --- the audit ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["jsonl", "qdrant", "milvus"])
def test_an_audit_counts_modes_and_engines_by_source(
    tmp_path: Path, tiny_model_path: Path, kind: str
) -> None:
    here = Index(kind, tmp_path, tiny_model_path)
    found = audit(target(kind, tmp_path))
    modes = [row["mode"] for row in here.fresh.values()]
    assert found.totals == {mode: modes.count(mode) for mode in set(modes)}
    assert found.counts.keys() == {each.id for each in here.corpus}
    other = audit(target(kind, tmp_path), engine="another")
    assert other.totals == {"other engine": len(modes)}
    assert json.loads(json.dumps(found.to_dict()))["vectors"] == len(modes)


def test_an_audit_reads_chroma_whose_rows_all_have_an_id_of_a_chunk(tmp_path: Path) -> None:
    import chromadb

    client = chromadb.PersistentClient(str(tmp_path / "store"))
    marks = [{"late_mode": "late", "late_engine": "e1", "source": "a.md"}, {"source": "a.md"}]
    client.create_collection("chunks").add(
        ids=["1", "2"],
        embeddings=[*np.eye(2, dtype=np.float32)],
        documents=["a", "b"],
        metadatas=[*marks],
    )
    found = audit(f"chroma:{tmp_path / 'store'}#chunks")
    assert found.counts == {"a.md": {"late": 1, "unknown": 1}}


def test_an_audit_reads_the_marks_that_the_adapters_write(tmp_path: Path) -> None:
    from qdrant_client import QdrantClient, models

    marks = {"late_mode": "late", "late_engine": "e1"}
    payloads: list[dict[str, Any]] = [
        {"page_content": "a", "metadata": {**marks, "source": "a.md"}},
        {"_node_content": json.dumps({"metadata": {}}), **marks, "file_path": "b.md"},
        {"page_content": "c", "metadata": {"source": "a.md"}},
        {"page_content": "d", "metadata": {**marks, "late_engine": "e0"}},
    ]
    with closing(QdrantClient(path=str(tmp_path / "store"))) as client:
        client.create_collection("c", models.VectorParams(size=2, distance=models.Distance.DOT))
        client.upsert(
            "c",
            [
                models.PointStruct(id=n, vector=[1.0, 0.0], payload=payload)
                for n, payload in enumerate(payloads)
            ],
        )
    found = audit(f"qdrant:{tmp_path / 'store'}#c")
    assert found.counts == {
        "a.md": {"late": 1, "unknown": 1},
        "b.md": {"late": 1},
        "(unknown)": {"other engine": 1},
    }
