"""Answers that are packed, endless, nested or huge: bounded, and a typed error."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator

import psutil
import pytest
from pydantic import SecretStr

from latechunk_integrations.encoders.http.bounded_body import BoundedBody
from latechunk_integrations.encoders.http.client import HttpClient, HttpSettings, json_call
from latechunk_integrations.errors import (
    BrokenAnswerError,
    RequestRefusedError,
    ServerAnswerError,
    ServerError,
)
from tests.fakes.hostile import HostileServer, faults, gzip_bomb, shows
from tests.fakes.loopback import Answer, LoopbackServer

_GIGABYTE = 1 << 30


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    with LoopbackServer(lambda asked: Answer({})) as running:
        yield running


def _ask(server: LoopbackServer, answer: Answer) -> object:
    server.respond = lambda asked: answer
    client = HttpClient(HttpSettings(server.url, "SOME_KEY", max_retries=0))
    try:
        return client.run(json_call("/x", {"value": 1}, lambda body: int(body["value"])))
    finally:
        client.close()


@pytest.mark.parametrize("packing", ["gzip", "deflate"])
def test_a_packed_answer_is_read(server: LoopbackServer, packing: str) -> None:
    pack = gzip.compress if packing == "gzip" else zlib.compress
    assert _ask(server, Answer(pack(b'{"value": 7}'), 200, {"Content-Encoding": packing})) == 7


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("filling", [b"\0", b"0.1,", b"[],"])
def test_a_bomb_grows_no_memory(server: LoopbackServer, filling: bytes, status: int) -> None:
    answer = Answer(gzip_bomb(_GIGABYTE, filling), status, {"Content-Encoding": "gzip"})
    process = psutil.Process()
    before = process.memory_info().rss
    with pytest.raises(RequestRefusedError if status == 400 else ServerAnswerError):
        _ask(server, answer)
    assert process.memory_info().rss - before < 64 << 20


@pytest.mark.parametrize(
    ("body", "packing", "kind"),
    [
        (b"no gzip", "gzip", BrokenAnswerError),
        (gzip.compress(b'{"value": 7}', mtime=0)[:-4], "gzip", BrokenAnswerError),
        (b"\x0b\x02\x80", "br", ServerAnswerError),
        (b"[" * 200_000, "", ServerAnswerError),
        (b'{"value":' * 5_000 + b"1" + b"}" * 5_000, "", ServerAnswerError),
        (b'{"value": Infinity}', "", ServerAnswerError),  # OverflowError
        (b'{"value": 1e999}', "", ServerAnswerError),
        (b'{"value": NaN}', "", ServerAnswerError),
        (b"3", "", ServerAnswerError),
        (b"9" * 50_000, "", ServerError),
        (b"[" + b"[]," * 900_000 + b"[]]", "", ServerAnswerError),
    ],
)
def test_an_answer_of_another_form_is_a_typed_error(
    server: LoopbackServer, body: bytes, packing: str, kind: type[ServerError]
) -> None:
    with pytest.raises(kind):
        _ask(server, Answer(body, 200, {"Content-Encoding": packing} if packing else {}))


def test_pieces_are_small_and_a_larger_request_may_have_a_larger_answer() -> None:
    packed = gzip.compress(b"0" * (8 << 20))
    small, large = BoundedBody("gzip", 2), BoundedBody("gzip", 1_000)
    with pytest.raises(ServerAnswerError, match="no answer to this request"):
        list(small.feed(packed))
    pieces = [len(piece) for piece in large.feed(packed)]
    assert sum(pieces) == 8 << 20
    assert max(pieces) <= 1 << 18


def test_short_numbers_are_counted_since_they_grow_when_they_are_read() -> None:
    numbers = b"1," * (1 << 19)  # a mebibyte, which a request of two bytes may have as an answer
    with pytest.raises(ServerAnswerError, match="numbers, which no answer"):
        list(BoundedBody("", 2).feed(numbers))
    assert list(BoundedBody("", 1_000).feed(numbers)) == [numbers]
    texts = b"0.1234567890123456," * (1 << 16)
    assert list(BoundedBody("", 2).feed(texts)) == [texts]


@pytest.mark.slow
def test_every_fault_of_a_hostile_socket_is_a_typed_error(server: LoopbackServer) -> None:
    """The client alone; ``benchmarks.hostile_servers`` attacks the engines of all services."""
    armed = faults()
    assert len(armed) > 100
    process = psutil.Process()
    before = process.memory_info().rss
    with HostileServer(server.url) as hostile:
        for name, fault in armed.items():
            hostile.fault = fault
            key = SecretStr("sk-never-to-be-seen")
            settings = HttpSettings(hostile.url, "SOME_KEY", key, max_retries=0, timeout_seconds=2)
            client = HttpClient(settings)
            with pytest.raises(ServerError) as caught:
                client.run(json_call("/x", {"value": 1}, lambda body: int(body["value"])))
            client.close()
            assert not shows(caught.value, "never-to-be-seen"), name
            assert process.memory_info().rss - before < 64 << 20, name
