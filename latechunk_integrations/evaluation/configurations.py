"""The configurations that a comparison runs unless told otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from latechunk_integrations import options
from latechunk_integrations.evaluation.results import Configuration

__all__ = ["ALL", "BASELINE", "DEFAULT", "FRUGAL", "LEVERS", "RECOMMENDED"]

BASELINE = "early"
"""Name of the configuration that the others are compared with."""


def _titled(name: str, context_weight: float, **changes: Any) -> Configuration:
    """The title attended; special tokens, which take it in, are attended as well."""
    titled = Configuration(
        name=name,
        context_weight=context_weight,
        header="attended",
        preamble_tokens=options.LateChunkOptions.preamble_tokens,
        pool_edges=False,
    )
    return replace(titled, **changes)


RECOMMENDED = _titled("recommended", **options.RECOMMENDED)
"""What to start with; see docs/quality.md for what it gains and costs."""

FRUGAL = _titled("early, title attended", **options.FRUGAL)
"""The best below 1.3 times the cost of early chunking."""

DEFAULT = (
    Configuration(name=BASELINE),
    FRUGAL,
    _titled("late, title + preamble", 1.0),
    _titled("blend 0.3", 0.3),
    _titled("blend 0.5", 0.5),
    RECOMMENDED,
    _titled("blend 0.6 + 0.1 title", 0.6, header_weight=0.1),
)
"""Early, late and blends, from three passes over the corpus (and one over the titles)."""

ALL = (
    *DEFAULT,
    Configuration(name="early, title prepended", header="prepended"),
    Configuration(name="late", context_weight=1.0),
    Configuration(name="blend 0.5, no title", context_weight=0.5),
)
"""The same, and what others do: a pooled title, and nothing of the title. Two more passes."""

LEVERS = (
    _titled("late, title", 1.0, preamble_tokens=0),
    replace(RECOMMENDED, name="recommended, no preamble", preamble_tokens=0),
    replace(RECOMMENDED, name="recommended, overlap 32", overlap_tokens=32),
    replace(RECOMMENDED, name="recommended, edges pooled", pool_edges=True),
    replace(RECOMMENDED, name="recommended + 0.1 title", header_weight=0.1),
    replace(FRUGAL, name="early, title attended, edges pooled", pool_edges=True),
    _titled("late, title, no overlap", 1.0, preamble_tokens=0, overlap_tokens=0),
)
"""What single options change; each but the title's vector has a pass of its own."""
