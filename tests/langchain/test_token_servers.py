"""LangChain over a model server: the same vectors, and a key that stays where it is."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_text_splitters import RecursiveCharacterTextSplitter

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.encoders.servers.token_server import ServerEncoder
from latechunk_integrations.engine import shared_engine
from latechunk_integrations.errors import AuthenticationError
from latechunk_integrations.langchain import LateChunkEmbeddings, LateChunkTextSplitter
from tests.fakes.tei import TeiServer

_TEXT = "Berlin is a city. It has many inhabitants. The city is also one of the states."


@pytest.fixture
def server(tiny_model_path: Path) -> Iterator[TeiServer]:
    shared_engine.cache_clear()
    with TeiServer(tiny_model_path, api_key="very-secret") as running:
        yield running
    shared_engine.cache_clear()


def _vectors(embeddings: LateChunkEmbeddings) -> list[list[float]]:
    splitter = LateChunkTextSplitter(
        embeddings=embeddings,
        splitter=RecursiveCharacterTextSplitter(chunk_size=30, chunk_overlap=0),
    )
    chunks = splitter.split_documents([Document(_TEXT)])
    return embeddings.embed_documents([chunk.page_content for chunk in chunks])


@pytest.mark.slow
def test_embeddings_over_a_server_give_the_local_vectors_and_keep_the_key(
    server: TeiServer, tiny_engine: LateChunkEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    embeddings = LateChunkEmbeddings(
        model_name=str(server.served.folder),
        encoder="tei",
        base_url=server.url,
        api_key="very-secret",
        max_retries=0,
    )
    local: dict[str, Any] = {
        "layout": "text",
        "focus": 0,
        "dtype": "float32",
        "device": "cpu",
    }  # as servers do
    wanted = _vectors(LateChunkEmbeddings(model_name=str(server.served.folder), **local))
    np.testing.assert_allclose(_vectors(embeddings), wanted, atol=1e-5)
    np.testing.assert_allclose(_vectors(copy.deepcopy(embeddings)), wanted, atol=1e-5)
    assert embeddings.stats["unknown"] == 0
    shown = f"{embeddings!r} {embeddings} {embeddings.model_dump()} {embeddings.model_dump_json()}"
    assert "very-secret" not in shown
    content = pickle.dumps(embeddings)
    assert b"very-secret" not in content
    elsewhere = pickle.loads(content)
    with pytest.raises(AuthenticationError, match="TEI_API_KEY"):
        elsewhere.embed_query("Where?")
    monkeypatch.setenv("TEI_API_KEY", "very-secret")
    np.testing.assert_allclose(
        elsewhere.embed_query("Where?"), tiny_engine.embed_query("Where?"), atol=1e-5
    )
    for one in (embeddings, elsewhere):
        assert isinstance(one.engine.encoder, ServerEncoder)
        one.engine.encoder.close()
