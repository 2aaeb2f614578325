"""One file says how documents are cut and embedded, and every part reads the same of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from latechunk_integrations import LateChunkOptions
from latechunk_integrations.bulk import Chunking
from latechunk_integrations.chunking_options import ChunkingOptions
from latechunk_integrations.cli.flags import read_chunking
from latechunk_integrations.errors import OptionError
from latechunk_integrations.evaluation.splitters import Overlapping

FILE = """\
engine:
  model: some/model
  focus: 2.0
chunking:
  splitter: recursive
  chunk_size: 96
  chunk_overlap: 8
  parent_by: file_path
  header: title
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "latechunk.yaml"
    path.write_text(FILE, encoding="utf-8")
    return path


def test_every_part_reads_the_same(config: Path) -> None:
    assert LateChunkOptions.from_config(config) == LateChunkOptions(model="some/model", focus=2.0)
    options = ChunkingOptions.from_config(config)
    assert options == ChunkingOptions(
        chunk_size=96, chunk_overlap=8, parent_by="file_path", header="title"
    )
    assert Chunking.from_config(config) == Chunking("recursive", 96, {"chunk_overlap": 8})
    assert read_chunking(config, None, None) == (Overlapping("recursive", 8), [96], "attended")
    assert read_chunking(config, "sentences", [64]) == ("sentences", [64], "attended")
    assert ChunkingOptions.from_config({"chunking": options.to_dict()}) == options


def test_a_file_without_the_section_has_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "flat.yaml"
    path.write_text("model: some/model\n", encoding="utf-8")
    assert LateChunkOptions.from_config(path).model == "some/model"
    assert ChunkingOptions.from_config(path) == ChunkingOptions()
    assert read_chunking(path, None, None) == ("recursive", None, "auto")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"chunk_sise": 3}, "did you mean 'chunk_size'"),
        ({"chunk_size": 0}, "at least 1"),
        ({"chunk_size": True}, "at least 1"),
        ({"chunk_overlap": -1}, "at least 0"),
        ({"splitter": ""}, "must be a name"),
        ({"header": 3}, "metadata key"),
        ("recursive", "must hold a mapping"),
    ],
)
def test_a_wrong_section_is_named(section: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        ChunkingOptions.from_config({"model": "m", "chunking": section})


def test_options_beside_the_engine_section_are_refused() -> None:
    with pytest.raises(OptionError, match="and beside it"):
        LateChunkOptions.from_config({"engine": {"model": "m"}, "focus": 1})
    with pytest.raises(OptionError, match="must hold a mapping"):
        LateChunkOptions.from_config({"engine": "m"})
