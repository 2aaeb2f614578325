"""Pages, docstrings and messages are English that a busy stranger reads once."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / ".github").rglob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
CODE = sorted((ROOT / "latechunk_integrations").rglob("*.py"))
# Translated idioms of ours that readers stumbled over.
_STUMBLES = re.compile(
    r"\bstands? (?:in|at|for|on|there|alone|behind|before|besides?)\b|\bbehind (?:it|them|the|a)\b"
    r"|\bwhat is not\b|\bnever is\b|\bof its own accord\b|(?<!there )\bis (?-i:none)\b|\bheeds?\b",
    re.IGNORECASE,
)
_CODE = re.compile(
    r"^```.*?^```|^(?: {4}|\t)[^\n]*$|<!--.*?-->|^#[^\n]*$", re.DOTALL | re.MULTILINE
)
# Paragraphs, list items and entries of a docstring's sections.
_BLOCKS = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*] |[\w*][\w, .*\[\]]*: ))|(?<=:)\n")
_END = re.compile(r"(?<=[.!?:;])[\"')\]]*\s+(?=[\"'(\[`*]*[A-Z0-9`])")


def read_sentences(page: Path) -> list[str]:
    """The sentences of a page's running text: no code, no tables, no headings."""
    text = _CODE.sub("\n\n", page.read_text(encoding="utf-8"))
    sentences = []
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*|#>]|\d+\.) )", text):
        line = " ".join(block.split())
        if not line or line.startswith(("|", "!", "<")):
            continue
        line = re.sub(r"^(?:[-*>]|\d+\.) ", "", line)
        line = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", line).replace("**", "")
        sentences += _split(line)
    return sentences


def _split(line: str) -> list[str]:
    # A piece of code is one word, whatever it holds.
    line = re.sub(r"`+[^`]*`+", "Code", " ".join(line.split()))
    return [part for part in _END.split(line) if len(part.split()) > 1]


def read_code_sentences(file: Path) -> Iterator[str]:
    """The sentences of a file's docstrings, errors and log lines."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = re.sub(
                r"^ *(?:>>>|\.\.\.)[^\n]*$", "", ast.get_docstring(node) or "", flags=re.MULTILINE
            )
            text = re.sub(r"^    .* {3,}.*$|^.* -> .*$", "", text, flags=re.MULTILINE)  # drawings
            for block in _BLOCKS.split(text):
                yield from _split(block)
        elif isinstance(node, ast.Raise) or _is_log(node):
            for message in ast.walk(node):
                if isinstance(message, ast.JoinedStr):
                    parts = [
                        p.value if isinstance(p, ast.Constant) else "C" for p in message.values
                    ]
                    yield from _split("".join(map(str, parts)))
                elif isinstance(message, ast.Constant) and isinstance(message.value, str):
                    yield from _split(message.value)


def _is_log(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("debug", "info", "warning", "warn", "error", "exception")
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_sentences_are_short(page: Path) -> None:
    lengths = {sentence: len(sentence.split()) for sentence in read_sentences(page)}
    assert not {s: n for s, n in lengths.items() if n > 35}, "more than 35 words"
    assert sum(lengths.values()) / max(len(lengths), 1) < 18, "words of a sentence on average"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_no_idiom_that_readers_stumble_over(page: Path) -> None:
    assert not [s for s in read_sentences(page) if _STUMBLES.search(s)]


@pytest.mark.slow
def test_docstrings_and_messages_are_short_and_plain() -> None:
    faults = {}
    for file in CODE:
        sentences = list(read_code_sentences(file))
        lengths = [len(sentence.split()) for sentence in sentences]
        found = [s for s, n in zip(sentences, lengths, strict=True) if n > 35]
        found += [s for s in sentences if _STUMBLES.search(s)]
        if sum(lengths) >= 18 * max(len(lengths), 1):
            found.append(f"{sum(lengths) / len(lengths):.1f} words of a sentence on average")
        if found:
            faults[file.name] = found
    assert not faults
