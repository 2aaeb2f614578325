"""A chunk's text knows its parent; a pickle names it."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from langchain_core.documents import Document
from langchain_text_splitters import RecursiveCharacterTextSplitter

from latechunk_integrations import LateChunkEngine, Parent, Span
from latechunk_integrations.langchain import ChunkText, late_chunking

_TEXT = "one two three " * 1_000
_PARENT = Parent(_TEXT, [(0, 3), (4, 7), (8, 13)], header="Title", id="doc")


def _chunk(row: int) -> ChunkText:
    return ChunkText(_PARENT.chunk_text(row), _PARENT, row)


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
    for kept in (document, document.model_copy(), copy.deepcopy(document), copy.copy(document)):
        assert isinstance(kept.page_content, ChunkText)
        assert kept.page_content.parent is _PARENT


def test_a_pickle_names_its_parent_and_does_not_carry_it(tiny_engine: LateChunkEngine) -> None:
    inner = RecursiveCharacterTextSplitter(chunk_size=40, chunk_overlap=0)
    splitter, embeddings = late_chunking(tiny_engine, inner)
    chunks = splitter.create_documents(["The mill stands by the river since a long time.\n" * 400])
    assert len(chunks) > 400
    pickles = [pickle.dumps(chunk) for chunk in chunks]
    assert max(map(len, pickles)) < 1_500
    read = [pickle.loads(one) for one in pickles]
    texts = [chunk.page_content for chunk in read]
    assert all(isinstance(text, ChunkText) for text in texts)
    wanted = embeddings.embed_documents([chunk.page_content for chunk in chunks])
    assert embeddings.embed_documents(texts) == wanted
    assert embeddings.stats["late"] == 2 * len(chunks)


@pytest.mark.slow
@pytest.mark.parametrize("elsewhere", [False, True])
def test_an_unpickled_text_finds_its_parent_while_this_process_holds_it(elsewhere: bool) -> None:
    content = pickle.dumps(_chunk(1))
    if not elsewhere:
        assert pickle.loads(content).parent is _PARENT
        return
    code = "import pickle, sys; print(pickle.loads(sys.stdin.buffer.read()).parent)"
    done = subprocess.run(
        [sys.executable, "-c", code], input=content, capture_output=True, check=True
    )
    assert done.stdout.strip() == b"None", done.stderr


def test_parents_that_differ_in_their_chunks_alone_are_not_mixed_up() -> None:
    other = Parent(_TEXT, [(4, 7)], header="Title", id="doc")
    first = pickle.loads(pickle.dumps(_chunk(1)))
    second = pickle.loads(pickle.dumps(ChunkText("two", other, 0)))
    assert first.span == second.span == Span(4, 7)
    assert first.parent is _PARENT
    assert second.parent is other


def test_pickles_find_the_parent_of_the_chunks_that_are_held(tiny_model_path: Path) -> None:
    """Cut twice it is made twice, and memory holds the first one until it is full."""
    inner = RecursiveCharacterTextSplitter(chunk_size=20, chunk_overlap=0)
    pair = late_chunking(str(tiny_model_path), inner, memory_bytes=1)
    document = Document("Cats are allowed. Dogs are not. See section two.")
    pair.splitter.split_documents([document])
    chunks = pair.splitter.split_documents([document])
    texts = [pickle.loads(pickle.dumps(chunk)).page_content for chunk in chunks]
    for text in texts:
        pair.embeddings.embed_documents([text])
    assert pair.embeddings.stats["late"] == len(chunks) > 1
