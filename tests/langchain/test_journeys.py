"""Chunks that leave the process: JSON, a checkpoint, a queue, a worker; parents in a store."""

from __future__ import annotations

import gc
import json
import pickle
import sys
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.stores import InMemoryByteStore
from langchain_core.vectorstores import InMemoryVectorStore

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.langchain import (
    LateChunkEmbeddings,
    LateChunkVectorStore,
    add_late_chunks,
)
from tests.langchain.stores import KINDS
from tests.langchain.support import (
    WORDS,
    as_rows,
    assert_same,
    corpus,
    pair_of_lines,
    rebuilt,
    rows_as_vectors,
    sent,
    true_vectors,
)
from tests.prepared import Prepared

pytestmark = pytest.mark.store


def _file_store(folder: Path) -> Any:
    from langchain_classic.storage import LocalFileStore

    return LocalFileStore(folder)


def _vectors(store: InMemoryVectorStore) -> dict[Any, Any]:
    return rows_as_vectors([(row["metadata"], row["vector"]) for row in store.store.values()])


def test_chunks_from_json_are_right_through_the_proxy(tiny_engine: LateChunkEngine) -> None:
    documents = corpus(4)
    pair = pair_of_lines(tiny_engine)
    written = json.dumps([c.model_dump() for c in pair.splitter.split_documents(documents)])
    chunks = [Document(**row) for row in json.loads(written)]
    inner = InMemoryVectorStore(pair.embeddings)
    LateChunkVectorStore(inner).add_documents(chunks[::-1])
    assert_same(_vectors(inner), true_vectors(tiny_engine, documents))


def test_chunks_from_a_langgraph_checkpoint_are_right(tiny_engine: LateChunkEngine) -> None:
    """One node splits, the graph stops and goes on from its checkpoint, another node stores."""
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.graph import END, START, StateGraph

    class State(TypedDict, total=False):
        chunks: list[Document]

    documents = corpus(4)
    pair = pair_of_lines(tiny_engine)
    inner = InMemoryVectorStore(pair.embeddings)
    seen: list[type] = []

    def split(_: State) -> State:
        return {"chunks": pair.splitter.split_documents(documents)}

    def store(state: State) -> State:
        seen.extend(type(chunk.page_content) for chunk in state["chunks"])
        LateChunkVectorStore(inner).add_documents(state["chunks"])
        return {}

    graph: Any = StateGraph(State)
    graph.add_node("split", split)
    graph.add_node("store", store)
    graph.add_edge(START, "split")
    graph.add_edge("split", "store")
    graph.add_edge("store", END)
    flow = graph.compile(checkpointer=InMemorySaver(), interrupt_before=["store"])
    config: Any = {"configurable": {"thread_id": "1"}}
    flow.invoke({}, config)
    flow.invoke(None, config)
    assert set(seen) == {str}  # the checkpoint rebuilt them
    assert_same(_vectors(inner), true_vectors(tiny_engine, documents))


def _store_elsewhere(sent: bytes) -> None:
    embeddings, chunks, rows = pickle.loads(sent)
    inner = InMemoryVectorStore(embeddings)
    inner.add_documents(chunks)  # pickled texts
    LateChunkVectorStore(inner).add_documents([Document(**r) for r in rows[0]])  # JSON
    add_late_chunks(inner, [Document(**r) for r in rows[1]])
    stored = [(r["metadata"], list(map(float, r["vector"]))) for r in inner.store.values()]
    json.dump([stored, embeddings.stats, embeddings.engine.stats.get("parents", 0)], sys.stdout)


