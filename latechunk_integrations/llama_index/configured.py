"""Splitter and embed model as one file of options says, the file that `latechunk tune` writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.node_parser.interface import TextSplitter

from latechunk_integrations.chunking_options import ChunkingOptions
from latechunk_integrations.engine import shared_engine
from latechunk_integrations.llama_index.embedding import LateChunkEmbedding
from latechunk_integrations.options import LateChunkOptions
from latechunk_integrations.splitting import configured_splitter


class ConfiguredSplitter(TextSplitter):
    """The splitter that a file of options names, which counts the model's own tokens.

    Args:
        engine: Options of the engine; see `LateChunkOptions`.
        chunking: How documents are cut; see `ChunkingOptions`.
    """

    engine: dict[str, Any] = Field(description="Options of the engine that counts tokens.")
    chunking: dict[str, Any] = Field(description="Splitter, chunk size and overlap.")
    _split: Callable[[str], list[str]] | None = PrivateAttr(default=None)

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises this class."""
        return "LateChunkConfiguredSplitter"

    def split_text(self, text: str) -> list[str]:
        """The chunks of a text."""
        if self._split is None:
            options = ChunkingOptions.from_config({"chunking": self.chunking})
            engine = shared_engine(LateChunkOptions.from_config(self.engine))
            self._split = configured_splitter(options, engine.encoder)
        return self._split(text)


def read_parts(source: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    """What a file says, as fields of `LateChunkNodeParser`.

    Args:
        source: Path of a YAML file, or a mapping.

    Returns:
        ``embed_model``, ``splitter`` and ``parent_by``.

    Raises:
        OptionError: The file cannot be read, or an option is wrong.
    """
    options = LateChunkOptions.from_config(source)
    chunking = ChunkingOptions.from_config(source)
    embed_model = LateChunkEmbedding(
        engine=shared_engine(options), header=chunking.header, parent_by=chunking.parent_by
    )
    splitter = ConfiguredSplitter(engine=options.to_dict(), chunking=chunking.to_dict())
    return {"embed_model": embed_model, "splitter": splitter, "parent_by": chunking.parent_by}
