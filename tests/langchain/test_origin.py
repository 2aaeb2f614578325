"""A text gets the vector of a parent that is known to be its own, or none; each way once broken."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.errors import (
    AlteredChunkError,
    ParentNotHeldError,
    TextKeyedCacheError,
    UnknownChunkError,
)
from latechunk_integrations.langchain import (
    ChunkText,
    LateChunkEmbeddings,
    LateChunkPair,
    LateChunkVectorStore,
    attach,
    late_chunking,
)
from tests.langchain.support import (
    WORDS,
    as_rows,
    assert_same,
    corpus,
    key_of,
    line_spans,
    lines,
    pair_of_lines,
    rebuilt,
    true_vectors,
)

_LEASE = Document("Paris lease.\nNo pets.\nThe rent is due.", metadata={"source": "paris"})
_FAQ = Document("No pets.", metadata={"source": "rome-faq"})


@pytest.fixture
def pair(tiny_engine: LateChunkEngine) -> LateChunkPair:
    return pair_of_lines(tiny_engine)


@pytest.fixture
def strict_pair(tiny_model_path: Any) -> LateChunkPair:
    engine = LateChunkEngine.from_pretrained(
        str(tiny_model_path), dtype="float32", device="cpu", strict=True
    )
    return pair_of_lines(engine)


@pytest.mark.rule(5)
@pytest.mark.parametrize("wrap", [False, True])
def test_a_text_that_was_never_split_is_standalone_though_an_equal_chunk_exists(
    pair: LateChunkPair, tiny_engine: LateChunkEngine, wrap: bool
) -> None:
    inner = InMemoryVectorStore(pair.embeddings)
    store: Any = LateChunkVectorStore(inner) if wrap else inner
    store.add_documents(pair.splitter.split_documents([_LEASE]))
    store.add_documents([_FAQ])
    stored = {r["metadata"]["source"]: r["vector"] for r in inner.store.values()}
    alone = tiny_engine.embed_texts(["No pets."])[0]
    np.testing.assert_allclose(stored["rome-faq"], alone, atol=1e-6)
    lease = [r["vector"] for r in inner.store.values() if r["metadata"]["source"] == "paris"]
    assert np.abs(np.array(lease)[1] - alone).max() > 1e-3
    assert pair.embeddings.stats["unknown"] == 1


@pytest.mark.rule(5)
@pytest.mark.parametrize("wrap", [False, True])
def test_strict_refuses_a_text_that_was_never_split(strict_pair: LateChunkPair, wrap: bool) -> None:
    inner = InMemoryVectorStore(strict_pair.embeddings)
    store: Any = LateChunkVectorStore(inner) if wrap else inner
    store.add_documents(strict_pair.splitter.split_documents([_LEASE]))
    with pytest.raises(UnknownChunkError, match="1 of 1 texts name no parent"):
        store.add_documents([_FAQ])
    assert len(inner.store) == 3


@pytest.mark.rule(5)
def test_components_that_embed_plain_texts_get_plain_vectors(
    pair: LateChunkPair, tiny_engine: LateChunkEngine
) -> None:
    """EmbeddingsFilter compares texts of retrieved documents, which are plain."""
    from langchain_classic.retrievers.document_compressors import EmbeddingsFilter

    pair.splitter.split_documents([_LEASE])
    wanted = tiny_engine.embed_query("pets") @ tiny_engine.embed_texts(["No pets."])[0]
    for embeddings in (pair.embeddings, pair.embeddings.plain):
        chosen = EmbeddingsFilter(embeddings=embeddings, similarity_threshold=None, k=1)
        found: Any
        (found,) = chosen.compress_documents([_FAQ], "pets")
        assert found.state["query_similarity_score"] == pytest.approx(wanted, abs=1e-5)
    assert pair.embeddings.stats["unknown"] == 1  # `plain` counts nothing


@pytest.mark.rule(5)
def test_other_components_on_the_same_embeddings_get_plain_vectors_too(
    pair: LateChunkPair, tiny_engine: LateChunkEngine
) -> None:
    """They saw texts equal to those of an indexed lease; each is counted all the same."""
    from langchain_community.document_transformers import EmbeddingsRedundantFilter
    from langchain_experimental.text_splitter import SemanticChunker

    InMemoryVectorStore(pair.embeddings).add_documents(pair.splitter.split_documents([_LEASE]))
    late = pair.embeddings.stats["late"]
    kept: Any = EmbeddingsRedundantFilter(embeddings=pair.embeddings).transform_documents([_FAQ])
    alone = tiny_engine.embed_texts(["No pets."])[0]
    np.testing.assert_allclose(kept[0].state["embedded_doc"], alone, atol=1e-6)
    text = "Paris lease. No pets. The rent is due."
    cut = [
        SemanticChunker(embeddings, buffer_size=0).split_text(text)
        for embeddings in (pair.embeddings, pair.embeddings.plain)
    ]
    assert cut[0] == cut[1]
    assert pair.embeddings.stats["unknown"] == 1 + 3
    assert pair.embeddings.stats["late"] == late


@pytest.mark.rule(6)
@pytest.mark.parametrize("seed", range(20))
def test_subsets_and_orders_of_rebuilt_chunks_are_right(
    pair: LateChunkPair, tiny_engine: LateChunkEngine, seed: int
) -> None:
    documents = corpus(6, seed=seed)
    chunks = rebuilt(pair.splitter.split_documents(documents))
    some = random.Random(seed).sample(chunks, int(len(chunks) * 0.6))
    attached = pair.embeddings.attach(some)
    vectors = pair.embeddings.embed_documents([chunk.page_content for chunk in attached])
    truth = true_vectors(tiny_engine, documents)
    assert_same(
        as_rows(some, vectors), {key_of(c.metadata): truth[key_of(c.metadata)] for c in some}
    )
    assert pair.embeddings.stats["late"] == len(some)


@pytest.mark.rule(5)
@pytest.mark.parametrize("n_documents", [30, pytest.param(2_000, marks=pytest.mark.slow)])
def test_boilerplate_of_many_documents_is_right(n_documents: int) -> None:
    """Documents of the same thirteen lines and one of their own, shuffled."""
    pair = late_chunking("words", lines, header=None, encoder=WORDS)
    body = "\n".join(["All rights reserved.", "Page 1.", "None."] * 4)
    documents = [
        Document(f"Notice {n}.\n{body}\nEnd.", metadata={"source": str(n)})
        for n in range(n_documents)
    ]
    chunks = rebuilt(pair.splitter.split_documents(documents))
    assert len(chunks) == 14 * n_documents
    random.Random(0).shuffle(chunks)
    inner = InMemoryVectorStore(pair.embeddings)
    store = LateChunkVectorStore(inner)
    for start in range(0, len(chunks), 500):
        store.add_documents(chunks[start : start + 500])
    stored = {key_of(r["metadata"]): np.array(r["vector"]) for r in inner.store.values()}
    assert_same(stored, true_vectors(pair.embeddings.engine, documents))
    assert pair.embeddings.stats["late"] == len(chunks)


@pytest.mark.rule(5)
@pytest.mark.parametrize(
    ("name", "options"),
    [("KNN", {}), ("SVM", {}), ("NanoPQ", {"clusters": 8, "subspace": 4})],
)
def test_a_chunk_embedded_as_a_query_gets_its_late_vector(
    pair: LateChunkPair, tiny_engine: LateChunkEngine, name: str, options: dict[str, int]
) -> None:
    """These retrievers embed their documents so, in threads; a question stays a plain query."""
    from langchain_community import retrievers

    documents = corpus(3)
    chunks = pair.splitter.split_documents(documents)
    kind = getattr(retrievers, f"{name}Retriever")
    retriever = kind.from_documents(chunks, pair.embeddings, k=2, **options)
    index = np.array(retriever.index)
    assert_same(as_rows(chunks, list(index)), true_vectors(tiny_engine, documents))
    assert pair.embeddings.stats["late"] == len(chunks)
    assert len(retriever.invoke("Who pays?")) == 2
    plain = tiny_engine.embed_query(str(chunks[0].page_content))
    asked = pair.embeddings.embed_query(str(chunks[0].page_content))
    np.testing.assert_allclose(asked, plain, atol=1e-6)


@pytest.mark.rule(6)
def test_a_stores_own_threads_know_every_parent(
    pair: LateChunkPair, tiny_engine: LateChunkEngine
) -> None:
    """Threads of an executor of the store's own have no context; the texts need none."""

    class Threaded(InMemoryVectorStore):
        def add_documents(  # type: ignore[override]  # ids are not given here
            self, documents: list[Document], **kwargs: Any
        ) -> list[str]:
            with ThreadPoolExecutor(4) as pool:
                single = list(
                    pool.map(lambda d: super(Threaded, self).add_documents([d]), documents)
                )
            return [ids[0] for ids in single]

    documents = corpus(6)
    inner = Threaded(pair.embeddings)
    chunks = rebuilt(pair.splitter.split_documents(documents))
    LateChunkVectorStore(inner).add_documents(chunks)
    stored = {key_of(r["metadata"]): np.array(r["vector"]) for r in inner.store.values()}
    assert_same(stored, true_vectors(tiny_engine, documents))
    assert pair.embeddings.stats["late"] == len(chunks)


