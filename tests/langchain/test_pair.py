"""The pair in one call cannot be half wired."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_text_splitters import MarkdownHeaderTextSplitter

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.errors import OptionError
from latechunk_integrations.langchain import ChunkText, late_chunking
from tests.langchain.support import lines


def test_splitter_and_embeddings_belong_together(tiny_engine: LateChunkEngine) -> None:
    splitter, embeddings = late_chunking(
        tiny_engine,
        lines,
        section_splitter=MarkdownHeaderTextSplitter([("#", "h1")]),
        header="title",
        parent_by="source",
        memory_bytes=1_000_000,
    )
    chunks = splitter.split_documents([Document("# One\nText.", metadata={"title": "T"})])
    text = chunks[0].page_content
    assert isinstance(text, ChunkText)
    assert text.parent is not None
    assert text.parent.header == "T > One"
    assert np.shape(embeddings.embed_documents([text])) == (1, tiny_engine.dimensions)
    assert embeddings.stats["late"] == 1
    assert embeddings.memory_bytes == 1_000_000


def test_chunks_of_another_pair_get_this_pairs_vectors(tiny_engine: LateChunkEngine) -> None:
    """A parent is text and spans: whoever embeds it embeds it right."""
    splitter, _ = late_chunking(tiny_engine, lines)
    _, other = late_chunking(str(tiny_engine.options.model), lines, max_tokens=32, dtype="float32")
    (chunk, *_) = splitter.create_documents(["One.\nTwo."])
    assert isinstance(chunk.page_content, ChunkText)
    assert chunk.page_content.parent is not None
    truth = other.engine.embed([chunk.page_content.parent])[0].vectors
    np.testing.assert_allclose(other.embed_documents([chunk.page_content]), truth[:1], atol=1e-6)


def test_options_reach_the_engine_and_wrong_ones_are_refused(tiny_engine: LateChunkEngine) -> None:
    _, embeddings = late_chunking(str(tiny_engine.options.model), lines, context_weight=0.5)
    assert embeddings.engine.options.context_weight == 0.5
    with pytest.raises(OptionError, match="chunk_size"):
        late_chunking("model", lines, chunk_size=100)


def test_two_models_are_refused(tiny_engine: LateChunkEngine) -> None:
    second: dict[str, Any]
    for model in ("words", tiny_engine):
        for second in ({"model_name": "other"}, {"engine": tiny_engine}):
            with pytest.raises(OptionError, match=f"beside.*{next(iter(second))}"):
                late_chunking(model, lines, **second)
