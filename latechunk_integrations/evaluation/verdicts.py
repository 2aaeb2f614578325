"""What a comparison says, in a sentence that needs no statistics to be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from latechunk_integrations.evaluation.results import Comparison, ConfigurationResult

__all__ = ["Verdict", "best_result", "main_measure", "verdict"]

_PREFERRED = "nDCG@10"
_CERTAIN = 0.05


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
        f"{100 * difference.low:.1f} and {100 * difference.high:.1f}."
    )
    if difference.p_value > _CERTAIN:
        return Verdict("unclear", "No difference that chance could not explain", detail, best)
    return Verdict("late", "Late chunking helps here", detail, best)
