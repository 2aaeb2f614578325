"""What the engine gives for documents, and whether nodes have just that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from llama_index.core import Document
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import BaseNode, MetadataMode, TextNode

from latechunk_integrations import LateChunkEngine, Parent

SPLITTER = SentenceSplitter(chunk_size=24, chunk_overlap=0)

Vectors = dict[tuple[str | None, int], Any]
"""Vectors by document and start."""


def expected(engine: LateChunkEngine, documents: Iterable[BaseNode]) -> Vectors:
    """The engine's vectors by document and start, from the splitter's own texts.

    The only header is the title that stands in the metadata.
    """
    vectors: Vectors = {}
    for document in documents:
        if not isinstance(document, Document) or not document.text:
            continue
        spans, end = [], 0
        header = document.get_metadata_str(mode=MetadataMode.EMBED)
        for text in SPLITTER.split_text_metadata_aware(document.text, header):
            start = document.text.index(text, end)
            end = start + len(text)
            spans.append((start, end))
        title = str(document.metadata.get("title", ""))
        (result,) = engine.embed([Parent(document.text, spans, header=title)])
        for (start, _), vector in zip(spans, result.vectors, strict=True):
            vectors[document.doc_id, start] = vector
    return vectors


def check(nodes: Sequence[BaseNode], right: Vectors, atol: float = 1e-6) -> None:
    """Every expected chunk once, at its place, with its vector; nodes without text do not count."""
    filled = [node for node in nodes if node.get_content().strip()]
    found: Vectors = {}
    for node in filled:
        assert isinstance(node, TextNode)
        assert node.start_char_idx is not None
        found[node.ref_doc_id, node.start_char_idx] = np.array(node.get_embedding())
    assert len(found) == len(filled)
    assert found.keys() == right.keys()
    for place, vector in found.items():
        np.testing.assert_allclose(vector, right[place], atol=atol)


def check_stored(vectors: Sequence[Sequence[float]], right: Vectors, atol: float = 1e-5) -> None:
    """Every expected vector is among the stored ones, and none else."""
    stored, wanted = np.array(vectors), np.array(list(right.values()))
    assert len(stored) == len(wanted)
    distances = np.abs(stored[:, None] - wanted[None]).max(axis=2)
    assert distances.min(axis=0).max() <= atol
    assert distances.min(axis=1).max() <= atol


class Recorder(BaseEventHandler):
    """Keeps events."""

    events: list[BaseEvent]

    @classmethod
    def class_name(cls) -> str:
        return "Recorder"

    def handle(self, event: BaseEvent, **_: Any) -> None:
        self.events.append(event)
