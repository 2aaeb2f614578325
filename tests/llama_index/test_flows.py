"""Every way in which LlamaIndex moves nodes into an index: late, exact and in order."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core import (
    Document,
    Settings,
    SimpleDirectoryReader,
    StorageContext,
    SummaryIndex,
    VectorStoreIndex,
    load_index_from_storage,
)
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import ImageDocument
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import QdrantClient

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.llama_index import LateChunkEmbedding, LateChunkNodeParser
from tests.llama_index.support import SPLITTER, Vectors, check_stored, expected

PIXEL = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
        "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
    )
).decode()


@pytest.fixture
def settings(
    monkeypatch: pytest.MonkeyPatch, embed_model: LateChunkEmbedding, parser: LateChunkNodeParser
) -> None:
    """The pair as LlamaIndex's global settings, as in a fresh process."""
    monkeypatch.setattr(Settings, "_transformations", None)
    monkeypatch.setattr(Settings, "_embed_model", None)
    monkeypatch.setattr(Settings, "_node_parser", None)
    Settings.embed_model, Settings.node_parser = embed_model, parser


def stored(index: VectorStoreIndex) -> list[list[float]]:
    """The vectors of nodes with text."""
    store = index.vector_store
    assert isinstance(store, SimpleVectorStore)
    texts = {key: node.get_content() for key, node in index.docstore.docs.items()}
    vectors = store.data.embedding_dict
    return [vector for key, vector in vectors.items() if texts.get(key, "").strip()]


def with_extras(documents: list[Document]) -> list[Document]:
    """Also a document of equal text under another id, and an image."""
    copy = Document(text=documents[0].text, id_="copy", metadata=dict(documents[0].metadata))
    return [*documents, copy, ImageDocument(image=PIXEL, text="")]


def check_index(index: VectorStoreIndex, right: Vectors) -> None:
    check_stored(stored(index), right)


def test_from_documents_insert_refresh_and_delete(
    tiny_engine: LateChunkEngine,
    embed_model: LateChunkEmbedding,
    parser: LateChunkNodeParser,
    documents: list[Document],
) -> None:
    """After each step the store holds the engine's vectors of the documents there are."""
    documents = with_extras(documents)
    index = VectorStoreIndex.from_documents(
        documents[:2], transformations=[parser], embed_model=embed_model
    )
    check_index(index, expected(tiny_engine, documents[:2]))
    for document in documents[2:]:
        index.insert(document)
    check_index(index, expected(tiny_engine, documents))
    changed = Document(text="Berlin has grown. " + documents[1].text, id_=documents[1].doc_id)
    documents[1] = changed
    before = tiny_engine.stats["parents"]
    assert sum(index.refresh_ref_docs(documents)) == 1
    assert tiny_engine.stats["parents"] == before + 1
    check_index(index, expected(tiny_engine, documents))
    index.delete_ref_doc(documents[0].doc_id, delete_from_docstore=True)
    check_index(index, expected(tiny_engine, documents[1:]))


def test_the_embed_model_in_transformations_is_enough(
    tiny_engine: LateChunkEngine, embed_model: LateChunkEmbedding, documents: list[Document]
) -> None:
    """Behind the splitter that a user has: from_documents, insert, and documents interleaved."""
    filled = documents[:4]
    index = VectorStoreIndex.from_documents(
        filled[:3], transformations=[SPLITTER, embed_model], embed_model=embed_model
    )
    index.insert(filled[3])
    check_index(index, expected(tiny_engine, filled))


def test_insert_nodes_takes_nodes_that_the_pair_embedded(
    tiny_engine: LateChunkEngine,
    embed_model: LateChunkEmbedding,
    parser: LateChunkNodeParser,
    documents: list[Document],
) -> None:
    index = VectorStoreIndex(nodes=[], embed_model=embed_model)
    index.insert_nodes(parser.get_nodes_from_documents(documents[:2]))
    index.insert_nodes(list(embed_model(SPLITTER(documents[2:4]))))
    check_index(index, expected(tiny_engine, documents[:4]))


