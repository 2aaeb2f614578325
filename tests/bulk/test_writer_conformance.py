"""Every store that rows go to: the conformance test of stores, and documents that change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray

from latechunk_integrations.bulk import index
from latechunk_integrations.bulk.rows import COLUMNS, DocumentRows
from latechunk_integrations.bulk.targets import Target
from latechunk_integrations.errors import MissingTargetError, OptionError, WriterError
from latechunk_integrations.testing import check_store
from tests.bulk import support
from tests.postgres import running_postgres

pytestmark = pytest.mark.store

KINDS = ("chroma", "lancedb", "milvus", "pgvector", "qdrant")


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with running_postgres() as url:
        plain = url.replace("+psycopg", "")
        with psycopg.connect(plain, autocommit=True) as connection:
            connection.execute("create extension if not exists vector")
        yield plain


@pytest.fixture(params=KINDS)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "pgvector":
        url = request.getfixturevalue("postgres")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute('drop table if exists "My-Chunks"')
        return f"pgvector:{url}#My-Chunks"
    return support.target(request.param, tmp_path)


def _document(name: str, text: str, vector: NDArray[np.float32], version: str) -> DocumentRows:
    spans = np.array([[0, len(text)]], np.int64)
    return DocumentRows(
        name, version, "p", spans, (text,), vector[None, :], ("late",), engine="engine"
    )


def test_a_table_of_lancedb_does_not_fall_to_pieces(tmp_path: Path) -> None:
    """A merge looks at every piece: with one for each write, each write would be slower."""
    import lancedb

    vector = np.ones(8, np.float32)
    with closing(Target.parse(support.target("lancedb", tmp_path)).open(8, "")) as writer:
        for number in range(70):
            writer.write([_document(f"d{number}", "text", vector, "1")], number)
        assert writer.count() == 70
    table = lancedb.connect(tmp_path / "lancedb.db").open_table("chunks")
    stats: Any = table.stats()
    assert stats["fragment_stats"]["num_fragments"] < 40


def test_a_store_keeps_orders_and_replaces(target: str) -> None:
    versions = iter(range(9))
    with closing(Target.parse(target).open(8, "")) as writer:

        def write(ids: Sequence[str], texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
            version = str(next(versions))
            given = zip(ids, texts, vectors, strict=True)
            writer.write([_document(*each, version) for each in given], 0)

        def read(ids: Sequence[str]) -> list[Any]:
            found = {row["document_id"]: row["vector"] for row in writer.scan()}
            assert len(found) == writer.count()
            return [found[name] for name in ids]

        check_store(write, read)


def test_documents_are_written_once_replaced_and_removed_and_say_how_they_were_made(
    target: str, tmp_path: Path, tiny_model_path: Path
) -> None:
    """Against the rows that the same corpus has in files."""
    options = support.options(tiny_model_path)

    def run(corpus: Any, place: str, name: str) -> None:
        given = support.settings(prune=True, prune_at_most=1.0)
        index(corpus, place, options, tmp_path / name, given)

    corpus = support.documents(7)
    run(corpus, target, "a")
    first = support.scan(target)
    run(corpus, target, "a")
    assert _same(support.scan(target), first)
    changed = [support.document(0, "Quite another text, with an apostrophe's end."), *corpus[2:]]
    run(changed, target, "a")
    fresh = str(tmp_path / "fresh.jsonl")
    run(changed, fresh, "b")
    assert _same(support.scan(target), support.scan(fresh))
    rows = support.scan(target).values()
    assert {row["late_engine"] for row in rows} == {row["late_engine"] for row in first.values()}
    assert {row["mode"] for row in rows} <= {"late", "windowed", "standalone"}


def _same(some: support.Rows, others: support.Rows) -> bool:
    """Whether the rows are equal bit for bit."""

    def plain(rows: support.Rows) -> dict[str, list[Any]]:
        return {key: [row[name] for name in COLUMNS] for key, row in rows.items()}

    return plain(some) == plain(others)


def test_a_collection_of_another_width_or_that_is_not_there_is_refused(target: str) -> None:
    with pytest.raises(MissingTargetError, match="there is no"):
        Target.parse(target).open(None, "")
    Target.parse(f"{target}-other").open(8, "").close()
    with pytest.raises(MissingTargetError, match="there is no"):  # but the store is there
        Target.parse(target).open(None, "")
    with closing(Target.parse(target).open(8, "")) as writer:
        writer.write([_document("a", "text", np.eye(8, dtype=np.float32)[0], "1")], 0)
    with pytest.raises(WriterError, match="8"):
        Target.parse(target).open(4, "")


@pytest.mark.parametrize("url", ["user:secret@host/db", "host/db?user=a&password=secret"])
def test_a_password_in_a_target_is_refused(url: str) -> None:
    with pytest.raises(OptionError, match="environment"):
        Target.parse(f"pgvector:postgresql://{url}#chunks")


def test_what_a_store_will_never_take_is_said_at_once(tmp_path: Path) -> None:
    """An address that is none, a name that is too short: no attempt after the first."""
    with pytest.raises(WriterError, match="refuses opening the database"):
        Target.parse("pgvector:nonsense#chunks").open(None, "")
    with pytest.raises(WriterError, match="refuses making the collection 'c'"):
        Target.parse(f"chroma:{tmp_path}#c").open(8, "")


def test_postgres_refuses_what_its_texts_cannot_hold(postgres: str, tmp_path: Path) -> None:
    del tmp_path
    with closing(Target.parse(f"pgvector:{postgres}#nul").open(8, "")) as writer:
        bad = _document("a\x00", "text", np.eye(8, dtype=np.float32)[0], "1")
        with pytest.raises(ValueError, match=r"U\+0000"):
            writer.check(bad)
        writer.write([DocumentRows("a\x00", "2")], 0)  # its removal changes nothing
        assert writer.count() == 0
