"""Splitter and embeddings as one file of options says, the file that `latechunk tune` writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latechunk_integrations.chunking_options import ChunkingOptions
from latechunk_integrations.engine import shared_engine
from latechunk_integrations.langchain.embeddings import LateChunkEmbeddings
from latechunk_integrations.options import LateChunkOptions
from latechunk_integrations.splitting import text_splitter

__all__ = ["read_fields"]


def read_fields(source: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    """What a file says, as arguments of `LateChunkTextSplitter`.

    Args:
        source: Path of a YAML file, or a mapping.

    Returns:
        ``embeddings``, ``splitter``, ``header`` and ``parent_by``.

    Raises:
        OptionError: The file cannot be read, or an option is wrong.
    """
    chunking = ChunkingOptions.from_config(source)
    engine = shared_engine(LateChunkOptions.from_config(source))
    split = text_splitter(
        chunking.splitter, chunking.chunk_size, engine.encoder, chunking.arguments
    )

    def split_text(text: str) -> list[str]:
        return [chunk if isinstance(chunk, str) else text[slice(*chunk)] for chunk in split(text)]

    return {
        "embeddings": LateChunkEmbeddings(engine=engine),
        "splitter": split_text,
        "header": chunking.header,
        "parent_by": chunking.parent_by,
    }
