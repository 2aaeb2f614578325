"""The embeddings: four layers, each counted; strict; threads and event loops; pickles."""

from __future__ import annotations

import asyncio
import copy
import importlib
import logging
import pickle
import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.errors import (
    AmbiguousChunkError,
    InputTypeError,
    MismatchedPairError,
    MissingExtraError,
    OptionError,
    UnknownChunkError,
)
from latechunk_integrations.langchain import (
    LateChunkEmbeddings,
    LateChunkTextSplitter,
    late_chunking,
)
from tests.langchain.support import (
    assert_same,
    corpus,
    key_of,
    lines,
    rebuilt,
    rows_as_vectors,
    true_vectors,
)


class TestEmbeddingsUnit(EmbeddingsUnitTests):
    @pytest.fixture(autouse=True)
    def _model(self, tiny_model_path: Path) -> None:
        self.model_path = tiny_model_path

    @property
    def embeddings_class(self) -> type[Embeddings]:
        return LateChunkEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model_name": str(self.model_path), "dtype": "float32", "device": "cpu"}


class TestEmbeddingsIntegration(EmbeddingsIntegrationTests):
    @pytest.fixture(autouse=True)
    def _model(self, tiny_model_path: Path) -> None:
        self.model_path = tiny_model_path

    @property
    def embeddings_class(self) -> type[Embeddings]:
        return LateChunkEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model_name": str(self.model_path), "dtype": "float32", "device": "cpu"}


@pytest.fixture
def embeddings(tiny_engine: LateChunkEngine) -> LateChunkEmbeddings:
    return LateChunkEmbeddings(engine=tiny_engine)


@pytest.fixture(scope="module")
def strict_engine(tiny_model_path: Path) -> LateChunkEngine:
    return LateChunkEngine.from_pretrained(
        str(tiny_model_path), dtype="float32", device="cpu", strict=True
    )


def _splitter(embeddings: LateChunkEmbeddings) -> LateChunkTextSplitter:
    return LateChunkTextSplitter(embeddings=embeddings, splitter=lines)


def _embedded(embeddings: LateChunkEmbeddings, chunks: list[Document]) -> dict[Any, Any]:
    vectors = embeddings.embed_documents([chunk.page_content for chunk in chunks])
    return rows_as_vectors([(c.metadata, v) for c, v in zip(chunks, vectors, strict=True)])


def test_each_layer_gives_the_engines_vectors_and_is_counted(
    embeddings: LateChunkEmbeddings, tiny_engine: LateChunkEngine
) -> None:
    documents = corpus()
    truth = true_vectors(tiny_engine, documents)
    chunks = _splitter(embeddings).split_documents(documents)
    n = len(chunks)
    assert_same(_embedded(embeddings, chunks), truth)
    assert embeddings.stats["text"] == n
    plain = rebuilt(chunks)
    with embeddings.bind(plain[::-1]):
        assert_same(_embedded(embeddings, plain[::-1]), truth)
    assert embeddings.stats["bound"] == n
    assert_same(_embedded(embeddings, plain), truth)
    assert embeddings.stats == {
        "text": n,
        "bound": n,
        "ledger": n,
        "standalone": 0,
        "ambiguous": 0,
        "probe": 0,
        "evicted": 0,
    }


@given(
    seed=st.integers(0, 10_000),
    size=st.integers(1, 12),
    layer=st.sampled_from(["text", "bound", "ledger"]),
    shuffle=st.booleans(),
)
def test_any_corpus_order_and_batch_gives_the_engines_vectors(
    tiny_engine: LateChunkEngine, seed: int, size: int, layer: str, shuffle: bool
) -> None:
    """Exact by text and by binding in any order; by the ledger in whole documents, or reported."""
    documents = corpus(n_documents=3, n_lines=5, seed=seed)
    truth = true_vectors(tiny_engine, documents)
    embeddings = LateChunkEmbeddings(engine=tiny_engine)
    chunks = _splitter(embeddings).split_documents(random.Random(seed).sample(documents, 3))
    if shuffle and layer != "ledger":
        random.Random(seed).shuffle(chunks)
    if layer != "text":
        chunks = rebuilt(chunks)
    stored: dict[Any, Any] = {}
    with embeddings.bind(chunks) if layer == "bound" else nullcontext():
        for start in range(0, len(chunks), size):
            stored |= _embedded(embeddings, chunks[start : start + size])
    n_wrong = sum(np.abs(stored[key] - truth[key]).max() > 1e-5 for key in truth)
    assert embeddings.stats[layer] == len(chunks)
    assert n_wrong <= embeddings.stats["ambiguous"]
    if layer != "ledger":
        assert embeddings.stats["ambiguous"] == 0


