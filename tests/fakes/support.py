"""Engines over services on loopback."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from latechunk_integrations import LateChunkEngine, LateChunkOptions, Parent
from latechunk_integrations.encoders.http.client import HttpClient
from latechunk_integrations.encoders.registry import load_encoder
from latechunk_integrations.encoders.services.chunk_api import ChunkApiEncoder
from tests.fakes.chunk_services import (
    KEY,
    JinaService,
    PerplexityService,
    Service,
    TinyReader,
    VoyageService,
)
from tests.fakes.loopback import LoopbackServer
from tests.tiny_models import WIDTH


def api_engine(
    server: LoopbackServer,
    encoder: str,
    *,
    limits: Mapping[str, int] | None = None,
    **options: Any,
) -> LateChunkEngine:
    """An engine over a service, with a model of 500 tokens and short waits between attempts."""
    defaults = {"model": "tiny", "max_tokens": 500, "dimensions": WIDTH, "max_retries": 3}
    server_options = {"base_url": server.url, "api_key": KEY}
    asked = LateChunkOptions(**{**defaults, **server_options, **options}, encoder=encoder)
    loaded = load_encoder(asked)
    assert isinstance(loaded, ChunkApiEncoder)
    loaded.client = HttpClient(replace(loaded.client.settings, first_wait_seconds=0.01))
    loaded.limits = replace(loaded.limits, **(limits or {}))
    return LateChunkEngine(loaded, asked)


@contextmanager
def serving(service: Service) -> Iterator[LoopbackServer]:
    """The service on loopback."""
    with LoopbackServer(service.respond) as server:
        yield server


SERVICES: dict[str, type[Service]] = {
    "jina": JinaService,
    "voyage": VoyageService,
    "perplexity": PerplexityService,
}


def service_of(encoder: str, reader: TinyReader, **limits: int) -> Service:
    """The service that an encoder speaks with."""
    return SERVICES[encoder](reader, **limits)


def words(letter: str, count: int) -> str:
    """A text in which every word stands once, of letters that the tiny model knows."""
    digits = str.maketrans("0123456789", "etaoinshrd")
    return " ".join(letter + f"{index:02}".translate(digits) for index in range(count))


@st.composite
def corpora(draw: st.DrawFn) -> list[Parent]:
    """Tiny and huge parents of words that stand once, with chunks of 1 to 4 words and gaps."""
    parents = []
    for index, letter in enumerate(draw(st.permutations("bcgu"))):
        text = words(letter, draw(st.sampled_from([1, 3, 20, 90])))
        pieces = text.split()
        spans, at = [], 0
        for size in draw(st.lists(st.integers(1, 4), min_size=1, max_size=30)):
            chunk = " ".join(pieces[at : at + size])
            if chunk and draw(st.integers(0, 4)):
                start = text.index(chunk)
                spans.append((start, start + len(chunk)))
            at += size
        parents.append(Parent(text, spans or [(0, len(pieces[0]))], id=f"{letter}{index}"))
    return parents


def unit(vectors: NDArray[Any]) -> NDArray[Any]:
    """Rows of unit length."""
    scaled: NDArray[Any] = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return scaled
