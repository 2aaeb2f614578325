"""200 generated parents and the option sets that their vectors were recorded with."""

from __future__ import annotations

import random
from typing import Any

from latechunk_integrations import Parent

_WORDS = (
    *("The", "supplier", "delivers", "every", "part", "within", "thirty", "days", "Section", "1.3"),
    *("Berlin", "capital", "café", "naïve", "日本語", "東京タワー", "🎉", "don't", "(all)", "3.85"),
)
_GAPS = (" ", " ", " ", "\n", ". ", ", ", "\n\n", "  ")

OPTION_SETS: tuple[dict[str, Any], ...] = (
    {},
    {"context_weight": 0.7, "pool_edges": False},
    {"overlap_tokens": 0, "header_weight": 0.2},
    {"context_weight": 0.0},
)
"""Options of the text layout, over MiniLM with windows of 64 tokens."""
N_PARENTS = 200
EVERY = 24
"""One dimension in so many is recorded."""


def stable_parent(number: int) -> Parent:
    """The parent of a number, the same on every machine."""
    source = random.Random(number)  # no secret
    text = "".join(
        source.choice(_WORDS) + source.choice(_GAPS) for _ in range(source.choice((5, 30, 120)))
    )
    spans = []
    for _ in range(source.randint(1, 6)):
        start = source.randrange(len(text) - 1)
        spans.append((start, min(len(text), start + source.randint(1, 120))))
    header = source.choice(("", "Title", "Handbook > Part 2 > 1.3"))
    return Parent(text, spans, header, id=f"parent {number}")


def options_of(number: int) -> dict[str, Any]:
    """The options that the vectors of a parent were recorded with."""
    return OPTION_SETS[number % len(OPTION_SETS)]
