"""An existing collection is measured as it is, with its own chunks and vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient
from qdrant_client.models import Distance, PointStruct, VectorParams

from latechunk_integrations import Parent
from latechunk_integrations.errors import GoldenSetError, OptionError
from latechunk_integrations.evaluation.compare import compare
from latechunk_integrations.evaluation.configurations import BASELINE
from latechunk_integrations.evaluation.results import Configuration
from latechunk_integrations.evaluation.similarity import sentence_spans
from latechunk_integrations.evaluation.store_rows import STORE, place_rows, read_store
from tests.evaluation.support import BERLIN, TOKYO, small_set
from tests.evaluation.word_encoder import word_engine

LATE = Configuration(name="late", context_weight=1.0)


def _rows() -> list[tuple[str, str, list[float]]]:
    """Document, text and vector of every sentence, embedded alone."""
    engine = word_engine()
    rows = []
    for doc_id, text in (("berlin", BERLIN), ("tokyo", TOKYO)):
        parent = Parent(text, sentence_spans(text))
        texts = [parent.chunk_text(n) for n in range(len(parent.spans))]
        vectors = engine.embed_texts(texts)
        rows += [(doc_id, text, row.tolist()) for text, row in zip(texts, vectors, strict=True)]
    return rows


def _payloads(kind: str, doc_id: str, text: str) -> dict[str, Any]:
    payloads: dict[str, dict[str, Any]] = {
        "langchain": {"page_content": text, "metadata": {"source": f"/data/{doc_id}"}},
        "llama_index": {"_node_content": json.dumps({"text": text}), "ref_doc_id": doc_id},
        "bulk": {"text": text, "document_id": doc_id},
        "unnamed": {"text": text},
    }
    return payloads[kind]


def _store(folder: Path, kind: str, extra: tuple[str, ...] = ()) -> str:
    rows = [*_rows()[::-1], *(("other", text, _rows()[0][2]) for text in extra)]
    client = QdrantClient(path=str(folder))
    client.create_collection(
        "docs", vectors_config=VectorParams(size=len(rows[0][2]), distance=Distance.DOT)
    )
    points = [
        PointStruct(id=n, vector=vector, payload=_payloads(kind, doc_id, text))
        for n, (doc_id, text, vector) in enumerate(rows)
    ]
    client.upsert("docs", points)
    client.close()
    return f"qdrant:{folder}#docs"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["langchain", "llama_index", "bulk", "unnamed"])
def test_a_store_of_early_vectors_scores_as_early_chunking(tmp_path: Path, kind: str) -> None:
    golden, vectors = place_rows(small_set(), read_store(_store(tmp_path, kind)))
    assert golden.notes == ()
    found = compare(word_engine(), golden, [LATE], splitter="native", stored=vectors)
    assert found.names == (STORE, BASELINE, "late")
    assert found.opponent.name == STORE
    assert found.opponent.corpus == pytest.approx(found.get(BASELINE).corpus)
    same = compare(word_engine(), small_set(), [LATE], splitter="sentences")
    assert found.get("late").corpus == pytest.approx(same.get("late").corpus)


@pytest.mark.slow
def test_rows_of_other_documents_and_questions_about_missing_ones_are_said(tmp_path: Path) -> None:
    rows = read_store(_store(tmp_path, "bulk", extra=("A text of nowhere.",)))
    golden, vectors = place_rows(small_set(), rows)
    assert golden.notes == ("1 rows of the store are in none of the documents, or twice",)
    assert len(vectors) == len(_rows())
    kept = [n for n, names in enumerate(rows.documents) if names == ("berlin",)]
    part = type(rows)(
        tuple(rows.texts[n] for n in kept),
        tuple(rows.documents[n] for n in kept),
        rows.vectors[kept],
    )
    golden, _ = place_rows(small_set(), part)
    assert [document.doc_id for document in golden.documents] == ["berlin"]
    assert golden.notes == ("2 questions ask about documents that the store does not have",)
    nothing = type(rows)(("nowhere",), ((),), rows.vectors[:1])
    with pytest.raises(GoldenSetError, match="no chunk of the store"):
        place_rows(small_set(), nothing)


@pytest.mark.slow
def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    address = _store(tmp_path, "bulk")
    for wrong in ("milvus:a#b", "qdrant:folder", "docs"):
        with pytest.raises(OptionError, match="--store wants"):
            read_store(wrong)
    with pytest.raises(GoldenSetError, match="no folder"):
        read_store("qdrant:/nowhere/at/all#docs")
    with pytest.raises(GoldenSetError, match="cannot be read"):
        read_store(address.replace("#docs", "#other"))
    golden, vectors = place_rows(small_set(), read_store(address))
    with pytest.raises(OptionError, match="name the model that the store was made with"):
        compare(word_engine(), golden, [], splitter="native", stored=vectors[:, :8])
    with pytest.raises(OptionError, match="over its own chunks"):
        compare(word_engine(), golden, [], splitter="sentences", stored=vectors)


def test_vectors_are_in_the_order_of_the_chunks(tmp_path: Path) -> None:
    golden, vectors = place_rows(small_set(), read_store(_store(tmp_path, "bulk")))
    expected = np.array([vector for _, _, vector in _rows()], np.float32)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert [len(golden.chunks[d.doc_id]) for d in golden.documents] == [4, 3]
