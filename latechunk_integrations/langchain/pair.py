"""`late_chunking`: splitter and embeddings in one call, so that they cannot be half wired."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from latechunk_integrations.chunking_options import is_config
from latechunk_integrations.engine import LateChunkEngine
from latechunk_integrations.errors import OptionError
from latechunk_integrations.langchain.cutting import HeaderChoice, Splitter
from latechunk_integrations.langchain.embeddings import LateChunkEmbeddings
from latechunk_integrations.langchain.text_splitter import (
    LateChunkTextSplitter,
    ParentBy,
    read_fields,
)

__all__ = ["LateChunkPair", "late_chunking"]


class LateChunkPair(NamedTuple):
    """A splitter and the embeddings that know its chunks."""

    splitter: LateChunkTextSplitter
    embeddings: LateChunkEmbeddings


def late_chunking(
    model: str | Path | LateChunkEngine,
    splitter: Splitter | None = None,
    *,
    section_splitter: Splitter | None = None,
    header: HeaderChoice = "auto",
    parent_by: ParentBy = None,
    add_mode: bool = False,
    **options: Any,
) -> LateChunkPair:
    """A splitter and embeddings that belong together.

    Args:
        model: A hub name, a local path or a loaded engine; or a YAML file of options, which says
            splitter, header and ``parent_by`` too.
        splitter: See `LateChunkTextSplitter`.
        section_splitter: See `LateChunkTextSplitter`.
        header: See `LateChunkTextSplitter`.
        parent_by: See `LateChunkTextSplitter`.
        add_mode: See `LateChunkTextSplitter`.
        **options: Of `LateChunkEmbeddings`, and so of `LateChunkOptions`.
    """
    if is_config(model):
        if options or splitter is not None or header != "auto" or parent_by is not None:
            raise OptionError(f"options beside the file {model}: write them into it")
        fields = read_fields(str(model))
    else:
        named: dict[str, Any] = {
            "engine" if isinstance(model, LateChunkEngine) else "model_name": model
        }
        fields = {"splitter": splitter, "header": header, "parent_by": parent_by}
        fields["embeddings"] = LateChunkEmbeddings(**named, **options)
    made = LateChunkTextSplitter(**fields, section_splitter=section_splitter, add_mode=add_mode)
    return LateChunkPair(made, fields["embeddings"])
