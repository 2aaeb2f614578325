"""What a comparison says, in a sentence that needs no statistics to be read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from latechunk_integrations.evaluation.results import (
    Comparison,
    Configuration,
    ConfigurationResult,
)

__all__ = [
    "Verdict",
    "best_late",
    "best_result",
    "describe",
    "main_measure",
    "plain_words",
    "verdict",
]

_PREFERRED = "nDCG@10"


@dataclass(frozen=True)
class Verdict:
    """The outcome at one chunk size.

    Args:
        outcome: ``"late"`` or ``"early"`` is better, or the difference is ``"unclear"``.
        headline: The outcome in a few words.
        detail: The figures behind it.
        best: The configuration with the best main measure over the corpus.
    """

    outcome: Literal["late", "early", "unclear"]
    headline: str
    detail: str
    best: ConfigurationResult


def main_measure(result: ConfigurationResult) -> str:
    """nDCG@10 where it was measured, else the first measure."""
    return _PREFERRED if _PREFERRED in result.corpus else next(iter(result.corpus))


def best_result(comparison: Comparison, size: int | None) -> ConfigurationResult:
    """The configuration with the best main measure over the corpus; early chunking may win."""
    results = [comparison.get(name, size) for name in comparison.names]
    return max(results, key=lambda result: result.corpus[main_measure(result)])


def best_late(comparison: Comparison, size: int | None) -> ConfigurationResult:
    """The best configuration with a late side; the baseline where there is none."""
    results = [comparison.get(name, size) for name in comparison.names]
    late = [result for result in results if result.configuration.context_weight]
    if not late:
        return comparison.get(comparison.baseline, size)
    return max(late, key=lambda result: result.corpus[main_measure(result)])


def describe(configuration: Configuration) -> str:
    """What a configuration does, in words that explain its name."""
    weight = configuration.context_weight
    if not weight:
        parts = ["each chunk read alone"]
    elif weight < 1:
        parts = [f"{weight:.0%} late, {1 - weight:.0%} early"]
    else:
        parts = ["chunks read within their document"]
    if configuration.header == "prepended":
        parts.append("the title in front of each chunk's text")
    elif configuration.header == "attended":
        parts.append("the title read along")
    if configuration.header_weight:
        parts.append(f"{configuration.header_weight:g} of the title's own vector added")
    if weight and configuration.preamble_tokens:
        parts.append(f"the document's first {configuration.preamble_tokens} tokens read along")
    if weight and configuration.overlap_tokens is not None:
        parts.append(f"windows overlap by {configuration.overlap_tokens} tokens")
    return ", ".join(parts)


def plain_words(early: ConfigurationResult, other: ConfigurationResult) -> str:
    """How queries fare under a configuration instead of early chunking, without any measure.

    Args:
        early: The baseline.
        other: The configuration.

    Returns:
        A sentence or two.
    """
    places = [
        (mine.rank or math.inf, its.rank or math.inf)
        for mine, its in zip(other.queries, early.queries, strict=True)
    ]
    higher = sum(mine < its for mine, its in places)
    lower = sum(mine > its for mine, its in places)
    first, first_early = (
        sum(query.rank == 1 for query in result.queries) for result in (other, early)
    )
    work = ""
    if early.costs.encoder_tokens:
        times = other.costs.encoder_tokens / early.costs.encoder_tokens
        work = f" Building the index takes {times:.1f} times the work of the model."
    return (
        f"Of {_count(len(places), 'question')}, {higher} found the first chunk with the answer "
        f"further up the list with ‘{other.name}’ than with early chunking, {lower} further down, "
        f"and {len(places) - higher - lower} at the same place. The very first chunk of the list "
        f"held the answer for {first} questions instead of {first_early}.{work}"
    )


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def verdict(comparison: Comparison, size: int | None) -> Verdict:
    """Whether late chunking helped at one chunk size.

    The best configuration is picked on the same queries that it is reported on, which flatters
    it; `tune` holds half of the queries back for that reason.
    """
    best = best_result(comparison, size)
    measure = main_measure(best)
    early = comparison.get(comparison.baseline, size)
    if not best.configuration.context_weight:
        return Verdict(
            "early",
            "Early chunking is the better choice here",
            f"No late configuration beats '{best.name}' ({measure} of "
            f"{100 * best.corpus[measure]:.1f}).",
            best,
        )
    difference = best.corpus_difference[measure]
    detail = (
        f"{measure} is {100 * best.corpus[measure]:.1f} with '{best.name}' and "
        f"{100 * early.corpus[measure]:.1f} with plain early chunking: a gain of "
        f"{100 * difference.mean:.1f} points, with 95 % confidence between "
        f"{100 * difference.low:.1f} and {100 * difference.high:.1f} (p = "
        f"{difference.p_value:.3f})."
    )
    if not difference.clear:
        return Verdict("unclear", "No clear difference: chance could explain it", detail, best)
    return Verdict("late", "Late chunking helps here", detail, best)
