"""The embed model as LlamaIndex's API knows it: events, bars, caches, dictionaries."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_text_splitters import RecursiveCharacterTextSplitter
from llama_index.core import Document
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
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
from llama_index.core.schema import BaseNode, MetadataMode
from llama_index.core.storage.kvstore import SimpleKVStore

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.errors import FingerprintMismatchError, OptionError
from latechunk_integrations.llama_index import (
    LateChunkEmbedding,
    LateChunkHierarchicalNodeParser,
    LateChunkNodeParser,
)
from latechunk_integrations.llama_index.events import LateChunkEndEvent
from tests.llama_index.support import SPLITTER, Recorder, check, expected


@pytest.mark.parametrize("hook", ["node parser", "embed model"])
def test_events_tell_parents_windows_and_standalone_chunks(
    hook: str,
    recorder: Recorder,
    tiny_engine: LateChunkEngine,
    documents: list[Document],
) -> None:
    """One start and one end for each parent, under LlamaIndex's own names, with counts."""
    debug = LlamaDebugHandler(print_trace_on_end=False)
    model = LateChunkEmbedding(engine=tiny_engine, callback_manager=CallbackManager([debug]))
    parser = LateChunkNodeParser(embed_model=model, splitter=SPLITTER)
    before = tiny_engine.stats.get("windows", 0)
    nodes = parser(documents) if hook == "node parser" else model(SPLITTER(documents))
    taken = tiny_engine.stats["windows"] - before
    embedded = [node for node in nodes if node.embedding]
    starts = [event for event in recorder.events if isinstance(event, EmbeddingStartEvent)]
    ends = [event for event in recorder.events if isinstance(event, LateChunkEndEvent)]
    assert {event.class_name() for event in ends} == {EmbeddingEndEvent.class_name()}
    assert len(starts) == len(ends) == 5
    assert [end.parent_id for end in ends] == [f"report-{n}" for n in range(5)]
    assert sum(end.n_windows for end in ends) == taken
    assert sum(end.n_standalone for end in ends) == 0
    chunks = [chunk for end in ends for chunk in end.chunks]
    assert chunks == [node.get_content(MetadataMode.EMBED) for node in embedded]
    vectors = [vector for end in ends for vector in end.embeddings]
    assert vectors == [node.embedding for node in embedded]
    pairs = debug.get_event_pairs(CBEventType.EMBEDDING)
    assert len(pairs) == 5
    assert all(len(pair) == 2 for pair in pairs)


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
    windows = first.stats["windows"]
    check(list(first(SPLITTER(documents))), expected(tiny_engine, documents))
    assert first.stats["windows"] == windows
    assert first.stats["cached_parents"] == 5
    moved = [Document(text="Preface. " + d.text, metadata=d.metadata) for d in documents if d.text]
    check(list(first(SPLITTER(moved))), expected(tiny_engine, moved))

    second = LateChunkEmbedding(model_name=str(tiny_model_path), dtype="float32")
    second.embeddings_cache = store
    check(list(second(SPLITTER(documents))), expected(tiny_engine, documents))
    assert second.stats["windows"] == 0
    assert second.embeddings_cache is None


