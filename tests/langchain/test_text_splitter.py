"""Any splitter inside: chunks stand where they say, and their vectors are the engine's."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_text_splitters import (
    HTMLHeaderTextSplitter,
    Language,
    MarkdownHeaderTextSplitter,
    RecursiveCharacterTextSplitter,
    SpacyTextSplitter,
    TokenTextSplitter,
)

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.errors import ChunkNotFoundError, InputTypeError
from latechunk_integrations.langchain import (
    ChunkText,
    LateChunkEmbeddings,
    LateChunkTextSplitter,
    late_chunking,
)
from tests.langchain.support import corpus, line_spans, lines, pair_of_lines

_TEXT = """The mill was built in 1902. It stands on the north bank. It was closed in 1958.

Its owner sold it.  The town bought it. It was closed in 1958 for good.
Now it is a museum. It is open from May to October. It was closed in winter.
"""
_CODE = '''def first(x):
    """Return x."""
    return x


def second(x):
    return x
'''


@pytest.fixture
def embeddings(tiny_engine: LateChunkEngine) -> LateChunkEmbeddings:
    return LateChunkEmbeddings(engine=tiny_engine)


def _sentencizer(_: Path) -> Any:
    # Each sentence a chunk, as tutorials cut them.
    return SpacyTextSplitter(pipeline="sentencizer", chunk_size=1, chunk_overlap=0)


def _semantic(path: Path) -> Any:
    from langchain_experimental.text_splitter import SemanticChunker

    plain = LateChunkEmbeddings(str(path), dtype="float32", device="cpu", strict=True).plain
    return SemanticChunker(plain, breakpoint_threshold_amount=50)


def _tokens(_: Path) -> Any:
    return TokenTextSplitter(encoding_name="cl100k_base", chunk_size=12, chunk_overlap=4)


def _hf_tokens(path: Path) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(path))
    return RecursiveCharacterTextSplitter.from_huggingface_tokenizer(
        tokenizer, chunk_size=40, chunk_overlap=10
    )


def _recursive(_: Path) -> Any:
    return RecursiveCharacterTextSplitter(chunk_size=50, chunk_overlap=20)


def _python(_: Path) -> Any:
    return RecursiveCharacterTextSplitter.from_language(
        Language.PYTHON, chunk_size=40, chunk_overlap=0
    )


def _callable(_: Path) -> Any:
    return lines


@pytest.fixture(autouse=True)
def _encodings_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The encodings of tiktoken come with LlamaIndex; without them it would ask the network."""
    spec = importlib.util.find_spec("llama_index.core")
    assert spec is not None
    assert spec.origin is not None
    cache = Path(spec.origin).parent / "_static" / "tiktoken_cache"
    monkeypatch.setitem(os.environ, "TIKTOKEN_CACHE_DIR", str(cache))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "text"),
    [
        (_recursive, _TEXT),
        (_hf_tokens, _TEXT),
        (_tokens, _TEXT),
        (_sentencizer, _TEXT),
        (_semantic, _TEXT),
        (_python, _CODE),
        (_callable, _TEXT.strip()),
    ],
)
def test_any_splitter_gives_exact_chunks_and_the_engines_vectors(
    build: Callable[[Path], Any],
    text: str,
    embeddings: LateChunkEmbeddings,
    tiny_engine: LateChunkEngine,
    tiny_model_path: Path,
) -> None:
    inner = build(tiny_model_path)
    splitter = LateChunkTextSplitter(embeddings=embeddings, splitter=inner, header=None)
    chunks = splitter.create_documents([text], [{"source": "doc"}])
    pieces = inner(text) if callable(inner) else inner.split_text(text)
    assert [c.page_content for c in chunks] == [piece for piece in pieces if piece.strip()]
    assert len(chunks) > 2
    spans = [(c.metadata["late_start"], c.metadata["late_end"]) for c in chunks]
    for chunk, (start, end) in zip(chunks, spans, strict=True):
        # A splitter may collapse white space; nothing else of the text may differ.
        assert text[start:end].split() == chunk.page_content.split()
    assert spans == sorted(spans)
    vectors = embeddings.embed_documents([c.page_content for c in chunks])
    truth = tiny_engine.embed([Parent(text, spans)])[0].vectors
    np.testing.assert_allclose(vectors, truth, atol=1e-5)
    assert embeddings.stats["late"] == len(chunks)


