"""A corpus full of repeats, its true vectors, and how each store gives its vectors back."""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from langchain_core.documents import Document
from numpy.typing import NDArray

from latechunk_integrations import LateChunkEngine, LateChunkOptions, Parent
from latechunk_integrations.langchain import LateChunkPair, late_chunking
from tests.evaluation.word_encoder import WordEncoder

Key: TypeAlias = tuple[str, int]
Vectors: TypeAlias = dict[Key, NDArray[np.float32]]

_LINES = (
    "The supplier delivers the parts.",
    "Payment is due within thirty days.",
    "It may be ended by either side.",
    "None.",
    "Section 1.3 applies.",
    "The buyer keeps a copy of it.",
)


class Words(WordEncoder):
    """An encoder that options name and that needs no files, for tests of many calls."""

    @classmethod
    def load(cls, options: LateChunkOptions) -> Words:
        del options
        return cls()


WORDS = f"{__name__}:Words"


def corpus(n_documents: int = 6, n_lines: int = 8, seed: int = 0) -> list[Document]:
    """Documents of few different lines: most stand in several places and several documents."""
    rng = random.Random(seed)
    return [
        Document(
            page_content="\n".join(
                [f"Agreement number {number}.", *rng.choices(_LINES, k=rng.randint(3, n_lines))]
            ),
            metadata={"source": f"contract-{number}", "title": f"Agreement {number}"},
        )
        for number in range(n_documents)
    ]


def lines(text: str) -> list[str]:
    """The simplest splitter: a chunk is a line."""
    return text.split("\n")


def line_spans(text: str) -> list[tuple[int, int]]:
    """Where the lines stand, counted here and not searched."""
    spans, start = [], 0
    for line in text.split("\n"):
        spans.append((start, start + len(line)))
        start += len(line) + 1
    return spans


def pair_of_lines(engine: LateChunkEngine, **options: Any) -> LateChunkPair:
    """A pair whose chunks are lines, without headers unless asked."""
    return late_chunking(engine, lines, **{"header": None, **options})


def true_vectors(
    engine: LateChunkEngine, documents: Sequence[Document], header_key: str | None = None
) -> Vectors:
    """The engine's own vectors by source and start, each document embedded by itself."""
    truth: Vectors = {}
    for document in documents:
        spans = line_spans(document.page_content)
        header = document.metadata[header_key] if header_key else ""
        parent = Parent(document.page_content, spans, header=header)
        for (start, _), vector in zip(spans, engine.embed([parent])[0].vectors, strict=True):
            truth[document.metadata["source"], start] = vector
    return truth


def key_of(metadata: dict[str, Any]) -> Key:
    return metadata["source"], metadata["start_index"]


def as_rows(chunks: Sequence[Document], vectors: Sequence[Any]) -> Vectors:
    """Vectors by source and start."""
    return rows_as_vectors([(c.metadata, v) for c, v in zip(chunks, vectors, strict=True)])


def rebuilt(chunks: Sequence[Document]) -> list[Document]:
    """Documents as they come back from a file or a queue: nothing but text and metadata."""
    return [
        Document(page_content=str(chunk.page_content), metadata=dict(chunk.metadata))
        for chunk in chunks
    ]


def sent(chunks: list[Document], way: str) -> list[Document]:
    """Chunks as another process reads them: from JSON, from a checkpoint or from a pickle."""
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

    if way == "json":
        return [Document(**json.loads(json.dumps(chunk.model_dump()))) for chunk in chunks]
    if way == "checkpoint":
        serializer = JsonPlusSerializer()
        chunks = serializer.loads_typed(serializer.dumps_typed(chunks))
        assert {type(chunk.page_content) for chunk in chunks} == {str}
    return chunks


def assert_same(stored: Vectors, truth: Vectors, tolerance: float = 1e-5) -> None:
    """Every vector is there, and it is the true one; stores may have scaled to unit length."""
    assert stored.keys() == truth.keys()
    off = {key: float(np.abs(stored[key] - truth[key]).max()) for key in truth}
    assert max(off.values()) < tolerance, off


def rows_as_vectors(rows: Sequence[tuple[dict[str, Any], Any]]) -> Vectors:
    vectors = {key_of(metadata): np.asarray(vector, np.float32) for metadata, vector in rows}
    assert len(vectors) == len(rows), "a chunk is stored twice"
    return vectors


def split_into(folder: Path, file: Path) -> None:
    """Split the corpus: its parents into a folder, pickled chunks into a file."""
    from langchain_classic.storage import LocalFileStore

    store = LocalFileStore(folder)
    pair = late_chunking("words", lines, header=None, encoder=WORDS, parent_store=store)
    file.write_bytes(pickle.dumps(pair.splitter.split_documents(corpus(6))))


def embed_elsewhere(content: bytes) -> tuple[list[list[float]], dict[str, int]]:
    """What another process makes of pickled embeddings and documents: vectors, and its counts."""
    embeddings, documents = pickle.loads(content)
    texts = [document.page_content for document in embeddings.attach(documents)]
    return embeddings.embed_documents(texts), embeddings.stats
