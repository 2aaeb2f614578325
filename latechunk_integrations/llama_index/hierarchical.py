"""`LateChunkHierarchicalNodeParser`: several chunk sizes from one reading."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from llama_index.core.bridge.pydantic import Field
from llama_index.core.node_parser import HierarchicalNodeParser

from latechunk_integrations.errors import OptionError
from latechunk_integrations.llama_index.node_parser import LateChunkNodeParser


class LateChunkHierarchicalNodeParser(LateChunkNodeParser):
    """Splits documents at several chunk sizes, and embeds all levels in one pass.

    Nodes come back as from ``HierarchicalNodeParser``: all levels in one list, linked to their
    parent and child nodes. Put the leaves (``get_leaf_nodes``) into the index and all nodes into
    the docstore of an ``AutoMergingRetriever``.

    Args:
        embed_model: A `LateChunkEmbedding`.
        chunk_sizes: Tokens of a chunk, one number for each level, largest first; 2,048, 512 and
            128 unless given.
        chunk_overlap: Tokens that neighbours share; 20 unless given.
        parent_level: See `LateChunkNodeParser`.
        section_parser: See `LateChunkNodeParser`.

    Raises:
        OptionError: Chunk sizes do not decrease.
    """

    chunk_sizes: list[int] = Field(description="Tokens of a chunk for each level.")
    chunk_overlap: int = Field(description="Tokens that neighbours share.")

    def __init__(self, **fields: Any) -> None:
        """Check the sizes and build the splitter from them."""
        sizes = fields.setdefault("chunk_sizes", [2048, 512, 128])
        if not sizes or any(big <= small for big, small in pairwise(sizes)):
            raise OptionError(f"chunk_sizes must decrease from level to level: {sizes}")
        fields["splitter"] = HierarchicalNodeParser.from_defaults(
            chunk_sizes=sizes,
            chunk_overlap=fields.setdefault("chunk_overlap", 20),
            include_metadata=fields.get("include_metadata", True),
            include_prev_next_rel=fields.get("include_prev_next_rel", True),
        )
        super().__init__(**fields)

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises this class."""
        return "LateChunkHierarchicalNodeParser"

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """Every field; the splitter follows from the chunk sizes."""
        data = super().to_dict(**kwargs)
        del data["splitter"]
        return data
