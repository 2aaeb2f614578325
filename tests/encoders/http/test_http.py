"""The HTTP client: right results after failures that pass, typed errors for the others."""

from __future__ import annotations

import contextlib
import copy
import gc
import logging
import multiprocessing
import os
import pickle
import threading
import time
import traceback
import weakref
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import pytest
from pydantic import SecretStr

from latechunk_integrations.encoders.http.client import HttpClient, HttpSettings, json_call
from latechunk_integrations.errors import (
    AuthenticationError,
    BrokenAnswerError,
    RateLimitError,
    RequestRefusedError,
    ServerAnswerError,
    ServerError,
    ServerUnavailableError,
)
from tests.fakes.loopback import Answer, Asked, Fault, LoopbackServer, too_many


def _echo(asked: Asked) -> Answer:
    return Answer({"echo": asked.body}, http_headers={"X-Request-ID": "theirs"})


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    with LoopbackServer(_echo) as running:
        yield running


def _client(server: LoopbackServer, **settings: Any) -> HttpClient:
    settings = {"first_wait_seconds": 0.01, "max_retries": 3, **settings}
    return HttpClient(HttpSettings(server.url, "SOME_KEY", **settings))


def _ask(client: HttpClient, value: Any = 1) -> Any:
    return client.run(json_call("/echo", {"value": value}, _value, parent_id="doc"))


def _client_threads() -> set[threading.Thread]:
    return {one for one in threading.enumerate() if one.name == "latechunk-http"}


def _value(body: Any) -> Any:
    return body["echo"]["value"]


@pytest.mark.parametrize(
    "fault",
    [
        too_many(),
        too_many(None),
        too_many(format_datetime(datetime.now(timezone.utc) + timedelta(seconds=1))),
        too_many("soon"),
        Fault(Answer({}, 500)),
        Fault(Answer({}, 503)),
        Fault(reset=0.5),
        Fault(reset=0.0),
        Fault(cut=0.5),
        Fault(cut=0.0),
        Fault(delay_seconds=1.0),
    ],
    # Given by hand: a date in a name would differ between the processes that collect the tests.
    ids=[
        *("429 in a second", "429", "429 with a date", "429 with a word", "500", "503"),
        *("reset half way", "reset at once", "cut half way", "cut at once", "time-out"),
    ],
)
def test_a_failure_that_passes_leaves_no_trace(server: LoopbackServer, fault: Fault) -> None:
    client = _client(server, timeout_seconds=0.5)
    server.faults = [fault]
    assert _ask(client, "right") == "right"
    assert len(server.asked) == 2
    client.close()


@pytest.mark.parametrize(
    ("fault", "error", "n_asked"),
    [
        (too_many(), RateLimitError, 4),
        (Fault(Answer({}, 503)), ServerUnavailableError, 4),
        (Fault(delay_seconds=0.5), ServerUnavailableError, 4),
        (Fault(reset=0.5), ServerUnavailableError, 4),
        (Fault(cut=0.5), BrokenAnswerError, 4),
        (Fault(Answer({"error": "no"}, 401)), AuthenticationError, 1),
        (Fault(Answer({"error": "no"}, 403)), AuthenticationError, 1),
        (Fault(Answer({"error": "no"}, 422)), RequestRefusedError, 1),
        (Fault(Answer({}, 307, {"Location": "/other"})), RequestRefusedError, 1),
        (Fault(Answer({"other": "form"})), ServerAnswerError, 1),
        (Fault(Answer(["other form"])), ServerAnswerError, 1),
    ],
    ids=repr,
)
def test_a_failure_that_stays_is_a_typed_error_that_names_parent_and_request(
    server: LoopbackServer, fault: Fault, error: type[ServerError], n_asked: int
) -> None:
    client = _client(server, timeout_seconds=0.1)
    server.always = fault
    with pytest.raises(error, match="parent 'doc', request '") as caught:
        _ask(client)
    assert caught.value.parent_id == "doc"
    ours = {one.http_headers["x-request-id"] for one in server.asked}
    assert caught.value.request_id in {*ours, "theirs"}
    assert len(server.asked) == n_asked
    client.close()


def test_an_error_carries_the_services_own_request_id(server: LoopbackServer) -> None:
    client = _client(server)
    server.always = Fault(rewrite=lambda _: [])
    with pytest.raises(ServerAnswerError) as caught:
        _ask(client)
    assert caught.value.request_id == "theirs"
    client.close()


def test_nobody_at_the_address_is_a_typed_error(server: LoopbackServer) -> None:
    with LoopbackServer(_echo) as gone:
        client = _client(gone, max_retries=1)
    with pytest.raises(ServerUnavailableError, match="connection"):
        _ask(client)
    client.close()


