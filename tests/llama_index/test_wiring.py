"""The commonest calls: one line that is late, and a word where a call is not."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core import Document, DocumentSummaryIndex, Settings, VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import SemanticSplitterNodeParser
from llama_index.core.objects import ObjectIndex
from llama_index.core.selectors import EmbeddingSingleSelector
from llama_index.core.tools import ToolMetadata
from llama_index.core.vector_stores import SimpleVectorStore

from latechunk_integrations import LateChunkEngine, LateChunkOptions, Parent
from latechunk_integrations.errors import InputTypeError, OptionError
from latechunk_integrations.llama_index import (
    LateChunkEmbedding,
    LateChunkHierarchicalNodeParser,
    LateChunkNodeParser,
    late_chunking,
)
from tests.llama_index.support import SPLITTER, check, check_stored, expected


@pytest.fixture(autouse=True)
def fresh_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """LlamaIndex's global settings as in a fresh process."""
    for name in ("_transformations", "_embed_model", "_node_parser"):
        monkeypatch.setattr(Settings, name, None)
    return iter([None])


def stored(index: VectorStoreIndex) -> list[list[float]]:
    store = index.vector_store
    assert isinstance(store, SimpleVectorStore)
    return list(store.data.embedding_dict.values())


def test_the_commonest_call_says_in_one_line_what_to_change(
    embed_model: LateChunkEmbedding, documents: list[Document], caplog: pytest.LogCaptureFixture
) -> None:
    """``embed_model=`` alone passes texts without nodes: counted, and the log has the line."""
    VectorStoreIndex.from_documents(documents[:1], embed_model=embed_model)
    assert embed_model.stats["standalone_texts"] >= 1
    assert "transformations=[LateChunkNodeParser(embed_model=embed_model)]" in caplog.text
    assert "late_chunking(..., settings=True)" in caplog.text
    assert "embed_model.plain()" in caplog.text


def test_one_call_gives_both_objects(
    tiny_engine: LateChunkEngine, documents: list[Document]
) -> None:
    node_parser, embed_model = late_chunking(tiny_engine, SPLITTER)
    index = VectorStoreIndex.from_documents(
        documents[:3], transformations=[node_parser], embed_model=embed_model
    )
    check_stored(stored(index), expected(tiny_engine, documents[:3]))
    assert Settings._embed_model is None  # noqa: SLF001  # asking would load LlamaIndex's own


def test_one_call_makes_the_commonest_call_late(
    tiny_model_path: Path, tiny_engine: LateChunkEngine, documents: list[Document]
) -> None:
    """With ``settings=True`` nothing else has to be passed, for insert and `insert` either."""
    late_chunking(tiny_model_path, SPLITTER, settings=True, dtype="float32", device="cpu")
    index = VectorStoreIndex.from_documents(documents[:3])
    index.insert(documents[3])
    check_stored(stored(index), expected(tiny_engine, documents[:4]))


def test_the_parser_takes_the_global_embed_model(
    tiny_engine: LateChunkEngine, embed_model: LateChunkEmbedding, documents: list[Document]
) -> None:
    parser = LateChunkNodeParser.from_defaults(splitter=SPLITTER)
    with pytest.raises(InputTypeError, match="Settings"):
        parser(documents)
    Settings.embed_model = MockEmbedding(embed_dim=3)
    with pytest.raises(InputTypeError, match="MockEmbedding"):
        parser(documents)
    Settings.embed_model = embed_model
    check(list(parser(documents)), expected(tiny_engine, documents))
    explicit = LateChunkNodeParser(embed_model=embed_model, splitter=SPLITTER)
    assert parser.to_dict() == explicit.to_dict()
    sizes = LateChunkHierarchicalNodeParser.from_defaults(chunk_sizes=[64, 24], chunk_overlap=0)
    assert len(sizes(documents[:1])) > 2


def test_another_embed_model_is_refused_when_the_parser_is_built() -> None:
    with pytest.raises(InputTypeError, match="LateChunkEmbedding"):
        LateChunkNodeParser(embed_model=MockEmbedding(embed_dim=3))


