"""Documents for the LlamaIndex pair."""

from __future__ import annotations

import pytest
from llama_index.core import Document

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.llama_index import LateChunkEmbedding, LateChunkNodeParser
from tests.llama_index.support import SPLITTER

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
def embed_model(tiny_engine: LateChunkEngine) -> LateChunkEmbedding:
    return LateChunkEmbedding(engine=tiny_engine)


@pytest.fixture
def parser(embed_model: LateChunkEmbedding) -> LateChunkNodeParser:
    return LateChunkNodeParser(embed_model=embed_model, splitter=SPLITTER)