@pytest.mark.slow
def test_another_process_finds_parents_and_vectors_in_the_store(
    tiny_model_path: Path, tiny_engine: LateChunkEngine, tmp_path: Path
) -> None:
    documents = corpus(6)
    pair = pair_of_lines_of(tiny_model_path, tmp_path)
    chunks = pair.splitter.split_documents(documents)
    first = pair.embeddings.embed_documents([c.page_content for c in chunks[:3]])
    third = len(chunks) // 3
    rows = [c.model_dump() for c in chunks[third:]]
    sent = pickle.dumps((pair.embeddings, chunks[:third], (rows[:third], rows[third:])))
    done = Prepared(tmp_path, _store_elsewhere, sent).finish()
    assert done.returncode == 0, done.stderr
    stored, stats, n_parents = json.loads(done.stdout)
    assert_same(rows_as_vectors(stored), true_vectors(tiny_engine, documents))
    assert stats["late"] == len(chunks)
    assert sum(stats.values()) == len(chunks)
    assert len({m["late_parent"] for m, _ in stored}) == len(documents)
    assert n_parents < len(documents)  # the first was embedded here, its vectors were found
    np.testing.assert_allclose(first, [vector for _, vector in stored[:3]], atol=1e-6)


def pair_of_lines_of(model: Path, folder: Path) -> Any:
    """A pair with a store of files, whose embeddings a pickle can name."""
    from latechunk_integrations.langchain import late_chunking
    from tests.langchain.support import lines

    return late_chunking(
        model,
        lines,
        header=None,
        dtype="float32",
        device="cpu",
        parent_store=_file_store(folder),
    )


@pytest.mark.parametrize("name", sorted(KINDS))
@pytest.mark.parametrize("way", ["json", "checkpoint", "pickle"])
def test_chunks_split_in_another_process_are_right_in_every_store(
    split_elsewhere: tuple[Path, list[Document]], tmp_path: Path, name: str, way: str
) -> None:
    folder, chunks = split_elsewhere
    embeddings = LateChunkEmbeddings(
        "words", encoder=WORDS, parent_store=_file_store(folder), memory_bytes=10_000
    )
    chunks = sent(chunks, way)
    kind = KINDS[name](tmp_path)
    store = kind.empty(embeddings, embeddings.engine.dimensions)
    target = store if way == "pickle" else LateChunkVectorStore(store)
    for start in range(0, len(chunks), 7):
        target.add_documents(chunks[start : start + 7])
    assert_same(kind.read(store), true_vectors(embeddings.engine, corpus(6)))
    assert embeddings.stats["late"] == len(chunks)


def test_a_store_of_bytes_serves_other_embeddings_and_saves_the_second_pass(
    tiny_engine: LateChunkEngine,
) -> None:
    """Retries, caches and re-embedding read the vectors; another engine computes its own."""
    shared = InMemoryByteStore()
    documents = corpus(4)
    pair = pair_of_lines(tiny_engine, parent_store=shared)
    chunks = [Document(**c.model_dump()) for c in pair.splitter.split_documents(documents)]
    truth = true_vectors(tiny_engine, documents)
    del pair
    gc.collect()
    for turn in range(3):
        here = LateChunkEmbeddings(engine=tiny_engine, parent_store=shared)
        before = tiny_engine.stats["parents"]
        vectors = here.embed_documents([c.page_content for c in here.attach(chunks)])
        assert_same(as_rows(chunks, vectors), truth)
        assert tiny_engine.stats["parents"] - before == (0 if turn else len(documents))
    keys = list(shared.yield_keys())
    assert sum(key.startswith("late_parent-") for key in keys) == len(documents)
    assert sum(tiny_engine.fingerprint in key for key in keys) == len(documents)


