"""The pair in one call cannot be half wired."""

from __future__ import annotations

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_text_splitters import MarkdownHeaderTextSplitter

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.errors import MismatchedPairError, OptionError
from latechunk_integrations.langchain import ChunkText, late_chunking
from tests.langchain.support import lines


def test_splitter_and_embeddings_belong_together(tiny_engine: LateChunkEngine) -> None:
    splitter, embeddings = late_chunking(
        tiny_engine,
        lines,
        section_splitter=MarkdownHeaderTextSplitter([("#", "h1")]),
        header_from=["title"],
        ledger_bytes=1_000_000,
    )
    chunks = splitter.split_documents([Document("# One\nText.", metadata={"title": "T"})])
    text = chunks[0].page_content
    assert isinstance(text, ChunkText)
    assert text.parent.header == "T\nOne"
    assert np.shape(embeddings.embed_documents([text])) == (1, tiny_engine.dimensions)
    assert embeddings.stats["text"] == 1
    assert embeddings.ledger_bytes == 1_000_000


def test_halves_of_two_pairs_are_refused(tiny_engine: LateChunkEngine) -> None:
    splitter, _ = late_chunking(tiny_engine, lines)
    _, other = late_chunking(str(tiny_engine.options.model), lines, max_tokens=32)
    with pytest.raises(MismatchedPairError):
        other.embed_documents(splitter.split_text("One.\nTwo."))


def test_options_reach_the_engine_and_wrong_ones_are_refused(tiny_engine: LateChunkEngine) -> None:
    _, embeddings = late_chunking(str(tiny_engine.options.model), lines, context_weight=0.5)
    assert embeddings.engine.options.context_weight == 0.5
    with pytest.raises(OptionError, match="chunk_size"):
        late_chunking("model", lines, chunk_size=100)
