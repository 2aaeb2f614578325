"""Chunks summed on the server: the same vectors, without token embeddings on the way."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.encoders.servers.vllm import VllmEncoder
from latechunk_integrations.encoders.servers.vllm_plugin import name_processor, read_bags
from latechunk_integrations.errors import ContractError, ServerAnswerError
from tests.fakes.loopback import Fault
from tests.fakes.vllm import VllmServer

SENTENCE = (
    "The supplier delivers every part within thirty days, unless Section 1.3 says otherwise. "
)
TEXT = SENTENCE * 6
# Chunks that follow each other, overlap and nest.
SPANS = [(at, at + 44) for at in range(0, len(TEXT), 44)] + [(30, 70), (0, len(TEXT))]
PARENTS = [
    Parent(TEXT, SPANS, id="report"),
    Parent(TEXT, SPANS, header="Terms > Delivery", id="headed"),
    Parent("Berlin", [(0, 6)], id="word"),
]


@pytest.fixture
def server(tiny_model_path: Path) -> Iterator[VllmServer]:
    with VllmServer(tiny_model_path, plugin=True) as started:
        yield started


def connect(server: VllmServer, **options: Any) -> LateChunkEngine:
    return LateChunkEngine.from_pretrained(
        server.name, encoder="vllm", base_url=server.url, **options
    )


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["mean", "weighted", "last"])
@pytest.mark.parametrize("context_weight", [1.0, 0.5])
def test_vectors_are_those_of_the_model_here(
    server: VllmServer, pooling: Any, context_weight: float
) -> None:
    options: dict[str, Any] = {"pooling": pooling, "context_weight": context_weight}
    here = LateChunkEngine.from_pretrained(
        server.name, dtype="float32", device="cpu", layout="text", focus=0.0, **options
    )
    there = connect(server, **options)
    for ours, theirs in zip(here.embed(PARENTS), there.embed(PARENTS), strict=True):
        assert ours.modes == theirs.modes
        np.testing.assert_allclose(theirs.vectors, ours.vectors, atol=1e-5)
    there.close()


def test_no_token_embedding_travels(server: VllmServer) -> None:
    there = connect(server)
    asked = len(server.asked)
    there.embed(PARENTS)
    bodies = [one.body for one in server.asked[asked:]]
    assert bodies
    assert all("data" in body for body in bodies)
    there.close()


def test_a_server_without_the_plugin_gives_token_embeddings(tiny_model_path: Path) -> None:
    with VllmServer(tiny_model_path) as server:
        there = connect(server)
        assert isinstance(there.encoder, VllmEncoder)
        assert not there.encoder.sums_there
        assert len(there.embed(PARENTS)) == len(PARENTS)
        there.close()


def spoil(answer: Any) -> Any:
    """Sums that are not those of the token embeddings."""
    if isinstance(answer.get("data"), dict):
        sums = np.frombuffer(base64.b64decode(answer["data"]["sums"]), "<f4")
        answer["data"]["sums"] = base64.b64encode((sums + 1).tobytes()).decode()
    return answer


def test_a_plugin_that_sums_otherwise_is_refused(server: VllmServer) -> None:
    server.always = Fault(rewrite=spoil)
    with pytest.raises(ContractError, match="plugin"):
        connect(server)


def test_sums_of_another_window_are_refused(server: VllmServer) -> None:
    there = connect(server)

    def swap(answer: Any) -> Any:
        answer["data"]["key"] = "of another"
        return answer

    server.always = Fault(rewrite=swap)
    with pytest.raises(ServerAnswerError, match=r"another window.*report"):
        there.embed(PARENTS[:1])
    there.close()


@pytest.mark.parametrize(
    "data",
    [
        {"starts": [[0]], "lengths": [[11]]},
        {"starts": [[9]], "lengths": [[2]]},
        {"starts": [[-1]], "lengths": [[2]]},
        {"starts": [[0]], "lengths": [[-1]]},
        {"starts": [[0]], "lengths": [[0]]},
        {"starts": [[2**62]], "lengths": [[2**62]]},
        {"starts": [[0, 1]], "lengths": [[1]]},
        {"starts": [[0]] * 65, "lengths": [[10]] * 65},
        {"starts": [[0]], "lengths": [[1]], "weights": [[1.0, 2.0]]},
        {"starts": [[0]], "lengths": [[1]], "steps": [1, 2]},
    ],
    ids=str,
)
def test_ranges_that_no_window_has_are_refused_on_the_server(data: Any) -> None:
    with pytest.raises(ValueError, match=r"range|times|weights"):
        read_bags(data, 10)


def test_vllm_finds_the_processor() -> None:
    module, _, name = name_processor().rpartition(".")
    assert getattr(__import__(module, fromlist=[name]), name).__name__ == name
