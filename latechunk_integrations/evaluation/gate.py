"""A gate for continuous integration: did retrieval get worse, is it good enough?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from latechunk_integrations.errors import GoldenSetError, OptionError
from latechunk_integrations.evaluation.advice import describe_difference, main_measure
from latechunk_integrations.evaluation.configurations import LATE, YOURS
from latechunk_integrations.evaluation.metrics import paired_difference
from latechunk_integrations.evaluation.results import Comparison, ConfigurationResult, QueryResult


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Args:
        passed: Whether it passed.
        text: What was found, in a sentence.
    """

    passed: bool
    text: str


def find_in_use(comparison: Comparison) -> ConfigurationResult:
    """The result that a gate looks at: the options of a file, else our default, else the first."""
    for wanted in (YOURS, LATE.name):
        for result in comparison.results:
            if result.name == wanted:
                return result
    return comparison.opponent


def check_floors(comparison: Comparison, floors: Mapping[str, float]) -> list[Finding]:
    """Whether each measure reaches its floor, between 0 and 1.

    Raises:
        OptionError: A measure was not measured, or a floor is no share.
    """
    result = find_in_use(comparison)
    found = []
    for measure, floor in floors.items():
        if measure not in result.corpus:
            raise OptionError(f"{measure!r} was not measured; there are {[*result.corpus]}")
        given: object = floor
        if not isinstance(given, (int, float)) or not 0 <= given <= 1:
            raise OptionError(f"the floor of {measure} is between 0 and 1, not {floor!r}")
        value = result.corpus[measure]
        sign = ">=" if value >= floor else "<"
        text = f"{measure} of ‘{comparison.label(result)}’ is {value:.4f} {sign} {floor:g}"
        found.append(Finding(value >= floor, text))
    return found


def check_drop(
    comparison: Comparison, old: Comparison, max_drop: float, measure: str | None = None
) -> Finding:
    """Whether a measure fell by more than so many points since an older record.

    Questions that both have are compared, by their ids and texts. Times are never compared.

    Args:
        comparison: The new one.
        old: The record.
        max_drop: Points, of 100.
        measure: What is compared; ``None``: see `main_measure`.

    Raises:
        GoldenSetError: The records have no question or no such result in common.
    """
    by = measure or main_measure(comparison)
    new_result = find_in_use(comparison)
    old_result = _find_same(old, new_result)
    before, after = _scores(old_result, by), _scores(new_result, by)
    shared = [
        key
        for key, text in comparison.questions.items()
        if old.questions.get(key) == text and key in before and key in after
    ]
    if not shared:
        raise GoldenSetError(
            "the record has no question in common with these: write a new one with --json"
        )
    values = [np.array([scores[key] for key in shared]) for scores in (after, before)]
    difference = paired_difference(*values)
    drop = -100 * difference.mean
    text = (
        f"{by} of ‘{comparison.label(new_result)}’ on {len(shared)} questions: "
        f"{100 * values[1].mean():.1f} before, {100 * values[0].mean():.1f} now, "
        f"{describe_difference(difference)}; at most {max_drop:g} points may be lost"
    )
    return Finding(drop <= max_drop, "; ".join([text, *_list_changes(comparison, old)]))


def _list_changes(comparison: Comparison, old: Comparison) -> list[str]:
    """What else changed between two records."""
    new, before = comparison.provenance, old.provenance
    if new is None or before is None:
        return []
    changes = []
    if new.dataset != before.dataset:
        changes.append("documents, questions or labels changed")
    if new.hardware != before.hardware:
        changes.append(f"another machine ({before.hardware})")
    if [m.fingerprint for m in new.models] != [m.fingerprint for m in before.models]:
        changes.append("model or options changed")
    return changes


def _find_same(old: Comparison, result: ConfigurationResult) -> ConfigurationResult:
    same = [each for each in old.results if each.name == result.name]
    exact = [
        each for each in same if (each.model, each.chunk_size) == (result.model, result.chunk_size)
    ]
    if not same:
        raise GoldenSetError(f"the record has no result {result.name!r}; it has {[*old.names]}")
    return (exact or same)[0]


def _scores(result: ConfigurationResult, measure: str) -> dict[str, float]:
    def score(query: QueryResult) -> float:
        if measure not in query.scores:
            raise GoldenSetError(f"the record has no {measure}: write it anew with --json")
        return query.scores[measure]

    return {query.query_id: score(query) for query in result.queries}