@given(st.lists(st.sampled_from(["Same line.", "Other line.", "x", "Same"]), min_size=1))
def test_start_index_is_right_on_repeated_lines(own_lines: list[str]) -> None:
    """Where every line is a chunk; `str.find`, LangChain's own way, is wrong here."""
    text = "\n".join(own_lines)
    chunks = late_chunking("no/such-model", lines, header=None).splitter.create_documents([text])
    assert [c.metadata["start_index"] for c in chunks] == [start for start, _ in line_spans(text)]


@pytest.mark.parametrize("written", [60.0, "60", None, -1, "page 2"])
def test_a_chunk_is_cut_again_whatever_its_metadata_say_of_its_place(
    written: object, embeddings: LateChunkEmbeddings
) -> None:
    """Tables and stores write texts, floats and nothing for numbers."""
    text = "".join(f"This is line number {number:02d} of it.\n" for number in range(4))
    halves = LateChunkTextSplitter(embeddings=embeddings, splitter=lambda t: [t[:60], t[60:]])
    chunks = halves.split_documents([Document(text)])
    chunks[1].metadata["start_index"] = written
    found = LateChunkTextSplitter(embeddings=embeddings, splitter=lines).split_documents(chunks)
    assert len(found) == 4
    for chunk in found:
        assert text.startswith(chunk.page_content, chunk.metadata["start_index"])


@pytest.mark.parametrize("given", [None, "one text", 3, [(0, 5)], [b"bytes"], [None]])
def test_a_splitter_that_gives_no_texts_is_refused(
    given: Any, embeddings: LateChunkEmbeddings
) -> None:
    """No chunk is lost without a word."""
    splitter = LateChunkTextSplitter(embeddings=embeddings, splitter=lambda _: given)
    with pytest.raises(InputTypeError, match="a splitter must give"):
        splitter.split_documents([Document("One line.")])


def test_sections_of_markdown_are_parents_and_headings_their_header(
    embeddings: LateChunkEmbeddings, tiny_engine: LateChunkEngine
) -> None:
    text = "# Guide\nIntro line.\n## Setup\nDo this.\nThen that.\n## Use\nDo this.\nNow go.\n"
    splitter = LateChunkTextSplitter(
        embeddings=embeddings,
        section_splitter=MarkdownHeaderTextSplitter([("#", "h1"), ("##", "h2")]),
        splitter=lambda section: [line.strip() for line in section.split("\n")],
        header="title",
    )
    chunks = splitter.split_documents([Document(text, metadata={"title": "Handbook"})])
    assert [(c.page_content, c.metadata.get("h2")) for c in chunks] == [
        ("Intro line.", None),
        ("Do this.", "Setup"),
        ("Then that.", "Setup"),
        ("Do this.", "Use"),
        ("Now go.", "Use"),
    ]
    vectors = embeddings.embed_documents([c.page_content for c in chunks])
    setup, use = (
        Parent("Do this.  \nThen that.", [(0, 8), (11, 21)], header="Handbook > Guide > Setup"),
        Parent("Do this.  \nNow go.", [(0, 8), (11, 18)], header="Handbook > Guide > Use"),
    )
    truth = [v for result in tiny_engine.embed([setup, use]) for v in result.vectors]
    np.testing.assert_allclose(vectors[1:], truth, atol=1e-5)
    assert not np.allclose(vectors[1], vectors[3], atol=1e-3)


