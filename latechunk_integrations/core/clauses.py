"""Numbered headings of contracts and plain texts: "1.3 Termination", "ARTICLE V"."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

_MAX_CHARS = 120


class Clause(NamedTuple):
    """A numbered heading.

    Args:
        start: Its first code point in the text.
        end: One past the last; the clause's text may follow in the same line.
        level: 1 is the highest.
        text: Its number and title.
        number: Empty for parts, articles and schedules, in which numbers may begin anew.
    """

    start: int
    end: int
    level: int
    text: str
    number: tuple[int, ...]


_KEYWORDS = {
    **dict.fromkeys(("part", "teil", "title"), 1),
    **dict.fromkeys(("article", "artikel", "chapter", "kapitel", "chapitre", "schedule"), 2),
    **dict.fromkeys(("exhibit", "appendix", "annex", "annexe", "anhang", "anlage"), 2),
    **dict.fromkeys(("section", "abschnitt", "clause", "§"), 3),
}
_WORDS = "|".join(f"{word.capitalize()}|{word.upper()}" for word in _KEYWORDS)
_CLAUSE = re.compile(
    r"^[ \t]{0,12}(?:\*\*|__)?"
    rf"(?:(?P<word>{_WORDS})[ \t]{{0,4}}"
    r"(?P<id>\d{1,3}(?:\.\d{1,3}){0,4}|[IVXLC]{1,8}|[A-Z])"
    r"|(?P<number>\d{1,3}(?:\.\d{1,3}){0,4}))"
    r"(?P<rest>(?:[.:)]?(?:\*\*|__)?[ \t]*[–—:-]?[ \t]+[^\n]*)|[.:]?(?:\*\*|__)?[ \t]*)$",
    re.MULTILINE,
)
_RUN_IN = re.compile(r"(.{2,90}?)(?:[.:]|[ ][–—-])(?:\*\*|__)?\s+[A-Z(\"“'‘0-9]")
_SMALL = re.compile(
    r"an?|and|as|at|between|by|for|from|in|into|of|on|or|per|the|to|under|upon|via|with|without"
    r"|und|der|die|das|des|von|für|zu|zur|et|de|la|les?|du",
    re.IGNORECASE,
)
_MAX_WORDS = 12


def find_clauses(text: str) -> list[Clause]:
    """The headings of numbered clauses whose numbers rise, in reading order.

    Neither lists nor tables of contents count: their items have no text of their own.

    Args:
        text: Lines end with a newline.
    """
    clauses = [clause for line in _CLAUSE.finditer(text) for clause in _read_clause(text, line)]
    apart = _without_lists(text, clauses)
    kept: list[Clause] = []
    at = 0
    while at < len(apart):
        if not apart[at].number:
            kept.append(apart[at])
            at += 1
            continue
        until = next((i for i in range(at, len(apart)) if not apart[i].number), len(apart))
        rising = _longest_rising(apart[at:until])
        kept += rising if len(rising) > 1 or kept else []
        at = until
    return kept


def _read_clause(text: str, line: re.Match[str]) -> Iterator[Clause]:
    start, end, word = line.start(), line.end(), line["word"]
    before = text.rfind("\n", 0, max(0, start - 1)) + 1
    above, below = _CLAUSE.match(text, before), _CLAUSE.match(text, end + 1)
    if text[before:start].strip() and not (above and above["word"]):
        return  # in the middle of a paragraph
    if not word and below and _count_depth(below) == _count_depth(line):
        return  # an item of a list
    number = tuple(int(n) for n in (line["number"] or "").split(".") if n)
    rest = line["rest"].lstrip(" \t.:)–—-*_").rstrip(" \t*_")
    title = _clause_title(rest, alone=not number)
    if title is None or not (title or word):
        return
    label = f"{word} {line['id']}" if word else line["number"]
    if title:  # what follows in the same line is the clause's text
        end = text.index(title, start + len(label) - 1) + len(title)
        end += text[end : end + 1] in (".", ":")
    else:
        title, end = _title_below(text, end)
    level = 3 + len(number) if number else _KEYWORDS[word.lower()]
    if word and level == _KEYWORDS["section"]:
        parts = line["id"].split(".")
        number = tuple(int(n) for n in parts) if parts[0].isdigit() else ()
        level += len(parts)
    yield Clause(start, end, level, f"{label} {title}".strip(), number)


def _count_depth(line: re.Match[str]) -> int:
    """How many numbers a line begins with; 0 for a word such as "Article"."""
    return len(line["number"].split(".")) if line["number"] else 0


def _clause_title(rest: str, *, alone: bool) -> str | None:
    """The title after a clause's number; empty when there is none, None when it is a sentence."""
    if not rest:
        return "" if alone else None
    run_in = _RUN_IN.match(rest)
    whole = run_in is None and not rest.endswith(".")
    title = (run_in[1] if run_in else rest.rstrip(".")).strip(" *_")
    words = title[: _MAX_CHARS + 1].split()
    if not words or len(words) > _MAX_WORDS or len(title) > _MAX_CHARS:
        return None
    if not title[0].isalpha() or title[0].islower() or title[-1] in ",;:" or title[-1].isdigit():
        return None
    if "..." in title or ". . ." in title:  # a line of a table of contents
        return None
    capital = all(_is_capital(word.lstrip("\"“'‘(") or "A") for word in words)
    return title if capital or (whole and len(words) <= _MAX_WORDS // 2) else None


def _title_below(text: str, end: int) -> tuple[str, int]:
    """The title on the line after "ARTICLE V", and where it ends."""
    start = end
    for _ in range(2):  # at most one empty line between
        start += 1
        stop = text.find("\n", start)
        stop = len(text) if stop < 0 else stop
        line = text[start : min(stop, start + 2 * _MAX_CHARS)].strip(" \t*_")
        if line:
            is_title = _clause_title(line, alone=True) == line and not _CLAUSE.match(text, start)
            capital = is_title and (line.isupper() or all(map(_is_capital, line.split())))
            return (line, stop) if capital else ("", end)
        start = stop
    return "", end


def _is_capital(word: str) -> bool:
    return _SMALL.fullmatch(word) is not None or not word[0].islower()


def _without_lists(text: str, clauses: list[Clause]) -> list[Clause]:
    """Clauses with text of their own: neighbours of one depth with nothing between are a list."""
    listed: set[int] = set()
    for i, (one, two) in enumerate(pairwise(clauses)):
        same = one.level == two.level
        if same and text[one.end : two.start].isspace():
            listed |= {i, i + 1}
    return [clause for i, clause in enumerate(clauses) if i not in listed]


def _longest_rising(clauses: list[Clause]) -> list[Clause]:
    """The longest run of clauses, in order, whose numbers rise."""
    tails: list[tuple[int, ...]] = []
    ends: list[int] = []
    previous: list[int] = []
    for i, clause in enumerate(clauses):
        at = bisect_left(tails, clause.number)
        previous.append(ends[at - 1] if at else -1)
        tails[at : at + 1] = [clause.number]
        ends[at : at + 1] = [i]
    chain: list[Clause] = []
    at = ends[-1] if ends else -1
    while at >= 0:
        chain.append(clauses[at])
        at = previous[at]
    return chain[::-1]
