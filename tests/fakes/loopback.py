"""A real HTTP server on loopback: it notes what was asked and fails as it is told to."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from typing_extensions import Self


@dataclass(frozen=True)
class Asked:
    """A request as it arrived; http_headers in lower case."""

    method: str
    path: str
    http_headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True)
class Answer:
    """What a service answers; a body that is no bytes is sent as JSON."""

    body: Any
    status: int = 200
    http_headers: Mapping[str, str] = field(default_factory=dict)

    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request.

    Args:
        answer: Instead of the service's own.
        delay_seconds: Before anything is sent.
        rewrite: Alters the parsed body of the service's answer.
        cut: Share of the body that is sent; the rest is missing from a complete answer.
        reset: Share of the body after which the connection is reset.
        path: Only a request with this path.
    """

    answer: Answer | None = None
    delay_seconds: float = 0.0
    rewrite: Callable[[Any], Any] | None = None
    cut: float | None = None
    reset: float | None = None
    path: str | None = None


def too_many(retry_after: str | None = "0") -> Fault:
    """429, as services send it."""
    http_headers = {} if retry_after is None else {"Retry-After": retry_after}
    return Fault(Answer({"error": "too many requests"}, 429, http_headers))


class LoopbackServer:
    """Serves ``respond`` on a free port; use it as a context.

    ``asked`` holds the requests in the order of their arrival. ``faults`` are used up by the next
    requests, one each; ``always`` is a fault of every further one. Bytes of bodies are counted by
    path.
    """

    def __init__(self, respond: Callable[[Asked], Answer]) -> None:
        self.respond = respond
        self.asked: list[Asked] = []
        self.faults: list[Fault] = []
        self.always: Fault | None = None
        self.most_at_once = 0
        self.bytes_received: Counter[str] = Counter()
        self.bytes_sent: Counter[str] = Counter()
        self.n_connections = 0
        self._n_now = 0
        self.lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.loopback = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def bodies(self, path: str) -> list[Any]:
        """Bodies of the requests with this path."""
        return [asked.body for asked in self.asked if asked.path == path]

    def enter(self, asked: Asked) -> Fault:
        with self.lock:
            self.asked.append(asked)
            self._n_now += 1
            self.most_at_once = max(self.most_at_once, self._n_now)
            for fault in self.faults:
                if fault.path in (None, asked.path):
                    self.faults.remove(fault)
                    return fault
            if self.always is not None and self.always.path in (None, asked.path):
                return self.always
            return Fault()

    def leave(self) -> None:
        with self.lock:
            self._n_now -= 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    loopback: LoopbackServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that ran out of patience is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        with self.server.loopback.lock:
            self.server.loopback.n_connections += 1

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """Keep quiet."""

    def do_GET(self) -> None:
        self._serve(None)

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.loopback.bytes_received[self.path] += len(content)
        self._serve(json.loads(content))

    def _serve(self, body: Any) -> None:
        loopback = self.server.loopback
        http_headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, self.path, http_headers, body)
        fault = loopback.enter(asked)
        try:
            time.sleep(fault.delay_seconds)
            self._send(fault.answer or loopback.respond(asked), fault)
        finally:
            loopback.leave()

    def _send(self, answer: Answer, fault: Fault) -> None:
        if fault.rewrite is not None:
            # Through JSON, as a client sees it.
            body = fault.rewrite(json.loads(answer.content()))
            answer = Answer(body, answer.status, answer.http_headers)
        content = answer.content()
        if fault.cut is not None:
            content = content[: int(len(content) * fault.cut)]
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in answer.http_headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.server.loopback.bytes_sent[self.path] += len(content)
        if fault.reset is None:
            self.wfile.write(content)
            return
        self.wfile.write(content[: int(len(content) * fault.reset)])
        self.wfile.flush()
        # Linger of zero: the kernel sends RST instead of a polite end.
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()
        self.close_connection = True
