"""`LateChunkPropertyGraphIndex`: a property graph whose chunks have late vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core import PropertyGraphIndex
from llama_index.core.schema import BaseNode

from latechunk_integrations.llama_index.embedding import LateChunkEmbedding
from latechunk_integrations.llama_index.marking import is_marked


class LateChunkPropertyGraphIndex(PropertyGraphIndex):
    """A ``PropertyGraphIndex`` that keeps late vectors.

    LlamaIndex's own embeds every chunk again by its text and overwrites what it has. Here chunks
    that carry a late vector keep it, and others get one if ``embed_model`` is a
    `LateChunkEmbedding`: ``transformations`` may stay as they are. Entities and queries are
    embedded plainly with the same model.
    """

    def _insert_nodes(self, nodes: Sequence[BaseNode]) -> Sequence[BaseNode]:
        model: Any = self._embed_model
        if isinstance(model, LateChunkEmbedding):
            nodes = model(nodes)
            # What is embedded below has no parent by right.
            self._embed_model = model.plain()
        kept = {node.node_id: node.embedding for node in nodes if is_marked(node)}
        try:
            inserted = super()._insert_nodes(nodes)
        finally:
            self._embed_model = model
        late = [node for node in inserted if node.node_id in kept]
        for node in late:
            node.embedding = kept[node.node_id]
        if late and self._embed_kg_nodes:
            self.property_graph_store.upsert_llama_nodes(late)
        return inserted
