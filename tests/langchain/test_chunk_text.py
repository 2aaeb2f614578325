"""A chunk's text brings its parent along, also through a pickle."""

from __future__ import annotations

import copy
import pickle

from langchain_core.documents import Document

from latechunk_integrations import Parent, Span
from latechunk_integrations.langchain import ChunkText

_TEXT = "one two three " * 1_000
_PARENT = Parent(_TEXT, [(0, 3), (4, 7), (8, 13)], header="Title", id="doc")


def _chunk(row: int) -> ChunkText:
    return ChunkText(_PARENT.chunk_text(row), _PARENT, row, "pair")


def test_it_is_its_text() -> None:
    assert _chunk(1) == "two"
    assert hash(_chunk(1)) == hash("two")
    assert _chunk(1).span == Span(4, 7)


def test_a_rewritten_text_says_that_it_is_not_verbatim() -> None:
    assert _chunk(1).is_verbatim
    assert not ChunkText("TWO", _PARENT, 1).is_verbatim


def test_a_document_keeps_it_where_it_is_assigned() -> None:
    document = Document(page_content="two")
    document.page_content = _chunk(1)
    for kept in (document, document.model_copy(), copy.deepcopy(document)):
        assert isinstance(kept.page_content, ChunkText)
        assert kept.page_content.parent == _PARENT


def test_chunks_pickled_one_by_one_share_a_parent_again() -> None:
    read = [pickle.loads(pickle.dumps(_chunk(row))) for row in range(3)]
    assert read == ["one", "two", "three"]
    assert [(chunk.row, chunk.pair) for chunk in read] == [(0, "pair"), (1, "pair"), (2, "pair")]
    assert read[0].parent is read[1].parent is read[2].parent
    assert read[0].parent == _PARENT


def test_chunks_pickled_together_carry_their_parent_once() -> None:
    together = len(pickle.dumps([_chunk(row) for row in range(3)]))
    assert together < len(_TEXT) + 1_000


def test_parents_that_differ_in_their_chunks_alone_are_not_mixed_up() -> None:
    other = Parent(_TEXT, [(4, 7)], header="Title", id="doc")
    first = pickle.loads(pickle.dumps(_chunk(1)))
    second = pickle.loads(pickle.dumps(ChunkText("two", other, 0)))
    assert first.span == second.span == Span(4, 7)
    assert second.parent == other
