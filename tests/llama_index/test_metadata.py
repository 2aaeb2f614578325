"""Roles of metadata: headers are attended, a node's own metadata is a part of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core import Document
from llama_index.core.extractors import SummaryExtractor, TitleExtractor
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import HierarchicalNodeParser, SentenceSplitter
from llama_index.core.schema import BaseNode, MetadataMode, TransformComponent
from llama_index.embeddings.huggingface import HuggingFaceEmbedding

from benchmarks.llama_index_loop import RareWords, rank_by_keywords
from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.errors import InputTypeError, OptionError
from latechunk_integrations.llama_index import LateChunkEmbedding, LateChunkNodeParser
from tests.llama_index.support import SPLITTER, check, expected

SAMPLES = Path(__file__).parent.parent.parent / "examples" / "samples"
TEXT = (
    "Berlin is a city. It has many inhabitants. The river is the Spree. It flows west. "
    "Its airport lies in the south. Trains leave for the coast every hour."
)


def own_text(node: BaseNode, key: str) -> str:
    """A node's text with one entry of its metadata, as LlamaIndex writes it."""
    return f"{key}: {node.metadata[key]}\n\n{node.get_content()}"


def laid_out(texts: list[str]) -> tuple[str, list[tuple[int, int]]]:
    spans, at = [], 0
    for text in texts:
        spans.append((at, at + len(text)))
        at += len(text) + 2
    return "\n\n".join(texts), spans


def test_what_one_node_has_is_pooled_with_it_and_what_all_have_is_the_header(
    tiny_engine: LateChunkEngine, embed_model: LateChunkEmbedding
) -> None:
    document = Document(text=TEXT, metadata={"title": "Cities"})
    nodes = SPLITTER([document])
    nodes[1].metadata["page"] = 2
    embed_model(nodes)
    texts = [node.get_content() for node in nodes]
    texts[1] = f"page: 2\n\n{texts[1]}"
    text, spans = laid_out(texts)
    (right,) = tiny_engine.embed([Parent(text, spans, header="Cities")])
    np.testing.assert_allclose([n.get_embedding() for n in nodes], right.vectors, atol=1e-6)


def test_a_single_chunk_keeps_its_keywords_and_its_documents_title_apart(
    tiny_engine: LateChunkEngine, embed_model: LateChunkEmbedding
) -> None:
    """What all chunks share is no sign where there is one chunk: its source says it."""
    (node,) = SPLITTER([Document(text="Berlin is a city.", metadata={"title": "Cities"})])
    node.metadata["topic"] = "towns"
    embed_model([node])
    parent = Parent(own_text(node, "topic"), header="Cities")
    np.testing.assert_allclose(node.get_embedding(), tiny_engine.embed([parent])[0].vectors[0])


def test_a_key_can_be_given_another_role(tiny_engine: LateChunkEngine) -> None:
    roles: dict[str, Any] = {"title": "content", "page": "header"}
    model = LateChunkEmbedding(engine=tiny_engine, metadata_roles=roles)
    (node,) = SPLITTER([Document(text="Berlin is a city.", metadata={"title": "Cities"})])
    node.metadata["page"] = 2
    model([node])
    parent = Parent(own_text(node, "title"), header="page: 2")
    np.testing.assert_allclose(node.get_embedding(), tiny_engine.embed([parent])[0].vectors[0])
    with pytest.raises(OptionError, match="'header' or 'content'"):
        LateChunkEmbedding(engine=tiny_engine, metadata_roles={"title": "ignored"})  # type: ignore[dict-item]  # the point


GUIDE = (
    "# City guide\n\nBerlin is large. It has rivers.\n\n## Trains\n\nThey leave every hour. "
    "Some go to the coast. The others do not."
)


