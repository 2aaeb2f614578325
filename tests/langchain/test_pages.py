"""Several source documents as one parent: the pages of a file, the sections of a document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, index
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_text_splitters import MarkdownHeaderTextSplitter

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.errors import IncompleteParentError, InputTypeError
from latechunk_integrations.langchain import (
    ChunkText,
    LateChunkTextSplitter,
    LateChunkVectorStore,
    late_chunking,
)
from tests.langchain.support import line_spans, lines, pair_of_lines

_PAGES = (
    ("Lease of the mill.", "The tenant is Ada.", "The rent is due in May."),
    ("She may keep a cat.", "No dogs are allowed."),
    ("The rent is due in May.", "Signed in Berlin."),
)


def _write_pdf(path: Path) -> None:
    """A PDF of three pages, written by hand: what a reader gives back is this text."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>"]
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(_PAGES)))
    objects.append(f"<< /Type /Pages /Kids [{kids}] /Count {len(_PAGES)} >>")
    objects.append("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    for number, page in enumerate(_PAGES):
        shown = " T* ".join(f"({line}) Tj" for line in page)
        stream = f"BT /F1 12 Tf 14 TL 72 720 Td {shown} ET"
        objects.append(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] "
            f"/Resources << /Font << /F1 3 0 R >> >> /Contents {5 + 2 * number} 0 R >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    content, offsets = "%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(content))
        content += f"{number} 0 obj\n{body}\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    content += (
        f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
        f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(content)}\n%%EOF\n"
    )
    path.write_bytes(content.encode("latin-1"))


def _read_pages(path: Path) -> list[Document]:
    """As LangChain's PyPDFLoader gives them."""
    from pypdf import PdfReader

    return [
        Document(
            page.extract_text().strip(),
            metadata={"source": str(path), "page": number, "page_label": str(number + 1)},
        )
        for number, page in enumerate(PdfReader(path).pages)
    ]


def _whole(pages: list[Document]) -> Parent:
    """The file as one parent, laid out here: pages joined by a blank line, a chunk a line."""
    spans, offset = [], 0
    for page in pages:
        spans += [(start + offset, end + offset) for start, end in line_spans(page.page_content)]
        offset += len(page.page_content) + 2
    return Parent("\n\n".join(page.page_content for page in pages), spans)


def _truth(engine: LateChunkEngine, pages: list[Document]) -> dict[tuple[int, int], Any]:
    """Vectors of the whole file by page and start in that page."""
    places = [
        (page.metadata["page"], start)
        for page in pages
        for start, _ in line_spans(page.page_content)
    ]
    return dict(zip(places, engine.embed([_whole(pages)])[0].vectors, strict=True))


def _by_page(rows: list[tuple[dict[str, Any], Any]]) -> dict[tuple[int, int], Any]:
    return {(m["page"], m["start_index"]): np.array(v) for m, v in rows}


def _assert_same(got: dict[Any, Any], truth: dict[Any, Any]) -> None:
    assert got.keys() == truth.keys()
    assert max(np.abs(got[key] - truth[key]).max() for key in truth) < 1e-5


@pytest.fixture
def pages(tmp_path: Path) -> list[Document]:
    _write_pdf(tmp_path / "lease.pdf")
    read = _read_pages(tmp_path / "lease.pdf")
    assert [tuple(lines(page.page_content)) for page in read] == list(_PAGES)
    return read


@pytest.mark.parametrize("by_function", [False, True])
def test_a_pdf_read_page_by_page_has_the_vectors_of_the_whole_file(
    tiny_engine: LateChunkEngine, pages: list[Document], by_function: bool
) -> None:
    key: Any = (lambda page: Path(page.metadata["source"]).name) if by_function else "source"
    splitter, embeddings = pair_of_lines(tiny_engine, parent_by=key)
    chunks = splitter.split_documents(pages)
    assert [c.metadata["page"] for c in chunks] == [0, 0, 0, 1, 1, 2, 2]
    assert [c.metadata["page_label"] for c in chunks] == list("1112233")
    for chunk in chunks:
        page = pages[chunk.metadata["page"]].page_content
        assert page.startswith(chunk.page_content, chunk.metadata["start_index"])
    vectors = embeddings.embed_documents([chunk.page_content for chunk in chunks])
    truth = _truth(tiny_engine, pages)
    _assert_same(_by_page([(c.metadata, v) for c, v in zip(chunks, vectors, strict=True)]), truth)
    alone = pair_of_lines(tiny_engine)
    own = alone.embeddings.embed_documents(
        [chunk.page_content for chunk in alone.splitter.split_documents(pages)]
    )
    assert np.abs(np.array(own) - np.array(vectors)).max() > 1e-3


def test_pages_of_several_files_in_any_order(tiny_engine: LateChunkEngine) -> None:
    """Chunks come in the order of the documents given; a file's pages in theirs."""
    files = {
        name: [
            Document("\n".join(page), metadata={"source": name, "page": n})
            for n, page in enumerate(_PAGES)
        ]
        for name in ("a", "b")
    }
    loose = Document("No file.\nNo parent.", metadata={"page": 0})
    mixed = [page for both in zip(*files.values(), strict=True) for page in both]
    splitter, embeddings = pair_of_lines(tiny_engine, parent_by="source")
    chunks = splitter.split_documents([*mixed, loose])
    assert [c.metadata.get("source") for c in chunks[:6]] == ["a"] * 3 + ["b"] * 3
    vectors = embeddings.embed_documents([chunk.page_content for chunk in chunks])
    rows = list(zip([c.metadata for c in chunks], vectors, strict=True))
    for name, own in files.items():
        mine = [(m, v) for m, v in rows if m.get("source") == name]
        _assert_same(_by_page(mine), _truth(tiny_engine, own))
    _assert_same(
        _by_page([(m, v) for m, v in rows if "source" not in m]), _truth(tiny_engine, [loose])
    )