def test_a_server_is_given_the_time_it_asks_for(
    server: LoopbackServer, caplog: pytest.LogCaptureFixture
) -> None:
    client = _client(server)
    server.faults = [too_many("0.2")]
    with caplog.at_level(logging.INFO, "latechunk_integrations"):
        _ask(client)
    assert "next in 0.2 s" in caplog.text
    client.close()


def test_results_keep_their_order_whatever_order_answers_come_in(server: LoopbackServer) -> None:
    client = _client(server, max_concurrency=4)
    server.faults = [Fault(delay_seconds=seconds) for seconds in (0.3, 0.0, 0.2, 0.0, 0.1)]
    calls = (json_call("/echo", {"value": value}, _value) for value in range(20))
    assert list(client.run_all(calls)) == list(range(20))
    assert 2 <= server.most_at_once <= 4
    assert server.n_connections <= 4  # one each, used again
    client.close()


def test_calls_are_taken_from_a_stream_no_faster_than_they_are_answered(
    server: LoopbackServer,
) -> None:
    client = _client(server, max_concurrency=2)
    n_taken = 0

    def calls() -> Iterator[Any]:
        nonlocal n_taken
        for value in range(10):
            n_taken += 1
            yield json_call("/echo", {"value": value}, _value)

    results = client.run_all(calls())
    assert next(results) == 0
    assert n_taken <= 3
    assert list(results) == list(range(1, 10))
    client.close()


def test_one_failure_ends_a_stream_with_its_row(server: LoopbackServer) -> None:
    client = _client(server, max_retries=0)
    server.faults = [Fault(path="/other")]
    paths = ["/echo", "/echo", "/refused", "/echo"]

    def respond(asked: Asked) -> Answer:
        return Answer({}, 400) if asked.path == "/refused" else _echo(asked)

    server.respond = respond
    calls = (json_call(path, {"value": i}, _value, row=i) for i, path in enumerate(paths))
    with pytest.raises(RequestRefusedError) as caught:
        list(client.run_all(calls))
    assert caught.value.row == 2
    client.close()


