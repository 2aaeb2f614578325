"""LangChain over APIs that pool chunks: whole documents in requests, no key in what is written."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_text_splitters import RecursiveCharacterTextSplitter

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.langchain import (
    LateChunkEmbeddings,
    LateChunkTextSplitter,
    late_chunking,
)
from tests.fakes.chunk_services import KEY
from tests.fakes.loopback import LoopbackServer
from tests.fakes.support import words
from tests.langchain.stores import KINDS

DOCUMENTS = [Document(words(letter, 40), metadata={"source": letter}) for letter in "bcg"]


def _pair(
    api_server: LoopbackServer, api: str
) -> tuple[LateChunkTextSplitter, LateChunkEmbeddings]:
    return late_chunking(
        "tiny",
        RecursiveCharacterTextSplitter(chunk_size=30, chunk_overlap=0),
        encoder=api,
        base_url=api_server.url,
        api_key=KEY,
        dimensions=32,
        max_tokens=500,
        strict=True,
        header=None,
    )


@pytest.mark.store
@pytest.mark.parametrize("kind", ["in_memory", "milvus"])
def test_a_store_gets_late_vectors_and_asks_for_a_query_alone(
    api_server: LoopbackServer, api: str, kind: str, tmp_path: Path
) -> None:
    splitter, embeddings = _pair(api_server, api)
    chunks = splitter.split_documents(DOCUMENTS)
    kept = KINDS[kind](tmp_path)
    store = kept.empty(embeddings, 32)
    store.add_documents(chunks)
    n_asked = len(api_server.asked)
    found = store.similarity_search(str(chunks[4].page_content), k=3)
    assert len(found) == 3
    assert len(api_server.asked) == n_asked + 1
    if api == "jina":
        assert api_server.asked[-1].body["late_chunking"] is False
        assert [one.body["late_chunking"] for one in api_server.asked[:n_asked]] == [True] * 3


def test_documents_embed_as_the_engine_embeds_their_parent(
    api_server: LoopbackServer, api: str
) -> None:
    splitter, embeddings = _pair(api_server, api)
    chunks = splitter.split_documents(DOCUMENTS)
    shuffled = [chunks[row] for row in np.random.default_rng(0).permutation(len(chunks))]
    vectors = np.array(embeddings.embed_documents([one.page_content for one in shuffled]))
    for chunk, vector in zip(shuffled, vectors, strict=True):
        (document,) = [
            one for one in DOCUMENTS if one.metadata == {"source": chunk.metadata["source"]}
        ]
        start = chunk.metadata["start_index"]
        spans = [
            (one.metadata["start_index"], one.metadata["start_index"] + len(one.page_content))
            for one in chunks
            if one.metadata["source"] == chunk.metadata["source"]
        ]
        (result,) = embeddings.engine.embed([Parent(document.page_content, spans)])
        row = [begin for begin, _ in spans].index(start)
        assert np.abs(result.vectors[row] - vector).max() < 1e-6


def test_no_key_is_written(
    api_server: LoopbackServer, api: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    splitter, embeddings = _pair(api_server, api)
    embeddings.embed_documents([one.page_content for one in splitter.split_documents(DOCUMENTS)])
    written = [
        repr(embeddings),
        embeddings.model_dump_json(),
        repr(pickle.dumps(embeddings)),
        embeddings.engine.fingerprint,
        caplog.text,
    ]
    assert not any(KEY in text for text in written)


def test_a_file_names_the_service_and_the_environment_the_key(
    api_server: LoopbackServer, api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "latechunk.yaml"
    file.write_text(
        f"retrieval:\n  late_chunking:\n    model: tiny\n    encoder: {api}\n"
        f"    base_url: {api_server.url}\n    dimensions: 32\n    max_tokens: 500\n",
        encoding="utf-8",
    )
    monkeypatch.setenv(f"{api.upper()}_API_KEY", KEY)
    engine = LateChunkEngine.from_config(file)
    embeddings = LateChunkEmbeddings(engine=engine)
    splitter = LateChunkTextSplitter(
        embeddings=embeddings,
        splitter=RecursiveCharacterTextSplitter(chunk_size=30, chunk_overlap=0),
        header=None,
    )
    chunks = splitter.split_documents(DOCUMENTS[:1])
    vectors = embeddings.embed_documents([one.page_content for one in chunks])
    assert len(vectors) == len(chunks)
    assert engine.stats["standalone_chunks"] == 0
