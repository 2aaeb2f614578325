"""`check_store`: a real store passes it, and one that loses or mixes vectors fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores import SimpleVectorStore, VectorStoreQuery
from numpy.typing import NDArray
from qdrant_client import QdrantClient
from qdrant_client.models import Distance, PointStruct, VectorParams

from latechunk_integrations.testing import ConformanceError, check_store


def test_a_qdrant_collection_conforms() -> None:
    client = QdrantClient(location=":memory:")
    client.create_collection("c", vectors_config=VectorParams(size=8, distance=Distance.COSINE))
    numbers: dict[str, int] = {}

    def write(ids: Sequence[str], texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        client.upsert(
            "c",
            [
                PointStruct(
                    id=numbers.setdefault(name, len(numbers)),
                    vector=vector.tolist(),
                    payload={"text": text, "name": name},
                )
                for name, text, vector in zip(ids, texts, vectors, strict=True)
            ],
        )

    def read(ids: Sequence[str]) -> list[Any]:
        found = client.retrieve("c", [numbers[name] for name in ids], with_vectors=True)
        by_number = {point.id: point.vector for point in found}
        return [by_number[numbers[name]] for name in ids]

    def search(vector: NDArray[np.float32]) -> list[str]:
        points = client.query_points("c", query=vector.tolist(), limit=3).points
        return [str((point.payload or {})["name"]) for point in points]

    check_store(write, read, search=search)


def test_the_vector_store_of_llama_index_conforms() -> None:
    store = SimpleVectorStore()

    def write(ids: Sequence[str], texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        nodes = [
            TextNode(
                id_=name,
                text=text,
                embedding=vector.tolist(),
                relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=name)},
            )
            for name, text, vector in zip(ids, texts, vectors, strict=True)
        ]
        store.add(nodes)

    def search(vector: NDArray[np.float32]) -> list[str]:
        query = VectorStoreQuery(query_embedding=vector.tolist(), similarity_top_k=2)
        return list(store.query(query).ids or [])

    check_store(write, lambda ids: [store.get(name) for name in ids], search=search)


class Memory:
    """A store that is right; the others are not."""

    def __init__(self) -> None:
        self.rows: dict[str, NDArray[np.float32]] = {}

    def write(self, ids: Sequence[str], texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        del texts
        self.rows.update(zip(ids, vectors.copy(), strict=True))

    def read(self, ids: Sequence[str]) -> list[NDArray[np.float32]]:
        return [self.rows[name] for name in ids]

    def search(self, vector: NDArray[np.float32]) -> list[str]:
        return sorted(self.rows, key=lambda name: -float(self.rows[name] @ vector))


class KeyedByText(Memory):
    def write(self, ids: Sequence[str], texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        one = dict(zip(texts, vectors, strict=True))
        super().write(ids, texts, np.array([one[text] for text in texts]))


class Sorts(Memory):
    def read(self, ids: Sequence[str]) -> list[NDArray[np.float32]]:
        return super().read(sorted(ids, reverse=True))


class InStoredOrder(Memory):
    def read(self, ids: Sequence[str]) -> list[NDArray[np.float32]]:
        return [vector for name, vector in self.rows.items() if name in ids]


class KeepsTheFirst(Memory):
    def write(self, ids: Sequence[str], texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        new = [row for row, name in enumerate(ids) if name not in self.rows]
        super().write([ids[row] for row in new], texts, vectors[new])


class FindsTheWorst(Memory):
    def search(self, vector: NDArray[np.float32]) -> list[str]:
        return super().search(-vector)


def test_a_right_store_passes() -> None:
    store = Memory()
    check_store(store.write, store.read, search=store.search)


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        (KeyedByText, "kept"),
        (Sorts, "kept"),
        (InStoredOrder, "order"),
        (KeepsTheFirst, "replaced"),
        (FindsTheWorst, "found"),
    ],
    ids=["text", "sorts", "order", "first", "worst"],
)
def test_a_wrong_store_fails_with_the_rule_it_breaks(kind: type[Memory], rule: str) -> None:
    store = kind()
    with pytest.raises(ConformanceError) as caught:
        check_store(store.write, store.read, search=store.search)
    assert caught.value.rule == rule
