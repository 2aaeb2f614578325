"""Sections as parents: each with its path of headings, in front of the pair and inside of it."""

from __future__ import annotations

import random

import numpy as np
from llama_index.core import Document
from llama_index.core.ingestion import run_transformations
from llama_index.core.node_parser import (
    HTMLNodeParser,
    MarkdownNodeParser,
    NodeParser,
    SentenceSplitter,
)
from llama_index.core.schema import BaseNode, MetadataMode, TextNode

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.llama_index import LateChunkEmbedding, LateChunkNodeParser

# Path, the header that chunks attend to, text. Of "Leave > Sick leave" the longer is kept.
SECTIONS = [
    ("/", "Leave", "# Leave\n\nStaff have thirty days. They are paid. All rights reserved."),
    (
        "/Leave/",
        "Sick leave",
        "## Sick leave\n\nTell your lead at once. All rights reserved. Rest well.",
    ),
    (
        "/Leave/",
        "Other leave",
        "## Other leave\n\nAsk for it. All rights reserved. It may be refused.",
    ),
    ("/", "Travel", "# Travel\n\nBook early. It is cheaper then. All rights reserved."),
]
MARKDOWN = "\n\n".join(text for _, _, text in SECTIONS)
HTML_SECTIONS = [
    ("/", "Leave", "Leave\n\nStaff have thirty days.\nThey are paid."),
    ("/Leave/", "Leave", "Sick leave\n\nTell your lead at once.\nRest well."),
    ("/", "Travel", "Travel\n\nBook early.\nIt is cheaper then."),
]
HTML = (
    "<h1>Leave</h1><p>Staff have thirty days.</p><p>They are paid.</p>"
    "<h2>Sick leave</h2><p>Tell your lead at once.</p><p>Rest well.</p>"
    "<h1>Travel</h1><p>Book early.</p><p>It is cheaper then.</p>"
)
SMALL = SentenceSplitter(chunk_size=26, chunk_overlap=0)


def section_vectors(
    engine: LateChunkEngine, sections: list[tuple[str, str, str]], title: str = ""
) -> dict[tuple[str, str], np.ndarray]:
    """Vectors by heading path and text of the chunk, sections as parents."""
    vectors = {}
    for path, header, text in sections:
        metadata = f"title: {title}\nheader_path: {path}" if title else f"header_path: {path}"
        chunks = SMALL.split_text_metadata_aware(text, metadata)
        spans, end = [], 0
        for chunk in chunks:
            start = text.index(chunk, end)
            end = start + len(chunk)
            spans.append((start, end))
        above = f"{title} > {header}" if title else header
        (result,) = engine.embed([Parent(text, spans, header=above)])
        for chunk, vector in zip(chunks, result.vectors, strict=True):
            vectors[path, chunk] = vector
    return vectors


def check(nodes: list[BaseNode], right: dict[tuple[str, str], np.ndarray]) -> None:
    found = {
        (node.metadata["header_path"], node.get_content(MetadataMode.NONE)): node for node in nodes
    }
    assert found.keys() == right.keys()
    assert len(found) == len(nodes)
    for key, node in found.items():
        np.testing.assert_allclose(node.get_embedding(), right[key], atol=1e-6)


def test_sections_become_parents_with_their_path_as_header(
    embed_model: LateChunkEmbedding, tiny_engine: LateChunkEngine
) -> None:
    """Chunks stand at their offsets in the document, and see their section and its path only."""
    document = Document(text=MARKDOWN, metadata={"title": "Handbook"})
    parser = LateChunkNodeParser(embed_model=embed_model, splitter=SMALL, parent_level="section")
    nodes = parser.get_nodes_from_documents([document])
    check(nodes, section_vectors(tiny_engine, SECTIONS, "Handbook"))
    assert len({node.metadata["late_parent"] for node in nodes}) == len(SECTIONS)
    for node in nodes:
        assert isinstance(node, TextNode)
        assert MARKDOWN[node.start_char_idx : node.end_char_idx] == node.text
        assert node.ref_doc_id == document.doc_id
    starts = [node.start_char_idx for node in nodes if isinstance(node, TextNode)]
    assert starts == sorted(starts, key=lambda start: start or 0)


