"""What a comparison advises: one decision, with what it gains, costs, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from latechunk_integrations.evaluation.configurations import BASELINE, EARLY_PREPENDED
from latechunk_integrations.evaluation.metrics import (
    FEWEST_QUERIES,
    count_needed_queries,
    paired_difference,
)
from latechunk_integrations.evaluation.results import (
    CHANCE,
    Comparison,
    ConfigurationResult,
    Difference,
)

__all__ = [
    "Advice",
    "advise",
    "best_result",
    "choose_result",
    "describe_difference",
    "is_as_good",
    "main_measure",
    "plain_words",
]

_PREFERRED = "nDCG@10"
_FAIR = "answer@2000"
_MIB = 1 << 20
_KIB = 1 << 10
_FLOAT_BYTES = 4
# A gain that most teams would act on, in the scale of the measures.
_WORTHWHILE = 0.03
_MANY_UNCERTAIN = 0.1


@dataclass(frozen=True)
class Advice:
    """What to do.

    Args:
        outcome: ``"change"`` to `chosen`, ``"keep"`` what there is, ``"unclear"``: `chosen` is
            ahead, which may be chance, or ``"too few"`` queries to say.
        headline: What to do, in one sentence.
        gain: What it gains against what there is now, with the interval.
        costs: What it costs in tokens, vectors and time.
        certainty: How sure that is.
        changes: What would change the advice.
        chosen: What to use, or what may be better.
        measure: What decided.
    """

    outcome: Literal["change", "keep", "unclear", "too few"]
    headline: str
    gain: str
    costs: str
    certainty: str
    changes: tuple[str, ...]
    chosen: ConfigurationResult
    measure: str


def main_measure(comparison: Comparison) -> str:
    """What decides: nDCG@10, or, between chunk sizes, the answer in 2,000 tokens; else the first.

    Larger chunks have a higher nDCG at equal worth, since more of them hold an answer.
    """
    measured = comparison.opponent.corpus
    if len(comparison.chunk_sizes) > 1 and _FAIR in measured:
        return _FAIR
    return _PREFERRED if _PREFERRED in measured else next(iter(measured))


def best_result(comparison: Comparison, measure: str | None = None) -> ConfigurationResult:
    """The result with the best measure over the corpus; of equal ones the first."""
    by = measure or main_measure(comparison)
    return max(comparison.results, key=lambda result: result.corpus[by])


def choose_result(
    comparison: Comparison, measure: str | None = None
) -> tuple[Literal["change", "keep", "unclear", "too few"], ConfigurationResult]:
    """The cheapest of those that cannot be told from the best, if it is worth the change.

    A result is as good as the best where it is behind by no more than one standard error of the
    paired difference: with few queries the best of many is so by luck, which does not come back.
    For the same reason a gain counts as one only where its p-value, times the number of ways
    that were tried (Bonferroni), is below 0.05.
    """
    by = measure or main_measure(comparison)
    now, best = comparison.opponent, best_result(comparison, by)
    near = [each for each in comparison.results if is_as_good(each, best, by)]
    if comparison.n_queries < FEWEST_QUERIES:
        return "too few", best
    better = [each for each in near if each is not now and _gain(each, by).mean > 0]
    better = [each for each in better if _is_clear(comparison, _gain(each, by))]
    if better:
        return "change", min(better, key=lambda each: each.costs.encoder_tokens)
    if now in near:
        return "keep", now
    return "unclear", best


def advise(comparison: Comparison, measure: str | None = None) -> Advice:
    """What to do after a comparison.

    The choice is made on the same queries that it is reported on, which flatters it a little;
    `tune` holds half of the queries back for that reason.

    Args:
        comparison: What was measured.
        measure: What decides; ``None``: `main_measure`.
    """
    by = measure or main_measure(comparison)
    outcome, chosen = choose_result(comparison, by)
    return Advice(
        outcome=outcome,
        headline=_write_headline(comparison, outcome, chosen),
        gain=_write_gain(comparison, chosen, by, outcome),
        costs=_write_costs(comparison, chosen),
        certainty=_write_certainty(comparison, chosen, by, outcome),
        changes=tuple(_list_changes(comparison, chosen, by, outcome)),
        chosen=chosen,
        measure=by,
    )


def plain_words(now: ConfigurationResult, other: ConfigurationResult, measure: str) -> str:
    """How queries fare under a configuration instead of another."""
    gained = other.scores(measure) - now.scores(measure)
    better, worse = int((gained > 0).sum()), int((gained < 0).sum())
    first, first_now = (sum(q.rank == 1 for q in result.queries) for result in (other, now))
    held = "The first chunk held" if first >= first_now else "But the first chunk alone held"
    return (
        f"By {measure}, {better} of {_count(len(gained), 'question')} did better, {worse} worse, "
        f"{len(gained) - better - worse} as before. {held} an answer for "
        f"{_count(first, 'question')} instead of {first_now}."
    )


def _write_headline(comparison: Comparison, outcome: str, chosen: ConfigurationResult) -> str:
    name = comparison.label(chosen)
    if outcome == "too few":
        return (
            f"Do not decide yet: {_count(comparison.n_queries, 'question')} cannot tell a gain "
            "from chance."
        )
    if outcome == "keep":
        return "Keep what you have: nothing that was measured is better."
    if outcome == "unclear":
        return f"Keep what you have for now: ‘{name}’ is ahead, but chance could explain it."
    if chosen.configuration.context_weight:
        return f"Change to late chunking: ‘{name}’."
    if not comparison.opponent.configuration.context_weight:
        return f"Stay with early chunking, and change it to ‘{name}’."
    return f"Change to early chunking: ‘{name}’."


def _write_gain(
    comparison: Comparison, chosen: ConfigurationResult, measure: str, outcome: str
) -> str:
    now = comparison.opponent
    if chosen is now:
        others = [each for each in comparison.results if each is not now]
        if not others:
            return f"{measure} is {_points(now.corpus[measure])}. Nothing else was measured."
        best = max(others, key=lambda each: each.corpus[measure])
        return (
            f"{measure} is {_points(now.corpus[measure])} with what you have now "
            f"(‘{comparison.label(now)}’). The best of the others, ‘{comparison.label(best)}’, has "
            f"{_points(best.corpus[measure])}: {describe_difference(_gain(best, measure))}."
        )
    said = (
        f"{measure} goes from {_points(now.corpus[measure])} with what you have now "
        f"(‘{comparison.label(now)}’) to {_points(chosen.corpus[measure])} with "
        f"‘{comparison.label(chosen)}’: {describe_difference(_gain(chosen, measure))}."
    )
    return said if outcome == "too few" else f"{said} {plain_words(now, chosen, measure)}"


def _write_costs(comparison: Comparison, chosen: ConfigurationResult) -> str:
    now = comparison.opponent
    dimensions = {}
    if comparison.provenance is not None:
        dimensions = {each.name: each.dimensions for each in comparison.provenance.models}
    sizes = []
    for result in (now, chosen):
        width = dimensions.get(result.model, 0)
        size = f" of {width} numbers" if width else ""
        n_bytes = result.n_vectors * width * _FLOAT_BYTES
        room = f"{n_bytes / _MIB:,.1f} MiB" if n_bytes >= _MIB else f"{n_bytes / _KIB:,.0f} KiB"
        sizes.append(f"{result.n_vectors:,} vectors{size}{f', {room}' if width else ''}")
    if chosen is now:
        return (
            f"Nothing changes: {now.costs.encoder_tokens:,} tokens through the model for these "
            f"documents, {sizes[0]}."
        )
    if not now.costs.encoder_tokens:
        return (
            f"What building your store took is not known. ‘{comparison.label(chosen)}’ sends "
            f"{chosen.costs.encoder_tokens:,} tokens through the model, once. The store holds "
            f"{sizes[1]}. Queries cost the same."
        )
    vectors = sizes[1] if sizes[0] == sizes[1] else f"{sizes[1]} instead of {sizes[0]}"
    kept = ", as now" if sizes[0] == sizes[1] else ""
    times = chosen.costs.encoder_tokens / max(1, now.costs.encoder_tokens)
    return (
        f"Indexing sends {times:.2f} times the tokens through the model "
        f"({chosen.costs.encoder_tokens:,} instead of {now.costs.encoder_tokens:,}). It took "
        f"{chosen.costs.seconds:.1f} s instead of {now.costs.seconds:.1f} s here, in one run: "
        f"differences of a fifth are noise. The store holds {vectors}{kept}. Queries cost the same."
    )


def _write_certainty(
    comparison: Comparison, chosen: ConfigurationResult, measure: str, outcome: str
) -> str:
    parts = []
    if outcome == "too few":
        parts.append(
            f"No interval is shown for fewer than {FEWEST_QUERIES} questions. "
            f"{_say_needed(comparison, chosen, measure)}"
        )
    elif outcome == "change":
        p_value = _gain(chosen, measure).p_value or 0.0
        tried = len(comparison.results) - 1
        in_thousand = round(1000 * p_value * tried)
        odds = f"about {in_thousand} in 1,000" if in_thousand else "fewer than 1 in 1,000"
        ways = f" when {tried} ways are tried" if tried > 1 else ""
        parts.append(f"A gain this large comes by chance in {odds} cases{ways}.")
    elif outcome == "unclear":
        tried = len(comparison.results) - 1
        parts.append(
            f"When {_count(tried, 'way')} {'is' if tried == 1 else 'are'} tried, chance alone puts "
            "one this far ahead in more than 50 in 1,000 cases."
        )
        parts.append(_say_needed(comparison, chosen, measure))
    else:
        parts.append(
            "What is ahead here is ahead by no more than other questions of the same kind would "
            "change."
        )
    if len(comparison.results) > 2 and outcome == "change":  # noqa: PLR2004  # one was chosen
        parts.append(
            "It was picked on the questions that it is reported on, so the gain itself is a little "
            "flattered. ‘latechunk tune’ picks on one half of the questions and reports on the "
            "other."
        )
    if n := len(comparison.uncertain):
        parts.append(
            f"{n} of {comparison.n_queries} labels are uncertain: the quote occurs several times "
            "or only in part."
        )
    return " ".join(parts)


def _say_needed(comparison: Comparison, chosen: ConfigurationResult, measure: str) -> str:
    now = comparison.opponent
    differences = chosen.scores(measure) - now.scores(measure)
    if chosen is now:
        differences = np.zeros(comparison.n_queries)
    seen = max(abs(float(differences.mean())), _WORTHWHILE / 3)
    said = []
    for effect in sorted({seen, min(seen, 2 * _WORTHWHILE)}):
        needed = _round_up(max(FEWEST_QUERIES, count_needed_queries(differences, effect)))
        said.append(f"about {needed:,} for a gain of {100 * effect:.0f} points")
    return f"Questions needed to tell it from chance: {', '.join(said)}."


def _list_changes(
    comparison: Comparison, chosen: ConfigurationResult, measure: str, outcome: str
) -> list[str]:
    changes = []
    late = [each for each in comparison.results if each.configuration.context_weight]
    early = [each for each in _alike(comparison, chosen) if not each.configuration.context_weight]
    if outcome == "change" and chosen.configuration.context_weight and early:
        rival = max(early, key=lambda each: each.corpus[measure])
        own = paired_difference(chosen.scores(measure), rival.scores(measure))
        changes.append(
            f"How much of the gain needs late chunking: against the best early way with the same "
            f"chunks, ‘{rival.name}’, {describe_difference(own)}. If that is too little for you, "
            + (
                f"take ‘{rival.name}’."
                if rival is not comparison.opponent and _is_clear(comparison, _gain(rival, measure))
                else "keep what you have."
            )
        )
    elif outcome == "change" and late:
        rival = max(late, key=lambda each: each.corpus[measure])
        changes.append(
            f"The best late way, ‘{comparison.label(rival)}’, has "
            f"{_points(rival.corpus[measure])}: not enough more for what it costs."
        )
    if outcome in ("unclear", "too few"):
        changes.append(
            "More questions: ‘latechunk questions DOCUMENTS --output FILE’ proposes some. "
            "‘latechunk review FILE’ lets you pick. ‘latechunk compare FILE’ measures again."
        )
    if len(comparison.uncertain) > _MANY_UNCERTAIN * comparison.n_queries:
        changes.append(
            "Labels that are certain: give longer quotes, or a column ‘context’ or ‘start’."
        )
    if comparison.opponent.name == BASELINE and EARLY_PREPENDED.name in comparison.names:
        changes.append(
            "What you have now: LlamaIndex puts a title from the metadata in front of each chunk. "
            "If yours does, compare with that: "
            f'‘latechunk compare … --now "{EARLY_PREPENDED.name}"’.'
        )
    if len(comparison.chunk_sizes) == 1 and comparison.chunk_sizes[0] is not None:
        changes.append(
            "Another chunk size: only one was measured (‘--chunk-size’ can be repeated)."
        )
    if len(comparison.models) == 1:
        changes.append("Another model: only one was measured (‘--model’ can be repeated).")
    changes.append(
        "Documents or questions of another kind: measure again when they change "
        "(‘--baseline’ compares two runs)."
    )
    return changes


def describe_difference(difference: Difference) -> str:
    """A difference in points, with its interval where there is one."""
    said = f"{100 * difference.mean:+.1f} points"
    if difference.low is None or difference.high is None:
        return said
    # Next to zero, another digit says on which side of it the bound is.
    low, high = (
        f"{100 * bound:+.{1 if abs(bound) >= 0.0005 or not bound else 2}f}"  # noqa: PLR2004
        for bound in (difference.low, difference.high)
    )
    return f"{said}, with 95 % confidence between {low} and {high}"


def _alike(comparison: Comparison, result: ConfigurationResult) -> Sequence[ConfigurationResult]:
    """Results with the same model and the same chunks."""
    return [
        each
        for each in comparison.results
        if (each.model, each.chunk_size) == (result.model, result.chunk_size)
    ]


def is_as_good(result: ConfigurationResult, best: ConfigurationResult, measure: str) -> bool:
    """Whether a result is behind another by no more than one standard error."""
    behind = best.scores(measure) - result.scores(measure)
    spread = behind.std(ddof=1) if len(behind) > 1 else 0.0
    return bool(behind.mean() <= spread / np.sqrt(len(behind)))


def _is_clear(comparison: Comparison, gain: Difference) -> bool:
    """Whether chance hardly explains it, with so many ways tried."""
    tried = max(1, len(comparison.results) - 1)
    return gain.clear and tried * (gain.p_value or 0.0) < CHANCE


def _gain(result: ConfigurationResult, measure: str) -> Difference:
    return result.corpus_difference.get(measure, Difference(0.0, None, None, None))


def _points(value: float) -> str:
    return f"{100 * value:.1f}"


def _round_up(n: int) -> int:
    step = 10 if n < 1_000 else 100  # noqa: PLR2004  # two digits say enough
    return math.ceil(n / step) * step


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
