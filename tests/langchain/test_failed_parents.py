"""One parent that cannot be embedded costs its own chunks, and is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, index
from langchain_core.vectorstores import InMemoryVectorStore

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.errors import EncodingFailedError, LateChunkError, OptionError
from latechunk_integrations.langchain import (
    LateChunkPair,
    LateChunkVectorStore,
    aadd_late_chunks,
    add_late_chunks,
)
from tests.flow.test_failures import poisoned
from tests.langchain.stores import KINDS, StoreKind
from tests.langchain.support import (
    Vectors,
    assert_same,
    corpus,
    pair_of_lines,
    rebuilt,
    true_vectors,
)

pytestmark = [pytest.mark.store, pytest.mark.rule(8)]
_BAD = "contract-2"


@pytest.fixture
def pair(tiny_engine: LateChunkEngine) -> LateChunkPair:
    return pair_of_lines(tiny_engine)


@pytest.fixture
def documents() -> list[Document]:
    """One of them holds the character that the forward pass chokes on."""
    documents = corpus(5)
    documents[2].page_content += "\n東"
    return documents


@pytest.fixture
def truth(tiny_engine: LateChunkEngine, documents: list[Document]) -> Vectors:
    """Of all documents, made before anything is poisoned."""
    return true_vectors(tiny_engine, documents)


def _without_bad(truth: Vectors) -> Vectors:
    return {key: vector for key, vector in truth.items() if key[0] != _BAD}


@pytest.mark.parametrize("wrap", [False, True])
def test_embeddings_and_stores_get_a_typed_error_that_names_the_parent(
    pair: LateChunkPair,
    documents: list[Document],
    tiny_engine: LateChunkEngine,
    monkeypatch: pytest.MonkeyPatch,
    wrap: bool,
) -> None:
    """A store wants a vector for each text: nothing is written, and nothing is made up."""
    chunks = pair.splitter.split_documents(documents)
    inner = InMemoryVectorStore(pair.embeddings)
    store: Any = LateChunkVectorStore(inner) if wrap else inner
    poisoned(tiny_engine, monkeypatch, None)
    with pytest.raises(EncodingFailedError, match=_BAD) as caught:
        store.add_documents(chunks)
    assert caught.value.parent_id == _BAD
    assert inner.store == {}
    with pytest.raises(EncodingFailedError):
        pair.embeddings.embed_query(
            next(c.page_content for c in chunks if c.metadata["source"] == _BAD)
        )


@pytest.mark.parametrize("name", sorted(KINDS))
def test_skip_leaves_out_the_chunks_of_a_failed_parent_and_reports_them(
    name: str,
    tmp_path: Path,
    pair: LateChunkPair,
    documents: list[Document],
    truth: Vectors,
    tiny_engine: LateChunkEngine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    chunks = rebuilt(pair.splitter.split_documents(documents))
    kind = KINDS[name](tmp_path)
    store = kind.empty(pair.embeddings, tiny_engine.dimensions)
    told: list[tuple[LateChunkError, list[Document]]] = []
    poisoned(tiny_engine, monkeypatch, None)
    ids = add_late_chunks(
        store, iter(chunks), on_error="skip", report=lambda error, lost: told.append((error, lost))
    )
    assert_same(kind.read(store), _without_bad(truth))
    assert len(ids) == len(_without_bad(truth))
    ((error, lost),) = told
    assert error.parent_id == _BAD
    assert lost == [chunk for chunk in chunks if chunk.metadata["source"] == _BAD]
    assert pair.embeddings.stats["failed_parents"] == 1
    assert pair.embeddings.stats["late"] == len(ids)
    assert f"{len(lost)} chunks are left out" in caplog.text
    assert _BAD in caplog.text


async def test_ids_stay_with_their_chunks_where_others_are_left_out(
    pair: LateChunkPair,
    documents: list[Document],
    truth: Vectors,
    tiny_engine: LateChunkEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chunks = pair.splitter.split_documents(documents)
    store = InMemoryVectorStore(pair.embeddings)
    poisoned(tiny_engine, monkeypatch, None)
    given = [f"{c.metadata['source']} {c.metadata['start_index']}" for c in chunks]
    written = await aadd_late_chunks(store, chunks, ids=given, on_error="skip")
    assert written == [one for one in given if not one.startswith(_BAD)]
    for one, row in store.store.items():
        assert one == f"{row['metadata']['source']} {row['metadata']['start_index']}"
    assert {c.id for c in chunks} == {None}  # those that were given are not touched


def test_index_goes_on_and_tries_a_failed_parent_again(
    pair: LateChunkPair,
    documents: list[Document],
    truth: Vectors,
    tiny_engine: LateChunkEngine,
    tmp_path: Path,
) -> None:
    """What `index` has not seen it does not take for stored."""
    kind = KINDS["in_memory"](tmp_path)
    records = InMemoryRecordManager("test")
    records.create_schema()
    inner = InMemoryVectorStore(pair.embeddings)

    def run() -> Any:
        chunks = pair.splitter.lazy_split_documents(documents)
        return index(
            pair.embeddings.drop_failed(chunks),
            records,
            LateChunkVectorStore(inner),
            cleanup="incremental",
            source_id_key="source",
            key_encoder="sha256",
        )

    with pytest.MonkeyPatch.context() as patch:
        poisoned(tiny_engine, patch, None)
        before = tiny_engine.stats["parents"]
        assert run()["num_added"] == len(_without_bad(truth))
        assert tiny_engine.stats["parents"] - before <= len(documents)  # no second pass
    assert_same(kind.read(inner), _without_bad(truth))
    assert run()["num_added"] == len(truth) - len(_without_bad(truth))
    assert_same(kind.read(inner), truth)


@pytest.mark.parametrize(("n_bad", "stops"), [(9, False), (10, True)])
def test_a_sick_model_ends_the_call(
    pair: LateChunkPair,
    in_memory: StoreKind,
    tiny_engine: LateChunkEngine,
    monkeypatch: pytest.MonkeyPatch,
    n_bad: int,
    stops: bool,
) -> None:
    """Ten parents in a row: then it is not they. One that goes well begins the count anew."""
    documents = corpus(2 * n_bad + 1)
    for number, document in enumerate(documents):
        document.page_content += "" if number == n_bad else "\n東"
    chunks = pair.splitter.split_documents(documents)
    poisoned(tiny_engine, monkeypatch, None)
    store = in_memory.empty(pair.embeddings, 0)
    if stops:
        with pytest.raises(EncodingFailedError):
            add_late_chunks(store, chunks, on_error="skip")
    else:
        assert add_late_chunks(store, chunks, on_error="skip")
        assert pair.embeddings.stats["failed_parents"] == 2 * n_bad


def test_what_names_no_parent_is_not_dropped(pair: LateChunkPair, in_memory: StoreKind) -> None:
    plain = Document("Never split.", metadata={"source": "note"})
    assert list(pair.embeddings.drop_failed([plain])) == [plain]
    store = in_memory.empty(pair.embeddings, 0)
    assert len(add_late_chunks(store, [plain], on_error="skip")) == 1
    assert pair.embeddings.stats["unknown"] == 1


@pytest.fixture
def in_memory(tmp_path: Path) -> StoreKind:
    return KINDS["in_memory"](tmp_path)


def test_another_choice_is_refused(pair: LateChunkPair, in_memory: StoreKind) -> None:
    choice: Any = "standalone"
    with pytest.raises(OptionError, match="'raise' or 'skip'"):
        add_late_chunks(in_memory.empty(pair.embeddings, 0), [], on_error=choice)
