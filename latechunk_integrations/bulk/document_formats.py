"""Text of PDF, HTML and DOCX files."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping

from latechunk_integrations.bulk.rows import PAGE_BREAK
from latechunk_integrations.errors import InputError, MissingExtraError
from latechunk_integrations.plugins import import_extra

__all__ = ["FORMATS", "PAGED", "read_format"]

_EXTRA = "documents"
# What a reader of HTML does not see.
_UNSEEN = ("script", "style", "template", "noscript", "head")
_BLOCKS = (
    *("address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "figure"),
    *("footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav"),
    *("ol", "p", "pre", "section", "table", "td", "th", "tr", "ul"),
)


def read_format(suffix: str, content: bytes, name: str, most_bytes: int) -> str:
    """The text of a file.

    Args:
        suffix: One of `FORMATS`.
        content: The file.
        name: Names it in errors.
        most_bytes: What it may hold once it is unpacked, about.

    Raises:
        InputError: It is damaged, encrypted or too large.
        MissingExtraError: The reader's package is not installed.
    """
    pieces: list[str] = []
    n_chars = 0
    try:
        for piece in FORMATS[suffix](content, most_bytes):
            pieces.append(piece)
            n_chars += len(piece)
            if n_chars > most_bytes:
                raise InputError(f"its text has more than {most_bytes} characters")  # noqa: TRY301  # named below
    except MissingExtraError:
        raise
    except Exception as error:  # whatever a damaged file does to a parser
        raise InputError(
            f"{name} cannot be read as {suffix[1:].upper()} ({type(error).__name__}: {error})"
        ) from error
    return "".join(pieces)


def _read_pdf(content: bytes, most_bytes: int) -> Iterator[str]:
    del most_bytes  # what a page unpacks to is bounded by pypdf itself
    reader = import_extra("pypdf", extra=_EXTRA).PdfReader(io.BytesIO(content))
    for number, page in enumerate(reader.pages):
        yield (PAGE_BREAK if number else "") + page.extract_text().replace(PAGE_BREAK, "\n")


def _read_html(content: bytes, most_bytes: int) -> Iterator[str]:
    del most_bytes  # nothing in it is packed
    soup = import_extra("bs4", extra=_EXTRA).BeautifulSoup(content, "html.parser")
    for tag in soup(_UNSEEN):
        tag.decompose()
    for tag in soup(_BLOCKS):
        tag.insert_before("\n")
        tag.insert_after("\n")
    for line in soup.get_text().splitlines():
        words = " ".join(line.split())
        if words:
            yield words + "\n"


def _read_docx(content: bytes, most_bytes: int) -> Iterator[str]:
    docx = import_extra("docx", extra=_EXTRA)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > most_bytes:
        raise InputError(f"it unpacks to {unpacked} bytes, more than {most_bytes}")
    for block in docx.Document(io.BytesIO(content)).iter_inner_content():
        if hasattr(block, "rows"):  # a table
            for row in block.rows:
                yield "\t".join(cell.text for cell in row.cells) + "\n"
        else:
            yield block.text + "\n"


FORMATS: Mapping[str, Callable[[bytes, int], Iterator[str]]] = {
    ".pdf": _read_pdf,
    ".html": _read_html,
    ".htm": _read_html,
    ".docx": _read_docx,
}
"""Readers by the ending of a file's name."""

PAGED = (".pdf",)
"""Those whose text has a `PAGE_BREAK` between its pages."""