def test_an_edited_page_embeds_the_whole_file_anew_and_deletes_what_is_gone(
    tiny_engine: LateChunkEngine,
) -> None:
    splitter, embeddings = pair_of_lines(tiny_engine, parent_by="source")
    records = InMemoryRecordManager("pages")
    records.create_schema()
    inner = InMemoryVectorStore(embeddings)

    def write(pages: list[Document]) -> dict[str, int]:
        done = index(
            splitter.split_documents(pages),
            records,
            LateChunkVectorStore(inner),
            cleanup="incremental",
            source_id_key="source",
            key_encoder="sha256",
        )
        rows = [(row["metadata"], row["vector"]) for row in inner.store.values()]
        _assert_same(_by_page(rows), _truth(tiny_engine, pages))
        return dict(done)  # type: ignore[arg-type]  # a typed dict

    def pages(*changed: tuple[str, ...]) -> list[Document]:
        return [
            Document("\n".join(page), metadata={"source": "lease", "page": number})
            for number, page in enumerate((*changed, *_PAGES[len(changed) :]))
        ]

    assert write(pages())["num_added"] == 7
    assert write(pages())["num_skipped"] == 7
    edited = write(pages(("Lease of the barn.", "The tenant is Bob.")))
    assert (edited["num_added"], edited["num_deleted"]) == (6, 7)  # all pages' vectors changed


def test_sections_of_a_header_splitter_see_the_whole_document(
    tiny_engine: LateChunkEngine,
) -> None:
    """With the heading path as each chunk's own header."""
    text = "# Guide\nIntro line.\n## Setup\nDo this.\nThen that.\n## Use\nNow go.\n"
    cut = MarkdownHeaderTextSplitter([("#", "Header 1"), ("##", "Header 2")])
    inside, embeddings = late_chunking(
        tiny_engine, lines, section_splitter=cut, parent_by="source", header="title"
    )
    document = Document(text, metadata={"source": "guide.md", "title": "Handbook"})
    before = LateChunkTextSplitter(
        embeddings=embeddings, splitter=lines, parent_by="source", header="title"
    )
    sections = cut.split_text(text)
    for section in sections:
        section.metadata |= document.metadata
    for chunks in (inside.split_documents([document]), before.split_documents(sections)):
        texts = [chunk.page_content for chunk in chunks]
        (parent,) = {id(t.parent): t.parent for t in texts if isinstance(t, ChunkText)}.values()
        assert parent is not None
        assert parent.text == "\n\n".join(section.page_content for section in sections)
        assert parent.headers == (
            "Handbook > Guide",
            "Handbook > Guide > Setup",
            "Handbook > Guide > Setup",
            "Handbook > Guide > Use",
        )
        assert chunks[1].metadata["Header 2"] == "Setup"
        truth = tiny_engine.embed([parent])[0].vectors
        np.testing.assert_allclose(embeddings.embed_documents(texts), truth, atol=1e-6)


def test_a_stream_joins_pages_that_follow_each_other(
    tiny_engine: LateChunkEngine, pages: list[Document]
) -> None:
    splitter, _ = pair_of_lines(tiny_engine, parent_by="source")
    lazily = list(splitter.lazy_split_documents(iter(pages)))
    assert lazily == splitter.split_documents(pages)
    (parent,) = splitter.parents(pages)
    assert parent.fingerprint == _whole(pages).fingerprint
    other = Document("Else.", metadata={"source": "else"})
    with pytest.raises(IncompleteParentError, match="sort them"):
        list(splitter.lazy_split_documents([*pages[:2], other, pages[2]]))


def test_a_key_that_cannot_be_one_is_refused(tiny_engine: LateChunkEngine) -> None:
    splitter, _ = pair_of_lines(tiny_engine, parent_by="tags")
    with pytest.raises(InputTypeError, match="hashable"):
        splitter.split_documents([Document("One.", metadata={"tags": ["a"]})])
    odd: Any = lambda document: np.array([1, 2])  # noqa: E731  # an array has no truth value
    with pytest.raises(InputTypeError, match="hashable"):
        pair_of_lines(tiny_engine, parent_by=odd).splitter.split_documents([Document("One.")])


@pytest.mark.parametrize("nothing", [None, "", float("nan")])
def test_documents_without_a_key_are_not_joined(
    nothing: object, tiny_engine: LateChunkEngine
) -> None:
    """What a table does not know is nothing that its rows share."""
    splitter, _ = pair_of_lines(tiny_engine, parent_by="source")
    rows = [Document(text, metadata={"source": nothing}) for text in ("One.", "Two.")]
    for chunks in (splitter.split_documents(rows), list(splitter.lazy_split_documents(rows))):
        assert len({chunk.metadata["late_parent"] for chunk in chunks}) == 2


def test_chunks_of_joined_pages_cut_again_keep_the_file_as_parent(
    tiny_engine: LateChunkEngine, pages: list[Document]
) -> None:
    splitter, embeddings = late_chunking(
        tiny_engine, lambda text: [text], header=None, parent_by="source"
    )
    inner = LateChunkTextSplitter(embeddings=embeddings, splitter=lines, header=None)
    chunks = inner.split_documents(splitter.split_documents(pages))
    vectors = embeddings.embed_documents([chunk.page_content for chunk in chunks])
    rows = [(c.metadata, v) for c, v in zip(chunks, vectors, strict=True)]
    _assert_same(_by_page(rows), _truth(tiny_engine, pages))
