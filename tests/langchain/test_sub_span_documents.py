"""Sub-spans in LangChain: real stores hold the engine's vectors, and give chunks."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, index
from langchain_core.stores import InMemoryByteStore
from langchain_core.vectorstores import InMemoryVectorStore
from qdrant_client import QdrantClient

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.errors import InputTypeError, OptionError, UnknownSubSpanError
from latechunk_integrations.langchain import (
    LateChunkEmbeddings,
    LateChunkTextSplitter,
    LateChunkVectorStore,
    MultivectorRetriever,
    SubSpanRetriever,
    add_late_chunks,
    add_multivectors,
    create_multivectors,
    split_sub_spans,
)
from tests.langchain.stores import KINDS
from tests.langchain.support import corpus, rebuilt

QUERY = "When is payment due?"
Place = tuple[str, int, int]


@pytest.fixture(scope="module")
def engine(tiny_model_path: Path) -> LateChunkEngine:
    return LateChunkEngine.from_pretrained(
        str(tiny_model_path), dtype="float32", device="cpu", sub_span_tokens=4
    )


def two_lines(text: str) -> list[str]:
    lines = text.split("\n")
    return ["\n".join(lines[at : at + 2]) for at in range(0, len(lines), 2)]


def truth(
    engine: LateChunkEngine, documents: list[Document]
) -> tuple[dict[Place, Any], dict[Place, int]]:
    """The engine's sub-spans by source and place, and where the chunk of each begins."""
    vectors: dict[Place, Any] = {}
    chunks: dict[Place, int] = {}
    for document in documents:
        spans, start = [], 0
        for piece in two_lines(document.page_content):
            spans.append((start, start + len(piece)))
            start += len(piece) + 1
        found = engine.embed([Parent(document.page_content, spans)])[0].sub_spans
        assert found is not None
        rows = zip(found.vectors, found.chunks.tolist(), found.spans.array.tolist(), strict=True)
        for vector, chunk, (a, b) in rows:
            vectors[document.metadata["source"], a, b] = vector
            chunks[document.metadata["source"], a, b] = spans[chunk][0]
    return vectors, chunks


def parts_of(
    engine: LateChunkEngine, documents: list[Document], **kwargs: Any
) -> tuple[list[Document], LateChunkEmbeddings]:
    embeddings = LateChunkEmbeddings(engine=engine, **kwargs)
    splitter = LateChunkTextSplitter(embeddings=embeddings, splitter=two_lines, header=None)
    return list(split_sub_spans(splitter.split_documents(documents), embeddings)), embeddings


def in_memory(parts: list[Document], embeddings: LateChunkEmbeddings) -> LateChunkVectorStore:
    return LateChunkVectorStore.from_documents(parts, embeddings, store_class=InMemoryVectorStore)


def name_of(part: Document) -> str:
    """An id that Qdrant takes too."""
    own = {k: v for k, v in part.metadata.items() if k not in ("late_engine", "late_mode")}
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{part.page_content}{own}"))


def place(found: Document) -> Place:
    data = found.metadata
    return data["source"], data["late_sub_start"], data["late_sub_end"]


def check(parts: list[Document], vectors: list[list[float]], right: dict[Place, Any]) -> None:
    found = {place(part): vector for part, vector in zip(parts, vectors, strict=True)}
    assert len(found) == len(parts)
    assert found.keys() == right.keys()
    for where, vector in found.items():
        np.testing.assert_allclose(vector, right[where], atol=1e-5)


def check_chunks(
    retriever: SubSpanRetriever | MultivectorRetriever,
    engine: LateChunkEngine,
    documents: list[Document],
) -> None:
    vectors, chunks = truth(engine, documents)
    query = engine.embed_query(QUERY)
    best: dict[tuple[str, int], float] = {}
    for where, vector in vectors.items():
        chunk = (where[0], chunks[where])
        best[chunk] = max(best.get(chunk, -1), float(vector @ query))
    for k in (1, 4, len(best) + 3):
        found = retriever.invoke(QUERY, k=k)
        assert all(isinstance(retriever, MultivectorRetriever) or one.id is None for one in found)
        ids = [(one.metadata["source"], one.metadata["start_index"]) for one in found]
        assert len(set(ids)) == len(ids) == min(k, len(best))
        scores = [best[one] for one in ids]
        np.testing.assert_allclose(scores, sorted(best.values(), reverse=True)[:k], atol=1e-5)
        texts = {one.metadata["source"]: one.page_content for one in documents}
        for (source, start), one in zip(ids, found, strict=True):
            assert texts[source][start:].startswith(one.page_content)
            assert one.page_content in two_lines(texts[source])


