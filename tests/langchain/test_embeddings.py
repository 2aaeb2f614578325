"""The embeddings: four layers, each counted; strict; threads and event loops; pickles."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import gc
import importlib
import inspect
import logging
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests
from pydantic import ValidationError

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.errors import (
    InputTypeError,
    MissingExtraError,
    OptionError,
)
from latechunk_integrations.langchain import (
    LateChunkEmbeddings,
    LateChunkTextSplitter,
)
from latechunk_integrations.options import LateChunkOptions
from tests.langchain.support import (
    as_rows,
    assert_same,
    corpus,
    key_of,
    lines,
    pair_of_lines,
    rebuilt,
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
    return LateChunkTextSplitter(embeddings=embeddings, splitter=lines, header=None)


def _embedded(embeddings: LateChunkEmbeddings, chunks: list[Document]) -> dict[Any, Any]:
    return as_rows(chunks, embeddings.embed_documents([c.page_content for c in chunks]))


def test_chunks_get_the_engines_vectors_and_are_counted(
    embeddings: LateChunkEmbeddings, tiny_engine: LateChunkEngine
) -> None:
    documents = corpus()
    truth = true_vectors(tiny_engine, documents)
    chunks = _splitter(embeddings).split_documents(documents)
    assert_same(_embedded(embeddings, chunks), truth)
    assert_same(_embedded(embeddings, embeddings.attach(rebuilt(chunks)[::-1])), truth)
    assert embeddings.stats == {
        "late": 2 * len(chunks),
        "probe": 0,
        "unknown": 0,
        "altered": 0,
        "parent_not_held": 0,
        "hashed": 0,
        "failed_parents": 0,
    }


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
    assert embeddings.stats["unknown"] == 4
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
    alone = tiny_engine.embed_texts([texts[0], texts[2]])
    np.testing.assert_allclose([vectors[0], vectors[2]], alone, atol=1e-6)
    np.testing.assert_allclose(vectors[1], truth[key_of(chunks[0].metadata)], atol=1e-5)


@pytest.mark.store
def test_strict_lets_a_store_ask_for_the_width_of_a_vector(strict_engine: LateChunkEngine) -> None:
    """QdrantVectorStore embeds a dummy text before the first chunk."""
    from langchain_qdrant import QdrantVectorStore

    pair = pair_of_lines(strict_engine)
    chunks = pair.splitter.split_documents(corpus(2))
    QdrantVectorStore.from_documents(
        chunks, pair.embeddings, location=":memory:", collection_name="strict"
    )
    assert pair.embeddings.stats["probe"] >= 1
    assert pair.embeddings.stats["late"] == len(chunks)


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
    assert_same(as_rows(chunks, vectors), truth)
    assert await embeddings.aembed_query("Who pays?") == embeddings.embed_query("Who pays?")


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
    with pytest.raises(OptionError, match="has its options already"):
        LateChunkEmbeddings(engine=tiny_engine, context_weight=0.5)
    with pytest.raises(OptionError, match="model"):
        LateChunkEmbeddings()


@pytest.mark.parametrize("plain", [False, True])
def test_what_is_no_text_is_refused(tiny_engine: LateChunkEngine, plain: bool) -> None:
    """``str(None)`` would be embedded as if somebody had asked for "None"."""
    late = LateChunkEmbeddings(engine=tiny_engine)
    embeddings: Any = late.plain if plain else late
    for query, kind in ((None, "NoneType"), (["a"], "list"), (5, "int")):
        with pytest.raises(InputTypeError, match=f"one str, not {kind}"):
            embeddings.embed_query(query)
        with pytest.raises(InputTypeError, match=f"list of texts is wanted; it holds {kind}"):
            embeddings.embed_documents(["a", query])
    with pytest.raises(InputTypeError, match="list of texts"):
        embeddings.embed_documents("one str")


def test_a_pickle_leaves_model_and_texts_behind_and_loads_them_again(
    tiny_model_path: Path, tiny_engine: LateChunkEngine
) -> None:
    embeddings = LateChunkEmbeddings(str(tiny_model_path), dtype="float32", device="cpu")
    documents = corpus(2)
    chunks = _splitter(embeddings).split_documents(documents)
    assert len(pickle.dumps(embeddings)) < 2_000
    again, moved = pickle.loads(pickle.dumps((embeddings, chunks)))
    assert again.engine.encoder is embeddings.engine.encoder
    assert_same(_embedded(again, moved), true_vectors(tiny_engine, documents))


def test_a_deep_copy_knows_what_the_original_knows(
    embeddings: LateChunkEmbeddings, tiny_engine: LateChunkEngine
) -> None:
    documents = corpus(1)
    chunks = rebuilt(_splitter(embeddings).split_documents(documents))
    twin = copy.deepcopy(embeddings)
    assert_same(_embedded(twin, twin.attach(chunks)), true_vectors(tiny_engine, documents))
    assert embeddings.stats["late"] == len(chunks)


def test_memory_that_is_full_loses_nothing_that_chunks_still_hold(
    tiny_engine: LateChunkEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """A bound of one byte: the splitter's own documents lose nothing, and nothing warns."""
    embeddings = LateChunkEmbeddings(engine=tiny_engine, memory_bytes=1)
    documents = corpus(4)
    truth = true_vectors(tiny_engine, documents)
    chunks = _splitter(embeddings).split_documents(documents)
    assert_same(_embedded(embeddings, chunks), truth)
    assert_same(_embedded(embeddings, embeddings.attach(rebuilt(chunks))), truth)
    assert caplog.records == []


