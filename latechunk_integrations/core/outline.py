"""The headings of a text: Markdown, HTML, reStructuredText, numbered clauses."""

from __future__ import annotations

import html
import re
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Literal, NamedTuple, TypeAlias

from latechunk_integrations.core.clauses import find_clauses

TextKind: TypeAlias = Literal["auto", "markdown", "html", "rst", "numbered", "code"]
"""How a text marks its headings. ``numbered``: plain text with clauses such as "1.3 Termination";
``code``: a source file, which has none; ``auto``: by what the text looks like."""

_MAX_CHARS = 120
_SAMPLE_CHARS = 20_000

_SUFFIXES: dict[TextKind, str] = {
    "markdown": "md markdown mdx mdown qmd rmd",
    "html": "html htm xhtml",
    "rst": "rst rest",
    "code": "py pyi ipynb js jsx ts tsx mjs cjs java kt kts scala go rs c h cc cpp cxx hh hpp cs "
    "rb php swift m mm pl pm r jl lua sh bash zsh fish ps1 sql yaml yml toml ini cfg conf json "
    "proto tf css scss less vue svelte dart ex exs erl hs ml clj lisp el vim asm s cmake gradle",
}
_KINDS = {suffix: kind for kind, names in _SUFFIXES.items() for suffix in names.split()}


class Heading(NamedTuple):
    """A heading of a text.

    Args:
        start: Its first code point in the text, mark-up included.
        end: One past the last.
        level: 1 is the highest; a heading ends what is open at its level and below.
        text: What it says, without mark-up; empty where it says nothing.
    """

    start: int
    end: int
    level: int
    text: str


def find_headings(text: str, kind: TextKind = "auto") -> list[Heading]:
    """The headings of a text in reading order, in time linear in its length.

    Args:
        text: A document or a part of one, of any kind.
        kind: How it marks headings. Markdown and reStructuredText that have one heading at most
            are searched for numbered clauses too.

    Returns:
        Headings that do not overlap. None of them lies in a fenced block, a comment or a script.
    """
    if kind == "auto":
        kind = guess_kind(text)
    if kind == "code":
        return []
    if kind == "html":
        return [*_html_headings(text)]
    if "\r" in text:  # one code point for one, so that places stay
        text = text.replace("\r\n", " \n").replace("\r", "\n")
    found: list[Heading] = []
    if kind != "numbered":
        found = _rst_headings(text) if kind == "rst" else _markdown_headings(text)
    if len(found) <= 1:
        depth = found[0].level if found else 0
        clauses = [
            _make_heading(one.start, one.end, depth + one.level, one.text)
            for one in find_clauses(text)
        ]
        found = sorted([*found, *(one for one in clauses if not _overlaps(one, found))])
    return found


def kind_of_file(name: str) -> TextKind:
    """The kind that a file's name promises; ``auto`` where it promises none."""
    return _KINDS.get(PurePosixPath(name.replace("\\", "/")).suffix[1:].lower(), "auto")


_HTML_START = re.compile(
    r"\s{0,1000}(?:<\?xml[^<>]{0,200}>\s{0,100})?"
    r"<(?:(?P<page>!doctype html|(?:html|head|body)\b)"
    r"|(?:article|main|div|section|header|p|h[1-6]|table|nav)\b)",
    re.IGNORECASE,
)
_ATX = re.compile(r"^#{1,6} +\w", re.MULTILINE)
_RST_MARK = re.compile(
    r"^\.\. [\w-]+::|^\.\. _[^\n:]{1,80}:|:(?:ref|doc|class|func|meth|mod):`|^[\^\"]{4,}[ \t]*$"
    r"|^(?=(?P<title>\S[^\n]{3,118})\n(?P<under>~{4,})[ \t]*$)",
    re.MULTILINE,
)
_CODE_LINE = re.compile(
    r"\s*(?:import\s+[\w.{*]|from\s+[\w.]+\s+import\b|(?:async\s+)?def\s|class\s+\w+\s*[({:]|return\b"
    r"|#\s*(?:include|define|pragma|ifn?def|endif|if)\b|(?:pub|fn|func|package|const|let|var|use"
    r"|static|public|private|protected|export|namespace|template|void|int|auto|struct|enum|impl)\s"
    r"|@\w+|//|/\*|\*/|[})\]]|(?:if|for|while|elif|else|try|except|switch|case)\b.{0,200}[:{(]$"
    r"|[\w.\[\]'\",*&>-]{1,80}(?:\s*:\s*[\w.\[\], |]{1,40})?\s*[-+*/|&]?=[^=]|[\w.]{1,80}\()"
    r"|-- |(?:SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|FROM|WHERE|LEFT|INNER|JOIN|VALUES)\b"
    r"|\s+\* |\s*[\w.-]{1,60}:(?:\s*$|\s+\S{1,60}$)"
    r"|\s*(?:\S{1,80}\s+){0,4}\S{0,80}[;{}]\s*$|.{0,300}?(?:[\w\])]\(|=|->|::).{0,300}[;{}]\s*$"
)


