"""What a comparison says, in a sentence that needs no statistics to be read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from latechunk_integrations.evaluation.metrics import paired_difference
from latechunk_integrations.evaluation.results import (
    Comparison,
    Configuration,
    ConfigurationResult,
)

__all__ = [
    "Verdict",
    "best_early",
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


def best_result(
    comparison: Comparison, size: int | None, measure: str | None = None
) -> ConfigurationResult:
    """The configuration with the best measure over the corpus; early chunking may win.

    Args:
        comparison: What was measured.
        size: The chunk size.
        measure: ``None``: `main_measure`.
    """
    return _find_best(comparison, _select_size(comparison, size), measure)


def best_late(
    comparison: Comparison, size: int | None, measure: str | None = None
) -> ConfigurationResult:
    """The best configuration with a late side; the baseline where there is none."""
    late = [each for each in _select_size(comparison, size) if each.configuration.context_weight]
    return _find_best(comparison, late or [comparison.get(comparison.baseline, size)], measure)


def best_early(
    comparison: Comparison, size: int | None, measure: str | None = None
) -> ConfigurationResult:
    """The best configuration without a late side, such as one that attends to the title."""
    early = [
        each for each in _select_size(comparison, size) if not each.configuration.context_weight
    ]
    return _find_best(comparison, early, measure)


def _select_size(comparison: Comparison, size: int | None) -> list[ConfigurationResult]:
    return [comparison.get(name, size) for name in comparison.names]


def _find_best(
    comparison: Comparison, results: Sequence[ConfigurationResult], measure: str | None
) -> ConfigurationResult:
    by = measure or main_measure(comparison.results[0])
    return max(results, key=lambda result: result.corpus[by])


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
    elif configuration.header == "auto":
        parts.append("the title and the headings above each chunk read along")
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
        early: The early configuration.
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
    plain = early.configuration.header == "none"
    than = "early chunking" if plain else f"‘{early.name}’"
    return (
        f"Of {_count(len(places), 'question')}, {higher} found the first chunk with the answer "
        f"further up the list with ‘{other.name}’ than with {than}, {lower} further down, "
        f"and {len(places) - higher - lower} at the same place. The very first chunk of the list "
        f"held the answer for {first} questions instead of {first_early}.{work}"
    )


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def verdict(comparison: Comparison, size: int | None, measure: str | None = None) -> Verdict:
    """Whether late chunking helped at one chunk size.

    The best late configuration is compared with the best early one, query by query: what a title
    gains in early chunking is no merit of late chunking. Both are picked on the same queries that
    they are reported on, which flatters them; `tune` holds half of the queries back for that
    reason.

    Args:
        comparison: What was measured.
        size: The chunk size.
        measure: ``None``: `main_measure`.
    """
    best = best_result(comparison, size, measure)
    measure = measure or main_measure(best)
    plain = comparison.get(comparison.baseline, size)
    early, late = best_early(comparison, size, measure), best_late(comparison, size, measure)
    if late is plain:
        said = "No late configuration was measured."
        return Verdict("early", "Early chunking is the better choice here", said, best)
    difference = paired_difference(late.scores(measure), early.scores(measure))
    named = "plain early chunking"
    if early is not plain:
        named = (
            f"'{early.name}', the best without late chunking (plain early chunking: "
            f"{100 * plain.corpus[measure]:.1f})"
        )
    detail = (
        f"{measure} is {100 * late.corpus[measure]:.1f} with '{late.name}' and "
        f"{100 * early.corpus[measure]:.1f} with {named}: a difference of "
        f"{100 * difference.mean:+.1f} points, with 95 % confidence between "
        f"{100 * difference.low:+.1f} and {100 * difference.high:+.1f} (p = "
        f"{difference.p_value:.3f})."
    )
    if difference.mean <= 0:
        return Verdict("early", "Early chunking is the better choice here", detail, best)
    if not difference.clear:
        return Verdict("unclear", "No clear difference: chance could explain it", detail, best)
    return Verdict("late", "Late chunking helps here", detail, best)
