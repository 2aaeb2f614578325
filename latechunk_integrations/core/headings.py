"""The best header for each chunk: the title of its document, the headings above its place."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.file_names import (
    cut_words,
    is_junk_title,
    last_part,
    readable_name,
)
from latechunk_integrations.core.outline import (
    Heading,
    TextKind,
    find_headings,
    guess_kind,
    kind_of_file,
    strip_tags,
)
from latechunk_integrations.schema import CharSpans

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

_TITLE_KEYS = ("title", "documenttitle", "doctitle", "dctitle", "ogtitle", "pagetitle", "headline")
_NAME_KEYS = ("subject", "name")
_FILE_KEYS = ("filename", "filepath", "source", "path", "url", "uri", "link")
_PAGE_KEYS = ("page", "pagelabel", "pagenumber", "pageno")
_TYPE_KEYS = ("filetype", "mimetype", "contenttype")
_MAX_TITLE = 120
_HEAD_CHARS = 20_000


def find_title(metadata: Mapping[str, object], text: str) -> str:
    """What a document is called.

    The first that is any good: a title in the metadata; the text's own; the file's name made
    readable. The text's own is its first heading, the title of its front matter or HTML, or a
    first line that looks like a title. A page of a file, or a section that a parser cut out,
    has the title of its file, not that of its own first line.

    Args:
        metadata: Of the document, with keys in any case and spelling (``file_name``, ``Title``).
        text: The document.

    Returns:
        One line of at most 120 code points; empty when nothing is good.
    """
    known = _by_plain_key(metadata)
    file_title = _title_of_file(known)
    for key in (*_TITLE_KEYS, *_NAME_KEYS):
        title = _clean(known.get(key))
        if title and not is_junk_title(title) and title.casefold() != file_title.casefold():
            return title
    is_part = any(key in known for key in _PAGE_KEYS) or bool(path_from_metadata(metadata))
    kind = find_kind(metadata, text)
    if kind == "code":  # its first comment says less, and less reliably, than its name
        return file_title or ("" if is_part else _title_of_code(text))
    return ("" if is_part else _title_of_text(text, kind)) or file_title


def find_kind(metadata: Mapping[str, object], text: str) -> TextKind:
    """How a document marks its headings, by its type or file name, else by what it looks like."""
    known = _by_plain_key(metadata)
    for key in _TYPE_KEYS:
        for kind in ("html", "markdown"):
            if kind in str(known.get(key, "")).lower():
                return "html" if kind == "html" else "markdown"
    for key in (*_FILE_KEYS, *_NAME_KEYS):
        kind_by_name = kind_of_file(last_part(str(known.get(key, ""))))
        if kind_by_name != "auto":
            return kind_by_name
    return guess_kind(text)


def heading_paths(
    text: str,
    spans: CharSpans | NDArray[np.int64] | Sequence[Sequence[int]],
    *,
    kind: TextKind = "auto",
) -> list[tuple[str, ...]]:
    """The headings that are open where each chunk begins, outermost first.

    A heading inside a chunk counts only when the chunk begins with it; so do deeper ones that
    follow it with nothing between.

    Args:
        text: The parent's text.
        spans: Its chunks in code points, half-open, in any order, shape ``(n_chunks, 2)``.
        kind: How the text marks headings; see `find_kind`.

    Returns:
        One path for each span. Empty before the first heading, and in source code.
    """
    bounds = spans.array if isinstance(spans, CharSpans) else np.asarray(spans, np.int64)
    headings = find_headings(text, kind)
    if not headings:
        return [()] * len(bounds)
    paths = _open_paths(headings)
    starts = [heading.start for heading in headings]
    found: list[tuple[str, ...]] = []
    for start, end in bounds.reshape(-1, 2).tolist():
        following = bisect_left(starts, start)
        last = _last_at_beginning(text, headings, following, start, end)
        found.append(paths[last] if last >= 0 else ())
    return found


def path_from_metadata(metadata: Mapping[str, object]) -> tuple[str, ...]:
    """The headings above a section that a framework's parser left in its metadata.

    Read are LangChain's keys (``Header 1``, ``h2``), LlamaIndex's ``header_path``, and lists
    under ``headings``, as Docling leaves them.

    Returns:
        Outermost first; empty when there are none.
    """
    known = _by_plain_key(metadata)
    levels = {
        int(match[1]): _clean(value)
        for key, value in known.items()
        if (match := _LEVEL_KEY.fullmatch(key))
    }
    if any(levels.values()):
        return tuple(levels[level] for level in sorted(levels) if levels[level])
    inner = known.get("dlmeta")
    for key in ("headings", "headerpath", "headingpath", "sectionpath", "breadcrumbs"):
        value = known.get(key) or (inner.get(key) if isinstance(inner, Mapping) else None)
        if isinstance(value, str):
            value = value.split(" > " if " > " in value else "/" if key == "headerpath" else "\n")
        if isinstance(value, (list, tuple)):
            path = tuple(part for part in map(_clean, value) if part)
            if path:
                return path
    return ()


def common_entries(metadatas: Sequence[Mapping[_Key, _Value]]) -> dict[_Key, _Value]:
    """The metadata that all chunks or documents of a parent have: the file's, not its pages'."""
    first, *others = metadatas
    return {
        key: value
        for key, value in first.items()
        if all(key in other and other[key] == value for other in others)
    }


def join_header(title: str, path: Iterable[str], *, max_chars: int = 240) -> str:
    """A header in one line: ``Title > Section > Subsection``.

    Args:
        title: Of the document; may be empty.
        path: Headings, outermost first. Of neighbours that say the same, or of which one begins
            or ends with the other, the longer one is kept.
        max_chars: Most code points. Headings in the middle go first, then the innermost and the
            title are cut between words.

    Returns:
        The header; empty without title and path.
    """
    parts: list[str] = []
    for part in (" ".join(part.split()) for part in (title, *path)):
        if not part or (parts and _says_as_much(parts[-1], part)):
            continue
        if parts and _says_as_much(part, parts[-1]):
            parts.pop()
        parts.append(part)
    while len(parts) > 2 and len(_SEPARATOR.join(parts)) > max_chars:  # noqa: PLR2004  # both ends
        del parts[1]
    if len(_SEPARATOR.join(parts)) > max_chars:
        room = (max_chars - len(_SEPARATOR) * (len(parts) - 1)) // len(parts)
        parts = [cut_words(part, max(0, room)) for part in parts]
    return _SEPARATOR.join(part for part in parts if part)[: max(0, max_chars)]


_SEPARATOR = " > "
_LEVEL_KEY = re.compile(r"(?:header|heading|h)([1-6])")
_UNSPOKEN = re.compile(r"[\W_]+")
_BLANK = re.compile(r"(?:\s+|<[/!?a-zA-Z][^<>]{0,500}>)*")


def _open_paths(headings: Sequence[Heading]) -> list[tuple[str, ...]]:
    """For each heading, what is open from there on."""
    opened: list[Heading] = []
    paths: list[tuple[str, ...]] = []
    for heading in headings:
        while opened and opened[-1].level >= heading.level:
            opened.pop()
        opened.append(heading)
        paths.append(tuple(one.text for one in opened if one.text))
    return paths


def _last_at_beginning(
    text: str, headings: Sequence[Heading], following: int, start: int, end: int
) -> int:
    """The last heading that a chunk begins under or with; -1 when there is none."""
    last, at, level = following - 1, start, 0
    while last + 1 < len(headings):
        heading = headings[last + 1]
        if heading.start >= end or heading.level <= level:
            break
        if not _is_blank(text, at, heading.start):
            break
        last, at, level = last + 1, heading.end, heading.level
    return last


def _is_blank(text: str, start: int, end: int) -> bool:
    """Whether nothing is read between two places: white space, tags."""
    blank = _BLANK.match(text, start, end)
    return blank is not None and blank.end() == end


def _by_plain_key(metadata: Mapping[str, object]) -> dict[str, object]:
    """Metadata by keys in small letters without separators; the first of equal ones stays."""
    known: dict[str, object] = {}
    for key, value in metadata.items():
        if value is not None and value != "":
            known.setdefault(_strip_signs(str(key)), value)
    return known


def _says_as_much(longer: str, part: str) -> bool:
    """Whether a part of a header is the beginning or the end of another, word by word."""
    words, few = _UNSPOKEN.split(longer.casefold()), _UNSPOKEN.split(part.casefold())
    words, few = [word for word in words if word], [word for word in few if word]
    return bool(few) and few in (words[: len(few)], words[-len(few) :])


def _strip_signs(said: str) -> str:
    return _UNSPOKEN.sub("", said).casefold()


def _clean(value: object) -> str:
    """A value as one line of bounded length; empty when it is no text."""
    if not isinstance(value, str):
        return ""
    return cut_words(strip_tags(value[: 10 * _MAX_TITLE]), _MAX_TITLE)


def _title_of_file(known: Mapping[str, object]) -> str:
    """The name of a document's file, made readable; empty when it says nothing."""
    for key in (*_FILE_KEYS, "name"):
        value = known.get(key)
        if isinstance(value, (str, PurePath)):
            title = readable_name(str(value), sure=key in ("filename", "filepath"))
            if title:
                return cut_words(title, _MAX_TITLE)
    return ""


