"""Engines over services on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from latechunk_integrations import LateChunkEngine, LateChunkOptions
from latechunk_integrations.encoders.chunk_api import ChunkApiEncoder
from latechunk_integrations.encoders.http import HttpClient
from latechunk_integrations.encoders.registry import load_encoder
from tests.servers.chunk_services import KEY, Service
from tests.servers.loopback import LoopbackServer
from tests.tiny_models import WIDTH


def api_engine(server: LoopbackServer, encoder: str, **options: Any) -> LateChunkEngine:
    """An engine over a service, with a model of 500 tokens and short waits between attempts."""
    defaults = {"model": "tiny", "max_tokens": 500, "dimensions": WIDTH, "max_retries": 3}
    server_options = {"base_url": server.url, "api_key": KEY}
    asked = LateChunkOptions(**{**defaults, **server_options, **options}, encoder=encoder)  # type: ignore[arg-type]  # checked there
    loaded = load_encoder(asked)
    assert isinstance(loaded, ChunkApiEncoder)
    loaded.client = HttpClient(replace(loaded.client.settings, first_wait_seconds=0.01))
    return LateChunkEngine(loaded, asked)


@contextmanager
def serving(service: Service) -> Iterator[LoopbackServer]:
    """The service on loopback."""
    with LoopbackServer(service.respond) as server:
        yield server
