"""The embed model as LlamaIndex's API knows it: events, bars, caches, dictionaries."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_text_splitters import RecursiveCharacterTextSplitter
from llama_index.core import Document
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.embedding import (
    EmbeddingEndEvent,
    EmbeddingStartEvent,
)
from llama_index.core.node_parser import (
    HierarchicalNodeParser,
    LangchainNodeParser,
    NodeParser,
    SentenceSplitter,
)
from llama_index.core.schema import MetadataMode
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index_instrumentation import get_dispatcher

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.errors import OptionError
from latechunk_integrations.llama_index import (
    LateChunkEmbedding,
    LateChunkHierarchicalNodeParser,
    LateChunkNodeParser,
)
from latechunk_integrations.llama_index.events import LateChunkEndEvent
from tests.llama_index.support import SPLITTER, check, expected


class Recorder(BaseEventHandler):
    """Keeps events."""

    events: list[BaseEvent]

    @classmethod
    def class_name(cls) -> str:
        return "Recorder"

    def handle(self, event: BaseEvent, **_: Any) -> None:
        self.events.append(event)


@pytest.fixture
def recorder() -> Any:
    root = get_dispatcher()
    handler = Recorder(events=[])
    root.add_event_handler(handler)
    yield handler
    root.event_handlers.remove(handler)


@pytest.mark.parametrize("hook", ["node parser", "embed model"])
def test_events_tell_parents_windows_and_standalone_chunks(
    hook: str,
    recorder: Recorder,
    tiny_engine: LateChunkEngine,
    documents: list[Document],
) -> None:
    """One start and one end for a call, of LlamaIndex's own types, with the engine's counts."""
    debug = LlamaDebugHandler(print_trace_on_end=False)
    model = LateChunkEmbedding(engine=tiny_engine, callback_manager=CallbackManager([debug]))
    parser = LateChunkNodeParser(embed_model=model, splitter=SPLITTER)
    before = tiny_engine.stats.get("windows", 0)
    nodes = parser(documents) if hook == "node parser" else model(SPLITTER(documents))
    taken = tiny_engine.stats["windows"] - before
    embedded = [node for node in nodes if node.embedding]
    starts = [event for event in recorder.events if isinstance(event, EmbeddingStartEvent)]
    (end,) = [event for event in recorder.events if isinstance(event, EmbeddingEndEvent)]
    assert len(starts) == 1
    assert isinstance(end, LateChunkEndEvent)
    assert (end.n_parents, end.n_windows, end.n_standalone) == (5, taken, 0)
    assert end.chunks == [node.get_content(MetadataMode.EMBED) for node in embedded]
    assert end.embeddings == [node.embedding for node in embedded]
    assert len(debug.get_event_pairs(CBEventType.EMBEDDING)) == 1


@pytest.mark.rule(6)
@pytest.mark.parametrize("batch_size", [1, 3, 2048])
def test_the_batch_size_never_cuts_a_parent(
    batch_size: int, tiny_engine: LateChunkEngine, documents: list[Document]
) -> None:
    model = LateChunkEmbedding(engine=tiny_engine, embed_batch_size=batch_size)
    check(list(model(SPLITTER(documents))), expected(tiny_engine, documents))


def test_a_bar_is_shown_on_request_only(
    tiny_engine: LateChunkEngine,
    documents: list[Document],
    capfd: pytest.CaptureFixture[str],
) -> None:
    quiet = LateChunkEmbedding(engine=tiny_engine)
    quiet(SPLITTER(documents))
    LateChunkNodeParser(embed_model=quiet, splitter=SPLITTER)(documents)
    assert capfd.readouterr().err == ""
    quiet(SPLITTER(documents), show_progress=True)
    assert "5parent" in capfd.readouterr().err
    parser = LateChunkNodeParser(embed_model=quiet, splitter=SPLITTER)
    parser.get_nodes_from_documents(documents, show_progress=True)
    assert "6/6" in capfd.readouterr().err
    LateChunkEmbedding(engine=tiny_engine, show_progress=True)(SPLITTER(documents))
    assert "5parent" in capfd.readouterr().err


async def test_batches_queries_and_async_calls_are_the_engines(
    tiny_engine: LateChunkEngine, embed_model: LateChunkEmbedding
) -> None:
    texts = [f"text {n}" for n in range(23)]
    right = tiny_engine.embed_texts(texts)
    np.testing.assert_allclose(embed_model.get_text_embedding_batch(texts), right, atol=1e-6)
    batch = await embed_model.aget_text_embedding_batch(texts)
    np.testing.assert_allclose(batch, right, atol=1e-6)
    query = tiny_engine.embed_query("Berlin")
    np.testing.assert_allclose(embed_model.get_query_embedding("Berlin"), query, atol=1e-6)
    both = embed_model.get_agg_embedding_from_queries(["Berlin", "Berlin"])
    np.testing.assert_allclose(both, query, atol=1e-6)
    assert all(type(value) is float for value in batch[0])


def test_a_cache_serves_vectors_of_the_same_parent_model_and_role_only(
    tiny_model_path: Path, tiny_engine: LateChunkEngine, documents: list[Document]
) -> None:
    """Equal texts under other parents, prompts or options are other vectors."""
    store = SimpleKVStore()

    def model(**options: Any) -> LateChunkEmbedding:
        return LateChunkEmbedding(
            model_name=str(tiny_model_path), dtype="float32", embeddings_cache=store, **options
        )

    first = model()
    check(list(first(SPLITTER(documents))), expected(tiny_engine, documents))
    windows = first.engine.stats["windows"]
    check(list(first(SPLITTER(documents))), expected(tiny_engine, documents))
    assert first.engine.stats["windows"] == windows
    assert first.stats["cached_parents"] == 5
    moved = [Document(text="Preface. " + d.text, metadata=d.metadata) for d in documents if d.text]
    check(list(first(SPLITTER(moved))), expected(tiny_engine, moved))

    other = model(query_prompt="query: ")
    for one in (first, other):
        for _ in range(2):
            np.testing.assert_allclose(
                one.get_query_embedding("Berlin"), one.engine.embed_query("Berlin"), atol=1e-6
            )
            np.testing.assert_allclose(
                one.get_text_embedding_batch(["Berlin", "Spree", "Berlin"]),
                one.engine.embed_texts(["Berlin", "Spree", "Berlin"]),
                atol=1e-6,
            )
    assert first.get_query_embedding("Berlin") != other.get_query_embedding("Berlin")
    second = LateChunkEmbedding(model_name=str(tiny_model_path), dtype="float32")
    second.embeddings_cache = store
    assert second.get_query_embedding("Berlin") == first.get_query_embedding("Berlin")
    assert second.embeddings_cache is None


def test_dictionaries_round_trip(tiny_model_path: Path, documents: list[Document]) -> None:
    """``from_dict(to_dict())`` gives the same vectors, for the model and all parsers."""
    model = LateChunkEmbedding(
        model_name=str(tiny_model_path),
        dtype="float32",
        context_weight=0.5,
        metadata_as_header=False,
        embed_batch_size=7,
    )
    twin = LateChunkEmbedding.from_dict(model.to_dict())
    assert twin.to_dict() == model.to_dict()
    assert twin.engine.options == model.engine.options
    parsers = [
        LateChunkNodeParser(embed_model=model, splitter=SPLITTER, parent_level="section"),
        LateChunkHierarchicalNodeParser(embed_model=model, chunk_sizes=[64, 24], chunk_overlap=0),
    ]
    for parser in parsers:
        copy = type(parser).from_dict(parser.to_dict())
        assert copy.to_dict() == parser.to_dict()
        plain = [Document(text=d.text) for d in documents[:2]]
        nodes = parser.get_nodes_from_documents(plain)
        again = copy.get_nodes_from_documents(plain)
        assert [node.embedding for node in nodes] == [node.embedding for node in again]


def test_what_a_nested_parser_does_is_in_the_dictionary(embed_model: LateChunkEmbedding) -> None:
    """Caches must see what LlamaIndex's own dictionaries leave out."""
    sentences = [SentenceSplitter(chunk_size=size, chunk_overlap=0) for size in (100, 200)]
    parsers: list[NodeParser] = [
        LangchainNodeParser(RecursiveCharacterTextSplitter(chunk_size=100, chunk_overlap=0)),
        LangchainNodeParser(RecursiveCharacterTextSplitter(chunk_size=200, chunk_overlap=0)),
        *(
            HierarchicalNodeParser.from_defaults(
                node_parser_ids=["one"], node_parser_map={"one": sentence}
            )
            for sentence in sentences
        ),
    ]
    described = {
        str(LateChunkNodeParser(embed_model=embed_model, splitter=one).to_dict()) for one in parsers
    }
    assert len(described) == len(parsers)


