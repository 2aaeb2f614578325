"""``on_error="skip"``: a document that fails costs itself, and is reported."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.graph_stores import SimplePropertyGraphStore
from llama_index.core.indices.property_graph import ImplicitPathExtractor
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.instrumentation.events.exception import ExceptionEvent
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import MarkdownNodeParser
from llama_index.core.schema import BaseNode, NodeRelationship, TransformComponent
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores import SimpleVectorStore

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.errors import (
    AuthenticationError,
    EncodingFailedError,
    IncompleteParentError,
    InputTypeError,
    InvalidCharacterError,
    OptionError,
    UnknownChunkError,
)
from latechunk_integrations.llama_index import (
    LateChunkEmbedding,
    LateChunkNodeParser,
    LateChunkPropertyGraphIndex,
    SubSpanNodeParser,
)
from tests.flow.test_failures import poisoned
from tests.llama_index.support import SPLITTER, check, check_stored, expected

POISON = "東"

Hook = Callable[[LateChunkEmbedding], list[TransformComponent]]
HOOKS: list[Hook] = [
    lambda model: [LateChunkNodeParser(embed_model=model, splitter=SPLITTER)],
    lambda model: [SPLITTER, model],
]
both_hooks = pytest.mark.parametrize("hook", HOOKS, ids=["node parser", "embed model"])


@pytest.fixture
def mixed(documents: list[Document]) -> list[Document]:
    """Five documents of which one, ``report-2``, fails where windows with the word do."""
    documents[2].set_content(f"{documents[2].text} {POISON}")
    return documents[:5]


def good(documents: list[Document]) -> list[Document]:
    return [document for document in documents if document.doc_id != "report-2"]


def stored(store: Any) -> list[list[float]]:
    assert isinstance(store, SimpleVectorStore)
    return list(store.data.embedding_dict.values())


@both_hooks
def test_a_pipeline_goes_on_without_the_document_that_failed(
    hook: Hook,
    tiny_engine: LateChunkEngine,
    mixed: list[Document],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    right = expected(tiny_engine, good(mixed))
    poisoned(tiny_engine, monkeypatch, None)
    model = LateChunkEmbedding(engine=tiny_engine, on_error="skip")
    store = SimpleVectorStore()
    nodes = IngestionPipeline(transformations=hook(model), vector_store=store).run(documents=mixed)
    check(list(nodes), right)
    check_stored(stored(store), right)
    (failed,) = model.failures
    assert (failed.parent_id, failed.document_ids) == ("report-2", ("report-2",))
    assert isinstance(failed.error, EncodingFailedError)
    assert isinstance(failed.error.__cause__, RuntimeError)
    assert failed.error.__cause__.__traceback__ is None  # it would hold the batch
    assert model.stats["failed_parents"] == 1
    assert model.stats["parents"] == 5
    (line,) = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert "'report-2'" in line.getMessage()
    assert "the kernel has no answer" in line.getMessage()
    assert "docstore.delete_document" in line.getMessage()


@both_hooks
def test_the_first_failure_ends_the_call_unless_asked(
    hook: Hook,
    tiny_engine: LateChunkEngine,
    mixed: list[Document],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poisoned(tiny_engine, monkeypatch, None)
    model = LateChunkEmbedding(engine=tiny_engine)
    with pytest.raises(RuntimeError, match="no answer"):
        IngestionPipeline(transformations=hook(model)).run(documents=mixed)
    assert model.failures == []
    with pytest.raises(OptionError, match="'raise' or 'skip'"):
        LateChunkEmbedding(engine=tiny_engine, on_error="yield")  # type: ignore[arg-type]  # the point


def test_a_sick_model_ends_the_call(
    tiny_engine: LateChunkEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten failures in a row are not the documents' fault."""
    poisoned(tiny_engine, monkeypatch, None)
    model = LateChunkEmbedding(engine=tiny_engine, on_error="skip")
    bad = [Document(text=f"Report {number} {POISON}.") for number in range(10)]
    good_one = Document(text="It is here.")
    assert len(model([*bad[:9], good_one, *bad[:9]])) == 1
    with pytest.raises(EncodingFailedError):
        model(bad)


def test_a_missing_key_ends_the_call(
    tiny_engine: LateChunkEngine, monkeypatch: pytest.MonkeyPatch, mixed: list[Document]
) -> None:
    def refuse(*_: Any) -> Any:
        raise AuthenticationError("the key is missing")

    monkeypatch.setattr(tiny_engine.encoder, "forward", refuse)
    with pytest.raises(AuthenticationError):
        LateChunkEmbedding(engine=tiny_engine, on_error="skip")(mixed)


