"""Reading order and layout: the text that nodes are put back to is the one they came from."""

from __future__ import annotations

import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from llama_index.core import Document
from llama_index.core.node_parser import TokenTextSplitter
from llama_index.core.schema import NodeRelationship, TextNode

from latechunk_integrations.llama_index.layout import lay_out, lay_out_in, reading_order

WORDS = st.lists(st.sampled_from(["Berlin", "é🙂", "ab.", "the", "ab. ab."]), min_size=1)


def linked(texts: list[str], starts: list[int] | None = None) -> list[TextNode]:
    """Nodes that know their neighbours, and their offsets where these are given."""
    nodes = [TextNode(text=text) for text in texts]
    for left, right in pairwise(nodes):
        left.relationships[NodeRelationship.NEXT] = right.as_related_node_info()
        right.relationships[NodeRelationship.PREVIOUS] = left.as_related_node_info()
    for node, start in zip(nodes, starts or [], strict=bool(starts)):
        node.start_char_idx, node.end_char_idx = start, start + len(node.text)
    return nodes


@given(words=WORDS, seed=st.integers(0, 99), overlap=st.integers(0, 3))
def test_shuffled_nodes_with_true_offsets_make_their_text(
    words: list[str], seed: int, overlap: int
) -> None:
    """Whatever the order given and the overlap: every span is its node's text in the source."""
    text = " ".join(words)
    starts = list(range(0, len(text), 4))
    texts = [text[max(0, start - overlap) : start + 4] for start in starts]
    nodes = linked(texts, [max(0, start - overlap) for start in starts])
    nodes = [node for node in nodes if node.text.strip()]
    shuffled = list(nodes)
    random.Random(seed).shuffle(shuffled)
    ordered = reading_order(shuffled)
    assert [node.node_id for node in ordered] == [node.node_id for node in nodes]
    if nodes:
        layout = lay_out(ordered)
        assert layout.text.split() == text[nodes[0].start_char_idx :].split()
        for node, (start, end) in zip(layout.nodes, layout.spans, strict=True):
            assert layout.text[start:end] == node.get_content()


@given(words=WORDS, seed=st.integers(0, 99))
def test_links_order_nodes_without_offsets(words: list[str], seed: int) -> None:
    """Texts that repeat are told apart by their links; they stand as paragraphs in order."""
    nodes = linked(words)
    shuffled = list(nodes)
    random.Random(seed).shuffle(shuffled)
    layout = lay_out(reading_order(shuffled))
    assert [node.node_id for node in layout.nodes] == [node.node_id for node in nodes]
    assert layout.text == "\n\n".join(words)
    assert [layout.text[start:end] for start, end in layout.spans] == words


def test_offsets_that_disagree_with_the_texts_are_not_used() -> None:
    nodes = linked(["alpha beta", "gamma"], [0, 3])
    layout = lay_out(nodes)
    assert layout.text == "alpha beta\n\ngamma"
    assert layout.spans == [(0, 10), (12, 17)]


def test_a_text_that_the_node_before_holds_too_is_not_put_inside_of_it() -> None:
    """LlamaIndex finds a repeated chunk in its neighbour: both of them were in the document."""
    nodes = linked(["One. Rights reserved. Two.", "Rights reserved.", "Three."], [0, 5, 44])
    layout = lay_out(nodes)
    assert layout.text == "One. Rights reserved. Two.\n\nRights reserved.\n\nThree."
    assert layout.spans == [(0, 26), (28, 44), (46, 52)]


def test_links_in_a_circle_lose_no_node() -> None:
    nodes = linked(["one", "two", "three"])
    nodes[2].relationships[NodeRelationship.NEXT] = nodes[0].as_related_node_info()
    assert sorted(node.get_content() for node in reading_order(nodes)) == ["one", "three", "two"]


def test_children_stand_inside_of_their_parents() -> None:
    """Three levels of one text: the layout is the text itself, each child inside its parent."""
    text = " ".join(f"word{n % 7}" for n in range(60))
    top = linked([text[:200], text[200:]], [0, 200])
    children: list[TextNode] = []
    for node in top:
        for start in range(0, len(node.text), 50):
            child = TextNode(text=node.text[start : start + 50])
            child.relationships[NodeRelationship.PARENT] = node.as_related_node_info()
            children.append(child)
    layout = lay_out([*top, *children])
    assert layout.text == text
    spans = dict(zip([node.node_id for node in layout.nodes], layout.spans, strict=True))
    for child in children:
        assert child.parent_node is not None
        start, end = spans[child.node_id]
        outer_start, outer_end = spans[child.parent_node.node_id]
        assert text[start:end] == child.get_content()
        assert outer_start <= start < end <= outer_end


def test_nodes_that_are_each_others_parents_lose_nothing() -> None:
    one, two = TextNode(text="one"), TextNode(text="two")
    one.relationships[NodeRelationship.PARENT] = two.as_related_node_info()
    two.relationships[NodeRelationship.PARENT] = one.as_related_node_info()
    layout = lay_out([TextNode(text="root"), one, two])
    assert sorted(node.get_content() for node in layout.nodes) == ["one", "root", "two"]
    assert [layout.text[start:end] for start, end in layout.spans] == [
        node.get_content() for node in layout.nodes
    ]


def test_a_changed_text_is_not_found_in_its_source() -> None:
    nodes = TokenTextSplitter(chunk_size=20, chunk_overlap=0).get_nodes_from_documents(
        [Document(text="The supplier delivers. " * 20)]
    )
    texts = [node for node in nodes if isinstance(node, TextNode)]
    assert lay_out_in("The supplier delivers. " * 20, texts) is not None
    texts[1].set_content("Nothing of this stands there at all.")
    assert lay_out_in("The supplier delivers. " * 20, texts) is None
