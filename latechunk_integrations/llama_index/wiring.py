"""`late_chunking`: node parser and embed model in one call, so that they cannot be half wired."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any, NamedTuple

from llama_index.core.node_parser import NodeParser, SentenceSplitter
from llama_index.core.schema import TransformComponent
from llama_index.core.settings import Settings

from latechunk_integrations.chunking_options import is_config
from latechunk_integrations.engine import LateChunkEngine
from latechunk_integrations.errors import InputTypeError, OptionError
from latechunk_integrations.llama_index.configured import read_parts
from latechunk_integrations.llama_index.embedding import LateChunkEmbedding
from latechunk_integrations.llama_index.node_parser import LateChunkNodeParser
from latechunk_integrations.llama_index.parents import ParentLevel
from latechunk_integrations.llama_index.sources import ParentBy


class LateChunkParts(NamedTuple):
    """A node parser and the embed model that it embeds with."""

    node_parser: LateChunkNodeParser
    embed_model: LateChunkEmbedding


def late_chunking(
    model: str | PathLike[str] | LateChunkEngine,
    splitter: NodeParser | None = None,
    *,
    extractors: Sequence[TransformComponent] = (),
    parent_by: ParentBy | None = None,
    parent_level: ParentLevel = "document",
    settings: bool = False,
    **options: Any,
) -> LateChunkParts:
    """A node parser and an embed model that belong together.

    Args:
        model: A hub name, a local path or a loaded engine; or a YAML file, which holds all options,
            header and ``parent_by`` too. Beside a file only splitter and extractors can be given.
        splitter: See `LateChunkNodeParser`.
        extractors: See `LateChunkNodeParser`.
        parent_by: Which source documents are one parent, for both.
        parent_level: See `LateChunkNodeParser`.
        settings: Put both into LlamaIndex's ``Settings``, so that
            ``VectorStoreIndex.from_documents`` is late without another argument.
        **options: Of `LateChunkEmbedding`, and so of `LateChunkOptions`.

    Raises:
        OptionError: An option is unknown or impossible.
    """
    if is_config(model):
        parts = {**read_parts(str(model)), "extractors": list(extractors)}
        if splitter is not None:
            parts["splitter"] = splitter
        if options or parent_by is not None or parent_level != "document":
            raise OptionError(f"options beside the file {model}: write them into it")
        return _wire(LateChunkNodeParser(**parts), settings=settings)
    given: dict[str, Any] = {"parent_by": parent_by, **options}
    if isinstance(model, LateChunkEngine):
        embed_model = LateChunkEmbedding(engine=model, **given)
    else:
        embed_model = LateChunkEmbedding(model_name=str(model), **given)
    node_parser = LateChunkNodeParser(
        embed_model=embed_model,
        splitter=splitter or SentenceSplitter(),
        extractors=list(extractors),
        parent_by=parent_by,
        parent_level=parent_level,
    )
    return _wire(node_parser, settings=settings)


def _wire(node_parser: LateChunkNodeParser, *, settings: bool) -> LateChunkParts:
    embed_model = node_parser.embed_model
    if not isinstance(embed_model, LateChunkEmbedding):
        raise InputTypeError("the node parser has no embed model of this package")
    if settings:
        Settings.embed_model, Settings.node_parser = embed_model, node_parser
    return LateChunkParts(node_parser, embed_model)