def test_a_markdown_parser_in_front_gives_sections(
    embed_model: LateChunkEmbedding, tiny_engine: LateChunkEngine
) -> None:
    """Both hooks, and shuffled nodes: sections that share a path are parents of their own."""
    document = Document(text=MARKDOWN, metadata={"title": "Handbook"})
    right = section_vectors(tiny_engine, SECTIONS, "Handbook")
    markdown = MarkdownNodeParser()
    late = LateChunkNodeParser(embed_model=embed_model, splitter=SMALL)
    check(list(run_transformations([document], [markdown, late])), right)
    nodes = list(run_transformations([document], [markdown, SMALL]))
    random.Random(3).shuffle(nodes)  # a seed, not a secret
    check(list(embed_model(nodes)), right)


def test_the_whole_document_can_be_the_parent_behind_a_markdown_parser(
    tiny_engine: LateChunkEngine,
) -> None:
    model = LateChunkEmbedding(engine=tiny_engine, parent_level="document")
    nodes = model(run_transformations([Document(text=MARKDOWN)], [MarkdownNodeParser()]))
    spans, at = [], 0
    for _, _, text in SECTIONS:
        spans.append((at, at + len(text)))
        at += len(text) + 2
    headers = ["Leave", "Sick leave", "Other leave", "Leave > Travel"]
    (right,) = tiny_engine.embed([Parent(MARKDOWN, spans, header="Leave", headers=headers)])
    np.testing.assert_allclose([n.get_embedding() for n in nodes], right.vectors, atol=1e-6)


def html_parsers() -> NodeParser:
    return HTMLNodeParser(tags=["p", "h1", "h2"])


def test_html_is_put_together_from_heading_to_heading(
    embed_model: LateChunkEmbedding, tiny_engine: LateChunkEngine
) -> None:
    """Tags between two headings are one section; the path tells the headings above."""
    late = LateChunkNodeParser(
        embed_model=embed_model,
        splitter=SMALL,
        parent_level="section",
        section_parser=html_parsers(),
    )
    nodes = late.get_nodes_from_documents([Document(text=HTML)])
    check(nodes, section_vectors(tiny_engine, HTML_SECTIONS))
    assert all("tag" not in node.metadata for node in nodes)


def test_an_html_parser_in_front_gives_sections_to_the_embedding(
    embed_model: LateChunkEmbedding, tiny_engine: LateChunkEngine
) -> None:
    nodes = embed_model(run_transformations([Document(text=HTML)], [html_parsers()]))
    vectors = iter([np.array(node.get_embedding()) for node in nodes])
    for _, header, text in HTML_SECTIONS:
        heading, body = text.split("\n\n")
        spans = [(0, len(heading)), (len(heading) + 2, len(heading) + 2 + len(body))]
        (right,) = tiny_engine.embed([Parent(text, spans, header=header)])
        for vector in right.vectors:
            np.testing.assert_allclose(next(vectors), vector, atol=1e-6)


def test_text_before_the_first_heading_and_repeated_sections_keep_their_places(
    embed_model: LateChunkEmbedding,
) -> None:
    text = "Preface.\n\n# A\n\nSame words.\n\n# A\n\nSame words.\n\n#\tTab\n\nEnd."
    late = LateChunkNodeParser(embed_model=embed_model, splitter=SMALL, parent_level="section")
    nodes = late.get_nodes_from_documents([Document(text=text)])
    starts = [node.start_char_idx for node in nodes if isinstance(node, TextNode)]
    assert starts == [0, text.index("# A"), text.rindex("# A"), text.index("#\tTab")]
