"""Titles and heading paths: what a chunk's header is made of."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.headers import choose_header, read_samples
from latechunk_integrations.core.headings import (
    find_kind,
    find_title,
    heading_paths,
    join_header,
    path_from_metadata,
)
from latechunk_integrations.core.outline import TextKind, find_headings, guess_kind
from latechunk_integrations.schema import CharSpans

PROSE = "The pump is checked twice a year. Whoever finds a fault tells the shift lead."


def place_of(text: str, said: str) -> tuple[int, int]:
    start = text.index(said)
    return start, start + len(said)


def path_at(text: str, said: str, kind: TextKind = "auto") -> tuple[str, ...]:
    return heading_paths(text, [place_of(text, said)], kind=kind)[0]


# --- titles -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "title"),
    [
        ({"title": "Staff handbook"}, "Staff handbook"),
        ({"Title": "  Staff \n handbook "}, "Staff handbook"),
        ({"document_title": "Staff handbook", "file_name": "a.md"}, "Staff handbook"),
        ({"dc:title": "Staff handbook"}, "Staff handbook"),
        ({"subject": "Your order"}, "Your order"),
        ({"name": "Jane", "title": "Staff handbook"}, "Staff handbook"),
        ({"file_name": "annual-report_2024.pdf"}, "annual report 2024"),
        ({"source": "/srv/in/annual-report_2024.pdf"}, "annual report 2024"),
        ({"source": Path("in/annual-report_2024.pdf")}, "annual report 2024"),
        ({"file_path": str(PureWindowsPath("c:/in/My Report (2).docx"))}, "My Report"),
        ({"url": "https://example.com/docs/getting%20started/?utm=1"}, "getting started"),
        ({"url": "https://www.example.com/"}, "example.com"),
        ({"file_path": "docs/pumps/index.html"}, "pumps"),
        ({"file_path": "core/utils.py"}, "core utils"),
        ({"source": "wiki"}, ""),
        ({"title": 7, "source": None}, ""),
        ({}, ""),
    ],
)
def test_metadata_name_a_document(metadata: dict[str, object], title: str) -> None:
    assert find_title(metadata, PROSE) == title


@pytest.mark.parametrize(
    "junk",
    [
        "untitled",
        "Untitled 3",
        "Microsoft Word - order_v3.doc",
        "PowerPoint Presentation",
        "order_v3.docx",
        "doc_12",
        "PMC176545",
        "3fa85f64-5717-4562-b3fc-2c963f66afa6",
        "9e107d9d372bb6826bd81d3542a419d6",
        "...",
        "",
    ],
)
def test_a_title_that_says_nothing_is_passed_over(junk: str) -> None:
    assert find_title({"title": junk, "file_name": "pump-manual.pdf"}, PROSE) == "pump manual"
    assert find_title({"title": junk}, PROSE) == ""


@pytest.mark.parametrize(
    ("text", "title"),
    [
        (f"# Pump manual\n\n{PROSE}\n\n## Safety\n\n{PROSE}", "Pump manual"),
        (f"Pump manual\n===========\n\n{PROSE}", "Pump manual"),
        (f"<!-- draft -->\n\n# Pump *manual* [v2](x.md) #\n\n{PROSE}", "Pump manual v2"),
        (f"---\ntitle: 'Pump manual'\ntags: [a]\n---\n# Other\n\n{PROSE}", "Pump manual"),
        (f"# Pump manual\n\n# Installation\n\n{PROSE}", "Pump manual"),
        (f"# Chapter 1\n\n{PROSE}\n\n# Chapter 2\n\n{PROSE}", ""),
        (f"{PROSE}\n\n## Safety\n\n{PROSE}\n\n## Care\n\n{PROSE}", ""),
        (f"<html><title>Pump &amp; manual</title><p>{PROSE}</p>", "Pump & manual"),
        (f"<html><title>Pump | Acme</title><h1>Pump</h1><p>{PROSE}</p>", "Pump"),
        (f"<html><body><h1>Pump <b>manual</b></h1><p>{PROSE}</p>", "Pump manual"),
        (f"Pump manual\n\n{PROSE}", "Pump manual"),
        (f"CONFIDENTIAL\n\n12 January 2024\n\nSUPPLY AGREEMENT\n\n{PROSE}", "SUPPLY AGREEMENT"),
        (f"The Manual of\nthe Pump\n\n{PROSE}", "The Manual of the Pump"),
        (f"From: Ann\nSubject: Pump order\n\n{PROSE}", "Pump order"),
        (f"PMID: 12\nLicense: CC BY\n\n{PROSE}", ""),
        (f"{PROSE}\n\n{PROSE}", ""),
        (f"see the pump manual\n\n{PROSE}", ""),
        (f"Copyright 2024 Acme\n\nPump manual\n\n{PROSE}", "Pump manual"),
        (f"Dear Ms Lee,\n\n{PROSE}", ""),
        ("Pump manual", ""),
        (
            '"""Pumps, as the plant has them."""\n\nimport os\n\nx = 1\n',
            "Pumps, as the plant has them",
        ),
        ("# Copyright 2024 Acme\n# Licensed under X\n\nimport os\n\nx = 1\n", ""),
        ("", ""),
    ],
)
def test_the_text_names_itself(text: str, title: str) -> None:
    assert find_title({}, text) == title


def test_the_text_comes_before_the_files_name() -> None:
    text = f"# Pump manual\n\n{PROSE}"
    assert find_title({"file_name": "scan-of-binder.md"}, text) == "Pump manual"


def test_a_page_or_section_has_the_title_of_its_file() -> None:
    text = f"Lubrication\n\n{PROSE}"
    assert find_title({"source": "pump-manual.pdf", "page": 4}, text) == "pump manual"
    assert find_title({"source": "pump-manual.md", "Header 1": "Care"}, text) == "pump manual"


# --- paths ------------------------------------------------------------------------------------

HANDBOOK = """# Handbook