def test_documents_are_the_engines_sub_spans_also_when_rebuilt(engine: LateChunkEngine) -> None:
    documents = corpus()
    parts, embeddings = parts_of(engine, documents)
    vectors, _ = truth(engine, documents)
    given = embeddings.embed_documents([part.page_content for part in parts])
    check(parts, given, vectors)
    assert {part.metadata["late_mode"] for part in parts} <= {"late", "windowed"}
    again = embeddings.attach(rebuilt(parts))
    check(again, embeddings.embed_documents([part.page_content for part in again]), vectors)
    assert embeddings.stats["late"] == 2 * len(parts)


@pytest.mark.slow
@pytest.mark.store
@pytest.mark.filterwarnings("ignore:Payload indexes have no effect")
@pytest.mark.parametrize("name", ["in_memory", "chroma", "qdrant"])
@pytest.mark.parametrize("way", ["from_documents", "add_late_chunks", "index"])
def test_a_store_gives_the_best_chunks_by_their_best_sub_spans(
    name: str, way: str, tmp_path: Path, engine: LateChunkEngine
) -> None:
    documents = corpus()
    parts, embeddings = parts_of(engine, documents)
    kind = KINDS[name](tmp_path)
    if way == "from_documents":
        store: Any = LateChunkVectorStore.from_documents(
            parts, embeddings, store_class=kind.kind, **kind.arguments
        )
    else:
        store = kind.empty(embeddings, engine.dimensions)
    if way == "add_late_chunks":
        add_late_chunks(store, rebuilt(parts))
    elif way == "index":
        records = InMemoryRecordManager("parts")
        records.create_schema()
        late = LateChunkVectorStore(store, embeddings)
        for _ in range(2):
            done = index(parts, records, late, cleanup="full", key_encoder=name_of)
        assert done["num_skipped"] == len(parts)
    check_chunks(SubSpanRetriever(vectorstore=store), engine, documents)


async def test_chunks_can_be_awaited_and_keep_their_ids(engine: LateChunkEngine) -> None:
    embeddings = LateChunkEmbeddings(engine=engine)
    splitter = LateChunkTextSplitter(embeddings=embeddings, splitter=two_lines, header=None)
    chunks = splitter.split_documents(corpus())
    for number, chunk in enumerate(chunks):
        chunk.id = f"chunk {number}"
    parts = list(split_sub_spans(chunks, embeddings))
    assert len({part.id for part in parts}) == len(parts)
    store = in_memory(parts, embeddings)
    retriever = SubSpanRetriever(vectorstore=store, k=3)
    awaited = await retriever.ainvoke(QUERY)
    assert [one.id for one in awaited] == [one.id for one in retriever.invoke(QUERY)]
    again = LateChunkTextSplitter(embeddings=embeddings, splitter=two_lines, header=None)
    assert all("late_chunk" not in one.metadata for one in again.split_documents(parts))
    by_id = {chunk.id: chunk for chunk in chunks}
    for one in awaited:
        assert by_id[one.id].page_content == one.page_content
        assert "late_chunk" not in one.metadata
    only = SubSpanRetriever(
        vectorstore=store,
        search_kwargs={"filter": lambda one: one.metadata["source"] == "contract-2"},
    )
    assert {one.metadata["source"] for one in only.invoke(QUERY, k=50)} == {"contract-2"}