@pytest.mark.usefixtures("settings")
def test_settings_make_an_index_late_without_another_line(
    tiny_engine: LateChunkEngine, documents: list[Document]
) -> None:
    index = VectorStoreIndex.from_documents(documents[:3])
    index.insert(documents[3])
    check_index(index, expected(tiny_engine, documents[:4]))


def test_a_loaded_index_finds_and_takes_documents(
    tmp_path: Path,
    tiny_engine: LateChunkEngine,
    embed_model: LateChunkEmbedding,
    parser: LateChunkNodeParser,
    documents: list[Document],
) -> None:
    """Persisted and loaded: the same hits, and with ``transformations`` inserts stay late."""
    index = VectorStoreIndex.from_documents(
        documents[:3], transformations=[parser], embed_model=embed_model
    )
    hits = index.as_retriever(similarity_top_k=3).retrieve("Who delivers?")
    index.storage_context.persist(str(tmp_path))
    context = StorageContext.from_defaults(persist_dir=str(tmp_path))
    loaded = load_index_from_storage(context, embed_model=embed_model, transformations=[parser])
    assert isinstance(loaded, VectorStoreIndex)
    again = loaded.as_retriever(similarity_top_k=3).retrieve("Who delivers?")
    assert [hit.node_id for hit in again] == [hit.node_id for hit in hits]
    np.testing.assert_allclose(
        [h.get_score() for h in again], [h.get_score() for h in hits], atol=1e-6
    )
    loaded.insert(documents[3])
    check_index(loaded, expected(tiny_engine, documents[:4]))


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect")  # local Qdrant says so
def test_an_insert_that_falls_back_to_the_default_splitter_is_said(
    embed_model: LateChunkEmbedding,
    documents: list[Document],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """``from_vector_store`` without transformations: counted, and the log names the way out."""
    client = QdrantClient(":memory:")
    store = QdrantVectorStore("nodes", client=client)
    index = VectorStoreIndex.from_vector_store(store, embed_model=embed_model)
    index.insert(documents[0])
    client.close()
    assert embed_model.stats["standalone_texts"] >= 1
    assert "from_vector_store" in caplog.text
    assert "transformations" in caplog.text


def test_other_indexes_do_not_break(parser: LateChunkNodeParser, documents: list[Document]) -> None:
    summary = SummaryIndex.from_documents(documents[:2], transformations=[parser])
    assert len(summary.as_retriever().retrieve("Berlin")) > 2


def test_a_streaming_reader_feeds_a_pipeline_file_by_file(
    tmp_path: Path,
    tiny_engine: LateChunkEngine,
    parser: LateChunkNodeParser,
    documents: list[Document],
) -> None:
    for number, document in enumerate(documents[:3]):
        (tmp_path / f"{number}.txt").write_text(document.text, encoding="utf-8")
    reader = SimpleDirectoryReader(str(tmp_path), filename_as_id=True, file_metadata=lambda _: {})
    pipeline = IngestionPipeline(transformations=[parser])
    nodes: list[Any] = []
    right: Vectors = {}
    for batch in reader.iter_data():
        nodes.extend(pipeline.run(documents=batch))
        right.update(expected(tiny_engine, batch))
    check_stored([node.get_embedding() for node in nodes], right)


def test_skipped_parents_leave_their_nodes_without_embedding(
    tiny_model_path: Path, documents: list[Document]
) -> None:
    """``fallback="skip"``: no rows of zeros; the count tells."""
    model = LateChunkEmbedding(model_name=str(tiny_model_path), max_tokens=16, fallback="skip")
    parser = LateChunkNodeParser(embed_model=model, splitter=SPLITTER)
    nodes = parser.get_nodes_from_documents(documents[:2])
    assert [node.embedding for node in nodes] == [None] * len(nodes)
    assert model.stats["skipped_parents"] == 2
