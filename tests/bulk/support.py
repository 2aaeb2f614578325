"""A small corpus, and what stands in each kind of target."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from latechunk_integrations import LateChunkOptions
from latechunk_integrations.bulk import IndexSettings
from latechunk_integrations.bulk.chunking import Chunking
from latechunk_integrations.bulk.rows import CorpusDocument
from latechunk_integrations.bulk.targets import Target

TARGETS = ("parquet", "jsonl", "milvus", "qdrant")
CHUNK_CHARS = 40

Rows = dict[str, dict[str, Any]]


def fixed_chunks(text: str) -> list[tuple[int, int]]:
    """Spans of `CHUNK_CHARS` characters: a splitter that an import path names."""
    starts = range(0, len(text), CHUNK_CHARS)
    return [(start, min(start + CHUNK_CHARS, len(text))) for start in starts]


SPLITTER = f"{__name__}:fixed_chunks"


def document(number: int, text: str | None = None) -> CorpusDocument:
    words = f"Part {number} is delivered within {number + 7} days, unless it says otherwise. "
    return CorpusDocument(f"doc-{number}", text or words * (1 + number % 3), f"Title {number % 4}")


def documents(n: int) -> list[CorpusDocument]:
    return [document(number) for number in range(n)]


def options(model: Path) -> LateChunkOptions:
    return LateChunkOptions(model=str(model), dtype="float32", device="cpu")


def settings(**more: Any) -> IndexSettings:
    return IndexSettings(**{"chunking": Chunking(SPLITTER), "batch_documents": 3, **more})


def target(kind: str, folder: Path) -> str:
    if kind in ("milvus", "qdrant", "chroma", "lancedb"):
        return f"{kind}:{folder / f'{kind}.db'}#chunks"
    return str(folder / f"rows.{kind}")


def read(kind: str, folder: Path) -> Rows:
    """The rows of a target by chunk id; a chunk id that stands twice is an error."""
    readers = {
        "parquet": _read_parquet,
        "jsonl": _read_jsonl,
        "milvus": _read_milvus,
        "qdrant": _read_qdrant,
    }
    return _by_id(readers[kind](folder)) if kind in readers else scan(target(kind, folder))


def scan(target: str) -> Rows:
    """The same for any target, read by its own writer."""
    with closing(Target.parse(target).open(None, "")) as reader:
        rows = [dict(row) for row in reader.scan()]
        assert reader.count() == len(rows)
    return _by_id(rows)


def read_milvus(uri: str) -> Rows:
    """The same for a Milvus server."""
    return _by_id(_query_milvus(uri))


def _by_id(rows: list[dict[str, Any]]) -> Rows:
    by_id = {row["chunk_id"]: row for row in rows}
    assert len(by_id) == len(rows), "a chunk stands twice"
    for row in rows:
        row["vector"] = np.asarray(row["vector"], np.float32).tobytes()
    return by_id


def _read_parquet(folder: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    rows = pq.read_table(folder / "rows.parquet").to_pylist()
    return [dict(row) for row in rows]


def _read_jsonl(folder: Path) -> list[dict[str, Any]]:
    parts = sorted((folder / "rows.jsonl").glob("part-*.jsonl"))
    return [json.loads(line) for part in parts for line in part.read_bytes().splitlines()]


def _read_milvus(folder: Path) -> list[dict[str, Any]]:
    return _query_milvus(str(folder / "milvus.db"))


def _query_milvus(uri: str) -> list[dict[str, Any]]:
    from pymilvus import MilvusClient

    client = MilvusClient(uri=uri)
    client.load_collection("chunks")
    rows = client.query("chunks", filter="start >= 0", output_fields=["*"], limit=10_000)
    client.close()
    return [dict(row) for row in rows]


def _read_qdrant(folder: Path) -> list[dict[str, Any]]:
    from qdrant_client import QdrantClient

    client = QdrantClient(path=str(folder / "qdrant.db"))
    points, _ = client.scroll("chunks", limit=10_000, with_vectors=True)
    client.close()
    assert all(point.payload and point.payload["chunk_id"] == point.id for point in points)
    return [{**(point.payload or {}), "vector": point.vector} for point in points]