@pytest.mark.parametrize(
    "change",
    [
        str.lower,
        str.upper,
        lambda text: "  ".join(text.split()),
        lambda text: f"Agreement 1: {text}",
        lambda text: f"source: contract-1\ntitle: Agreement 1\n\n{text}",
        lambda text: f"# agreement 1 > {text.lower()} ",
    ],
    ids=["lower", "upper", "spaces", "title", "metadata", "heading"],
)
def test_text_that_stands_at_its_span_still_keeps_its_late_vector(
    pair: LateChunkPair, tiny_engine: LateChunkEngine, change: Any
) -> None:
    documents = corpus(2)
    chunks = rebuilt(pair.splitter.split_documents(documents))
    for chunk in chunks:
        if chunk.metadata["source"] == "contract-1":
            chunk.page_content = change(chunk.page_content)
    inner = InMemoryVectorStore(pair.embeddings)
    LateChunkVectorStore(inner).add_documents(chunks)
    stored = {key_of(r["metadata"]): np.array(r["vector"]) for r in inner.store.values()}
    assert_same(stored, true_vectors(tiny_engine, documents))
    assert {r["text"] for r in inner.store.values()} == {chunk.page_content for chunk in chunks}


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + " And more.",
        lambda text: "Not so: " + text,
        lambda text: text[:-2],
        lambda _: "None.",
        lambda text: text.replace("e", "a", 1),
    ],
    ids=["longer", "prefix", "shorter", "other", "letter"],
)
def test_altered_text_is_standalone_counted_and_refused_when_strict(
    pair: LateChunkPair, strict_pair: LateChunkPair, tiny_engine: LateChunkEngine, change: Any
) -> None:
    document = Document("The buyer keeps a copy.\nPayment is due.", metadata={"source": "a"})
    for one in (pair, strict_pair):
        chunks = rebuilt(one.splitter.split_documents([document]))
        chunks[0].page_content = change(chunks[0].page_content)
        inner = InMemoryVectorStore(one.embeddings)
        if one is strict_pair:
            with pytest.raises(AlteredChunkError, match="changed after splitting"):
                LateChunkVectorStore(inner).add_documents(chunks)
            continue
        LateChunkVectorStore(inner).add_documents(chunks)
        first, second = inner.store.values()
        alone = tiny_engine.embed_texts([chunks[0].page_content])[0]
        np.testing.assert_allclose(first["vector"], alone, atol=1e-6)
        assert one.embeddings.stats["altered"] == 1
        assert first["metadata"]["late_mode"] == "standalone"
        assert second["metadata"]["late_mode"] == "late"
        for row in (first, second):  # an audit knows both for vectors of this engine
            assert row["metadata"]["late_engine"] == tiny_engine.fingerprint