def test_a_header_splitter_alone_makes_each_section_one_chunk(
    embeddings: LateChunkEmbeddings, tiny_engine: LateChunkEngine
) -> None:
    html = "<h1>Guide</h1><p>Intro.</p><h2>Setup</h2><p>Do this.</p><h2>Use</h2><p>Go.</p>"
    splitter = LateChunkTextSplitter(
        embeddings=embeddings, splitter=HTMLHeaderTextSplitter([("h1", "h1"), ("h2", "h2")])
    )
    chunks = splitter.create_documents([html])
    assert "Do this." in [c.page_content for c in chunks]
    vectors = embeddings.embed_documents([c.page_content for c in chunks])
    for chunk, vector in zip(chunks, vectors, strict=True):
        path = [chunk.metadata[key] for key in ("h1", "h2") if key in chunk.metadata]
        parent = Parent(str(chunk.page_content), header=" > ".join(path))
        np.testing.assert_allclose(vector, tiny_engine.embed([parent])[0].vectors[0], atol=1e-5)


def test_the_header_changes_the_parent_but_not_the_chunks_texts(
    tiny_engine: LateChunkEngine,
) -> None:
    documents = corpus(2)
    plain = pair_of_lines(tiny_engine).splitter.split_documents(documents)
    for header, wanted in (
        ("title", {"Agreement 0", "Agreement 1"}),
        ("auto", {"Agreement 0", "Agreement 1"}),
        (lambda document: document.metadata["source"].upper(), {"CONTRACT-0", "CONTRACT-1"}),
    ):
        chunks = pair_of_lines(tiny_engine, header=header).splitter.split_documents(documents)
        assert [c.page_content for c in chunks] == [c.page_content for c in plain]
        assert {c.metadata["late_parent"] for c in chunks}.isdisjoint(
            c.metadata["late_parent"] for c in plain
        )
        assert {_parent(chunk).header for chunk in chunks} == wanted


def test_headings_of_the_text_are_each_chunks_own_header(tiny_engine: LateChunkEngine) -> None:
    text = "# Guide\n\nIntro line.\n\n## Setup\n\nDo this.\n\n## Use\n\nDo this."
    splitter, _ = late_chunking(tiny_engine, lambda t: t.split("\n\n"))
    chunks = splitter.create_documents([text], [{"file_name": "manual.md"}])
    own = [_parent(chunk).chunk_header(row) for row, chunk in enumerate(chunks)]
    assert own[1] == "Guide"
    assert own[3].endswith("Setup")
    assert own[5].endswith("Use")
    assert [c.page_content for c in chunks] == text.split("\n\n")


def _parent(chunk: Document) -> Parent:
    text = chunk.page_content
    assert isinstance(text, ChunkText)
    assert text.parent is not None
    return text.parent


def test_mode_on_request_says_how_each_vector_came_about(tiny_engine: LateChunkEngine) -> None:
    """Asking for it embeds when splitting, and a store that follows embeds nothing again."""
    embeddings = LateChunkEmbeddings(engine=tiny_engine)
    splitter = LateChunkTextSplitter(embeddings=embeddings, splitter=lines, add_mode=True)
    long = "\n".join(f"Line {i} of a text that no window holds." for i in range(30))
    chunks = splitter.create_documents([long, "Short one.\nShort two."])
    assert [c.metadata["late_mode"] for c in chunks] == ["windowed"] * 30 + ["late"] * 2
    assert {c.metadata["late_engine"] for c in chunks} == {tiny_engine.fingerprint}
    before = tiny_engine.stats["parents"]
    embeddings.embed_documents([c.page_content for c in chunks])
    assert tiny_engine.stats["parents"] == before


async def test_every_way_to_split_gives_the_same_chunks(embeddings: LateChunkEmbeddings) -> None:
    documents = corpus(3)
    splitter = LateChunkTextSplitter(embeddings=embeddings, splitter=lines)
    expected = splitter.split_documents(documents)
    assert splitter.transform_documents(documents) == expected
    assert await splitter.atransform_documents(documents) == expected
    assert splitter.split_documents(iter(documents)) == expected
    assert list(splitter.lazy_split_documents(iter(documents))) == expected
    texts = [document.page_content for document in documents]
    assert splitter.create_documents(texts, [d.metadata for d in documents]) == expected
    assert [c.page_content for c in expected[: len(lines(texts[0]))]] == splitter.split_text(
        texts[0]
    )
    assert all(isinstance(chunk.page_content, ChunkText) for chunk in expected)
    starts = [start for text in texts for start, _ in line_spans(text)]
    assert [chunk.metadata["start_index"] for chunk in expected] == starts


