"""Any node parser in front: what each makes of documents gets the engine's late vectors."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import tree_sitter_python
from langchain_text_splitters import RecursiveCharacterTextSplitter
from llama_index.core import Document
from llama_index.core.ingestion import run_transformations
from llama_index.core.node_parser import (
    CodeSplitter,
    HTMLNodeParser,
    JSONNodeParser,
    LangchainNodeParser,
    NodeParser,
    SemanticSplitterNodeParser,
    SentenceSplitter,
    SentenceWindowNodeParser,
    TextSplitter,
    TokenTextSplitter,
)
from llama_index.core.schema import BaseNode, ImageNode, MetadataMode, NodeRelationship, TextNode
from tree_sitter import Language, Parser

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.errors import ChunkNotFoundError, OptionError
from latechunk_integrations.llama_index import LateChunkEmbedding, LateChunkNodeParser
from tests.llama_index.support import check, expected

PYTHON = Language(tree_sitter_python.language())
# Not a whole number of times the same: old releases could not tell that from copies of a document.
PROSE = (
    "Berlin is the capital of Germany. Its population is 3.9 million. All rights reserved. "
    "The city is a state of its own. All rights reserved. The river is the Spree. "
) * 2 + "It ends here."
CODE = "\n\n".join(f"def part_{n}(x):\n    y = x + {n}\n    return y * {n}" for n in range(8))
JSON = json.dumps({"city": {"name": "Berlin", "people": 3900000}, "river": "Spree"}, indent=2)
HTML = (
    "<html><body><h1>Leave</h1><p>Staff have thirty days.</p><p>They are paid.</p>"
    "<h2>Sick leave</h2><p>Tell your lead at once.</p>"
    "<h1>Travel</h1><p>Book early.</p></body></html>"
)


class EveryFifteen(NodeParser):
    """A custom parser that gives no offsets and no links."""

    def _parse_nodes(
        self,
        nodes: Any,
        show_progress: bool = False,
        **_: Any,
    ) -> list[BaseNode]:
        del show_progress
        return [
            TextNode(
                text=node.get_content()[start : start + 15],
                relationships={NodeRelationship.SOURCE: node.as_related_node_info()},
            )
            for node in nodes
            for start in range(0, len(node.get_content()), 15)
        ]

    def _postprocess_parsed_nodes(
        self, nodes: list[BaseNode], parent_doc_map: dict[str, Any]
    ) -> list[BaseNode]:
        del parent_doc_map
        return nodes


def verbatim_parsers(model: LateChunkEmbedding) -> dict[str, tuple[NodeParser, str]]:
    return {
        "sentences": (SentenceSplitter(chunk_size=24, chunk_overlap=6), PROSE),
        "tokens": (TokenTextSplitter(chunk_size=16, chunk_overlap=4), PROSE),
        "window": (SentenceWindowNodeParser(), PROSE),
        "semantic": (
            SemanticSplitterNodeParser(embed_model=model, breakpoint_percentile_threshold=50),
            PROSE,
        ),
        "code": (
            CodeSplitter(language="python", chunk_lines=4, max_chars=60, parser=Parser(PYTHON)),
            CODE,
        ),
        "langchain": (
            LangchainNodeParser(RecursiveCharacterTextSplitter(chunk_size=40, chunk_overlap=8)),
            PROSE,
        ),
        "custom": (EveryFifteen(), PROSE),
    }


OVERLAPPING = ("sentences", "tokens")


@pytest.mark.slow
@pytest.mark.rule(1)
@pytest.mark.parametrize(
    "name", ["sentences", "tokens", "window", "semantic", "code", "langchain", "custom"]
)
def test_chunks_of_any_parser_are_pooled_from_their_document(
    name: str, embed_model: LateChunkEmbedding, tiny_engine: LateChunkEngine
) -> None:
    """Offsets are exact in reading order, and vectors those of the engine for these spans."""
    splitter, text = verbatim_parsers(embed_model)[name]
    document = Document(text=text, metadata={"title": "Cities"})
    parser = LateChunkNodeParser(embed_model=embed_model, splitter=splitter)
    nodes = [n for n in parser.get_nodes_from_documents([document]) if isinstance(n, TextNode)]
    assert len(nodes) > 3
    nodes = [node for node in nodes if node.text.strip()]
    spans = [(node.start_char_idx or 0, node.end_char_idx or 0) for node in nodes]
    assert [text[start:end] for start, end in spans] == [node.text for node in nodes]
    assert [start for start, _ in spans] == sorted({start for start, _ in spans})
    (right,) = tiny_engine.embed([Parent(text, spans, header="Cities")])
    np.testing.assert_allclose([n.get_embedding() for n in nodes], right.vectors, atol=1e-6)
    assert embed_model.stats.get("rewritten_parents", 0) == 0


@pytest.mark.parametrize("name", ["sentences", "tokens", "window", "semantic", "code"])
def test_behind_a_parser_vectors_are_those_of_the_laid_out_text(
    name: str, embed_model: LateChunkEmbedding, tiny_engine: LateChunkEngine
) -> None:
    """``[parser, embed_model]``: every chunk sees the others, none is embedded alone."""
    splitter, text = verbatim_parsers(embed_model)[name]
    document = Document(text=text, metadata={"title": "Cities"})
    nodes = [node for node in splitter([document]) if node.get_content().strip()]
    before = dict(tiny_engine.stats)
    embed_model(nodes)
    assert tiny_engine.stats["parents"] - before.get("parents", 0) == 1
    assert tiny_engine.stats["standalone_chunks"] == before.get("standalone_chunks", 0)
    text_seen, spans, start, end = [" "] * len(text), [], -1, 0
    for node in nodes:
        content = node.get_content()
        # A chunk's text can also stand inside of the one before.
        start = text.index(content, start + 1 if name in OVERLAPPING else end)
        end = start + len(content)
        spans.append((start, end))
        text_seen[start : start + len(content)] = content
    (right,) = tiny_engine.embed([Parent("".join(text_seen), spans, header="Cities")])
    np.testing.assert_allclose([n.get_embedding() for n in nodes], right.vectors, atol=1e-5)


@pytest.mark.parametrize(("parser", "text"), [(JSONNodeParser(), JSON), (HTMLNodeParser(), HTML)])
def test_extracted_text_is_the_parent_where_the_document_is_markup(
    parser: NodeParser, text: str, tiny_engine: LateChunkEngine
) -> None:
    """JSON and HTML: the parent is what the parser extracted, not the markup."""
    embed_model = LateChunkEmbedding(engine=tiny_engine, header=None)
    late = LateChunkNodeParser(embed_model=embed_model, splitter=parser)
    nodes = [n for n in late.get_nodes_from_documents([Document(text=text)]) if n.get_content()]
    texts = [node.get_content(MetadataMode.NONE) for node in nodes]
    spans, at = [], 0
    for one in texts:
        spans.append((at, at + len(one)))
        at += len(one) + 2
    (right,) = tiny_engine.embed([Parent("\n\n".join(texts), spans)])
    np.testing.assert_allclose([n.get_embedding() for n in nodes], right.vectors, atol=1e-6)
    for node in nodes:
        assert isinstance(node, TextNode)
        start, end = node.start_char_idx, node.end_char_idx
        assert start is None or text[start:end] == node.text


class Shouting(TextSplitter):
    """Changes the text that it splits."""

    def split_text(self, text: str) -> list[str]:
        return [part.upper() for part in text.split(". ")]


def test_a_parser_that_changes_the_text_is_reported_and_still_late(
    embed_model: LateChunkEmbedding,
    tiny_engine: LateChunkEngine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    late = LateChunkNodeParser(embed_model=embed_model, splitter=Shouting())
    before = tiny_engine.stats.get("standalone_chunks", 0)
    nodes = late.get_nodes_from_documents([Document(text=PROSE, id_="loud")])
    assert embed_model.stats["rewritten_parents"] == 1
    assert "'loud'" in caplog.text
    assert tiny_engine.stats.get("standalone_chunks", 0) == before
    assert all(node.embedding for node in nodes if node.get_content())


def test_strict_refuses_a_parser_that_changes_the_text(tiny_model_path: Any) -> None:
    model = LateChunkEmbedding(model_name=str(tiny_model_path), dtype="float32", strict=True)
    late = LateChunkNodeParser(embed_model=model, splitter=Shouting())
    with pytest.raises(ChunkNotFoundError, match="Shouting"):
        late.get_nodes_from_documents([Document(text=PROSE)])


def test_ids_are_the_splitters(embed_model: LateChunkEmbedding) -> None:
    """An ``id_func`` that would be ignored is refused, also when it comes with copies."""
    splitter = SentenceSplitter(id_func=lambda number, document: f"{document.node_id}-{number}")
    with pytest.raises(OptionError, match="splitter"):
        LateChunkNodeParser(embed_model=embed_model, id_func=splitter.id_func)
    parser = LateChunkNodeParser(embed_model=embed_model, splitter=splitter)
    assert [node.node_id for node in parser([Document(text=PROSE, id_="x")])] == ["x-0"]


def test_images_and_empty_documents_pass_through(
    embed_model: LateChunkEmbedding, tiny_engine: LateChunkEngine, documents: list[Document]
) -> None:
    """Nodes without text have no vector, and change no other's."""
    right = expected(tiny_engine, documents)
    image = ImageNode(image_url="file.png", text="")
    nodes = run_transformations([*documents], [SentenceSplitter(chunk_size=24, chunk_overlap=0)])
    mixed = [image, *nodes]
    assert list(embed_model(mixed)) == mixed
    assert image.embedding is None
    check([node for node in mixed if node is not image], right)


def test_documents_without_a_node_parser_are_embedded_whole(
    embed_model: LateChunkEmbedding, tiny_engine: LateChunkEngine, documents: list[Document]
) -> None:
    """The embed model alone in ``transformations``: a document is one chunk."""
    embed_model(documents)
    for document in documents:
        if document.text:
            title = str(document.metadata["title"])
            (right,) = tiny_engine.embed([Parent(document.text, header=title)])
            np.testing.assert_allclose(document.get_embedding(), right.vectors[0], atol=1e-6)
        else:
            assert document.embedding is None