@pytest.mark.parametrize(
    "marks",
    [
        {"late_start": 1},
        {"late_end": 3},
        {"late_start": -5},
        {"late_start": None},
        {"late_end": "9"},
        {"late_start": float("nan")},
        {"late_end": 10**9},
    ],
    ids=str,
)
def test_metadata_that_name_no_chunk_of_the_parent_give_no_late_vector(
    pair: LateChunkPair, marks: dict[str, Any]
) -> None:
    chunks = rebuilt(pair.splitter.split_documents([_LEASE]))
    chunks[1].metadata |= marks
    attached = pair.embeddings.attach(chunks)
    pair.embeddings.embed_documents([chunk.page_content for chunk in attached])
    assert pair.embeddings.stats["altered"] == 1
    assert pair.embeddings.stats["late"] == 2


@pytest.mark.parametrize("kind", [float, str])
def test_marks_that_became_floats_or_texts_are_read(
    kind: Callable[[int], object], pair: LateChunkPair
) -> None:
    """Some stores give every number back as a float, queues and tables as a text."""
    chunks = rebuilt(pair.splitter.split_documents([_LEASE]))
    for chunk in chunks:
        chunk.metadata |= {key: kind(chunk.metadata[key]) for key in ("late_start", "late_end")}
    assert all(isinstance(c.page_content, ChunkText) for c in pair.embeddings.attach(chunks))