@pytest.mark.parametrize("damage", ["other", "short", "none", "letters", "list"])
def test_a_damaged_cache_is_said_and_computed_again(
    tiny_engine: LateChunkEngine,
    documents: list[Document],
    damage: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = SimpleKVStore()
    list(LateChunkEmbedding(engine=tiny_engine, embeddings_cache=store)(SPLITTER(documents)))
    kept = store.get_all("late_chunking")
    one, another = list(kept)[:2]
    damaged: dict[str, Any] = {
        "other": kept[another],
        "short": {"packed": kept[one]["packed"][:-41]},
        "none": {},
        "letters": {"packed": "é"},
        "list": [kept[one]["packed"]],
    }
    store.put(one, damaged[damage], collection="late_chunking")
    again = LateChunkEmbedding(engine=tiny_engine, embeddings_cache=store)
    check(list(again(SPLITTER(documents))), expected(tiny_engine, documents))
    assert again.stats["cached_parents"] == 4
    assert "embeddings_cache holds what it should not" in caplog.text


def test_what_is_deleted_from_a_cache_is_gone(
    tiny_engine: LateChunkEngine, documents: list[Document]
) -> None:
    """The store is the user's, and so is its memory: nothing is kept beside it."""
    store = SimpleKVStore()
    model = LateChunkEmbedding(engine=tiny_engine, embeddings_cache=store)
    list(model(SPLITTER(documents)))
    for key in store.get_all("late_chunking"):
        store.delete(key, collection="late_chunking")
    list(model(SPLITTER(documents)))
    assert model.stats["cached_parents"] == 0


def test_dictionaries_round_trip(tiny_model_path: Path, documents: list[Document]) -> None:
    """``from_dict(to_dict())`` gives the same vectors, for the model and all parsers."""
    model = LateChunkEmbedding(
        model_name=str(tiny_model_path),
        dtype="float32",
        context_weight=0.5,
        metadata_roles={"title": "content"},
        parent_by="file_path",
        embed_batch_size=7,
    )
    twin = LateChunkEmbedding.from_dict(model.to_dict())
    assert twin.to_dict() == model.to_dict()
    assert (twin.parent_by, twin.metadata_roles) == ("file_path", {"title": "content"})
    assert twin.engine.options == model.engine.options
    parsers = [
        LateChunkNodeParser(embed_model=model, splitter=SPLITTER, parent_level="section"),
        LateChunkHierarchicalNodeParser(embed_model=model, chunk_sizes=[64, 24], chunk_overlap=0),
    ]
    for parser in parsers:
        twin_parser = type(parser).from_dict(parser.to_dict())
        assert twin_parser.to_dict() == parser.to_dict()
        plain = [Document(text=d.text) for d in documents[:2]]
        nodes = parser.get_nodes_from_documents(plain)
        again = twin_parser.get_nodes_from_documents(plain)
        assert [node.embedding for node in nodes] == [node.embedding for node in again]


def test_a_description_of_other_weights_is_refused(
    tiny_model_paths: dict[str, Path], tmp_path: Path
) -> None:
    """What was described by its files is not rebuilt from others."""
    link = tmp_path / "model"
    link.symlink_to(tiny_model_paths["wordpiece"])
    described = LateChunkEmbedding(model_name=str(link)).to_dict()
    link.unlink()
    link.symlink_to(tiny_model_paths["unigram"])
    with pytest.raises(FingerprintMismatchError, match="index anew"):
        LateChunkEmbedding.from_dict(described)


def test_a_description_with_whole_numbers_is_its_own(tiny_model_path: Path) -> None:
    model = LateChunkEmbedding(model_name=str(tiny_model_path), focus=2, header_weight=1)
    assert LateChunkEmbedding.from_dict(model.to_dict()).to_dict() == model.to_dict()


def test_a_function_that_was_described_is_asked_for(tiny_model_path: Path) -> None:
    def by_file(node: BaseNode) -> object:
        return node.metadata.get("file_path")

    model = LateChunkEmbedding(model_name=str(tiny_model_path), parent_by=by_file)
    with pytest.raises(OptionError, match="parent_by="):
        LateChunkEmbedding.from_dict(model.to_dict())
    twin = LateChunkEmbedding.from_dict(model.to_dict(), parent_by=by_file)
    assert twin.to_dict() == model.to_dict()


def test_copies_share_the_model_and_count_for_themselves(
    tiny_engine: LateChunkEngine, documents: list[Document]
) -> None:
    """Deep copies, shallow ones and those of a parser; an encoder of the user's own included."""
    model = LateChunkEmbedding(engine=tiny_engine)
    parser = LateChunkNodeParser(embed_model=model, splitter=SPLITTER)
    right = expected(tiny_engine, documents)
    check(list(model(SPLITTER(documents))), right)
    for twin in (copy.deepcopy(model), copy.copy(model), model.model_copy()):
        assert twin.engine.encoder is tiny_engine.encoder
        assert twin.stats["parents"] == 0
        check(list(twin(SPLITTER(documents))), right)
    check(copy.deepcopy(parser).get_nodes_from_documents(documents), right)
    assert model.stats["parents"] == 5


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
    twin = LateChunkNodeParser.from_dict(parser.to_dict(), splitter=wrapped)
    assert twin.splitter is wrapped


def test_an_unknown_option_is_refused_with_the_right_name(tiny_model_path: Path) -> None:
    with pytest.raises(OptionError, match="context_weight"):
        LateChunkEmbedding(model_name=str(tiny_model_path), contxt_weight=0.5)  # type: ignore[call-arg]  # the point


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