def test_threads_share_a_client(server: LoopbackServer) -> None:
    client = _client(server, max_concurrency=3)
    results: dict[int, Any] = {}

    def work(value: int) -> None:
        results[value] = _ask(client, value)

    threads = [threading.Thread(target=work, args=(value,)) for value in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {value: value for value in range(12)}
    assert server.most_at_once <= 3
    client.close()


def test_a_closed_client_works_again_and_leaves_no_thread(server: LoopbackServer) -> None:
    before = _client_threads()
    client = _client(server)
    for _ in range(2):
        assert _ask(client) == 1
        client.close()
        client.close()
    assert _client_threads() == before


def test_a_forgotten_client_ends_its_thread(server: LoopbackServer) -> None:
    before = _client_threads()
    client = _client(server)
    assert _ask(client) == 1
    (thread,) = _client_threads() - before
    del client
    thread.join(5)
    assert not thread.is_alive()


def test_the_key_is_sent_and_nowhere_else(
    server: LoopbackServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.always = Fault(Answer({"error": "key very-secret is wrong"}, 401))
    client = _client(server, api_key=SecretStr("very-secret"))
    with caplog.at_level(logging.DEBUG), pytest.raises(AuthenticationError) as caught:
        _ask(client)
    assert server.asked[0].http_headers["authorization"] == "Bearer very-secret"
    client.close()
    shown = [str(caught.value), repr(caught.value), caplog.text, repr(client.settings)]
    assert not any("very-secret" in text for text in shown)
    for one in (client, client.settings, caught.value):
        assert b"very-secret" not in pickle.dumps(one)


@pytest.mark.parametrize("given", ["very-secret\n", " very-secret\r\n", "very-secret"])
@pytest.mark.parametrize("by_environment", [False, True])
def test_white_space_around_a_key_is_not_sent(
    server: LoopbackServer, monkeypatch: pytest.MonkeyPatch, given: str, by_environment: bool
) -> None:
    if by_environment:
        monkeypatch.setenv("SOME_KEY", given)
    client = _client(server, api_key=None if by_environment else SecretStr(given))
    _ask(client)
    client.close()
    assert server.asked[0].http_headers["authorization"] == "Bearer very-secret"


@pytest.mark.parametrize("given", ["very\nsecret", "very-secr\u00e9t", "very\x00secret"])
def test_a_key_that_no_header_holds_is_refused_and_not_shown(
    server: LoopbackServer, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    with pytest.raises(AuthenticationError, match="api_key") as caught:
        _client(server, api_key=SecretStr(given))
    shown = f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"
    assert "very" not in shown
    if "\x00" not in given:  # no environment holds that
        monkeypatch.setenv("SOME_KEY", given)
        with pytest.raises(AuthenticationError, match="SOME_KEY"):
            _client(server)


def test_a_request_that_is_no_http_is_refused_once_and_not_shown(
    server: LoopbackServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Past our own check, as a header of another kind would be.
    monkeypatch.setattr(HttpSettings, "key", lambda _: SecretStr("very-secret\n"))
    client = _client(server, first_wait_seconds=60)
    caplog.set_level(logging.DEBUG, "latechunk_integrations")
    with pytest.raises(RequestRefusedError) as caught:
        _ask(client)
    client.close()
    assert caught.value.parent_id == "doc"
    formatted = "".join(traceback.format_exception(caught.value))
    assert "very-secret" not in formatted + caplog.text


def test_calls_on_their_way_end_with_a_typed_error_when_the_client_is_closed(
    server: LoopbackServer,
) -> None:
    before = _client_threads()
    client = _client(server, max_concurrency=2)
    server.always = Fault(delay_seconds=1.0)
    calls = [json_call("/echo", {"value": n}, _value, parent_id="doc", row=n) for n in range(5)]
    futures = [client.submit(call) for call in calls]  # three of them wait for a slot
    ends: list[BaseException] = []

    def work() -> None:
        try:
            list(client.run_all(iter(calls)))
        except ServerUnavailableError as error:
            ends.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while len(server.asked) < 2:
        time.sleep(0.01)
    client.close()
    thread.join(10)
    ends += [error for future in futures if (error := future.exception(10)) is not None]
    assert [type(error) for error in ends] == [ServerUnavailableError] * 6
    assert all("the client was closed" in str(error) for error in ends)
    assert {error.parent_id for error in ends if isinstance(error, ServerError)} == {"doc"}
    assert _client_threads() == before
    server.always = None
    assert _ask(client) == 1
    client.close()


# anyio's own, where a connection is given up before it is begun.
@pytest.mark.filterwarnings("ignore:.*try_connect' was never awaited:RuntimeWarning")
def test_closing_while_others_ask_never_ends_in_an_untyped_error(server: LoopbackServer) -> None:
    client = _client(server)
    ends: list[BaseException] = []
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            with contextlib.suppress(ServerUnavailableError):
                _ask(client)

    def watched() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # whatever it is
            ends.append(error)

    threads = [threading.Thread(target=watched) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(30):
        client.close()
    stop.set()
    for thread in threads:
        thread.join(10)
    client.close()
    assert not ends


def test_a_closed_client_lets_go_of_its_connections(server: LoopbackServer) -> None:
    client = _client(server)
    _ask(client)
    session = weakref.ref(client._open())  # noqa: SLF001  # nothing public holds it
    client.close()
    gc.collect()
    assert session() is None


def test_an_unpickled_client_takes_the_key_of_its_own_environment(
    server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = _client(server, api_key=SecretStr("given"))
    _ask(client)
    monkeypatch.setenv("SOME_KEY", "worker's")
    for twin in (pickle.loads(pickle.dumps(client)), copy.deepcopy(client)):
        _ask(twin)
        twin.close()
    keys = [one.http_headers["authorization"] for one in server.asked]
    assert keys == ["Bearer given", "Bearer worker's", "Bearer given"]
    client.close()


def test_a_needed_key_that_is_missing_is_named(server: LoopbackServer) -> None:
    with pytest.raises(AuthenticationError, match="SOME_KEY"):
        HttpClient(HttpSettings(server.url, "SOME_KEY"), key_needed=True)


def test_a_key_without_encryption_over_the_net_is_said(caplog: pytest.LogCaptureFixture) -> None:
    for url, n_said in [("https://h", 0), ("http://127.0.0.1:1", 0), ("http://h", 1)]:
        caplog.clear()
        HttpClient(HttpSettings(url, "SOME_KEY", api_key=SecretStr("k")))
        assert caplog.text.count("without encryption") == n_said


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_process_starts_its_own_client(server: LoopbackServer) -> None:
    client = _client(server)
    assert _ask(client, "parent") == "parent"
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(_ask, (client, "pickled")) == "pickled"
    process = multiprocessing.get_context("fork").Process(target=_ask, args=(client, "inherited"))
    process.start()
    process.join(30)
    assert process.exitcode == 0
    assert _ask(client, "still") == "still"
    client.close()
