"""The HTTP client of all server encoders: retries, limits and typed errors in one place."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import json
import logging
import os
import ssl
import threading
import uuid
import weakref
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

from latechunk_integrations.encoders.http.bounded_body import ACCEPTED_ENCODINGS, BoundedBody
from latechunk_integrations.encoders.http.call import Call, JsonReceiver, Receiver, json_call
from latechunk_integrations.encoders.http.settings import HttpSettings
from latechunk_integrations.errors import (
    AuthenticationError,
    BrokenAnswerError,
    MissingExtraError,
    RateLimitError,
    RequestRefusedError,
    ServerAnswerError,
    ServerError,
    ServerUnavailableError,
)
from latechunk_integrations.telemetry import count_event, trace_span

try:
    import httpx
    import tenacity
except ImportError as error:
    raise MissingExtraError(str(error.name), extra="servers") from error

__all__ = ["Call", "HttpClient", "HttpSettings", "JsonReceiver", "Receiver", "json_call"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_CONNECT_SECONDS = 10.0
_CLOSE_SECONDS = 5.0
_LONGEST_WAIT_SECONDS = 60.0
# What a service calls its own id of a request.
_ID_HEADERS = ("x-request-id", "request-id", "x-amzn-requestid")
_REFUSED_KEY = (401, 403)
# 424: Text Embeddings Inference says so when its backend fails.
_MAY_PASS = (408, 424, 425)
_TOO_MANY = 429
_SERVER_FAILED = 500
_DETAIL_CHARS = 300
_DETAIL_BYTES = 1 << 16
_RAW_BYTES = 1 << 16


class HttpClient:
    """Sends calls from any thread over one pool of connections, and gives typed results.

    A background thread with an event loop does the work. It starts with the first call, ends
    with `close` or with the client, and is not taken into forked or unpickled copies, which
    start their own. Not sent again: what the server refuses for good, and complete but wrong
    answers. Everything else is, ``max_retries`` times, with growing random waits, or as
    long as ``Retry-After`` asks (a minute at most).

    Args:
        settings: How the server is reached.
        key_needed: The service answers nobody without a key.

    Raises:
        AuthenticationError: A key is needed, and neither given nor in the environment.
    """

    def __init__(self, settings: HttpSettings, *, key_needed: bool = False) -> None:
        self.settings = settings
        self._key_needed = key_needed
        self._guard = threading.Lock()
        self._session: _Session | None = None
        self._finalizer: weakref.finalize[[], HttpClient] | None = None
        key = settings.key()
        if key is None and key_needed:
            raise AuthenticationError(
                f"{settings.base_url} wants a key: pass api_key= or set {settings.key_variable}"
            )
        if key is not None and not _is_private(settings.base_url):
            logger.warning(
                "the key goes to %s without encryption; use an https address", settings.base_url
            )

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self.settings, self._key_needed)

    def __deepcopy__(self, memo: dict[int, Any]) -> HttpClient:
        return HttpClient(self.settings, key_needed=self._key_needed)

    def run(self, call: Call[T]) -> T:
        """The result of one call.

        Raises:
            ServerError: What went wrong, with the ids of parent and request.
        """
        future = self._open().submit(call)
        try:
            return future.result()
        finally:
            future.cancel()

    def run_once(self, call: Call[T]) -> T:
        """The result of a call that is not sent again, whatever the refusal says."""
        once = HttpClient(replace(self.settings, max_retries=0), key_needed=self._key_needed)
        with contextlib.closing(once) as client:
            return client.run(call)

    def submit(self, call: Call[T]) -> Future[T]:
        """The result of one call, to come; cancelling it gives the request up."""
        return self._open().submit(call)

    def run_all(self, calls: Iterable[Call[T]]) -> Iterator[T]:
        """The results of calls, in their order, whatever order the answers come in.

        No more than ``max_concurrency`` calls are in flight or wait to be taken.

        Raises:
            ServerError: The first that went wrong; later calls are cancelled.
        """
        session = self._open()
        waiting: deque[Future[T]] = deque()
        try:
            for call in calls:
                if len(waiting) == self.settings.max_concurrency:
                    yield waiting[0].result()
                    waiting.popleft()
                waiting.append(session.submit(call))
            while waiting:
                yield waiting[0].result()
                waiting.popleft()
        finally:
            for future in waiting:
                future.cancel()

    def close(self) -> None:
        """Close the connections and end the thread; a later call starts anew.

        Calls of other threads that are on their way end with a `ServerUnavailableError`.
        """
        with self._guard:
            finalizer, self._session, self._finalizer = self._finalizer, None, None
        if finalizer is not None:
            finalizer()  # closes the session, and lets go of it

    @contextlib.contextmanager
    def closed_on_error(self) -> Iterator[HttpClient]:
        """Itself; closed where what it is needed for fails."""
        try:
            yield self
        except BaseException:
            self.close()
            raise

    def _open(self) -> _Session:
        session = self._session
        if session is not None and session.pid != os.getpid():
            # A fork copies neither thread nor loop, and perhaps a lock that is held.
            self._guard, self._session = threading.Lock(), None
        with self._guard:
            if self._session is None:
                self._session = _Session(self.settings)
                self._finalizer = weakref.finalize(self, self._session.close)
            return self._session


@functools.cache
def _trusted() -> ssl.SSLContext:
    """The certificates that are trusted: a megabyte, once for all sessions."""
    return httpx.create_ssl_context()


class _Session:
    """An event loop in a thread, with its connections; belongs to one process."""

    def __init__(self, settings: HttpSettings) -> None:
        self.pid = os.getpid()
        self._settings = settings
        self._key = settings.key()
        http_headers = {"Content-Type": "application/json", "Accept-Encoding": ACCEPTED_ENCODINGS}
        if self._key is not None:
            http_headers["Authorization"] = f"Bearer {self._key.get_secret_value()}"
        seconds = settings.timeout_seconds
        self._client = httpx.AsyncClient(
            base_url=settings.base_url,
            headers=http_headers,
            timeout=httpx.Timeout(seconds, connect=min(_CONNECT_SECONDS, seconds)),
            verify=_trusted(),
            limits=httpx.Limits(
                max_connections=settings.max_concurrency,
                max_keepalive_connections=settings.max_concurrency,
            ),
        )
        self._slots = asyncio.Semaphore(settings.max_concurrency)
        self._loop = asyncio.new_event_loop()
        self._closed = False
        self._guard = threading.Lock()
        self._thread = threading.Thread(
            target=_serve, args=(self._loop,), name="latechunk-http", daemon=True
        )
        self._thread.start()

    def submit(self, call: Call[T]) -> Future[T]:
        # Under the guard every call is taken before the loop is told to end, and so is answered.
        with self._guard:
            if self._closed:
                raise _closed_error(call)
            return asyncio.run_coroutine_threadsafe(self._send(call), self._loop)

    def close(self) -> None:
        if self.pid != os.getpid():
            return
        with self._guard:
            if self._closed:
                return
            self._closed = True
            asyncio.run_coroutine_threadsafe(self._shut(), self._loop)
        # The garbage collector may run this in the very thread that is to end.
        if threading.current_thread() is not self._thread:
            self._thread.join(_CLOSE_SECONDS)

    async def _shut(self) -> None:
        try:
            await _cancel(asyncio.all_tasks() - {asyncio.current_task()})
            await self._client.aclose()
        finally:
            self._loop.stop()

    async def _send(self, call: Call[T]) -> T:
        request_id = uuid.uuid4().hex
        try:
            return await self._try_often(call, request_id)
        except asyncio.CancelledError:
            if not self._closed:  # the caller gave it up
                raise
        raise _closed_error(call, request_id)

    async def _try_often(self, call: Call[T], request_id: str) -> T:
        attempts = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(self._settings.max_retries + 1),
            retry=tenacity.retry_if_exception(_may_pass),
            wait=self._wait,
            before_sleep=_log_retry,
            reraise=True,
        )
        # A call keeps its slot while it waits: in a storm of 429 nobody else should push.
        async with self._slots:
            async for attempt in attempts:
                with attempt, self._observed(call):
                    return await self._try(call, request_id)
        raise AssertionError("tenacity returns or raises")

    @contextlib.contextmanager
    def _observed(self, call: Call[Any]) -> Iterator[None]:
        """A span and a count of one attempt."""
        outcome = "answered"
        try:
            with trace_span("latechunk.request", path=call.path):
                yield
        except Exception as error:
            outcome = type(error).__name__
            raise
        finally:
            count_event("latechunk.requests", path=call.path, outcome=outcome)

    async def _try(self, call: Call[T], request_id: str) -> T:
        seconds = self._settings.timeout_seconds
        try:
            return await asyncio.wait_for(self._exchange(call, request_id), seconds)
        except (asyncio.TimeoutError, httpx.TimeoutException) as error:
            cause: Exception | None = error
            problem: ServerError = ServerUnavailableError(
                f"{self._settings.base_url} gave no complete answer to {call.path} in time "
                f"(timeout_seconds={seconds:g})"
            )
        except httpx.LocalProtocolError:
            # Its text may hold a header, and so the key.
            cause = None
            problem = RequestRefusedError(
                f"the request to {self._settings.base_url}{call.path} cannot be written as HTTP; "
                "check the address and the key"
            )
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            problem = ServerUnavailableError(
                f"the connection to {self._settings.base_url} failed at {call.path}: "
                f"{type(error).__name__} {error}"
            )
            cause = error
        problem.parent_id, problem.row = call.parent_id, call.row
        problem.request_id = request_id
        raise problem from cause

    async def _exchange(self, call: Call[T], request_id: str) -> T:
        http_headers = {"X-Request-ID": request_id}
        method = "GET" if call.body is None else "POST"
        content = None if call.body is None else json.dumps(call.body, ensure_ascii=False).encode()
        # A path beginning with "/" goes after the path of the base URL.
        async with self._client.stream(
            method, call.path, content=content, headers=http_headers
        ) as response:
            given = (response.headers.get(name) for name in _ID_HEADERS)
            request_id = next((one for one in given if one), request_id)
            try:
                packed = response.headers.get("content-encoding", "")
                if not response.is_success:
                    raise self._name_refusal(response, await _read_start(response, packed))
                body = BoundedBody(packed, len(content or b""))
                receiver = call.receive()
                async for raw in response.aiter_raw(_RAW_BYTES):
                    for part in body.feed(raw):
                        receiver.feed(part)
                body.close()
                return receiver.close()
            except ServerError as error:
                error.parent_id, error.row = call.parent_id, call.row
                error.request_id = request_id
                raise

    def _name_refusal(self, response: httpx.Response, body: bytes) -> ServerError:
        detail = body.decode(errors="replace").strip()
        if self._key is not None:  # some services repeat the key that they refuse
            detail = detail.replace(self._key.get_secret_value(), str(self._key))
        status = response.status_code
        said = f"{response.request.url} answered {status}: {detail[:_DETAIL_CHARS]}"
        if status in _REFUSED_KEY:
            hint = f"check api_key or {self._settings.key_variable}"
            return AuthenticationError(f"{said}; {hint}")
        wait = _retry_after(response.headers.get("retry-after"))
        if status == _TOO_MANY:
            return RateLimitError(
                f"{said}; lower max_concurrency or raise max_retries", retry_after_seconds=wait
            )
        if status in _MAY_PASS or status >= _SERVER_FAILED:
            return ServerUnavailableError(said, retry_after_seconds=wait)
        refused = RequestRefusedError(said)
        refused.status = status
        return refused

    def _wait(self, state: tenacity.RetryCallState) -> float:
        wait = tenacity.wait_random_exponential(
            multiplier=self._settings.first_wait_seconds, max=_LONGEST_WAIT_SECONDS
        )(state)
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after_seconds if isinstance(error, ServerError) else None
        return wait if asked is None else min(asked, _LONGEST_WAIT_SECONDS)


async def _read_start(response: httpx.Response, packed: str) -> bytes:
    """The first bytes of a refusal, which may be packed, or longer than anybody reads."""
    start = b""
    with contextlib.suppress(ServerAnswerError):  # it is a refusal, whatever it says
        body = BoundedBody(packed, 0)
        async for raw in response.aiter_raw(_RAW_BYTES):
            for part in body.feed(raw):
                start += part
                if len(start) > _DETAIL_BYTES:
                    return start
    return start


def _rebuild(settings: HttpSettings, key_needed: bool) -> HttpClient:  # noqa: FBT001  # for pickle
    return HttpClient(settings, key_needed=key_needed)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(_cancel(asyncio.all_tasks(loop)))
        loop.close()


async def _cancel(tasks: Collection[asyncio.Task[Any] | None]) -> None:
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def _closed_error(call: Call[Any], request_id: str | None = None) -> ServerError:
    return ServerUnavailableError(
        "the client was closed during this call",
        parent_id=call.parent_id,
        row=call.row,
        request_id=request_id,
    )


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, (ServerUnavailableError, RateLimitError, BrokenAnswerError))


def _log_retry(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    seconds = state.next_action.sleep if state.next_action else 0.0
    logger.info("attempt %d, next in %.1f s: %s", state.attempt_number, seconds, error)


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After, which is a number or a date; None where it is neither."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError, LookupError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=timezone.utc)
    return max(0.0, (when - datetime.now(timezone.utc)).total_seconds())


def _is_private(url: str) -> bool:
    """Whether nobody on the way can read what goes to this address."""
    parts = urlsplit(url)
    if parts.scheme == "https" or parts.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False