def test_a_parent_that_is_not_held_is_counted_or_refused(
    pair: LateChunkPair, strict_pair: LateChunkPair, tiny_engine: LateChunkEngine
) -> None:
    gone = {"late_parent": "0" * 32, "late_start": 0, "late_end": 8, "source": "x"}
    document = Document("No pets.", metadata=gone)
    (chunk,) = pair.embeddings.attach([document])
    (vector,) = pair.embeddings.embed_documents([chunk.page_content])
    np.testing.assert_allclose(vector, tiny_engine.embed_texts(["No pets."])[0], atol=1e-6)
    assert pair.embeddings.stats["parent_not_held"] == 1
    with pytest.raises(ParentNotHeldError, match="parent_store"):
        LateChunkVectorStore(InMemoryVectorStore(strict_pair.embeddings)).add_documents([document])


def test_given_parents_serve_where_none_are_held(tiny_engine: LateChunkEngine) -> None:
    """No parent is alive here but those given."""
    documents = corpus(3)
    spans = [line_spans(document.page_content) for document in documents]
    parents = [Parent(d.page_content, s) for d, s in zip(documents, spans, strict=True)]
    chunks = [
        Document(
            parent.chunk_text(row),
            metadata={
                **document.metadata,
                "start_index": start,
                "late_parent": parent.fingerprint,
                "late_start": start,
                "late_end": end,
            },
        )
        for document, parent in zip(documents, parents, strict=True)
        for row, (start, end) in enumerate(parent.spans.array.tolist())
    ]
    here = LateChunkEmbeddings(engine=tiny_engine)
    attached = attach(chunks, parents)
    vectors = here.embed_documents([chunk.page_content for chunk in attached])
    assert_same(as_rows(chunks, vectors), true_vectors(tiny_engine, documents))
    lost = attach(chunks, parents[:1])
    assert sum(isinstance(chunk.page_content, ChunkText) for chunk in lost) == len(spans[0])


