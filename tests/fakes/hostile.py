"""A raw socket in front of a service: healthy until armed, then it sends whatever it likes."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from typing_extensions import Self

Bytes: TypeAlias = Callable[[], Iterator[bytes]]
Rewrite: TypeAlias = Callable[[Any], Any]
"""Alters the parsed body of a healthy answer."""

_BLOCK = 1 << 16
_BOMB_BLOCK = 1 << 20
# Far more than anybody should read.
_ENDLESS_BYTES = 1 << 30


class Altered:
    """A healthy answer with another body.

    Args:
        rewrite: Makes the parsed body.
    """

    def __init__(self, rewrite: Rewrite) -> None:
        self._rewrite = rewrite

    def __call__(self, answer: bytes) -> bytes:
        """The answer, altered."""
        _, _, body = answer.partition(b"\r\n\r\n")
        content = json.dumps(self._rewrite(json.loads(body))).encode()
        return b"".join(_whole(content)())


class HostileServer:
    """Forwards to a healthy server; armed with a fault, it sends its bytes or an altered answer.

    Args:
        healthy_url: Of the real server that it forwards to.

    Attributes:
        fault: What it is armed with.
        only: The path that is attacked; ``None``: every one.
        paths: Those that were asked for.
    """

    def __init__(self, healthy_url: str) -> None:
        parts = urlsplit(healthy_url)
        self._behind = (str(parts.hostname), int(parts.port or 80))
        self.fault: Bytes | Altered | None = None
        self.only: str | None = None
        self.paths: set[str] = set()
        self.n_faults = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._closed = False

    @property
    def url(self) -> str:
        host, port = self._listener.getsockname()[:2]
        return f"http://{host}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed = True
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while not self._closed:
            try:
                connection, _ = self._listener.accept()
            except (TimeoutError, OSError):
                continue
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(10)
            request = _read_request(connection)
            if not request:
                return
            path = request.split(b" ", 2)[1].decode("latin-1")
            self.paths.add(path)
            if self.fault is None or self.only not in (None, path):
                connection.sendall(self._ask(request))
                return
            self.n_faults += 1
            if isinstance(self.fault, Altered):
                connection.sendall(self.fault(self._ask(request)))
                return
            for block in self.fault():
                connection.sendall(block)

    def _ask(self, request: bytes) -> bytes:
        """The healthy answer: one request a connection, so that the next can be another one."""
        head, _, body = request.partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection")]
        with socket.create_connection(self._behind, 10) as behind:
            behind.sendall(b"\r\n".join([*lines, b"Connection: close", b"", b""]) + body)
            answer = b""
            while block := behind.recv(_BLOCK):
                answer += block
        head, _, body = answer.partition(b"\r\n\r\n")
        return head + b"\r\nConnection: close\r\n\r\n" + body


def _read_request(connection: socket.socket) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request:
        block = connection.recv(_BLOCK)
        if not block:
            return b""
        request += block
    head, _, body = request.partition(b"\r\n\r\n")
    lengths = [
        int(line.partition(b":")[2])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    ]
    while lengths and len(body) < lengths[0]:
        block = connection.recv(_BLOCK)
        if not block:
            break
        request += block
        body += block
    return request


# --- faults ------------------------------------------------------------------------------------


def _whole(content: bytes, status: str = "200 OK", *more: str) -> Bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *more, "Connection: close"]
    return lambda: iter(["\r\n".join([*lines, "", ""]).encode("latin-1") + content])


def _raw(content: bytes) -> Bytes:
    return lambda: iter([content])


def _endless(head: bytes, block: bytes) -> Bytes:
    def send() -> Iterator[bytes]:
        yield head
        for _ in range(_ENDLESS_BYTES // len(block)):
            yield block

    return send


def _packed(content: bytes, how: str) -> Bytes:
    return _whole(content, "200 OK", f"Content-Encoding: {how}")


def gzip_bomb(n_bytes: int, filling: bytes) -> bytes:
    """Many bytes in a thousandth of them: one packed block again and again."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = filling * (_BOMB_BLOCK // len(filling))
    start = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    # After a full flush a block depends on none before it.
    again = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + again * (n_bytes // len(block))


_JSON: dict[str, str] = {
    "null": "null",
    "true": "true",
    "a number": "7",
    "a text": '"x"',
    "no text": '""',
    "an empty list": "[]",
    "an empty object": "{}",
    "a list of null": "[null]",
    "nested lists": "[[[[[[1]]]]]]",
    "deep lists": "[" * 100_000 + "]" * 100_000,
    "deep objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "data null": '{"data": null}',
    "data number": '{"data": 3}',
    "data empty": '{"data": []}',
    "data of nulls": '{"data": [null, null]}',
    "embedding null": '{"data": [{"index": 0, "embedding": null}]}',
    "embedding text": '{"data": [{"index": 0, "embedding": "%%%"}]}',
    "embedding object": '{"data": [{"index": 0, "embedding": {}}]}',
    "embedding NaN": '{"data": [{"index": 0, "embedding": [NaN]}]}',
    "embedding infinite": '{"data": [{"index": 0, "embedding": [Infinity]}]}',
    "embedding 1e999": '{"data": [{"index": 0, "embedding": [1e999, -1e999]}]}',
    "embedding of texts": '{"data": [{"index": 0, "embedding": ["1", "2"]}]}',
    "embedding of true": '{"data": [{"index": 0, "embedding": [true, false]}]}',
    "embedding ragged": '{"data": [{"index": 0, "embedding": [[1], [1, 2]]}]}',
    "index huge": '{"data": [{"index": 1e300, "embedding": [1, 2]}]}',
    "index infinite": '{"data": [{"index": Infinity, "embedding": [1, 2]}]}',
    "index negative": '{"data": [{"index": -1, "embedding": [1, 2]}]}',
    "index text": '{"data": [{"index": "0", "embedding": [1, 2]}]}',
    "a huge integer": '{"data": [{"index": ' + "9" * 4_000 + "}]}",
    "a longer integer": "9" * 100_000,
    "usage null": '{"data": [], "usage": null}',
    "usage infinite": '{"data": [], "usage": {"total_tokens": Infinity, "prompt_tokens": 1e400}}',
    "usage negative": '{"data": [], "usage": {"total_tokens": -5}}',
    "matrix of null": "[[[null]]]",
    "matrix of text": '[[["a", "b"]]]',
    "matrix ragged": "[[[1, 2], [1]]]",
    "matrix empty": "[[[]]]",
    "matrix 1e999": "[[[1e999]]]",
    "a matrix too many": "[[[1, 2]], [[1, 2]]]",
    "unfinished": '{"data": [{"embedding": [0.1, 0.2',
    "followed by more": '{"data": []} {"data": []}',
    "keys twice": '{"data": [], "data": 3}',
    "lone surrogates": '{"data": "\\ud800"}',
    "zero bytes": '{"data": "\\u0000"}',
    "many lists": "[" + "[]," * 400_000 + "[]]",
    "many objects": "[" + "{}," * 400_000 + "{}]",
    "many numbers": "[" + "1," * 3_000_000 + "1]",
}
_STATUSES = (
    *("100 Continue", "101 Switching Protocols", "199 Odd", "201 Created", "204 No Content"),
    *("206 Partial Content", "299 Odd", "300 Multiple", "304 Not Modified", "400 Bad Request"),
    *("401 Unauthorized", "402 Pay", "403 Forbidden", "404 Not Found", "405 No", "408 Timeout"),
    *("409 Conflict", "413 Too Large", "418 Teapot", "422 No", "424 Failed", "425 Early"),
    *("429 Too Many", "431 Headers", "451 Law", "500 Error", "501 No", "502 Bad", "503 Busy"),
    *("504 Timeout", "507 Full", "599 Odd", "600 Odd", "999 Odd"),
)


def _of_transport() -> dict[str, Bytes]:
    ok = b"HTTP/1.1 200 OK\r\n"
    chunked = ok + b"Transfer-Encoding: chunked\r\n\r\n"
    return {
        "nothing": _raw(b""),
        "zeros": _raw(b"\0" * 4_000),
        "a line end": _raw(b"\r\n\r\n"),
        "TLS": _raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        "SSH": _raw(b"SSH-2.0-OpenSSH_9.0\r\n"),
        "no version": _raw(b"200 OK\r\n\r\n{}"),
        "HTTP/9.9": _raw(b"HTTP/9.9 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
        "no number": _raw(b"HTTP/1.1 abc OK\r\n\r\n"),
        "a number too long": _raw(b"HTTP/1.1 20000 OK\r\n\r\n"),
        "half a head": _raw(b"HTTP/1.1 200 OK\r\nContent-Le"),
        "length negative": _raw(ok + b"Content-Length: -1\r\n\r\n{}"),
        "length no number": _raw(ok + b"Content-Length: many\r\n\r\n{}"),
        "length twice": _raw(ok + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
        "length too long": _raw(ok + b"Content-Length: 900\r\n\r\n{}"),
        "length huge": _raw(ok + b"Content-Length: 99999999999999999999\r\n\r\n{}"),
        "length too short": _raw(ok + b'Content-Length: 2\r\n\r\n{"data": []}'),
        "chunk no number": _raw(chunked + b"zz\r\n{}\r\n0\r\n\r\n"),
        "chunk negative": _raw(chunked + b"-2\r\n{}\r\n0\r\n\r\n"),
        "chunk huge": _raw(chunked + b"FFFFFFFFFFFFFFFF\r\n{}"),
        "chunk unfinished": _raw(chunked + b"40\r\n{}"),
        "no last chunk": _raw(chunked + b"2\r\n{}\r\n"),
        "chunked and length": _raw(
            ok + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        ),
        "a header of a megabyte": _raw(ok + b"X-Long: " + b"a" * (1 << 20) + b"\r\n\r\n{}"),
        "many headers": _raw(ok + b"X-A: b\r\n" * 50_000 + b"\r\n{}"),
        "headers without end": _endless(ok, b"X-A: " + b"b" * 1_000 + b"\r\n"),
        "a header of bytes": _raw(
            ok + b"X-Request-ID: \xff\xfe\x01\r\nContent-Length: 2\r\n\r\n{}"
        ),
        "a body without end": _endless(ok + b"\r\n", b"[" + b"0," * 30_000),
        "chunks without end": _endless(chunked, b"8000\r\n" + b"1" * 0x8000 + b"\r\n"),
        "spaces without end": _endless(ok + b"\r\n", b" " * _BLOCK),
        "a refusal without end": _endless(b"HTTP/1.1 400 No\r\n\r\n", b"no " * 20_000),
    }


def _of_packing() -> dict[str, Bytes]:
    whole = gzip.compress(b'{"data": []}')
    return {
        "gzip: bomb of zeros": _packed(gzip_bomb(_ENDLESS_BYTES, b"\0"), "gzip"),
        "gzip: bomb of numbers": _packed(gzip_bomb(_ENDLESS_BYTES, b"0.1,"), "gzip"),
        "gzip: bomb of lists": _packed(gzip_bomb(_ENDLESS_BYTES, b"[],["), "gzip"),
        "gzip: bomb that refuses": _whole(
            gzip_bomb(_ENDLESS_BYTES, b"no "), "400 No", "Content-Encoding: gzip"
        ),
        "gzip: garbage": _packed(b"no gzip at all", "gzip"),
        "gzip: cut": _packed(whole[:-9], "gzip"),
        "gzip: wrong sum": _packed(whole[:-8] + b"\0" * 8, "gzip"),
        "gzip: twice": _packed(gzip.compress(whole), "gzip"),
        "gzip: two members": _packed(whole + whole, "gzip"),
        "deflate: garbage": _packed(b"\xff" * 100, "deflate"),
        "br": _packed(b"\x0b\x02\x80", "br"),
        "zstd": _packed(b"\x28\xb5\x2f\xfd", "zstd"),
        "gzip, gzip": _packed(whole, "gzip, gzip"),
        "an encoding of nobody": _packed(b"{}", "x" * 3_000),
    }


def _every(kinds: type | tuple[type, ...], make: Callable[[Any], Any]) -> Altered:
    """Every value of some kinds is another one, the innermost first."""

    def rewrite(value: Any) -> Any:
        if isinstance(value, dict):
            value = {key: rewrite(each) for key, each in value.items()}
        elif isinstance(value, list):
            value = [rewrite(each) for each in value]
        is_meant = isinstance(value, kinds) and not isinstance(value, bool)
        return make(value) if is_meant else value

    return Altered(rewrite)


def alterations() -> dict[str, Altered]:
    """Answers of the right form that say what cannot be, by name."""
    return {
        "numbers are null": _every((int, float), lambda _: None),
        "numbers are texts": _every((int, float), str),
        "numbers are lists": _every((int, float), lambda value: [value]),
        "integers are huge": _every(int, lambda _: 10**12),
        "integers are beyond all": _every(int, lambda _: 10**400),
        "integers are negative": _every(int, lambda value: -1 - value),
        "integers are zero": _every(int, lambda _: 0),
        "floats are beyond float32": _every(float, lambda _: 1e300),
        "texts are numbers": _every(str, len),
        "texts are null": _every(str, lambda _: None),
        "texts are empty": _every(str, lambda _: ""),
        "lists are empty": _every(list, lambda _: []),
        "lists are objects": _every(list, lambda value: dict(enumerate(value))),
        "lists come twice": _every(list, lambda value: value * 2),
        "lists lack the last": _every(list, lambda value: value[:-1]),
        "objects are lists": _every(dict, lambda value: list(value.values())),
        "objects are empty": _every(dict, lambda _: {}),
        "all is in a list": Altered(lambda value: [value]),
        "all is in an object": Altered(lambda value: {"data": value}),
    }


def faults() -> dict[str, Bytes]:
    """More than a hundred, by name."""
    of_status = {f"status {status}": _whole(b'{"error": "no"}', status) for status in _STATUSES}
    odd = {
        "redirect to itself": _whole(b"", "302 Found", "Location: /"),
        "redirect to a file": _whole(b"", "301 Moved", "Location: file:///etc/hosts"),
        "retry after NaN": _whole(b"", "429 Too Many", "Retry-After: nan"),
        "retry after a word": _whole(b"", "503 Busy", "Retry-After: Fri, 99 Foo 0000 99:99:99 X"),
        "retry after minus": _whole(b"", "429 Too Many", "Retry-After: -1e9"),
        "not UTF-8": _whole(b'{"data": "\xff\xfe"}'),
        "UTF-16": _whole(json.dumps({"data": []}).encode("utf-16")),
        "a byte order mark": _whole(b'\xef\xbb\xbf{"data": []}'),
        "HTML": _whole(b"<html>" * 1_000, "200 OK", "Content-Type: text/html"),
        "nothing in it": _whole(b""),
    }
    of_json = {f"JSON: {name}": _whole(text.encode()) for name, text in _JSON.items()}
    return {**_of_transport(), **of_status, **odd, **of_json, **_of_packing()}


def shows(error: BaseException | None, secret: str) -> bool:
    """Whether an error, or one that it comes from, shows a secret."""
    seen: list[Any] = []
    while error is not None and error not in seen:
        if secret in f"{error} {error!r} {vars(error)}":
            return True
        seen.append(error)
        error = error.__cause__ or error.__context__
    return False