_FRONT_TITLE = re.compile(
    r"^title[ \t]*[:=][ \t]*(['\"]?)(.{1,300}?)\1[ \t]*$", re.MULTILINE | re.IGNORECASE
)
_HTML_TITLE = re.compile(r"<title\b[^<>]{0,200}>([^<]{1,500})</title", re.IGNORECASE)
_SITE = re.compile(r"\s+[|–—·»-]\s+")
_SECTION_NAME = re.compile(
    r"(?:introduction|overview|abstract|(?:table of )?contents|summary|background|install(?:ation)?"
    r"|usage|preface|foreword|change ?log|about|getting started|quick ?start|features)"
    r"|(?:chapter|part|section|article|appendix|§)\b.*|v?\d+[.\d]*\b.*|\W*",
    re.IGNORECASE,
)


def _title_of_text(text: str, kind: TextKind) -> str:
    head = text[:_HEAD_CHARS].replace("\r\n", " \n").replace("\r", "\n")
    headings = [heading for heading in find_headings(text, kind) if heading.text]
    if kind == "html":
        return _title_of_html(head, [heading.text for heading in headings if heading.level == 1])
    front = head.find("\n" + head[:3], 3) if head.startswith(("---", "+++")) else -1
    if front > 0 and (given := _FRONT_TITLE.search(head, 0, front)):
        title = _clean(given[2])
        if title and not is_junk_title(title):
            return title
    body = front + len("\n---") if front > 0 else 0
    return _top_heading(text, headings, body) or _first_line(head[body:])


