"""`late_chunking`: splitter and embeddings in one call, so that they cannot be half wired."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from latechunk_integrations.engine import LateChunkEngine
from latechunk_integrations.langchain.embeddings import LateChunkEmbeddings
from latechunk_integrations.langchain.text_splitter import LateChunkTextSplitter, Splitter

__all__ = ["LateChunkPair", "late_chunking"]


class LateChunkPair(NamedTuple):
    """A splitter and the embeddings that know its chunks."""

    splitter: LateChunkTextSplitter
    embeddings: LateChunkEmbeddings


def late_chunking(
    model: str | LateChunkEngine,
    splitter: Splitter | None = None,
    *,
    section_splitter: Splitter | None = None,
    header_from: Iterable[str] = (),
    add_end_index: bool = False,
    add_mode: bool = False,
    **options: Any,
) -> LateChunkPair:
    """A splitter and embeddings that belong together.

    Args:
        model: A hub name, a local path or a loaded engine.
        splitter: See `LateChunkTextSplitter`.
        section_splitter: See `LateChunkTextSplitter`.
        header_from: See `LateChunkTextSplitter`.
        add_end_index: See `LateChunkTextSplitter`.
        add_mode: See `LateChunkTextSplitter`.
        **options: Of `LateChunkEmbeddings`, and so of `LateChunkOptions`.
    """
    named = {"engine": model} if isinstance(model, LateChunkEngine) else {"model_name": model}
    embeddings = LateChunkEmbeddings(**named, **options)
    return LateChunkPair(
        LateChunkTextSplitter(
            embeddings=embeddings,
            splitter=splitter,
            section_splitter=section_splitter,
            header_from=header_from,
            add_end_index=add_end_index,
            add_mode=add_mode,
        ),
        embeddings,
    )
