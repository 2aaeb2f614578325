"""Text of PDF, HTML and DOCX files."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from latechunk_integrations.bulk.rows import PAGE_BREAK
from latechunk_integrations.errors import InputError, MissingExtraError
from latechunk_integrations.plugins import import_extra

_EXTRA = "documents"
# What a reader of HTML does not see.
_UNSEEN = ("script", "style", "template", "noscript", "title")
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
    parser = import_extra("bs4", extra=_EXTRA)
    soup = parser.BeautifulSoup(content, "html.parser")
    # The block that each tag's own text is in; none: nobody sees it. A tag comes after its parent.
    blocks: dict[int, Any] = {id(soup): soup}
    pieces: list[str] = []
    last: Any = soup
    for each in soup.descendants:
        block = blocks[id(each.parent)]
        if isinstance(each, parser.Tag):
            begins = each.name in _BLOCKS and block is not None
            blocks[id(each)] = None if each.name in _UNSEEN else each if begins else block
            pieces.append("\n" * begins)
        elif type(each) in (parser.NavigableString, parser.CData) and block is not None:
            pieces.append(each if block is last else f"\n{each}")
            last = block
    for line in "".join(pieces).splitlines():
        words = " ".join(line.split())
        if words:
            yield words + "\n"


def _read_docx(content: bytes, most_bytes: int) -> Iterator[str]:
    docx = import_extra("docx", extra=_EXTRA)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > most_bytes:
        raise InputError(f"it unpacks to {unpacked} bytes, more than {most_bytes}")
    yield from _read_blocks(docx.Document(io.BytesIO(content)))


def _read_blocks(holder: Any) -> Iterator[str]:
    """Paragraphs and tables of a DOCX document or of a cell."""
    for block in holder.iter_inner_content():
        if not hasattr(block, "rows"):
            yield block.text + "\n"
            continue
        # A cell that was joined of several is there once for each of them.
        known: dict[Any, Any] = {}
        for row in block.rows:
            own = {cell._tc: cell for cell in row.cells}  # noqa: SLF001  # only that tells cells apart
            own = {key: cell for key, cell in own.items() if key not in known}
            known |= own
            yield "\t".join("".join(_read_blocks(cell)).rstrip() for cell in own.values()) + "\n"


FORMATS: Mapping[str, Callable[[bytes, int], Iterator[str]]] = {
    ".pdf": _read_pdf,
    ".html": _read_html,
    ".htm": _read_html,
    ".docx": _read_docx,
}
"""Readers by the ending of a file's name."""

PAGED = (".pdf",)
"""Those whose text has a `PAGE_BREAK` between its pages."""