def test_unknown_texts_are_embedded_standalone_counted_and_logged_once(
    embeddings: LateChunkEmbeddings,
    tiny_engine: LateChunkEngine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    texts = ["Never split.", "Nor was this."]
    with caplog.at_level(logging.INFO):
        vectors = embeddings.embed_documents(texts)
        embeddings.embed_documents(texts)
    np.testing.assert_allclose(vectors, tiny_engine.embed_texts(texts), atol=1e-6)
    assert embeddings.stats["standalone"] == 4
    assert [r.levelno for r in caplog.records] == [logging.WARNING, logging.INFO]
    assert "2 of 2" in caplog.text


def test_known_and_unknown_texts_mix(
    embeddings: LateChunkEmbeddings, tiny_engine: LateChunkEngine
) -> None:
    (document,) = corpus(1)
    chunks = _splitter(embeddings).split_documents([document])
    texts = ["unknown", chunks[0].page_content, str(chunks[1].page_content)]
    vectors = embeddings.embed_documents(texts)
    truth = true_vectors(tiny_engine, [document])
    np.testing.assert_allclose(vectors[0], tiny_engine.embed_texts(["unknown"])[0], atol=1e-6)
    np.testing.assert_allclose(vectors[1], truth[key_of(chunks[0].metadata)], atol=1e-5)
    np.testing.assert_allclose(vectors[2], truth[key_of(chunks[1].metadata)], atol=1e-5)


def test_an_ambiguous_text_is_counted_and_logged(
    embeddings: LateChunkEmbeddings, caplog: pytest.LogCaptureFixture
) -> None:
    _splitter(embeddings).create_documents(["First.\nSame.", "Second.\nSame."])
    embeddings.embed_documents(["Same."])
    assert embeddings.stats["ambiguous"] == 1
    assert "'Same.'" in caplog.text


def test_strict_turns_unknown_and_ambiguous_texts_into_errors(
    strict_engine: LateChunkEngine,
) -> None:
    embeddings = LateChunkEmbeddings(engine=strict_engine)
    _splitter(embeddings).create_documents(["First.\nSame.", "Second.\nSame."])
    with pytest.raises(UnknownChunkError, match="1 of 2 texts have no known parent"):
        embeddings.embed_documents(["First.", "unknown"])
    with pytest.raises(AmbiguousChunkError, match=r"'Same\.'"):
        embeddings.embed_documents(["Same."])
    with (
        embeddings.bind([Document("x", metadata={"late_parent": "gone", "start_index": 0})]),
        pytest.raises(UnknownChunkError, match="1 name one that is not held"),
    ):
        embeddings.embed_documents(["x"])


@pytest.mark.store
def test_strict_lets_a_store_ask_for_the_width_of_a_vector(strict_engine: LateChunkEngine) -> None:
    """QdrantVectorStore embeds a dummy text before the first chunk."""
    from langchain_qdrant import QdrantVectorStore

    pair = late_chunking(strict_engine, lines)
    chunks = pair.splitter.split_documents(corpus(2))
    QdrantVectorStore.from_documents(
        chunks, pair.embeddings, location=":memory:", collection_name="strict"
    )
    assert pair.embeddings.stats["probe"] >= 1
    assert pair.embeddings.stats["text"] == len(chunks)


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_parent_is_embedded_once_whatever_the_batches(
    tiny_engine: LateChunkEngine, size: int
) -> None:
    embeddings = LateChunkEmbeddings(engine=tiny_engine)
    documents = corpus(5)
    chunks = _splitter(embeddings).split_documents(documents)
    before = tiny_engine.stats["parents"]
    embeddings.embed_documents([chunks[0].page_content])  # a probe, as stores do it
    for start in range(0, len(chunks), size):
        embeddings.embed_documents([c.page_content for c in chunks[start : start + size]])
    assert tiny_engine.stats["parents"] - before == len(documents)


def test_a_parent_that_several_threads_want_is_embedded_once(tiny_engine: LateChunkEngine) -> None:
    embeddings = LateChunkEmbeddings(engine=tiny_engine)
    chunks = _splitter(embeddings).create_documents(["\n".join(f"Line {i}." for i in range(20))])
    before = tiny_engine.stats["parents"]
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda c: embeddings.embed_documents([c.page_content]), chunks))
    assert tiny_engine.stats["parents"] - before == 1


