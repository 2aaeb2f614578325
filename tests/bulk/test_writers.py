"""Writers when the store does not answer: over real HTTP, on the loopback."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pymilvus import MilvusClient

from latechunk_integrations.bulk import index
from latechunk_integrations.bulk.rows import DocumentRows
from latechunk_integrations.bulk.writers.milvus import MilvusWriter
from latechunk_integrations.bulk.writers.qdrant import QdrantWriter
from latechunk_integrations.errors import MissingExtraError, WriterError
from tests.bulk import support


class FlakyQdrant(ThreadingHTTPServer):
    """As much of Qdrant's REST interface as the writer uses; it can fail on demand."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.points: dict[str, dict[str, Any]] = {}
        self.made = False
        self.outrun = False
        self.failing = 0
        self.status = 503
        self.calls: list[str] = []

    @property
    def target(self) -> str:
        return f"qdrant:http://127.0.0.1:{self.server_address[1]}#chunks"

    def answer(self, method: str, path: str, body: Any) -> Any:
        route = f"{method} {re.sub('[?].*', '', path)}"
        self.calls.append(route)
        if route == "GET /collections/chunks/exists":
            return {"exists": self.made}
        if route == "PUT /collections/chunks":
            self.made = True
        if route == "GET /collections/chunks":
            return _description()
        if route == "PUT /collections/chunks/points":
            batch = body["batch"]
            for identity, payload in zip(batch["ids"], batch["payloads"], strict=True):
                self.points[identity] = payload
        if route == "POST /collections/chunks/points/count":
            return {"count": len(self.points)}
        if method == "PUT" and route != "PUT /collections/chunks":
            return {"operation_id": 1, "status": "completed"}
        if route == "POST /collections/chunks/points/delete":
            return {"operation_id": 2, "status": "completed"}
        return True


def _description() -> Any:
    """How Qdrant itself describes such a collection."""
    from qdrant_client import QdrantClient, models

    client = QdrantClient(":memory:")
    vectors = models.VectorParams(size=32, distance=models.Distance.DOT)
    client.create_collection("chunks", vectors_config=vectors)
    return client.get_collection("chunks").model_dump(mode="json")


class _Handler(BaseHTTPRequestHandler):
    server: FlakyQdrant

    def _do(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.outrun and (self.command, self.path) == ("PUT", "/collections/chunks"):
            self.server.made, self.server.outrun = True, False
            self._send(409, {"status": {"error": "Collection `chunks` already exists!"}})
        elif self.server.failing:
            self.server.failing -= 1
            self._send(self.server.status, {"status": {"error": "not now"}})
        else:
            result = self.server.answer(self.command, self.path, json.loads(body or "null"))
            self._send(200, {"result": result, "status": "ok", "time": 0.0})

    do_GET = do_PUT = do_POST = _do  # noqa: N815  # the base class's names

    def _send(self, status: int, content: Any) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        pass


@pytest.fixture
def store() -> Iterator[FlakyQdrant]:
    with FlakyQdrant() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)


def _index(store: FlakyQdrant, folder: Path, model: Path) -> Any:
    corpus = support.documents(4)
    return index(corpus, store.target, support.options(model), folder, support.settings())


def test_a_store_that_is_busy_for_a_moment_is_asked_again(
    store: FlakyQdrant, tmp_path: Path, tiny_model_path: Path
) -> None:
    store.failing = 3
    summary = _index(store, tmp_path, tiny_model_path)
    assert len(store.points) == summary.n_chunks > 0


def test_a_store_that_stays_away_ends_the_run_which_goes_on_later(
    store: FlakyQdrant, tmp_path: Path, tiny_model_path: Path
) -> None:
    _index(store, tmp_path / "first", tiny_model_path)
    n_chunks = len(store.points)
    store.points.clear()
    store.failing = 10_000
    with pytest.raises(WriterError, match="start the same command again"):
        _index(store, tmp_path / "second", tiny_model_path)
    store.failing = 0
    assert _index(store, tmp_path / "second", tiny_model_path).n_documents == 4
    assert len(store.points) == n_chunks


def test_a_refusal_is_not_asked_for_again(
    store: FlakyQdrant, tmp_path: Path, tiny_model_path: Path
) -> None:
    store.failing, store.status = 10_000, 403
    with pytest.raises(WriterError, match="refuses"):
        _index(store, tmp_path, tiny_model_path)
    assert store.failing == 10_000 - 1


def test_a_collection_that_another_task_made_in_the_meantime_is_taken(store: FlakyQdrant) -> None:
    place = store.target[len("qdrant:") : -len("#chunks")]
    store.outrun = True
    with closing(QdrantWriter(place, "chunks", 32)) as writer:
        assert writer.count() == 0
    store.made, store.outrun = False, True
    with pytest.raises(WriterError, match="vectors of 32"):
        QdrantWriter(place, "chunks", 4)


def test_a_milvus_collection_that_another_task_made_in_the_meantime_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked for before it was there: Milvus then refuses to make it a second time."""
    place = str(tmp_path / "milvus.db")
    with closing(MilvusWriter(place, "chunks", 4)) as first:
        seen = iter([False])
        found = MilvusClient.has_collection
        monkeypatch.setattr(
            MilvusClient,
            "has_collection",
            lambda *given, **named: next(seen, found(*given, **named)),
        )
        with closing(MilvusWriter(place, "chunks", 4)) as second:
            assert second.count() == first.count() == 0
            assert next(seen, None) is None
        seen = iter([False])
        with pytest.raises(WriterError, match="8"):
            MilvusWriter(place, "chunks", 8)


def test_the_key_comes_from_the_environment_and_is_in_no_repr(
    store: FlakyQdrant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", "not-to-be-seen")
    with pytest.warns(UserWarning, match="insecure connection"):
        writer = QdrantWriter(store.target[len("qdrant:") : -len("#chunks")], "chunks", 4)
    writer.write([DocumentRows("a", "v")], 0)
    assert "not-to-be-seen" not in repr(writer) + repr(vars(writer))
    writer.close()


@pytest.mark.parametrize(
    ("module", "kind", "extra"),
    [
        ("pymilvus", "milvus", "milvus"),
        ("qdrant_client", "qdrant", "qdrant"),
        ("tenacity", "qdrant", "bulk"),
        ("pyarrow.parquet", "parquet", "bulk"),
        ("filelock", "jsonl", "bulk"),
    ],
)
def test_a_missing_package_names_its_extra(
    module: str,
    kind: str,
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tiny_model_path: Path,
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"\[{extra}\]"):
        index(
            support.documents(1),
            support.target(kind, tmp_path),
            support.options(tiny_model_path),
            tmp_path / "checkpoint",
        )
