"""Models of every architecture, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architectures import LAYOUTS, write_model


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of a tiny model in each published layout, by name."""
    folder = tmp_path_factory.mktemp("published")
    return {name: write_model(folder, layout) for name, layout in LAYOUTS.items()}
