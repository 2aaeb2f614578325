"""The configurations that a comparison runs unless told otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from latechunk_integrations.evaluation.results import Configuration
from latechunk_integrations.options import LateChunkOptions

__all__ = ["ALL", "BASELINE", "DEFAULT", "EARLY_TITLED", "LATE", "LEVERS"]

BASELINE = "early"
"""Name of the configuration that the others are compared with."""


def _make_titled(name: str, context_weight: float, **changes: Any) -> Configuration:
    """The title attended; special tokens, which take it in, are attended as well."""
    titled = Configuration(
        name=name,
        context_weight=context_weight,
        header="attended",
        preamble_tokens=LateChunkOptions.preamble_tokens,
        pool_edges=False,
    )
    return replace(titled, **changes)


LATE = Configuration(
    name="late (default)",
    context_weight=1.0,
    header="attended",
    preamble_tokens=LateChunkOptions.preamble_tokens,
    layout="units",
    focus="auto",
)
"""What an engine does unless told otherwise; see docs/quality.md for what it gains and costs."""

EARLY_TITLED = Configuration(name="early, title attended", header="attended")
"""The opponent that costs the same: each chunk alone with the title, which is not pooled."""

DEFAULT = (
    Configuration(name=BASELINE),
    Configuration(name="early, title prepended", header="prepended"),
    EARLY_TITLED,
    Configuration(name="textbook late", context_weight=1.0),
    LATE,
)
"""Early chunking as users have it, early at its best, the textbook's late chunking, ours."""

ALL = (
    *DEFAULT,
    replace(LATE, name="late, no title", header="none"),
    replace(LATE, name="late, focus 1", focus=1.0),
    replace(LATE, name="late, focus 2", focus=2.0),
    replace(LATE, name="late, focus 3", focus=3.0),
    replace(LATE, name="running text, focus auto", layout="text"),
    _make_titled("blend 0.7", 0.7),
)
"""The same, and what single options change. Each has a pass of its own."""

LEVERS = (
    replace(LATE, name="late, edges attended", pool_edges=False),
    replace(LATE, name="late, header as the chunk", focus=1.5, header_focus=1.5),
    _make_titled("textbook late, title", 1.0, preamble_tokens=0),
    _make_titled("textbook late, title, no overlap", 1.0, preamble_tokens=0, overlap_tokens=0),
    _make_titled("blend 0.6 + 0.1 title", 0.6, header_weight=0.1),
)
"""What further options change."""