def test_a_corpus_streams_in_bounded_memory(tiny_engine: LateChunkEngine) -> None:
    """Documents are read one by one, and memory stays within its bound."""
    embeddings = LateChunkEmbeddings(engine=tiny_engine, memory_bytes=20_000)
    splitter = LateChunkTextSplitter(embeddings=embeddings, splitter=lines)
    n_read = 0

    def documents() -> Iterator[Document]:
        nonlocal n_read
        for document in corpus(50):
            n_read += 1
            yield document

    chunks = splitter.lazy_split_documents(documents())
    next(chunks)
    assert n_read == 1
    assert sum(1 for _ in chunks) > 100
    assert n_read == 50


def test_rewritten_chunks_are_counted_or_refused(
    tiny_engine: LateChunkEngine, tiny_model_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pair = late_chunking(tiny_engine, lambda text: [text[:9], "An invented summary of it all."])
    chunks = pair.splitter.create_documents(["The mill stands."], [{"source": "mill.txt"}])
    assert "late_parent" in chunks[0].metadata
    assert "late_parent" not in chunks[1].metadata
    assert pair.splitter.stats["missing"] == 1
    assert "mill.txt" in caplog.text
    vectors = pair.embeddings.embed_documents([c.page_content for c in chunks])
    alone = tiny_engine.embed_texts(["An invented summary of it all."])
    np.testing.assert_allclose(vectors[1:], alone, atol=1e-6)
    assert pair.embeddings.stats["unknown"] == 1
    strict = late_chunking(str(tiny_model_path), lambda _: ["An invented summary."], strict=True)
    with pytest.raises(ChunkNotFoundError, match=r"mill\.txt"):
        strict.splitter.create_documents(["The mill stands."], [{"source": "mill.txt"}])


def test_a_splitter_that_lower_cases_loses_no_chunk(tiny_engine: LateChunkEngine) -> None:
    """As SentenceTransformersTokenTextSplitter does: it decodes what its tokenizer made."""
    text = "The Mill, built in 1902. Its owner's name was Ödön. It was CLOSED in 1958."
    pieces = ["the mill , built in 1902.", "its owner ' s name was odon.", "it was closed in 1958."]
    spans = [(0, 24), (25, 51), (52, 74)]
    pair = late_chunking(tiny_engine, lambda _: pieces, header=None)
    chunks = pair.splitter.create_documents([text])
    assert [(c.metadata["late_start"], c.metadata["late_end"]) for c in chunks] == spans
    assert pair.splitter.stats["missing"] == 0
    truth = tiny_engine.embed([Parent(text, spans)])[0].vectors
    rebuilt = [Document(str(c.page_content), metadata=c.metadata) for c in chunks]
    for own in (chunks, pair.embeddings.attach(rebuilt)):
        vectors = pair.embeddings.embed_documents([c.page_content for c in own])
        np.testing.assert_allclose(vectors, truth, atol=1e-5)


def test_the_real_sentence_transformers_splitter_loses_no_chunk(
    tiny_engine: LateChunkEngine, minilm_path: Path
) -> None:
    from langchain_text_splitters import SentenceTransformersTokenTextSplitter

    inner = SentenceTransformersTokenTextSplitter(
        model_name=str(minilm_path), tokens_per_chunk=12, chunk_overlap=0
    )
    pair = late_chunking(tiny_engine, inner)
    chunks = pair.splitter.create_documents([_TEXT])
    assert len(chunks) > 3
    assert pair.splitter.stats["missing"] == 0


def test_a_cut_without_a_place_keeps_no_marks_of_an_earlier_one(
    tiny_engine: LateChunkEngine,
) -> None:
    pair = pair_of_lines(tiny_engine)
    outer = pair.splitter.create_documents(["One line.\nAnother line."])
    again = late_chunking(tiny_engine, lambda _: ["An invented summary of it."], header=None)
    chunks = again.splitter.split_documents(outer)
    assert not any(key.startswith("late_") for chunk in chunks for key in chunk.metadata)


def test_documents_that_are_chunks_already_keep_their_ids(tiny_engine: LateChunkEngine) -> None:
    pair = pair_of_lines(tiny_engine)
    documents = [Document("One.", id="a"), Document("Two.\nThree.", id="b")]
    assert [chunk.id for chunk in pair.splitter.split_documents(documents)] == ["a", None, None]


def test_a_document_given_twice_is_cut_twice(embeddings: LateChunkEmbeddings) -> None:
    splitter = LateChunkTextSplitter(embeddings=embeddings, splitter=lambda text: text.split("\n"))
    document = Document("One line.\nTwo lines.", metadata={"source": "a"})
    for chunks in (
        splitter.split_documents([document, document]),
        list(splitter.lazy_split_documents([document, document])),
    ):
        assert [str(chunk.page_content) for chunk in chunks] == ["One line.", "Two lines."] * 2


def test_functions_of_a_user_may_change_the_document_that_they_are_given(
    embeddings: LateChunkEmbeddings,
) -> None:
    def header(document: Document) -> str:
        return str(document.metadata.pop("title", "lost"))

    def parent_by(document: Document) -> object:
        return document.metadata.pop("source", None)

    splitter = LateChunkTextSplitter(embeddings=embeddings, header=header, parent_by=parent_by)
    documents = [Document(f"Page {n}.", metadata={"source": "a", "title": "T"}) for n in (1, 2)]
    chunks = splitter.split_documents(documents)
    assert [document.metadata for document in documents] == [{"source": "a", "title": "T"}] * 2
    assert {chunk.metadata["title"] for chunk in chunks} == {"T"}
    (parent,) = splitter.parents(documents)
    assert parent.header == "T"


@pytest.mark.parametrize(
    ("texts", "metadatas"),
    [([5], None), ("one str", None), (["A."], [None]), (["A."], [{}, {}])],
)
def test_texts_and_metadata_are_checked(
    embeddings: LateChunkEmbeddings, texts: Any, metadatas: Any
) -> None:
    splitter = LateChunkTextSplitter(embeddings=embeddings)
    with pytest.raises(InputTypeError, match="metadatas" if metadatas is not None else "texts"):
        splitter.create_documents(texts, metadatas)


def test_empty_documents_give_no_chunks(embeddings: LateChunkEmbeddings) -> None:
    splitter = LateChunkTextSplitter(embeddings=embeddings)
    assert splitter.create_documents(["", "  \n", "text"]) == splitter.create_documents(["text"])


def test_splitting_loads_no_model() -> None:
    """A process that only splits needs no weights; this name does not even exist."""
    pair = late_chunking("no/such-model", lines, header=None)
    assert len(pair.splitter.split_documents(corpus(1))) > 1


def test_what_cannot_be_wired_is_refused(embeddings: LateChunkEmbeddings) -> None:
    with pytest.raises(InputTypeError, match="LateChunkEmbeddings"):
        LateChunkTextSplitter(embeddings=embeddings.plain)  # type: ignore[arg-type]  # under test
    for name in ("header", "parent_by"):
        with pytest.raises(InputTypeError, match=f"{name} must be a metadata key"):
            LateChunkTextSplitter(embeddings=embeddings, **{name: ["title"]})  # type: ignore[arg-type]  # under test
    splitter = LateChunkTextSplitter(embeddings=embeddings, splitter=lambda text: text)
    with pytest.raises(InputTypeError, match="list of texts"):
        splitter.split_text("text")
