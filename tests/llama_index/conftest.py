"""Documents for the LlamaIndex pair."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import llama_index.core
import pytest
from llama_index.core import Document
from llama_index_instrumentation import get_dispatcher

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.llama_index import LateChunkEmbedding, LateChunkNodeParser
from tests.llama_index.support import SPLITTER, Recorder

BOILERPLATE = "All rights are reserved. "


@pytest.fixture
def documents() -> list[Document]:
    """Documents that share sentences with each other, repeat some, or are empty."""
    texts = [
        f"{BOILERPLATE}Report {n} on the city of Berlin. It has many inhabitants. {BOILERPLATE}"
        f"The supplier delivers every part within {n} days. {BOILERPLATE}The end of it."
        for n in range(5)
    ]
    filled = [
        Document(text=text, id_=f"report-{n}", metadata={"title": f"Report {n}"})
        for n, text in enumerate(texts)
    ]
    return [*filled, Document(text="", id_="empty")]


@pytest.fixture
def offline_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """SentenceSplitter's tokenizer is read again in a worker: from LlamaIndex's own files."""
    cache = Path(llama_index.core.__file__).parent / "_static" / "tiktoken_cache"
    monkeypatch.setitem(os.environ, "TIKTOKEN_CACHE_DIR", str(cache))


@pytest.fixture
def embed_model(tiny_engine: LateChunkEngine) -> LateChunkEmbedding:
    return LateChunkEmbedding(engine=tiny_engine)


@pytest.fixture
def parser(embed_model: LateChunkEmbedding) -> LateChunkNodeParser:
    return LateChunkNodeParser(embed_model=embed_model, splitter=SPLITTER)


@pytest.fixture
def recorder() -> Any:
    root = get_dispatcher()
    handler = Recorder(events=[])
    root.add_event_handler(handler)
    yield handler
    root.event_handlers.remove(handler)
