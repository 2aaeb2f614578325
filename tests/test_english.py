"""The pages are English that a busy stranger reads once: short sentences, plain words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Translated idioms of ours that readers stumbled over.
_STUMBLES = re.compile(
    r"\bstands? (?:in|at|for|on|there|alone|behind|before|besides?)\b|\bbehind (?:it|them|the|a)\b"
    r"|\bwhat is not\b|\bnever is\b|\bof its own accord\b|\bis none\b|\bheed",
    re.IGNORECASE,
)
_CODE = re.compile(
    r"^```.*?^```|^(?: {4}|\t)[^\n]*$|<!--.*?-->|^#[^\n]*$", re.DOTALL | re.MULTILINE
)
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
        # A piece of code is one word, whatever it holds.
        line = re.sub(r"`[^`]*`", "Code", line)
        sentences += [part for part in _END.split(line) if len(part.split()) > 1]
    return sentences


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_sentences_are_short(page: Path) -> None:
    lengths = {sentence: len(sentence.split()) for sentence in read_sentences(page)}
    assert not {s: n for s, n in lengths.items() if n > 35}, "more than 35 words"
    assert sum(lengths.values()) / max(len(lengths), 1) < 18, "words of a sentence on average"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_no_idiom_that_readers_stumble_over(page: Path) -> None:
    assert not [s for s in read_sentences(page) if _STUMBLES.search(s)]
