"""Spans and counts for OpenTelemetry, where its API is installed; nothing where it is not.

The extra ``otel`` brings the API. Where spans and counts go is for the application to say, with
OpenTelemetry's own SDK. None of them holds a text, an id of a document or a key.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from typing import Any

_SCOPE = "latechunk_integrations"


@contextmanager
def trace_span(name: str, **attributes: str | float) -> Iterator[None]:
    """A span around a block; an error sets its status, without its message."""
    tracer = _tracer()
    if tracer is None:
        yield
        return
    with tracer.start_as_current_span(
        name, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield
        except Exception as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(import_module("opentelemetry.trace").StatusCode.ERROR)
            raise


def count_event(name: str, n: int = 1, **attributes: str) -> None:
    """Add to a counter.

    Args:
        name: Such as ``latechunk.chunks``.
        n: How many.
        **attributes: What they are counted by; few values, for each makes a series.
    """
    counter = _counter(name)
    if counter is not None and n:
        counter.add(n, attributes)


@lru_cache(maxsize=1)
def _tracer() -> Any:
    try:
        return import_module("opentelemetry.trace").get_tracer(_SCOPE)
    except ImportError:
        return None


@lru_cache(maxsize=64)
def _counter(name: str) -> Any:
    try:
        return import_module("opentelemetry.metrics").get_meter(_SCOPE).create_counter(name)
    except ImportError:
        return None
