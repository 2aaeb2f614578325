"""The configurations that a comparison runs unless told otherwise."""

from __future__ import annotations

from latechunk_integrations.evaluation.results import Configuration

__all__ = ["BASELINE", "DEFAULT", "EARLY", "RECOMMENDED"]

BASELINE = "early"
"""Name of the configuration that the others are compared with."""

_PREAMBLE = 48

EARLY = (
    Configuration(name=BASELINE),
    Configuration(name="early, title prepended", header="prepended"),
    Configuration(name="early, title attended", header="attended"),
)
"""Chunks embedded alone."""

RECOMMENDED = Configuration(
    name="recommended", context_weight=0.5, header="attended", preamble_tokens=_PREAMBLE
)
"""What to start with; see docs/evaluation.md for what it gains and costs."""

DEFAULT = (
    *EARLY,
    Configuration(name="late", context_weight=1.0),
    Configuration(name="late, title", context_weight=1.0, header="attended"),
    Configuration(
        name="late, title + preamble",
        context_weight=1.0,
        header="attended",
        preamble_tokens=_PREAMBLE,
    ),
    Configuration(name="blend 0.5, no title", context_weight=0.5),
    Configuration(
        name="blend 0.3", context_weight=0.3, header="attended", preamble_tokens=_PREAMBLE
    ),
    RECOMMENDED,
    Configuration(
        name="blend 0.7", context_weight=0.7, header="attended", preamble_tokens=_PREAMBLE
    ),
    Configuration(
        name="blend 0.6 + 0.1 title",
        context_weight=0.6,
        header="attended",
        preamble_tokens=_PREAMBLE,
        header_weight=0.1,
    ),
)
"""Early, late, blends, header and preamble."""
