"""PDF, HTML, DOCX and CSV as documents; a damaged file costs itself alone."""

from __future__ import annotations

import io
import shutil
import sys
import zipfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from latechunk_integrations.bulk import index, repair, verify
from latechunk_integrations.bulk.corpus_files import FileSource
from latechunk_integrations.bulk.document_formats import read_format
from latechunk_integrations.bulk.rows import PAGE_BREAK, Columns, CorpusDocument, Failure
from latechunk_integrations.bulk.targets import Target
from latechunk_integrations.errors import InputError, MissingExtraError
from tests.bulk import support

LIMIT = 1 << 20


def make_pdf(pages: Sequence[str]) -> bytes:
    """A PDF with a line of text on each page, written by hand."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, text in enumerate(pages):
        shown = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET"
        objects.append(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] "
            f"/Contents {5 + 2 * number} 0 R /Resources << /Font << /F1 3 0 R >> >> >>"
        )
        objects.append(f"<< /Length {len(shown)} >>\nstream\n{shown}\nendstream")
    out, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n{content}\nendobj\n".encode()
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    end = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
    trailer = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(out)}\n%%EOF"
    return out + (end + trailer).encode()


def make_docx(paragraphs: Sequence[str], rows: Sequence[Sequence[str]] = ()) -> bytes:
    import docx

    document = docx.Document()
    for text in paragraphs:
        document.add_paragraph(text)
    if rows:
        table = document.add_table(len(rows), len(rows[0]))
        for r, row in enumerate(rows):
            for c, text in enumerate(row):
                table.cell(r, c).text = text
    saved = io.BytesIO()
    document.save(saved)
    return saved.getvalue()


@pytest.mark.slow
def test_pages_of_a_pdf_are_one_text_and_can_be_told_apart() -> None:
    pages = ["The order is placed.", "It is paid.", "The end."]
    text = read_format(".pdf", make_pdf(pages), "a.pdf", LIMIT)
    assert [page.strip() for page in text.split(PAGE_BREAK)] == pages
    assert 1 + text.count(PAGE_BREAK, 0, text.index("The end")) == 3


@pytest.mark.store
@pytest.mark.parametrize("kind", ["parquet", "chroma", "lancedb", "milvus", "qdrant"])
def test_rows_of_a_pdf_hold_the_pages_of_their_chunk(
    tmp_path: Path, tiny_model_path: Path, kind: str
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    pages = [f"Page {number} says {'more ' * number}words." for number in range(1, 5)]
    (source / "a.pdf").write_bytes(make_pdf(pages))
    (source / "b.txt").write_text("No page.", encoding="utf-8")
    target = support.target(kind, tmp_path)
    given = (source, target, support.options(tiny_model_path), tmp_path / "checkpoint")
    index(*given, support.settings())
    with closing(Target.parse(target).open(None, "")) as reader:
        rows = [dict(row) for row in reader.scan()]
    assert len(rows) > 4
    for row in rows:
        shown = [n for n in range(1, 5) if f"Page {n}" in row["text"]]
        assert (row["first_page"] > 0) == (row["document_id"] == "a.pdf")
        assert all(row["first_page"] <= number <= row["last_page"] for number in shown)
    assert max(row["last_page"] for row in rows) == 4
    assert verify(*given, support.settings()).damages == []
    shutil.rmtree(tmp_path / "checkpoint")
    repaired = repair(*given, support.settings())
    assert repaired.n_adopted == 2  # a document is taken over where its pages are right too


def test_html_is_what_a_reader_sees_block_by_block() -> None:
    page = (
        "<html><head><title>T</title><style>p{}</style></head><body><h1>Title  one</h1>"
        "<p>First <b>bold</b> text.</p><script>x()</script><ul><li>a</li><li>b</li></ul></body>"
    )
    expected = "Title one\nFirst bold text.\na\nb\n"
    assert read_format(".html", page.encode(), "a.html", LIMIT) == expected


def test_paragraphs_and_tables_of_docx_come_in_order() -> None:
    content = make_docx(["First.", "Second."], [["a", "b"], ["c", "d"]])
    assert read_format(".docx", content, "a.docx", LIMIT) == "First.\nSecond.\na\tb\nc\td\n"


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".pdf", b"%PDF-1.4 and nothing else"),
        (".pdf", b""),
        (".docx", b"PK\x03\x04 broken"),
        (".docx", make_pdf(["no archive"])),
    ],
)
def test_a_damaged_file_is_a_typed_error_that_names_it(suffix: str, content: bytes) -> None:
    with pytest.raises(InputError, match=f"a{suffix} cannot be read as {suffix[1:].upper()}"):
        read_format(suffix, content, f"a{suffix}", LIMIT)


def test_what_unpacks_beyond_the_bound_is_refused_unread() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", b"0" * (4 << 20))
    assert len(packed.getvalue()) < 10_000
    with pytest.raises(InputError, match="unpacks to"):
        read_format(".docx", packed.getvalue(), "bomb.docx", LIMIT)
    with pytest.raises(InputError, match="more than 30 characters"):
        read_format(".html", b"<p>" + b"many words " * 10, "long.html", 30)


def test_a_missing_reader_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pypdf", None)
    with pytest.raises(MissingExtraError, match=r"\[documents\]"):
        read_format(".pdf", make_pdf(["x"]), "a.pdf", LIMIT)


def test_a_folder_of_all_kinds_gives_a_document_or_a_failure_for_each_file(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(make_pdf(["The order."]))
    (tmp_path / "b.pdf").write_bytes(b"damaged")
    (tmp_path / "c.html").write_text("<p>Text</p>", encoding="utf-8")
    (tmp_path / "d.docx").write_bytes(make_docx(["Word."]))
    (tmp_path / "e.csv").write_text('id,text\n1,"two\nlines"\n2,other\n', encoding="utf-8")
    found = list(FileSource(tmp_path, Columns()))
    documents = {each.id: each.text.strip() for each in found if isinstance(each, CorpusDocument)}
    assert documents == {
        "a.pdf": "The order.",
        "c.html": "Text",
        "d.docx": "Word.",
        "1": "two\nlines",
        "2": "other",
    }
    (failure,) = (each for each in found if isinstance(each, Failure))
    assert (failure.document_id, failure.error) == ("b.pdf", "InputError")


def test_rows_of_a_csv_before_a_damage_are_kept_and_nothing_counts_as_gone(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'id,text\n1,one\n2,"open')
    first, failure = FileSource(tmp_path, Columns())
    assert isinstance(first, CorpusDocument)
    assert isinstance(failure, Failure)
    assert failure.hides


def test_a_csv_of_something_else_is_one_failure_that_hides_no_document(tmp_path: Path) -> None:
    (tmp_path / "questions.csv").write_text("query,quote\na,b\nc,d\n", encoding="utf-8")
    (failure,) = FileSource(tmp_path, Columns())
    assert isinstance(failure, Failure)
    assert "no column ['text', 'id']" in failure.reason
    assert not failure.hides