_SURE_CODE_LINE = re.compile(
    r"from [\w.]+ import |import [\w.]+(?: as \w+)?$|(?:async )?def \w+\(|class \w+(?:\(.*)?:$"
    r"|#\s*include [<\"]"
)
_SURE_CODE_LINES = 3


def guess_kind(text: str) -> TextKind:
    """What kind of text this is, from its first 20,000 code points."""
    sample = text[:_SAMPLE_CHARS]
    begins = _HTML_START.match(sample)
    if begins and (begins["page"] or not _ATX.search(sample)):  # Markdown may begin with a tag
        return "html"
    if sample.startswith("#!") or _is_code(sample):
        return "code"
    marks = _RST_MARK.finditer(sample)
    is_rst = any(not m["title"] or len(m["title"]) == len(m["under"]) for m in marks)
    return "rst" if is_rst else "markdown"


def _is_code(sample: str) -> bool:
    """Whether half of the lines outside fenced blocks are code, or comments that go on with #.

    A quarter is enough where some can be nothing else.
    """
    lines = [line[:500] for line in sample.splitlines()[:400] if line.strip()]
    n_lines = n_code = n_sure = 0
    fenced = commented = False
    for line in lines:
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        elif not fenced:
            comment = line.startswith("# ")
            n_lines += 1
            n_code += (comment and commented) or _CODE_LINE.match(line) is not None
            n_sure += _SURE_CODE_LINE.match(line) is not None
            commented = comment
    share = 4 if n_sure >= _SURE_CODE_LINES else 2  # files with long comments have less code
    return n_lines > 1 and share * n_code > n_lines


_MARKDOWN_LINE = re.compile(
    r"^ {0,3}(?:(?P<atx>#{1,6})(?=[ \t\n]|\Z)[^\n]*|(?P<fence>`{3,}|~{3,})(?P<info>[^\n]*)"
    r"|(?P<under>={3,}|-{3,})[ \t]*$)",
    re.MULTILINE,
)
_FRONT_MATTER = re.compile(r"(---|\+\+\+)[ \t]*\n(?:(?!\1)[^\n]*\n){0,200}?\1[ \t]*(?:\n|\Z)")
_NO_TITLE = re.compile(
    r"\t| {4}| {0,3}(?:#{1,6}(?:[ \t]|$)|>|\||```|~~~|[-*+][ \t]|\d{1,9}[.)][ \t])"
)


def _markdown_headings(text: str) -> list[Heading]:
    found: list[Heading] = []
    fences: list[tuple[int, int]] = []
    fence, opened = "", 0
    front = _FRONT_MATTER.match(text)
    begin = front.end() if front else 0
    for line in _MARKDOWN_LINE.finditer(text, begin):
        mark = line["fence"]
        if fence:
            if mark and mark.startswith(fence) and not line["info"].strip():
                fences.append((opened, line.end()))
                fence = ""
        elif mark:
            if mark[0] == "~" or "`" not in line["info"]:
                fence, opened = mark, line.start()
        elif line["atx"]:
            inner = text[line.end("atx") : line.end()].strip()
            bare = inner.rstrip("#")
            inner = bare if not bare or bare[-1] in " \t" else inner
            found.append(_make_heading(line.start(), line.end(), len(line["atx"]), inner))
        else:
            found.extend(_read_underlined(text, line, begin, found[-1].end if found else begin))
    if fence:
        fences.append((opened, len(text)))
    return _with_html(text, found, fences)


def _read_underlined(
    text: str, line: re.Match[str], begin: int, last_end: int
) -> Iterator[Heading]:
    """A paragraph of one line that is underlined, if the line before this one is that."""
    start = max(text.rfind("\n", begin, max(begin, line.start() - 1)) + 1, begin)
    title = text[start : max(start, line.start() - 1)]
    if len(title) > 2 * _MAX_CHARS or not any(map(str.isalnum, title)) or _NO_TITLE.match(title):
        return
    before = text.rfind("\n", begin, max(begin, start - 1)) + 1
    if start <= last_end + 1 or not text[max(before, begin) : start].strip():
        yield _make_heading(start, line.end(), 1 if line["under"][0] == "=" else 2, title)


def _with_html(text: str, found: list[Heading], fences: list[tuple[int, int]]) -> list[Heading]:
    """Markdown's headings with those written in HTML at the beginning of a line."""
    ends = [end for _, end in fences]
    for one in _html_headings(text):
        fence = bisect_left(ends, one.end)
        if fence < len(fences) and fences[fence][0] <= one.start:
            continue
        line = text[max(text.rfind("\n", 0, one.start) + 1, one.start - 200) : one.start]
        if not strip_tags(line):
            found.append(one)
    found.sort()
    return [one for i, one in enumerate(found) if not i or one.start >= found[i - 1].end]