def test_a_strict_embed_model_serves_all_components(
    tiny_model_path: Path, tiny_engine: LateChunkEngine, documents: list[Document]
) -> None:
    """As ``Settings.embed_model``: selectors, tools, semantic splitters, and summaries of nodes."""
    late_chunking(
        tiny_model_path, SPLITTER, settings=True, strict=True, dtype="float32", device="cpu"
    )
    strict = Settings.embed_model
    assert isinstance(strict, LateChunkEmbedding)
    selector = EmbeddingSingleSelector.from_defaults()
    tools = [ToolMetadata(description=text, name=text) for text in ("trains", "cities")]
    assert selector.select(tools, query="cities").ind in (0, 1)
    objects = ObjectIndex.from_objects(["trains", "cities"], index_cls=VectorStoreIndex)
    assert len(objects.as_retriever(similarity_top_k=2).retrieve("trains")) == 2
    splitter = SemanticSplitterNodeParser(embed_model=strict)
    assert splitter.get_nodes_from_documents(documents[:1])
    summaries = DocumentSummaryIndex.from_documents(documents[:1], llm=MockLLM(max_tokens=5))
    assert summaries.get_document_summary(documents[0].doc_id)
    index = VectorStoreIndex.from_documents(documents[:3])
    check_stored(stored(index), expected(tiny_engine, documents[:3]))
    assert strict.stats["standalone_texts"] > 0


def test_a_default_pipeline_with_the_settings_is_late(
    tiny_engine: LateChunkEngine, embed_model: LateChunkEmbedding, documents: list[Document]
) -> None:
    """``IngestionPipeline()``: a SentenceSplitter, then ``Settings.embed_model``."""
    Settings.embed_model = embed_model
    nodes = IngestionPipeline().run(documents=documents[:2])
    for document, node in zip(documents, nodes, strict=False):
        (right,) = tiny_engine.embed([Parent(document.text, header=document.metadata["title"])])
        np.testing.assert_allclose(node.get_embedding(), right.vectors[0], atol=1e-6)


@pytest.mark.parametrize("name", ["parentby", "chunk_size", "context_weight"])
def test_the_parser_refuses_names_that_it_does_not_know(
    name: str, embed_model: LateChunkEmbedding
) -> None:
    with pytest.raises(OptionError, match="parent_by"):
        LateChunkNodeParser(embed_model=embed_model, **{name: 1})  # type: ignore[arg-type]  # the point


def test_options_are_fields_with_a_signature_and_a_schema(tiny_model_path: Path) -> None:
    """Completion, notebooks and configuration tools see every option."""
    options = {name for name in LateChunkOptions.__dataclass_fields__ if name != "model"}
    parameters = inspect.signature(LateChunkEmbedding).parameters
    assert options | {"model_name", "engine", "parent_by", "metadata_roles"} <= set(parameters)
    schema = LateChunkEmbedding.model_json_schema()["properties"]
    assert options - {"api_key"} <= set(schema)
    assert schema["pooling"]["default"] == "auto"
    assert all("description" in schema[name] for name in options if name in schema)
    model = LateChunkEmbedding(model=tiny_model_path, context_weight=0.5)  # type: ignore[call-arg]  # the other name
    assert (model.context_weight, model.model_name) == (0.5, str(tiny_model_path))
    with pytest.raises(OptionError, match="build another"):
        model.context_weight = 0.7
    assert "parent_by" in inspect.signature(LateChunkNodeParser).parameters


def test_what_hugging_face_embedding_takes_is_understood_or_named(tiny_model_path: Path) -> None:
    theirs: dict[str, Any] = {
        "max_length": 64,
        "query_instruction": "query: ",
        "text_instruction": "passage: ",
        "show_progress_bar": True,
        "device": "cpu",
        "normalize": True,
        "embed_batch_size": 7,
    }
    model = LateChunkEmbedding(model_name=str(tiny_model_path), **theirs)
    assert (model.max_tokens, model.query_prompt, model.document_prompt) == (
        64,
        "query: ",
        "passage: ",
    )
    assert model.show_progress
    for name in ("cache_folder", "model_kwargs", "backend", "target_devices"):
        with pytest.raises(OptionError, match=name):
            LateChunkEmbedding(model_name=str(tiny_model_path), **{name: "x"})  # type: ignore[arg-type]  # the point
    with pytest.raises(OptionError, match="another name"):
        LateChunkEmbedding(model_name=str(tiny_model_path), max_length=64, max_tokens=32)  # type: ignore[call-arg]  # both names