def test_attach_changes_copies_alone(pair: LateChunkPair) -> None:
    chunks = rebuilt(pair.splitter.split_documents([_LEASE]))
    foreign = Document("else", metadata={"a": 1}, id="7")
    before = [chunk.model_copy(deep=True) for chunk in (*chunks, foreign)]
    attached = pair.embeddings.attach([*chunks, foreign])
    pair.embeddings.embed_documents([chunk.page_content for chunk in attached])
    assert [*chunks, foreign] == before
    assert attached[-1] == foreign
    assert {chunk.metadata["late_mode"] for chunk in attached[:-1]} == {"late"}


@pytest.mark.rule(5)
@pytest.mark.parametrize("algorithm", ["sha1", "blake2b", "sha256", "sha512"])
@pytest.mark.filterwarnings("ignore:Using default key encoder")
def test_a_cache_of_texts_under_a_bare_store_is_told_of_and_refused_when_strict(
    pair: LateChunkPair,
    strict_pair: LateChunkPair,
    algorithm: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It would give a chunk the vector of an equal text in another parent, and asks nobody."""
    from langchain_classic.embeddings import CacheBackedEmbeddings
    from langchain_core.stores import InMemoryByteStore

    for splitter, embeddings in (pair, strict_pair):
        kept = InMemoryByteStore()
        cached = CacheBackedEmbeddings.from_bytes_store(embeddings, kept, key_encoder=algorithm)
        chunks = splitter.split_documents([_LEASE])
        store = InMemoryVectorStore(cached)
        if not embeddings.strict:
            store.add_documents(chunks)
            assert embeddings.stats["hashed"] == 3
            assert "key_encoder=embeddings.cache_key" in caplog.text
            continue
        with pytest.raises(TextKeyedCacheError, match="cache_key"):
            store.add_documents(chunks)
        assert list(kept.yield_keys()) == []
        assert store.store == {}
        # What the error says to do when it was no cache.
        InMemoryVectorStore(embeddings).add_documents(embeddings.attach(chunks))
        assert embeddings.stats["late"] == 3


@pytest.mark.rule(5)
def test_a_right_cache_and_index_are_taken_for_no_cache_of_texts(
    strict_pair: LateChunkPair,
) -> None:
    """`index` makes hashes of the splitter's own chunks."""
    from langchain_classic.embeddings import CacheBackedEmbeddings
    from langchain_core.indexing import InMemoryRecordManager, index
    from langchain_core.stores import InMemoryByteStore

    splitter, embeddings = strict_pair
    chunks = splitter.split_documents([_LEASE])
    cached = CacheBackedEmbeddings.from_bytes_store(
        embeddings, InMemoryByteStore(), key_encoder=embeddings.cache_key
    )
    InMemoryVectorStore(cached).add_documents(chunks)
    records = InMemoryRecordManager("test")
    records.create_schema()
    store = LateChunkVectorStore(InMemoryVectorStore(embeddings))
    index(chunks, records, store, key_encoder="sha256")
    assert embeddings.stats["late"] == 6
    assert embeddings.stats["hashed"] == 0


def test_bytes_of_a_chunk_are_those_of_its_text(pair: LateChunkPair) -> None:
    """Drivers such as psycopg store what `encode` gives."""
    (chunk, *_) = pair.splitter.split_documents([Document("é\n日本")])
    assert chunk.page_content.encode() == "é".encode()
    assert chunk.page_content.encode("ascii", "replace") == b"?"
    assert chunk.page_content.encode(encoding="utf-16-le") == "é".encode("utf-16-le")


def test_the_advice_names_components_that_want_plain_vectors(
    pair: LateChunkPair, caplog: pytest.LogCaptureFixture
) -> None:
    from langchain_community.document_transformers import EmbeddingsRedundantFilter

    EmbeddingsRedundantFilter(embeddings=pair.embeddings).transform_documents([_FAQ, _LEASE])
    for name in ("SemanticChunker", "EmbeddingsFilter", "EmbeddingsRedundantFilter"):
        assert name in caplog.text
    assert "want embeddings.plain" in caplog.text
