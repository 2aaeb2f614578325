"""A gate fails when quality fell or is too low, and compares no times."""

from __future__ import annotations

from dataclasses import replace

import pytest

from latechunk_integrations.errors import GoldenSetError, OptionError
from latechunk_integrations.evaluation.configurations import LATE, YOURS
from latechunk_integrations.evaluation.gate import check_drop, check_floors, find_in_use
from latechunk_integrations.evaluation.results import Comparison, Provenance
from tests.evaluation.support import comparison, repeated_set

GOLDEN = repeated_set(10)
PROVENANCE = Provenance("1", "today", "", "a machine", "", "data", ())


def _made(ranks: list[int], name: str = LATE.name) -> Comparison:
    made = comparison([2, 2, 1, 4] * 10, ranks * 10, golden=GOLDEN)
    early, late = made.results
    named = replace(late, configuration=replace(late.configuration, name=name))
    return replace(made, results=(early, named), provenance=PROVENANCE)


def test_the_options_of_a_file_are_what_a_gate_looks_at() -> None:
    assert find_in_use(_made([1, 1, 1, 1])).name == LATE.name
    assert find_in_use(_made([1, 1, 1, 1], YOURS)).name == YOURS
    assert find_in_use(_made([1, 1, 1, 1], "other")).name == "early"


@pytest.mark.parametrize(("floor", "passed"), [(0.87, True), (0.875, True), (0.88, False)])
def test_a_floor_holds_or_not(floor: float, *, passed: bool) -> None:
    (found,) = check_floors(_made([1, 1, 1, 2]), {"RR@10": floor})
    assert found.passed is passed
    assert "RR@10 of ‘late (default)’ is 0.8750" in found.text


@pytest.mark.parametrize("floors", [{"MAP@3": 0.5}, {"RR@10": 85}, {"RR@10": "high"}])
def test_a_floor_that_cannot_be_checked_is_refused(floors: dict[str, float]) -> None:
    with pytest.raises(OptionError):
        check_floors(_made([1, 1, 1, 2]), floors)


def test_a_drop_beyond_the_limit_fails() -> None:
    old, new = _made([1, 1, 1, 2]), _made([1, 1, 1, 4])  # 87.5 and 81.25
    assert not check_drop(new, old, 1).passed
    assert check_drop(new, old, 6.5).passed
    assert check_drop(old, new, 0).passed
    text = check_drop(new, old, 1).text
    assert "on 40 questions: 87.5 before, 81.2 now" in text
    assert "machine" not in text


def test_only_questions_that_both_have_are_compared_and_changes_are_named() -> None:
    old, new = _made([1, 1, 1, 2]), _made([1, 1, 1, 4])
    renamed = {
        key: f"{text}!" if key.startswith("q4") else text for key, text in old.questions.items()
    }
    other = replace(PROVENANCE, hardware="another", dataset="other")
    found = check_drop(new, replace(old, questions=renamed, provenance=other), 1)
    assert found.passed
    assert "on 30 questions" in found.text
    assert "documents, questions or labels changed; another machine (another)" in found.text
    with pytest.raises(GoldenSetError, match="no question in common"):
        check_drop(new, replace(old, questions={}), 1)
    with pytest.raises(GoldenSetError, match="has no result"):
        check_drop(new, _made([1, 1, 1, 2], "other"), 1)
    with pytest.raises(GoldenSetError, match="has no nDCG@10"):
        check_drop(new, old, 1, "nDCG@10")