def test_a_parser_that_cannot_be_rebuilt_is_asked_for(embed_model: LateChunkEmbedding) -> None:
    wrapped = LangchainNodeParser(RecursiveCharacterTextSplitter())
    parser = LateChunkNodeParser(embed_model=embed_model, splitter=wrapped)
    with pytest.raises(OptionError, match="splitter="):
        LateChunkNodeParser.from_dict(parser.to_dict())
    copy = LateChunkNodeParser.from_dict(parser.to_dict(), splitter=wrapped)
    assert copy.splitter is wrapped


def test_an_unknown_option_is_refused_with_the_right_name(tiny_model_path: Path) -> None:
    with pytest.raises(OptionError, match="context_weight"):
        LateChunkEmbedding(model_name=str(tiny_model_path), contxt_weight=0.5)


def test_options_beside_an_engine_are_refused(tiny_engine: LateChunkEngine) -> None:
    with pytest.raises(OptionError, match="context_weight"):
        LateChunkEmbedding(engine=tiny_engine, context_weight=0.5)


def test_the_log_holds_no_texts(
    embed_model: LateChunkEmbedding, caplog: pytest.LogCaptureFixture
) -> None:
    """Documents can be confidential: logs name parents and counts."""
    caplog.set_level(logging.DEBUG, logger="latechunk_integrations")
    embed_model(SPLITTER([Document(text="A confidential sentence of some length. " * 9)]))
    embed_model.get_text_embedding_batch(["confidential"])
    assert "confidential" not in caplog.text