_HTML_TOKEN = re.compile(
    r"<(?:(?P<close>/?)h(?P<level>[1-6])(?:\s[^<>]{0,2000})?>|(?P<comment>!--)"
    r"|(?P<raw>script|style|template|noscript|svg)\b)",
    re.IGNORECASE,
)
_RAW_END = {
    name: re.compile(f"</{name}", re.IGNORECASE)
    for name in ("script", "style", "template", "noscript", "svg")
}
_MAX_HTML_HEADING = 5_000


def _html_headings(text: str) -> Iterator[Heading]:
    opened: re.Match[str] | None = None
    at = 0
    while token := _HTML_TOKEN.search(text, at):
        at = token.end()
        if token["comment"] or token["raw"]:
            raw = token["raw"]
            closing = _RAW_END[raw.lower()].search(text, at) if raw else None
            at = closing.end() if closing else text.find("-->", at) if not raw else -1
            if at < 0:
                return
        elif not token["close"]:
            opened = token
        elif opened and opened["level"] == token["level"]:
            if token.start() - opened.end() <= _MAX_HTML_HEADING:
                said = strip_tags(text[opened.end() : token.start()])
                said = _PERMALINK.sub("", said)
                yield Heading(opened.start(), token.end(), int(token["level"]), _clip(said))
            opened = None


_BREAK = re.compile(r"<(?:br|/?p|/?div)\b[^<>]{0,500}>", re.IGNORECASE)
_TAG = re.compile(r"<[/!?a-zA-Z][^<>]{0,2000}>")


_PERMALINK = re.compile(r"(?:\s*(?:[#¶§🔗]|\[(?:src|edit)\]))+$")


def strip_tags(markup: str) -> str:
    """The text of a piece of HTML, its white space collapsed."""
    if "<" in markup:
        markup = _TAG.sub("", _BREAK.sub(" ", markup))
    return " ".join((html.unescape(markup) if "&" in markup else markup).split())


_RST_UNDER = re.compile(r"^([=\-`:'\"~^_*+#<>.])\1{2,}[ \t]*$", re.MULTILINE)


def _rst_headings(text: str) -> list[Heading]:
    found: list[Heading] = []
    levels: dict[tuple[str, bool], int] = {}
    for line in _RST_UNDER.finditer(text):
        start = text.rfind("\n", 0, max(0, line.start() - 1)) + 1
        title = text[start : max(start, line.start() - 1)].rstrip()
        if not title or len(title) > min(len(line[0].rstrip()), 2 * _MAX_CHARS):
            continue
        before = text.rfind("\n", 0, max(0, start - 1)) + 1
        above = text[before : max(before, start - 1)].rstrip()
        over = bool(above) and above == line[0].rstrip()
        if (title[0].isspace() and not over) or (above and not over) or _RST_UNDER.match(title):
            continue
        level = levels.setdefault((line[1], over), len(levels) + 1)
        found.append(_make_heading(before if over else start, line.end(), level, title))
    return found


def _overlaps(one: Heading, others: list[Heading]) -> bool:
    return any(one.start < other.end and other.start < one.end for other in others)


_IMAGE = re.compile(r"!\[([^\[\]]*)\]\([^()]*\)")
_LINK = re.compile(r"\[([^\[\]]+)\](?:\([^()]*\)|\[[^\[\]]*\])")
_EMPHASIS = re.compile(r"(\*{1,3}|`+)(.+?)\1|(?<!\w)(_{1,3})(.+?)\3(?!\w)")
_ATTRIBUTES = re.compile(r"\s*\{[#.:][^{}]*\}\s*$")
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")


def _make_heading(start: int, end: int, level: int, inner: str) -> Heading:
    """A heading whose text may hold Markdown, in a line of any length."""
    inner = inner[: 2 * _MAX_CHARS].strip()
    if "[" in inner:
        inner = _LINK.sub(r"\1", _IMAGE.sub(r"\1", inner))
    inner = _ATTRIBUTES.sub("", inner)
    if "*" in inner or "`" in inner or "_" in inner:
        inner = _EMPHASIS.sub(lambda m: m[2] or m[4], inner)
    if "\\" in inner:
        inner = _ESCAPE.sub(r"\1", inner)
    return Heading(start, end, level, _clip(strip_tags(inner)))


def _clip(said: str) -> str:
    """A heading's text at a bounded length, cut between words where there are any."""
    if len(said) <= _MAX_CHARS:
        return said
    cut = said[:_MAX_CHARS]
    return cut.rpartition(" ")[0] or cut