def _title_of_html(head: str, top: Sequence[str]) -> str:
    given = _HTML_TITLE.search(head)
    title = _clean(given[1]) if given else ""
    if title and not is_junk_title(title):
        parts = [_strip_signs(part) for part in _SITE.split(title)]
        return next((heading for heading in top if _strip_signs(heading) in parts), title)
    return next((heading for heading in top if not is_junk_title(heading)), "")


def _top_heading(text: str, headings: Sequence[Heading], body: int) -> str:
    """The first heading, where it names the document and not its first section."""
    if not headings or is_junk_title(headings[0].text):
        return ""
    first, *others = headings
    if first.level > 1 and any(other.level < first.level for other in others):
        return ""
    alone = all(other.level > first.level for other in others)
    at_top = _is_blank(text, body, first.start) if first.start >= body else False
    if alone and (at_top or first.level == 1):
        return first.text
    return first.text if at_top and not _SECTION_NAME.fullmatch(first.text) else ""


_FURNITURE = re.compile(
    r"page \d+(?: of \d+)?|\d+|(?:strictly )?(?:confidential|private)(?: .{0,30})?|draft|copy"
    r"|execution (?:version|copy)|(?:table of )?contents|exhibit [\w.-]+|version [\w.]+|\[.*\]"
    r"|https?://\S+|copyright\b.*"
    r"|(?:\w{3,9},? )?(?:\d{1,2}(?:st|nd|rd|th)? \w{3,9}|\w{3,9} \d{1,2}),? \d{4}"
    r"|\d{1,4}[-/. ]\d{1,2}[-/. ]\d{1,4}|[\W_]*",
    re.IGNORECASE,
)
_FIELD = re.compile(r"([A-Za-z][\w -]{0,24}):(?:\s|$)")
_NO_TITLE_LINE = re.compile(r"[-*+•>|#=<`{}\[(]|\d{1,3}[.)]\s|[a-z]\)\s")
_GOES_ON = re.compile(
    r"\b(?:of|and|the|for|to|in|on|by|with|between|de|der|und|a|an|or)$", re.IGNORECASE
)
_MAX_TITLE_LINES = 3
_MAX_TITLE_WORDS = 15
_MIN_LETTERS = 3


