"""LlamaIndex over a model server: the same vectors, and a key that stays where it is."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core import Document
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import BaseNode

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.encoders.servers.token_server import ServerEncoder
from latechunk_integrations.engine import shared_engine
from latechunk_integrations.errors import AuthenticationError
from latechunk_integrations.llama_index import LateChunkEmbedding, LateChunkNodeParser
from tests.fakes.vllm import VllmServer
from tests.llama_index.support import SPLITTER, check, expected

_DOCUMENTS = [
    Document(
        text="Berlin is a city. It has many inhabitants, who are proud of its café.", doc_id="one"
    ),
    Document(text="The supplier delivers every part. Thirty days is the term.", doc_id="two"),
]


@pytest.fixture
def server(tiny_model_path: Path) -> Iterator[VllmServer]:
    shared_engine.cache_clear()
    with VllmServer(tiny_model_path, api_key="very-secret") as running:
        yield running
    shared_engine.cache_clear()


def _embed_model(server: VllmServer, **options: Any) -> LateChunkEmbedding:
    options = {"max_retries": 0, **options}
    return LateChunkEmbedding(
        model_name=server.name, encoder="vllm", base_url=server.url, **options
    )


def _close(embed_model: LateChunkEmbedding) -> None:
    assert isinstance(embed_model.engine.encoder, ServerEncoder)
    embed_model.engine.encoder.close()


def test_a_pipeline_over_a_server_gives_the_local_vectors(
    server: VllmServer, tiny_engine: LateChunkEngine
) -> None:
    embed_model = _embed_model(server, api_key="very-secret")
    pipeline = IngestionPipeline(transformations=[SPLITTER, embed_model])
    nodes: list[BaseNode] = list(pipeline.run(documents=_DOCUMENTS))
    check(nodes, expected(tiny_engine, _DOCUMENTS), atol=1e-5)
    parser = LateChunkNodeParser(embed_model=embed_model, splitter=SPLITTER)
    check(parser.get_nodes_from_documents(_DOCUMENTS), expected(tiny_engine, _DOCUMENTS), 1e-5)
    np.testing.assert_allclose(
        embed_model.get_query_embedding("Where?"), tiny_engine.embed_query("Where?"), atol=1e-5
    )
    _close(embed_model)


def test_a_serialised_pipeline_holds_no_key(server: VllmServer, tmp_path: Path) -> None:
    embed_model = _embed_model(server, api_key="very-secret")
    pipeline = IngestionPipeline(transformations=[SPLITTER, embed_model])
    pipeline.run(documents=_DOCUMENTS)
    pipeline.persist(str(tmp_path))
    written = [path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file()]
    parser = LateChunkNodeParser(embed_model=embed_model, splitter=SPLITTER)
    shown = [repr(embed_model), str(embed_model), repr(parser), embed_model.model_dump_json()]
    plain = [json.dumps(one.to_dict(), default=str) for one in (embed_model, parser)]
    assert written
    assert not any("very-secret" in text for text in [*written, *shown, *plain])
    assert b"very-secret" not in pickle.dumps(embed_model)
    _close(embed_model)


def test_a_copy_in_a_worker_takes_the_key_from_its_environment(
    server: VllmServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed_model = _embed_model(server, api_key="very-secret")
    wanted = embed_model.get_query_embedding("Where?")
    copies = [
        pickle.loads(pickle.dumps(embed_model)),
        LateChunkEmbedding.from_dict(embed_model.to_dict()),
    ]
    for copied in copies:
        with pytest.raises(AuthenticationError, match="VLLM_API_KEY"):
            copied.get_query_embedding("Where?")
    monkeypatch.setenv("VLLM_API_KEY", "very-secret")
    for copied in copies:
        assert copied.get_query_embedding("Where?") == wanted
        _close(copied)
    _close(embed_model)