@pytest.mark.parametrize("damage", ["empty", "other", "text", "short", "nan"])
def test_a_damaged_store_gives_no_wrong_vector(
    tiny_engine: LateChunkEngine, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    shared = InMemoryByteStore()
    documents = corpus(3)
    pair = pair_of_lines(tiny_engine, parent_store=shared)
    splits = pair.splitter.split_documents(documents)
    pair.embeddings.embed_documents([c.page_content for c in splits])
    chunks = [Document(**c.model_dump()) for c in splits]
    del pair, splits
    gc.collect()
    for prefix in ("late_parent-", "late_vectors-"):
        first, second = list(shared.yield_keys(prefix=prefix))[:2]
        (content, other) = shared.mget([first, second])
        assert content is not None
        assert other is not None
        if damage == "nan" and prefix == "late_vectors-":
            content = _with_nan(content)
        damaged = {"empty": b"", "other": other, "short": content[:-40], "nan": content}
        if damage == "text":
            damaged["text"] = content.replace(b"Agreement", b"Disagrees")
        shared.mset([(first, damaged[damage])])
    here = LateChunkEmbeddings(engine=tiny_engine, parent_store=shared)
    vectors = here.embed_documents([c.page_content for c in here.attach(chunks)])
    truth = true_vectors(tiny_engine, documents)
    n_late = 0
    for key, vector in as_rows(chunks, vectors).items():
        if np.abs(vector - truth[key]).max() < 1e-5:
            n_late += 1
    assert n_late == here.stats["late"]
    assert here.stats["parent_not_held"] == len(chunks) - n_late
    if damage != "nan":
        assert n_late < len(chunks)
    assert "parent_store holds what it should not" in caplog.text


def test_a_store_of_an_older_form_fills_anew_and_is_not_called_damaged(
    tiny_engine: LateChunkEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """What another build packed lies under other keys: bytes of it are neither read nor judged."""
    shared = InMemoryByteStore()
    documents = corpus(3)
    for parent in pair_of_lines(tiny_engine).splitter.parents(documents):
        shared.mset([(f"late_vectors-{tiny_engine.fingerprint}-{parent.fingerprint}", b"older")])
    pair = pair_of_lines(tiny_engine, parent_store=shared)
    chunks = pair.splitter.split_documents(documents)
    vectors = pair.embeddings.embed_documents([chunk.page_content for chunk in chunks])
    assert_same(as_rows(chunks, vectors), true_vectors(tiny_engine, documents))
    assert "holds what it should not" not in caplog.text


def _with_nan(content: bytes) -> bytes:
    import io

    with np.load(io.BytesIO(content)) as arrays:
        kept = {name: arrays[name].copy() for name in arrays}
    kept["vectors"][0, 0] = np.nan
    written = io.BytesIO()
    np.savez(written, **kept)
    return written.getvalue()


@pytest.mark.rule(5)
def test_vectors_of_another_parent_of_as_many_chunks_are_not_taken(
    tiny_engine: LateChunkEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """A store that was restored wrongly, or two keys that somebody swapped."""
    shared = InMemoryByteStore()
    documents = [
        Document(f"{name}.\nNo pets.", metadata={"source": name}) for name in ("Rome", "Paris")
    ]
    first = pair_of_lines(tiny_engine, parent_store=shared)
    chunks = rebuilt(first.splitter.split_documents(documents))
    first.embeddings.embed_documents([c.page_content for c in first.embeddings.attach(chunks)])
    one, other = list(shared.yield_keys(prefix="late_vectors-"))
    kept = shared.mget([one, other])
    assert kept[0] is not None
    assert kept[1] is not None
    shared.mset([(one, kept[1]), (other, kept[0])])
    here = LateChunkEmbeddings(engine=tiny_engine, parent_store=shared)
    vectors = here.embed_documents([c.page_content for c in here.attach(chunks)])
    assert_same(as_rows(chunks, vectors), true_vectors(tiny_engine, documents))
    assert "holds what it should not" in caplog.text


def test_add_late_chunks_reads_a_store_of_its_own(tiny_engine: LateChunkEngine) -> None:
    """`parents=` may be the store that another process wrote."""
    shared = InMemoryByteStore()
    documents = corpus(3)
    pair = pair_of_lines(tiny_engine, parent_store=shared)
    chunks = [Document(**c.model_dump()) for c in pair.splitter.split_documents(documents)]
    del pair
    gc.collect()
    here = LateChunkEmbeddings(engine=tiny_engine)
    inner = InMemoryVectorStore(here)
    add_late_chunks(inner, chunks, parents=shared)
    assert_same(_vectors(inner), true_vectors(tiny_engine, documents))
