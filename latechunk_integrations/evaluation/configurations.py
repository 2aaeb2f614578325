"""The configurations that a comparison runs unless told otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from latechunk_integrations import options
from latechunk_integrations.evaluation.results import Configuration

__all__ = ["BASELINE", "DEFAULT", "EARLY", "FRUGAL", "LEVERS", "RECOMMENDED"]

BASELINE = "early"
"""Name of the configuration that the others are compared with."""

_PREAMBLE = options.LateChunkOptions.preamble_tokens
# With a title in front, special tokens at the edges are attended as the title is.
_TITLED = Configuration(name="", header="attended", preamble_tokens=_PREAMBLE, pool_edges=False)


def _titled(name: str, context_weight: float, **changes: Any) -> Configuration:
    return replace(_TITLED, name=name, context_weight=context_weight, **changes)


EARLY = (
    Configuration(name=BASELINE),
    Configuration(name="early, title prepended", header="prepended"),
    Configuration(name="early, title attended", header="attended", pool_edges=False),
)
"""Chunks embedded alone."""

RECOMMENDED = _titled("recommended", **options.RECOMMENDED)
"""What to start with; see docs/quality.md for what it gains and costs."""

FRUGAL = _titled("frugal", **{"context_weight": 1.0, **options.FRUGAL})
"""The best below 1.3 times the cost of early chunking."""

DEFAULT = (
    *EARLY,
    Configuration(name="late", context_weight=1.0),
    _titled("late, title + preamble", 1.0),
    Configuration(name="blend 0.5, no title", context_weight=0.5),
    _titled("blend 0.3", 0.3),
    RECOMMENDED,
    _titled("blend 0.7", 0.7),
    _titled("blend 0.6 + 0.1 title", 0.6, header_weight=0.1),
)
"""Early, late, blends, header and preamble, from five passes over the corpus."""

LEVERS = (
    _titled("late, title", 1.0, preamble_tokens=0),
    replace(RECOMMENDED, name="recommended, no preamble", preamble_tokens=0),
    replace(RECOMMENDED, name="recommended, overlap 32", overlap_tokens=32),
    replace(RECOMMENDED, name="recommended, edges pooled", pool_edges=True),
    replace(EARLY[2], name="early, title attended, edges pooled", pool_edges=True),
    FRUGAL,
)
"""What single options change; each line has a pass of its own."""