Intro of the book.

## Workshop

Shifts begin at six.

```
# not a heading
## neither
```

After the listing.

### Night shift ###

Nights are paid double.

Field
-----

Cars are booked.
"""


def test_a_chunk_has_the_headings_open_where_it_begins() -> None:
    assert path_at(HANDBOOK, "Intro") == ("Handbook",)
    assert path_at(HANDBOOK, "Shifts begin") == ("Handbook", "Workshop")
    assert path_at(HANDBOOK, "# not a heading") == ("Handbook", "Workshop")
    assert path_at(HANDBOOK, "After the listing") == ("Handbook", "Workshop")
    assert path_at(HANDBOOK, "Nights") == ("Handbook", "Workshop", "Night shift")
    assert path_at(HANDBOOK, "Cars") == ("Handbook", "Field")


def test_a_heading_inside_a_chunk_counts_only_at_its_beginning() -> None:
    assert path_at(HANDBOOK, "After the listing.\n\n### Night shift") == ("Handbook", "Workshop")
    assert path_at(HANDBOOK, "\n\n### Night shift ###\n\nNights")[-1] == "Night shift"
    assert path_at(HANDBOOK, "# Handbook\n\nIntro") == ("Handbook",)
    stub = "# A\n\n## B\n\ntext\n\n## C\n\ntext"
    assert heading_paths(stub, [(0, len(stub))]) == [("A", "B")]
    assert heading_paths(stub, [(0, stub.index("## B"))]) == [("A",)]


CONTRACT = """SUPPLY AGREEMENT

1. Scope ..... 2
2. Term ...... 3

ARTICLE I
DEFINITIONS

1.1 Product. The product means the pump:
1. its housing;
2. its motor.

1.2 Price Adjustment

The price follows the index. Under
Section 1.1 the pump counts as one.

ARTICLE II - TERM

2.1 Early Termination. Either party may leave.

Schedule A