def test_title_and_headings_are_found_and_metadata_follow_them(
    tiny_engine: LateChunkEngine, embed_model: LateChunkEmbedding
) -> None:
    """``header="auto"``: one line says where a chunk stands; files and titles are said once."""
    metadata = {"file_path": "/x/guide.md", "title": "City guide", "author": "Ann"}
    nodes = embed_model(SPLITTER([Document(text=GUIDE, metadata=metadata)]))
    spans = []
    for node in nodes:
        start = GUIDE.index(node.get_content())
        spans.append((start, start + len(node.get_content())))
    below = [
        "City guide > Trains" if start >= GUIDE.index("##") else "City guide" for start, _ in spans
    ]
    assert len(set(below)) == 2
    parent = Parent(
        GUIDE,
        spans,
        header="City guide\nauthor: Ann",
        headers=[f"{line}\nauthor: Ann" for line in below],
    )
    (right,) = tiny_engine.embed([parent])
    np.testing.assert_allclose([n.get_embedding() for n in nodes], right.vectors, atol=1e-6)
    assert {node.metadata["late_parent"] for node in nodes} == {parent.fingerprint}


@pytest.mark.parametrize(
    ("choice", "header"),
    [
        (None, ""),
        ("author", "Ann"),
        (lambda node: f"By {node.metadata['author']}", "By Ann"),
    ],
    ids=["none", "key", "function"],
)
def test_headers_can_be_chosen(choice: Any, header: str, tiny_engine: LateChunkEngine) -> None:
    model = LateChunkEmbedding(engine=tiny_engine, header=choice)
    metadata = {"title": "Cities", "author": "Ann"}
    (node,) = SPLITTER([Document(text="Berlin is a city.", metadata=metadata)])
    model([node])
    (right,) = tiny_engine.embed([Parent(node.get_content(), header=header)])
    np.testing.assert_allclose(node.get_embedding(), right.vectors[0], atol=1e-6)
    assert node.get_content() == "Berlin is a city."


def test_impossible_headers_are_refused(tiny_engine: LateChunkEngine) -> None:
    with pytest.raises(OptionError, match="'auto'"):
        LateChunkEmbedding(engine=tiny_engine, header=3)  # type: ignore[arg-type]  # the point
    model = LateChunkEmbedding(engine=tiny_engine, header=lambda _: 3)  # type: ignore[arg-type, return-value]  # the point
    with pytest.raises(InputTypeError, match="must return a str"):
        model(SPLITTER([Document(text="Berlin is a city.")]))


def test_excluded_keys_are_not_attended(
    tiny_engine: LateChunkEngine, embed_model: LateChunkEmbedding
) -> None:
    """What ``excluded_embed_metadata_keys`` hides from LlamaIndex is hidden here too."""
    hidden = Document(
        text=TEXT,
        id_="x",
        metadata={"title": "Cities", "path": "/a"},
        excluded_embed_metadata_keys=["path"],
        excluded_llm_metadata_keys=["path"],
    )
    seen = Document(text=TEXT, id_="x", metadata={"title": "Cities"})
    check(list(embed_model(SPLITTER([hidden]))), expected(tiny_engine, [seen]))


def test_all_metadata_can_be_content_as_in_llama_index(tiny_engine: LateChunkEngine) -> None:
    model = LateChunkEmbedding(engine=tiny_engine, metadata_roles={"*": "content"})
    nodes = SPLITTER([Document(text=TEXT, metadata={"title": "Cities"})])
    contents = [node.get_content(MetadataMode.EMBED) for node in nodes]
    model(nodes)
    text, spans = laid_out(contents)
    (right,) = tiny_engine.embed([Parent(text, spans)])
    np.testing.assert_allclose([n.get_embedding() for n in nodes], right.vectors, atol=1e-6)