def _first_line(head: str) -> str:
    """The first paragraph, when it looks like a title: short, no sentence, text after it."""
    blocks = [block for block in re.split(r"\n[ \t]*\n", head[:3000]) if block.strip()]
    for block in blocks[:-1][:5]:
        lines = [" ".join(line.split()) for line in block.splitlines() if line.strip()]
        if all(_FURNITURE.fullmatch(line) for line in lines):
            continue
        fields = [_FIELD.match(line) for line in lines]
        for line, field in zip(lines, fields, strict=True):
            if field and field[1].lower() in ("title", "subject", "betreff"):
                return _clean(line[field.end() :])
        several = sum(field is not None for field in fields) > 1
        if several or len(lines) > _MAX_TITLE_LINES or not all(map(_looks_like_title, lines)):
            return ""
        lines = [line for line in lines if not _FURNITURE.fullmatch(line)]
        title = lines[0]
        if title[0].islower():
            return ""
        for line in lines[1:]:
            if _GOES_ON.search(title) or line[0].islower():
                title = f"{title} {line}"
        return "" if is_junk_title(title) or _SECTION_NAME.fullmatch(title) else _clean(title)
    return ""


def _looks_like_title(line: str) -> bool:
    words = line.split()
    return (
        len(line) <= _MAX_TITLE
        and len(words) <= _MAX_TITLE_WORDS
        and sum(map(str.isalpha, line)) >= _MIN_LETTERS
        and (line[-1] not in ".!,;:。…{}" or line.endswith(("Inc.", "Ltd.", "Co.", "Corp.")))
        and not _NO_TITLE_LINE.match(line)
        and "@" not in line
    )


_COMMENT = re.compile(r"(?:[rRuU]?\"{3}|'{3}|/\*[*!]?|//[/!]?|#+|--+|;+|\*|<!--)[ \t]*")
_NO_COMMENT = re.compile(
    r"copyright|licen[sc]e|://|spdx|generated|coding[:=]|eslint|pragma|noqa|pylint|mypy:|clang|@\w+"
    r"|todo|vim:|\$|all rights|include\b|define\b|if\b|ifn?def\b|region\b|!",
    re.IGNORECASE,
)


def _title_of_code(text: str) -> str:
    """The first line of the comment that a source file begins with."""
    inside = False
    for raw in text[:2000].splitlines()[:12]:
        line = raw.strip()
        mark = _COMMENT.match(line)
        if not line or line.startswith("#!"):
            continue
        if not mark and not inside:
            return ""
        inside = inside or (mark is not None and mark[0].startswith(("/*", '"', "'", "r", "<!")))
        said = (line[mark.end() :] if mark else line).rstrip("*/->\"' \t").rstrip(".")
        if _NO_COMMENT.search(said) or said[:1].islower():
            return ""
        if len(said.split()) > 1 and said[0].isalpha():
            return _clean(said)
    return ""