def test_chunks_of_chunks_share_one_pass_over_their_root(tiny_engine: LateChunkEngine) -> None:
    embeddings = LateChunkEmbeddings(engine=tiny_engine)
    outer = LateChunkTextSplitter(embeddings=embeddings, splitter=lambda t: t.split("\n\n"))
    text = "One. Two. Three.\n\nFour. Two.\n\nFive."
    inner = LateChunkTextSplitter(embeddings=embeddings, splitter=lambda t: t.split(" "))
    chunks = inner.split_documents(outer.create_documents([text]))
    before = tiny_engine.stats["parents"]
    embeddings.embed_documents([chunk.page_content for chunk in chunks])
    assert tiny_engine.stats["parents"] - before == 1
    assert [text[c.metadata["start_index"] :][: len(c.page_content)] for c in chunks] == [
        c.page_content for c in chunks
    ]


async def test_async_methods_leave_the_event_loop_free(
    embeddings: LateChunkEmbeddings, tiny_engine: LateChunkEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the model is at work the loop goes on: it is what lets the model finish here."""
    documents = corpus(3)
    chunks = _splitter(embeddings).split_documents(documents)
    truth = true_vectors(tiny_engine, documents)
    release = threading.Event()
    forward = tiny_engine.encoder.forward

    def wait_and_forward(*args: Any) -> Any:
        assert release.wait(30), "the event loop was blocked"
        return forward(*args)

    monkeypatch.setattr(tiny_engine.encoder, "forward", wait_and_forward)
    task = asyncio.create_task(embeddings.aembed_documents([c.page_content for c in chunks]))
    await asyncio.sleep(0.05)
    assert not task.done()
    release.set()
    vectors = await task
    got = rows_as_vectors([(c.metadata, v) for c, v in zip(chunks, vectors, strict=True)])
    assert_same(got, truth)
    assert await embeddings.aembed_query("Who pays?") == embeddings.embed_query("Who pays?")


async def test_bindings_of_concurrent_tasks_do_not_mix(
    embeddings: LateChunkEmbeddings, tiny_engine: LateChunkEngine
) -> None:
    documents = corpus(8, seed=5)
    splitter = _splitter(embeddings)
    groups = [rebuilt(splitter.split_documents([document])) for document in documents]

    async def embed(chunks: list[Document]) -> list[tuple[dict[str, Any], list[float]]]:
        with embeddings.bind(chunks):
            await asyncio.sleep(0)
            vectors = await embeddings.aembed_documents([c.page_content for c in chunks])
        return [(c.metadata, v) for c, v in zip(chunks, vectors, strict=True)]

    rows = [row for group in await asyncio.gather(*map(embed, groups)) for row in group]
    assert_same(rows_as_vectors(rows), true_vectors(tiny_engine, documents))
    assert embeddings.stats["ambiguous"] == 0


def test_queries_and_documents_in_ten_threads_at_once(
    embeddings: LateChunkEmbeddings, tiny_engine: LateChunkEngine
) -> None:
    expected = tiny_engine.embed_query("Who pays?")
    alone = tiny_engine.embed_texts(["unknown " * 90])[0]

    def work(number: int) -> None:
        for _ in range(5):
            if number % 2:
                np.testing.assert_allclose(embeddings.embed_query("Who pays?"), expected, atol=1e-6)
            else:
                vectors = embeddings.embed_documents(["unknown " * 90])
                np.testing.assert_allclose(vectors[0], alone, atol=1e-6)

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(work, range(10)))


def test_chunks_of_another_model_or_other_options_are_refused(
    tiny_engine: LateChunkEngine, tiny_model_path: Path
) -> None:
    chunks = _splitter(LateChunkEmbeddings(engine=tiny_engine)).split_documents(corpus(1))
    other = LateChunkEmbeddings(str(tiny_model_path), dtype="float32", context_weight=0.5)
    with pytest.raises(MismatchedPairError, match="late_chunking"):
        other.embed_documents([chunks[0].page_content])


def test_two_embeddings_of_one_engine_understand_each_others_chunks(
    tiny_engine: LateChunkEngine,
) -> None:
    documents = corpus(2)
    chunks = _splitter(LateChunkEmbeddings(engine=tiny_engine)).split_documents(documents)
    got = _embedded(LateChunkEmbeddings(engine=tiny_engine), chunks)
    assert_same(got, true_vectors(tiny_engine, documents))


def test_options_are_flat_keywords_and_checked(
    tiny_engine: LateChunkEngine, tiny_model_path: Path
) -> None:
    blended = LateChunkEmbeddings(model_name=str(tiny_model_path), context_weight=0.5)
    assert blended.engine.options.context_weight == 0.5
    with pytest.raises(OptionError, match="context_weight"):
        LateChunkEmbeddings(model_name="m", context_wait=0.5)
    with pytest.raises(OptionError, match="skip"):
        LateChunkEmbeddings(model_name="m", fallback="skip")
    with pytest.raises(OptionError, match="brings its own options"):
        LateChunkEmbeddings(engine=tiny_engine, context_weight=0.5)
    with pytest.raises(OptionError, match="model"):
        LateChunkEmbeddings()
    with pytest.raises(InputTypeError, match="list of texts"):
        LateChunkEmbeddings(engine=tiny_engine).embed_documents("one str")  # type: ignore[arg-type]  # what is under test


def test_a_pickle_leaves_model_and_texts_behind_and_loads_them_again(
    tiny_model_path: Path, tiny_engine: LateChunkEngine
) -> None:
    embeddings = LateChunkEmbeddings(str(tiny_model_path), dtype="float32", device="cpu")
    documents = corpus(2)
    chunks = _splitter(embeddings).split_documents(documents)
    assert len(pickle.dumps(embeddings)) < 2_000
    again, moved = pickle.loads(pickle.dumps((embeddings, chunks)))
    assert again.engine is embeddings.engine
    assert_same(_embedded(again, moved), true_vectors(tiny_engine, documents))


def test_a_deep_copy_knows_what_the_original_knows(embeddings: LateChunkEmbeddings) -> None:
    chunks = rebuilt(_splitter(embeddings).split_documents(corpus(1)))
    _embedded(copy.deepcopy(embeddings), chunks)
    assert embeddings.stats["ledger"] == len(chunks)


def test_split_elsewhere_is_embedded_with_the_parents_alone(tiny_engine: LateChunkEngine) -> None:
    documents = corpus(4)
    there = LateChunkTextSplitter(
        embeddings=LateChunkEmbeddings(engine=tiny_engine), splitter=lines, header_from=["title"]
    )
    chunks = rebuilt(there.split_documents(documents))
    here = LateChunkEmbeddings(engine=tiny_engine)
    truth = true_vectors(tiny_engine, documents, header_key="title")
    for parents in (
        {"parents": documents, "header_from": ["title"]},
        {"parents": there.parents(documents)},
    ):
        vectors = here.embed_split_documents(chunks, **parents)
        got = rows_as_vectors([(c.metadata, v) for c, v in zip(chunks, vectors, strict=True)])
        assert_same(got, truth)


def test_split_elsewhere_without_its_parent_is_counted_or_refused(
    tiny_engine: LateChunkEngine, strict_engine: LateChunkEngine
) -> None:
    documents = corpus(2)
    for engine in (tiny_engine, strict_engine):
        chunks = rebuilt(_splitter(LateChunkEmbeddings(engine=engine)).split_documents(documents))
        here = LateChunkEmbeddings(engine=engine)
        if engine.options.strict:
            with pytest.raises(UnknownChunkError):
                here.embed_split_documents(chunks, documents[:1])
        else:
            here.embed_split_documents(chunks, documents[:1])
            n_second = sum(chunk.metadata["source"] == "contract-1" for chunk in chunks)
            assert here.stats["standalone"] == n_second


def test_rewritten_chunks_split_elsewhere_are_located_anew(tiny_engine: LateChunkEngine) -> None:
    """White space collapsed by the splitter: the text is no slice, its span is found again."""
    text = "One  line\nof text. Another   line\nof it."
    pair = late_chunking(tiny_engine, lambda _: ["One line of text.", "Another line of it."])
    chunks = pair.splitter.create_documents([text])
    late = pair.embeddings.embed_documents([chunk.page_content for chunk in chunks])
    here = LateChunkEmbeddings(engine=tiny_engine)
    vectors = here.embed_split_documents(rebuilt(chunks), [Document(text)])
    np.testing.assert_allclose(vectors, late, atol=1e-6)
    assert here.stats["bound"] == 2


def test_evicted_chunks_still_know_their_parent(tiny_engine: LateChunkEngine) -> None:
    """A ledger of one byte: the splitter's own documents lose nothing, nor do bound ones."""
    embeddings = LateChunkEmbeddings(engine=tiny_engine, ledger_bytes=1)
    documents = corpus(4)
    truth = true_vectors(tiny_engine, documents)
    chunks = _splitter(embeddings).split_documents(documents)
    assert_same(_embedded(embeddings, chunks), truth)
    plain = rebuilt(chunks)
    with embeddings.bind(plain):
        assert_same(_embedded(embeddings, plain), truth)
    assert embeddings.stats["evicted"] > 0


def test_without_langchain_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langchain_core", None)
    monkeypatch.delitem(sys.modules, "latechunk_integrations.langchain")
    with pytest.raises(MissingExtraError, match=r"latechunk-integrations\[langchain\]") as caught:
        importlib.import_module("latechunk_integrations.langchain")
    assert caught.value.extra == "langchain"