@pytest.mark.parametrize("inside", [True, False], ids=["extractors=", "pipeline"])
@pytest.mark.parametrize("kind", ["title", "summary"])
def test_extractors_between_splitter_and_embedding_keep_working(
    kind: str, inside: bool, tiny_engine: LateChunkEngine, embed_model: LateChunkEmbedding
) -> None:
    """A title is the same for all nodes, and their header; a summary is a node's own."""
    extractor: TransformComponent = (
        TitleExtractor(llm=MockLLM(max_tokens=3), num_workers=1, show_progress=False)
        if kind == "title"
        else SummaryExtractor(llm=MockLLM(), num_workers=1, show_progress=False)
    )
    steps: list[TransformComponent] = [SPLITTER, extractor, embed_model]
    if inside:
        parser = LateChunkNodeParser(
            embed_model=embed_model, splitter=SPLITTER, extractors=[extractor]
        )
        steps = [parser]
    nodes = list(IngestionPipeline(transformations=steps).run(documents=[Document(text=TEXT)]))
    if kind == "title":
        header = "text text text"  # what the model says when it may say three words
        assert nodes[0].metadata["document_title"] == header
        text, spans = TEXT, []
        for node in nodes:
            start = TEXT.index(node.get_content())
            spans.append((start, start + len(node.get_content())))
    else:
        header = ""
        own = [node.metadata["section_summary"].strip() for node in nodes]
        texts = [node.get_content() for node in nodes]
        text, spans = laid_out(
            [f"section_summary: {a}\n\n{b}" for a, b in zip(own, texts, strict=True)]
        )
    (right,) = tiny_engine.embed([Parent(text, spans, header=header)])
    np.testing.assert_allclose([n.get_embedding() for n in nodes], right.vectors, atol=1e-6)


def test_an_extractor_that_makes_other_nodes_is_refused(embed_model: LateChunkEmbedding) -> None:
    parser = LateChunkNodeParser(
        embed_model=embed_model,
        splitter=SPLITTER,
        extractors=[SentenceSplitter(chunk_size=9, chunk_overlap=0)],
    )
    with pytest.raises(InputTypeError, match="SentenceSplitter"):
        parser([Document(text=TEXT, metadata={})])


def test_levels_with_keywords_of_their_own_are_read_level_by_level(
    tiny_engine: LateChunkEngine, embed_model: LateChunkEmbedding
) -> None:
    """No text can stand in front of a chunk inside of another: each level is a reading."""
    splitter = HierarchicalNodeParser.from_defaults(chunk_sizes=[48, 16], chunk_overlap=0)
    nodes = splitter.get_nodes_from_documents([Document(text=TEXT)])
    for number, node in enumerate(nodes):
        node.metadata["excerpt_keywords"] = f"word{number}"
    embed_model(nodes)
    for level in ([n for n in nodes if not n.parent_node], [n for n in nodes if n.parent_node]):
        text, spans = laid_out([own_text(node, "excerpt_keywords") for node in level])
        (right,) = tiny_engine.embed([Parent(text, spans)])
        np.testing.assert_allclose([n.get_embedding() for n in level], right.vectors, atol=1e-6)


@pytest.mark.parametrize("metadata", [{}, {"title": "Cities", "year": 2026}])
def test_switched_off_it_is_what_llama_index_gives(
    metadata: dict[str, Any], tiny_model_path: Path
) -> None:
    """``enabled=False``: text for text the vectors of HuggingFaceEmbedding, keywords included."""
    theirs = HuggingFaceEmbedding(model_name=str(tiny_model_path), device="cpu")
    off = LateChunkEmbedding(model_name=str(tiny_model_path), dtype="float32", enabled=False)
    documents = [Document(text=TEXT, metadata=metadata), Document(text=TEXT[40:])]
    for steps in (
        [SPLITTER, RareWords(), off],
        [LateChunkNodeParser(embed_model=off, splitter=SPLITTER, extractors=[RareWords()])],
    ):
        nodes = IngestionPipeline(transformations=steps).run(documents=documents)  # type: ignore[arg-type]  # both lists
        texts = [node.get_content(MetadataMode.EMBED) for node in nodes]
        right = np.array(theirs.get_text_embedding_batch(texts))
        cosines = (np.array([node.get_embedding() for node in nodes]) * right).sum(axis=1)
        np.testing.assert_allclose(cosines, 1.0, atol=1e-5)
        assert {node.metadata["late_mode"] for node in nodes} == {"standalone"}


@pytest.mark.slow
def test_chunks_are_found_by_their_own_keywords() -> None:
    """Near the early baseline with the default options, also with ``extractors=``; and cheap."""
    found = rank_by_keywords()
    assert found.early > 0.9
    assert found.late >= 0.93
    assert found.inside >= 0.9
    assert found.tokens <= 1.3