1. Pumps of the first kind are blue.
"""


def test_numbered_clauses_of_a_contract_are_headings() -> None:
    first = "ARTICLE I DEFINITIONS"
    assert path_at(CONTRACT, "1. Scope") == ()
    assert path_at(CONTRACT, "The product means") == (first, "1.1 Product")
    assert path_at(CONTRACT, "its motor") == (first, "1.1 Product")
    assert path_at(CONTRACT, "pump counts") == (first, "1.2 Price Adjustment")
    assert path_at(CONTRACT, "Either party") == ("ARTICLE II TERM", "2.1 Early Termination")
    assert path_at(CONTRACT, "first kind") == ("Schedule A",)


def test_numbered_clauses_in_markdown_lie_below_its_only_heading() -> None:
    text = f"# Contract\n\n1. Payment\n\n{PROSE}\n\n2. Term\n\nIt lasts."
    assert path_at(text, "It lasts") == ("Contract", "2 Term")


@pytest.mark.parametrize(
    "text",
    [
        f"To do:\n\n1. Buy milk\n2. Call Ann\n\n{PROSE}",
        f"1. Preheat the oven to 200 degrees.\n\n{PROSE}\n\n2. Mix it with flour.\n\n",
        f"{PROSE}\nSection 5 of the act applies here.\n{PROSE}",
        f"In 2024 we grew.\n\n12 people came. {PROSE}\n\n3.85 is the price",
        f"10 Downing Street\n\n{PROSE}",
    ],
)
def test_lists_and_sentences_are_no_headings(text: str) -> None:
    assert find_headings(text) == []


def test_html_headings_are_read_outside_scripts_and_comments() -> None:
    text = (
        "<html><body><!-- <h1>No</h1> --><script>'<h1>No</h1>'</script>"
        '<h1 id="a">Pumps &amp; <em>motors</em></h1><p>First.</p>'
        "<div><section>\n<h2>Care</h2><p>Second.</p></section></div>"
        "<h1>Cars <a href='#c'>¶</a></h1><p>Third."
    )
    assert path_at(text, "First") == ("Pumps & motors",)
    assert path_at(text, "Second") == ("Pumps & motors", "Care")
    assert path_at(text, "<div><section>\n<h2>Care") == ("Pumps & motors", "Care")
    assert path_at(text, "Third") == ("Cars",)


def test_markdown_may_hold_html_headings() -> None:
    text = f'<h1 align="center">Pumps</h1>\n\nUse `<h2>` and `</h2>`.\n\n## Care\n\n{PROSE}'
    assert path_at(text, "The pump", "markdown") == ("Pumps", "Care")
    assert path_at(text, "and", "markdown") == ("Pumps",)


def test_restructured_text_has_levels_in_order_of_appearance() -> None:
    text = (
        "=====\nPumps\n=====\n\n.. note:: Be careful.\n\nFirst.\n\nCare\n~~~~\n\nSecond.\n\n"
        "Oil\n^^^\n\nThird.\n\nCars\n~~~~\n\nFourth.\n"
    )
    assert path_at(text, "First") == ("Pumps",)
    assert path_at(text, "Third") == ("Pumps", "Care", "Oil")
    assert path_at(text, "Fourth") == ("Pumps", "Cars")


@pytest.mark.parametrize(
    "text",
    [
        "#!/bin/sh\n# Install\nset -e\n# Run\nexec x\n",
        "import os\n\n# Settings\nX = 1\n\n\ndef f(x):\n    # Sum\n    return x + 1\n",
        "#include <a.h>\n\n# if X\nint main() {\n  return 0;\n}\n",
        '"""Reads.\n\nLong story here.\n\nSee :class:`X`.\n"""\nimport a\nimport b\n\ndef f(x):\n',
        "# Site\nname: x\nport: 80\n# Log\nlevel: info\n",
    ],
)
def test_comments_of_source_files_are_no_headings(text: str) -> None:
    assert guess_kind(text) == "code"
    assert heading_paths(text, [(len(text) - 5, len(text))]) == [()]


def test_markdown_may_begin_with_a_tag() -> None:
    assert guess_kind("<p align='center'>x</p>\n\n# Pumps\n") == "markdown"
    assert guess_kind("<p align='center'>x</p>\n\n<h1>Pumps</h1>\n") == "html"
    assert guess_kind("<!DOCTYPE html><pre>\n# Pumps\n</pre>") == "html"


def test_the_files_name_or_type_tells_the_kind() -> None:
    text = "# A\n\nx"
    assert find_kind({"file_path": "a/b.PY"}, text) == "code"
    assert find_kind({"source": "https://example.com/a.rst?v=1"}, text) == "rst"
    assert find_kind({"file_type": "text/html"}, text) == "html"
    assert find_kind({"source": "a.pdf"}, text) == "markdown"


@pytest.mark.parametrize(
    ("metadata", "path"),
    [
        ({"Header 2": "B", "Header 1": "A", "x": "y"}, ("A", "B")),
        ({"h1": "A", "H3": "C"}, ("A", "C")),
        ({"Header_1": "A"}, ("A",)),
        ({"header_path": "/A/B/"}, ("A", "B")),
        ({"header_path": "/"}, ()),
        ({"dl_meta": {"headings": ["A", "B"]}}, ("A", "B")),
        ({"headings": ("A", 3)}, ("A",)),
        ({"breadcrumbs": "A > B"}, ("A", "B")),
        ({"header": "A", "h7": "B"}, ()),
        ({}, ()),
    ],
)
def test_parsers_leave_the_path_in_metadata(
    metadata: dict[str, object], path: tuple[str, ...]
) -> None:
    assert path_from_metadata(metadata) == path


# --- headers ----------------------------------------------------------------------------------


def test_a_header_names_each_part_once() -> None:
    assert join_header("Handbook", ("Handbook", "Workshop", "Nights")) == (
        "Handbook > Workshop > Nights"
    )
    assert join_header("pump manual", ("Pump-Manual", "Care")) == "pump manual > Care"
    assert join_header("", ("A", "", "B")) == "A > B"
    assert join_header("T", ()) == "T"
    assert join_header("", ()) == ""


def test_the_longer_of_neighbours_is_kept_when_it_holds_the_other() -> None:
    assert join_header("Ferry", ("Ferry and tolls", "Fares")) == "Ferry and tolls > Fares"
    assert join_header("Lease", ("Exhibit 1 Lease",)) == "Exhibit 1 Lease"
    assert join_header("Art", ("Article",)) == "Art > Article"


def test_a_long_header_keeps_title_and_innermost_heading() -> None:
    path = [f"heading {n} of a very deep document" for n in range(9)]
    assert join_header("Title", path, max_chars=60) == f"Title > {path[-1]}"
    assert join_header("a " * 200, ["b " * 200], max_chars=43).split(" > ")[1].startswith("b b b")


@given(st.text(), st.lists(st.text(), max_size=6), st.integers(0, 300))
def test_a_header_is_one_line_of_bounded_length(title: str, path: list[str], most: int) -> None:
    header = join_header(title, path, max_chars=most)
    assert len(header) <= most
    assert "\n" not in header


# --- against a slow oracle --------------------------------------------------------------------

_MARKDOWN_LINES = (
    *("# One", "## Two", "### Three ###", "###### Six", "#", "#none", "    # indented"),
    *("some prose", "more prose here", "", "", "- item", "> quote", "| a |", "====", "----"),
    *("```", "```python", "````", "~~~", "``` `x`", "  ## Shifted", "1. Buy milk"),
)


def slow_markdown_paths(text: str, spans: list[tuple[int, int]]) -> list[tuple[str, ...]]:
    """The rules of CommonMark, one line after the other; underlined paragraphs have one line."""
    headings: list[tuple[int, int, int, str]] = []
    fence = None
    lines = text.split("\n")
    at = 0
    blank_above = True  # whether the line before the last is no part of a paragraph
    last = ""
    for line in lines:
        end = at + len(line)
        heading = re.fullmatch(r" {0,3}(#{1,6})(?:[ \t]+(.*))?", line)
        opening = re.fullmatch(r" {0,3}(`{3,}|~{3,})(.*)", line)
        if fence:
            if opening and opening[1].startswith(fence) and not opening[2].strip():
                fence = None
        elif opening and not (opening[1][0] == "`" and "`" in opening[2]):
            fence = opening[1]
        elif heading:
            said = re.sub(r"(^|[ \t]+)#+[ \t]*$", "", heading[2] or "").strip()
            headings.append((at, end, len(heading[1]), said))
        elif (
            re.fullmatch(r" {0,3}(?:={3,}|-{3,})[ \t]*", line)
            and blank_above
            and re.match(r" {0,3}#?\w", last)
            and not re.match(r" {0,3}\d+\.", last)
        ):
            headings.append((at - len(last) - 1, end, 1 if "=" in line else 2, last.strip()))
        blank_above = not last.strip() or bool(headings and headings[-1][1] == at - 1)
        last = line
        at = end + 1
    return [slow_path(text, headings, *span) for span in spans]


def slow_path(
    text: str, headings: list[tuple[int, int, int, str]], start: int, stop: int
) -> tuple[str, ...]:
    opened: list[tuple[int, str]] = []
    reading, deepest = start, 0
    for begin, end, level, said in headings:
        if begin >= start:
            tight = begin < stop and not text[reading:begin].strip()
            if not tight or level <= deepest:
                break
            reading, deepest = end, level
        opened = [*(one for one in opened if one[0] < level), (level, said)]
    return tuple(said for _, said in opened if said)


@settings(max_examples=200)
@given(st.lists(st.sampled_from(_MARKDOWN_LINES), max_size=25), st.randoms(use_true_random=False))
def test_markdown_paths_equal_those_of_a_slow_reading(
    lines: list[str], randomness: random.Random
) -> None:
    text = "\n".join(lines)
    spans = []
    for _ in range(8):
        start = randomness.randint(0, max(0, len(text) - 1))
        spans.append((start, randomness.randint(start + 1, len(text) + 1)))
    assert heading_paths(text, spans, kind="markdown") == slow_markdown_paths(text, spans)
    crlf = text.replace("\n", "\r")
    assert heading_paths(crlf, spans, kind="markdown") == slow_markdown_paths(text, spans)


_SECTIONS = st.lists(st.tuples(st.integers(1, 6), st.sampled_from("ABCDE")), max_size=12)


@given(_SECTIONS, st.sampled_from(["html", "markdown"]))
def test_every_section_has_the_path_of_the_document_that_was_written(
    sections: list[tuple[int, str]], kind: TextKind
) -> None:
    text, spans = "<p>lead</p>\n\n", [(0, 5)]
    expected: list[tuple[str, ...]] = [()]
    opened: dict[int, str] = {}
    for number, (level, name) in enumerate(sections):
        opened = {above: said for above, said in opened.items() if above < level}
        opened[level] = f"{name} {number}"
        expected.append(tuple(opened[above] for above in sorted(opened)))
        mark = f"<h{level}>{{}}</h{level}>\n" if kind == "html" else f"{'#' * level} {{}}\n\n"
        text += mark.format(opened[level])
        spans.append((len(text), len(text) + 5))
        text += "<p>body</p>\n\n"
    assert heading_paths(text, CharSpans(spans), kind=kind) == expected
    assert heading_paths(text, np.array(spans), kind=kind) == expected


_TOKENS = (
    *(
        "#",
        "##",
        "\n",
        "\n\n",
        "\r\n",
        "\r",
        " ",
        "```",
        "~~~",
        "---",
        "===",
        "<h1>",
        "</h1>",
        "<h2",
    ),
    *("<!--", "-->", "<script", "<title>", "</title", "1.3", "1.", "ARTICLE V", "Section 2", ". "),
    *(
        "Title",
        "word",
        "title:",
        "&amp;",
        "[a](b)",
        "*",
        "_",
        "`",
        "\\",
        "é",
        "東京",
        "\x00",
        "\ud800",
    ),
)


@pytest.mark.slow
@settings(max_examples=200)
@given(
    st.one_of(st.text(), st.lists(st.sampled_from(_TOKENS), max_size=40).map("".join)),
    st.sampled_from(["auto", "markdown", "html", "rst", "numbered", "code"]),
    st.dictionaries(
        st.sampled_from(["title", "source", "url", "Header 1", "headings", "page", "dl_meta"]),
        st.one_of(st.none(), st.integers(), st.text(), st.lists(st.text(), max_size=2)),
    ),
)
def test_nothing_raises_and_what_comes_out_is_one_line(
    text: str, kind: TextKind, metadata: dict[str, object]
) -> None:
    spans = [(0, 1), (len(text) // 2, len(text) + 3), (len(text), len(text) + 1)]
    paths = heading_paths(text, spans, kind=kind)
    assert len(paths) == len(spans)
    said = [find_title(metadata, text), *path_from_metadata(metadata), *paths[0], *paths[1]]
    for one in said:
        assert len(one) <= 120
        assert one == " ".join(one.split())
    headings = find_headings(text, kind)
    bounds = [bound for heading in headings for bound in heading[:2]]
    assert bounds == sorted(bounds)


_HOSTILE = ("<h1 ", "<h1>a</h2>", "```\n# a\n", "# " + "*`" * 100 + "\n", "<!--", " ", "1. Foo\n")


@pytest.mark.parametrize(
    ("piece", "n_chars"),
    [(f"## Care\n\n{PROSE * 9}\n\n1.1 Oil\n\n{PROSE * 9}\n", 5_000_000)]
    + [(piece, 500_000) for piece in _HOSTILE],
)
def test_time_is_linear_in_the_text(piece: str, n_chars: int) -> None:
    text = piece * (n_chars // len(piece))
    spans = [(at, at + 800) for at in range(0, len(text) - 800, 700)]
    began = time.process_time()
    heading_paths(text, spans)
    find_title({}, text)
    assert time.process_time() - began < 15  # a quadratic step takes minutes


def test_the_benchmarks_samples_have_the_headers_that_were_wanted() -> None:
    samples = read_samples()
    assert Counter(sample.kind for sample in samples) == dict.fromkeys(
        ("Markdown", "HTML", "plain text", "source file", "contract"), 10
    )
    wrong = [sample for sample in samples if choose_header(sample.text) != sample.header]
    assert wrong == []
