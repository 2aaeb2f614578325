"""LlamaIndex over APIs that pool chunks: whole documents in requests, no key in what is written."""

from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import Document
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.core.vector_stores import SimpleVectorStore

from latechunk_integrations.llama_index import LateChunkEmbedding, LateChunkNodeParser
from tests.fakes.chunk_services import KEY
from tests.fakes.loopback import LoopbackServer
from tests.fakes.support import words

DOCUMENTS = [Document(text=words(letter, 40), id_=letter) for letter in "bcg"]


def _embed_model(api_server: LoopbackServer, api: str, **options: Any) -> LateChunkEmbedding:
    own: dict[str, Any] = {
        "base_url": api_server.url,
        "api_key": KEY,
        "dimensions": 32,
        "max_tokens": 500,
    }
    return LateChunkEmbedding(model_name="tiny", encoder=api, **own, **options)


def documents_of(api_server: LoopbackServer) -> list[list[str]]:
    """What was read together, over all requests for chunks."""
    documents: list[list[str]] = []
    for asked in api_server.asked:
        body = asked.body
        if "inputs" in body:
            documents += body["inputs"] if body["input_type"] == "document" else []
        elif isinstance(body["input"][0], list):
            documents += body["input"]
        elif body["late_chunking"]:
            documents.append(body["input"])
    return documents


def _splitter() -> SentenceSplitter:
    return SentenceSplitter(chunk_size=20, chunk_overlap=0, separator=" ")


@pytest.mark.slow
@pytest.mark.parametrize("behind", [True, False], ids=["pipeline", "node parser"])
def test_each_document_is_read_whole_and_its_query_alone(
    api_server: LoopbackServer, api: str, behind: bool
) -> None:
    embed_model = _embed_model(api_server, api, strict=True)
    store = SimpleVectorStore()
    if behind:
        steps = [_splitter(), embed_model]
        nodes = IngestionPipeline(transformations=steps, vector_store=store).run(
            documents=DOCUMENTS
        )
        index = VectorStoreIndex(nodes, embed_model=embed_model)
    else:
        parser = LateChunkNodeParser(embed_model=embed_model, splitter=_splitter())
        index = VectorStoreIndex.from_documents(
            DOCUMENTS, transformations=[parser], embed_model=embed_model
        )
    read = documents_of(api_server)
    # Requests that are in flight together arrive in any order.
    assert sorted(" ".join("".join(one).split()) for one in map(_spaced, read)) == sorted(
        document.text for document in DOCUMENTS
    )
    n_asked = len(api_server.asked)
    found = index.as_retriever(similarity_top_k=2).retrieve(DOCUMENTS[1].text[:30])
    assert len(found) == 2
    assert len(api_server.asked) == n_asked + 1
    if api == "jina":
        assert api_server.asked[-1].body["late_chunking"] is False
        assert api_server.asked[-1].body["task"] == "retrieval.query"


def _spaced(elements: list[str]) -> list[str]:
    return [f"{element} " for element in elements]


def test_nodes_get_the_vectors_of_the_engine(api_server: LoopbackServer, api: str) -> None:
    embed_model = _embed_model(api_server, api)
    nodes = _splitter().get_nodes_from_documents(DOCUMENTS)
    embed_model(nodes[::-1])  # in any order
    again = _splitter().get_nodes_from_documents(DOCUMENTS)
    embed_model(again)
    first = np.array([node.embedding for node in nodes])
    assert np.array_equal(first, np.array([node.embedding for node in again]))
    assert np.allclose(np.linalg.norm(first, axis=1), 1, atol=1e-5)


def test_no_key_is_written_with_a_pipeline(
    api_server: LoopbackServer, api: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    embed_model = _embed_model(api_server, api, embeddings_cache=SimpleKVStore())
    pipeline = IngestionPipeline(transformations=[_splitter(), embed_model])
    pipeline.run(documents=DOCUMENTS)
    pipeline.persist(str(tmp_path))
    written = [
        json.dumps(embed_model.to_dict()),
        embed_model.to_json(),
        repr(embed_model),
        str(embed_model.model_dump()),
        repr(pickle.dumps(embed_model)),
        caplog.text,
        *(file.read_text(encoding="utf-8") for file in tmp_path.rglob("*") if file.is_file()),
    ]
    assert not any(KEY in text for text in written)


def test_a_loaded_embedding_takes_its_key_from_the_environment(
    api_server: LoopbackServer, api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed_model = _embed_model(api_server, api)
    loaded = LateChunkEmbedding.from_dict(embed_model.to_dict())
    unpickled = pickle.loads(pickle.dumps(embed_model))
    monkeypatch.setenv(f"{api.upper()}_API_KEY", KEY)
    query = embed_model.get_query_embedding("where")
    assert loaded.get_query_embedding("where") == query
    assert unpickled.get_query_embedding("where") == query