@both_hooks
def test_an_index_never_gets_another_vector_of_what_failed(
    hook: Hook,
    tiny_engine: LateChunkEngine,
    mixed: list[Document],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A node without a vector would be embedded by its text, standalone."""
    right = expected(tiny_engine, good(mixed))
    poisoned(tiny_engine, monkeypatch, None)
    model = LateChunkEmbedding(engine=tiny_engine, on_error="skip")
    index = VectorStoreIndex.from_documents(
        mixed[:4], transformations=hook(model), embed_model=model
    )
    index.insert(mixed[4])
    check_stored(stored(index.vector_store), right)
    assert model.stats["standalone_texts"] == 0
    assert set(index.ref_doc_info) == {one.doc_id for one in good(mixed)}


@both_hooks
def test_a_cache_never_serves_what_lacks_a_document(
    hook: Hook,
    tiny_engine: LateChunkEngine,
    mixed: list[Document],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Not in this process, nor in the next one, nor to who wants failures raised."""
    right = expected(tiny_engine, mixed)
    model = LateChunkEmbedding(engine=tiny_engine, on_error="skip")
    pipeline = IngestionPipeline(transformations=hook(model))
    with monkeypatch.context() as broken:
        poisoned(tiny_engine, broken, None)
        assert len(pipeline.run(documents=mixed)) < len(right)
    pipeline.persist(str(tmp_path))
    for on_error in ("skip", "raise"):
        fresh = LateChunkEmbedding(engine=tiny_engine, on_error=on_error)
        other = IngestionPipeline(transformations=hook(fresh))
        other.load(str(tmp_path))
        check(list(other.run(documents=mixed)), right)
    check(list(pipeline.run(documents=mixed)), right)
    before = model.stats["parents"]
    check(list(pipeline.run(documents=mixed)), right)
    assert model.stats["parents"] == before


@both_hooks
@pytest.mark.parametrize("strategy", list(DocstoreStrategy))
def test_what_failed_can_be_tried_again_by_the_next_run(
    strategy: DocstoreStrategy,
    hook: Hook,
    tiny_engine: LateChunkEngine,
    mixed: list[Document],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As the log says: a docstore takes the document for done until it is deleted there."""
    model = LateChunkEmbedding(engine=tiny_engine, on_error="skip")
    store, docstore = SimpleVectorStore(), SimpleDocumentStore()
    pipeline = IngestionPipeline(
        transformations=hook(model),
        docstore=docstore,
        docstore_strategy=strategy,
        vector_store=store,
    )
    with monkeypatch.context() as broken:
        poisoned(tiny_engine, broken, None)
        pipeline.run(documents=mixed)
    for failed in model.failures:
        for document_id in failed.document_ids:
            docstore.delete_document(document_id)
    before = model.stats["parents"]
    pipeline.run(documents=mixed)
    assert model.stats["parents"] == before + 1
    check_stored(stored(store), expected(tiny_engine, mixed))


@both_hooks
def test_what_no_parent_can_be_made_of_costs_itself_too(
    hook: Hook, tiny_engine: LateChunkEngine, mixed: list[Document]
) -> None:
    def header(node: BaseNode) -> Any:
        return None if node.ref_doc_id == "report-2" else node.metadata["title"]

    model = LateChunkEmbedding(engine=tiny_engine, on_error="skip", header=header)
    nodes = IngestionPipeline(transformations=hook(model)).run(documents=mixed)
    check(list(nodes), expected(tiny_engine, good(mixed)))
    (failed,) = model.failures
    assert isinstance(failed.error, InputTypeError)
    assert failed.document_ids == ("report-2",)


def test_strict_and_skip_leave_out_what_is_not_as_it_should_be(
    tiny_model_path: Path, tiny_engine: LateChunkEngine, mixed: list[Document]
) -> None:
    model = LateChunkEmbedding(
        model_name=str(tiny_model_path), dtype="float32", strict=True, on_error="skip"
    )
    nodes = SPLITTER(mixed)
    half = next(node for node in nodes if node.ref_doc_id == "report-2")
    sourceless = next(node for node in nodes if node.ref_doc_id == "report-4")
    del sourceless.relationships[NodeRelationship.SOURCE]
    given = [node for node in nodes if node is not half and node.ref_doc_id != "report-4"]
    left = model([*given, sourceless])
    check(list(left), expected(tiny_engine, [mixed[0], mixed[1], mixed[3]]))
    kinds = {type(failed.error): failed.document_ids for failed in model.failures}
    assert kinds == {
        UnknownChunkError: (sourceless.node_id,),
        IncompleteParentError: ("report-2",),
    }


def test_no_node_is_linked_to_one_that_was_left_out(
    tiny_engine: LateChunkEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A section fails: postprocessors follow links and raise where they lead nowhere."""
    text = f"# One\n\nIt is here.\n\n# Two\n\nIt fails {POISON}.\n\n# Three\n\nIt is there."
    poisoned(tiny_engine, monkeypatch, None)
    model = LateChunkEmbedding(engine=tiny_engine, on_error="skip")
    nodes = model(MarkdownNodeParser()([Document(text=text)]))
    assert [node.get_content()[:5] for node in nodes] == ["# One", "# Thr"]
    assert all(node.embedding for node in nodes)
    assert [link_ids(node) for node in nodes] == [[], []]


def link_ids(node: BaseNode) -> list[str]:
    return [info.node_id for info in (node.prev_node, node.next_node) if info]


def test_early_chunking_leaves_out_single_nodes(
    tiny_model_path: Path, mixed: list[Document]
) -> None:
    """``enabled=False``: each node is embedded by itself, and fails by itself."""
    nodes = SPLITTER(mixed)
    nodes[3].set_content("\ud800")
    model = LateChunkEmbedding(model_name=str(tiny_model_path), enabled=False, on_error="skip")
    left = model(nodes)
    assert [node.node_id for node in left] == [n.node_id for n in nodes if n is not nodes[3]]
    assert all(node.embedding for node in left)
    assert isinstance(model.failures[0].error, InvalidCharacterError)
    assert model.stats["chunks"] == len(left)


def test_a_graph_goes_on_without_the_document_that_failed(
    tiny_engine: LateChunkEngine, mixed: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = expected(tiny_engine, good(mixed))
    poisoned(tiny_engine, monkeypatch, None)
    model = LateChunkEmbedding(engine=tiny_engine, on_error="skip")
    graph = LateChunkPropertyGraphIndex.from_documents(
        mixed,
        transformations=[SPLITTER],
        embed_model=model,
        llm=MockLLM(),
        kg_extractors=[ImplicitPathExtractor()],
        show_progress=False,
    )
    store = graph.property_graph_store
    assert isinstance(store, SimplePropertyGraphStore)
    chunks = [node for node in store.graph.nodes.values() if hasattr(node, "text")]
    check_stored([node.embedding or [] for node in chunks], right)


def test_observers_are_told_of_a_failure(
    tiny_engine: LateChunkEngine,
    mixed: list[Document],
    monkeypatch: pytest.MonkeyPatch,
    recorder: Any,
) -> None:
    poisoned(tiny_engine, monkeypatch, None)
    debug = LlamaDebugHandler(print_trace_on_end=False)
    callbacks = CallbackManager([debug])
    LateChunkEmbedding(engine=tiny_engine, on_error="skip", callback_manager=callbacks)(
        SPLITTER(mixed)
    )
    pairs = debug.get_event_pairs(CBEventType.EMBEDDING)
    assert [len(pair) for pair in pairs] == [2] * 5
    (event,) = [event for event in recorder.events if isinstance(event, ExceptionEvent)]
    assert isinstance(event.exception, EncodingFailedError)


@pytest.mark.parametrize("again", [False, True], ids=["node parser", "embed model"])
def test_sub_spans_of_what_failed_are_left_out(
    again: bool, tiny_model_path: Path, mixed: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When documents are cut, and when nodes of sub-spans are embedded anew."""
    engine = LateChunkEngine.from_pretrained(
        str(tiny_model_path), dtype="float32", device="cpu", sub_span_tokens=8
    )
    model = LateChunkEmbedding(engine=engine, on_error="skip")
    parser = SubSpanNodeParser(embed_model=model, splitter=SPLITTER)
    right = {node.node_id: node.get_embedding() for node in parser(good(mixed))}
    whole = SubSpanNodeParser(embed_model=LateChunkEmbedding(engine=engine), splitter=SPLITTER)
    given = list(whole(mixed)) if again else []
    for node in given:
        node.embedding = None
    poisoned(engine, monkeypatch, None)
    left = model(given) if again else parser(mixed)
    assert len(left) == len(right)
    assert {node.ref_doc_id for node in left} == {one.doc_id for one in good(mixed)}
    np.testing.assert_allclose(
        [node.get_embedding() for node in left], list(right.values()), atol=1e-6
    )
    assert model.stats["failed_parents"] == 1