@pytest.mark.slow
def test_rebuilt_chunks_whose_parents_had_to_go_say_so(tiny_engine: LateChunkEngine) -> None:
    embeddings = LateChunkEmbeddings(engine=tiny_engine, memory_bytes=1)
    documents = corpus(4)
    chunks = rebuilt(_splitter(embeddings).split_documents(documents))
    gc.collect()
    embeddings.embed_documents([c.page_content for c in embeddings.attach(chunks)])
    n_last = len(lines(documents[-1].page_content))
    assert embeddings.stats["late"] == n_last  # the newest always stays
    assert embeddings.stats["parent_not_held"] == len(chunks) - n_last


def test_options_are_typed_fields(tiny_model_path: Path) -> None:
    parameters = inspect.signature(LateChunkEmbeddings).parameters
    schema = LateChunkEmbeddings.model_json_schema()["properties"]
    for option in dataclasses.fields(LateChunkOptions):
        if option.name != "model":
            assert option.name in parameters
            assert schema[option.name]["description"]
    made = LateChunkEmbeddings(model=tiny_model_path, context_weight=0.5)
    assert made.context_weight == made.engine.options.context_weight == 0.5
    with pytest.raises(ValidationError, match="frozen"):
        made.context_weight = 0.7
    assert made.model_dump()["model_name"] == str(tiny_model_path)


def test_model_and_model_name_are_one_option(tiny_model_path: Path) -> None:
    for given in (
        {"model": tiny_model_path},
        {"model_name": tiny_model_path},
        {"model": str(tiny_model_path), "model_name": tiny_model_path},
    ):
        assert LateChunkEmbeddings(**given).model_name == str(tiny_model_path)
    assert LateChunkEmbeddings(tiny_model_path).model_name == str(tiny_model_path)
    with pytest.raises(OptionError, match="same option"):
        LateChunkEmbeddings(model_name="a", model="b")


def test_without_langchain_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langchain_core", None)
    monkeypatch.delitem(sys.modules, "latechunk_integrations.langchain")
    with pytest.raises(MissingExtraError, match=r"latechunk-integrations\[langchain\]") as caught:
        importlib.import_module("latechunk_integrations.langchain")
    assert caught.value.extra == "langchain"