def test_another_process_finds_the_sub_spans_in_the_parent_store(
    engine: LateChunkEngine, tiny_model_path: Path
) -> None:
    documents, shared = corpus(), InMemoryByteStore()
    parts, _ = parts_of(engine, documents, parent_store=shared)
    elsewhere = LateChunkEmbeddings(
        str(tiny_model_path),
        parent_store=shared,
        dtype="float32",
        device="cpu",
        sub_span_tokens=4,
    )
    attached = elsewhere.attach(rebuilt(parts), shared)
    before = elsewhere.engine.stats.get("windows", 0)
    vectors = elsewhere.embed_documents([part.page_content for part in attached])
    check(attached, vectors, truth(engine, documents)[0])
    if elsewhere.engine.fingerprint == engine.fingerprint:
        assert elsewhere.engine.stats.get("windows", 0) == before


def test_sub_spans_that_other_options_cut_are_refused(
    engine: LateChunkEngine, tiny_engine: LateChunkEngine, tiny_model_path: Path
) -> None:
    documents = corpus(1)
    parts, _ = parts_of(engine, documents)
    other = LateChunkEmbeddings(str(tiny_model_path), dtype="float32", sub_span_tokens=8)
    with pytest.raises(UnknownSubSpanError, match="index the documents anew, with split_sub_spans"):
        other.embed_documents([part.page_content for part in parts])
    plain = LateChunkEmbeddings(engine=tiny_engine)
    with pytest.raises(UnknownSubSpanError, match=r"cut no sub-spans: build .*sub_span_tokens"):
        plain.embed_documents([part.page_content for part in parts])
    with pytest.raises(OptionError, match="sub_span_tokens=32"):
        list(split_sub_spans(parts, plain))


def test_a_chunk_without_a_parent_is_one_document(engine: LateChunkEngine) -> None:
    embeddings = LateChunkEmbeddings(engine=engine)
    (part,) = split_sub_spans([Document(page_content="No splitter saw this.")], embeddings)
    assert part.metadata == {}
    store = in_memory([part, part.model_copy()], embeddings)
    assert len(SubSpanRetriever(vectorstore=store).invoke(QUERY)) == 2


def test_a_key_of_a_cache_tells_sub_spans_apart(engine: LateChunkEngine) -> None:
    parts, embeddings = parts_of(engine, corpus(2))
    assert len({embeddings.cache_key(part.page_content) for part in parts}) == len(parts)


@pytest.mark.store
@pytest.mark.filterwarnings("ignore:Payload indexes have no effect")
async def test_multivectors_give_the_best_chunks_from_one_point_each(
    engine: LateChunkEngine,
) -> None:
    documents = corpus()
    embeddings = LateChunkEmbeddings(engine=engine)
    splitter = LateChunkTextSplitter(embeddings=embeddings, splitter=two_lines, header=None)
    chunks = splitter.split_documents(documents)
    client = QdrantClient(":memory:")
    create_multivectors(client, "chunks", embeddings)
    ids = add_multivectors(client, "chunks", iter(chunks), embeddings)
    assert add_multivectors(client, "chunks", rebuilt(chunks), embeddings) == ids
    assert client.count("chunks").count == len(chunks) == len(set(ids))
    vectors, starts = truth(engine, documents)
    points, _ = client.scroll("chunks", limit=100, with_vectors=True)
    for point in points:
        assert point.payload is not None
        metadata = point.payload["metadata"]
        where = (metadata["source"], metadata["start_index"])
        own = [vectors[p] for p, start in starts.items() if (p[0], start) == where]
        np.testing.assert_allclose(np.array(point.vector), own, atol=1e-5)
        assert metadata["late_mode"] in ("late", "windowed")
        assert "late_sub_start" not in metadata
    retriever = MultivectorRetriever(client=client, collection_name="chunks", embeddings=embeddings)
    check_chunks(retriever, engine, documents)
    awaited = await retriever.ainvoke(QUERY, k=2)
    assert [one.id for one in awaited] == [one.id for one in retriever.invoke(QUERY, k=2)]
    with pytest.raises(InputTypeError, match="fewer ids"):
        add_multivectors(client, "chunks", chunks, embeddings, ids=[])
    client.close()
