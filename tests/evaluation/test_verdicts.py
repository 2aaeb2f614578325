"""What a comparison says in words is what its figures say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from latechunk_integrations.evaluation.results import Comparison, Configuration, Difference
from latechunk_integrations.evaluation.verdicts import (
    best_late,
    best_result,
    describe,
    main_measure,
    plain_words,
    verdict,
)
from tests.evaluation.support import comparison


def _with_p_value(made: Comparison, p_value: float) -> Comparison:
    early, late = made.results
    differences = {"RR@10": Difference(0.1, -0.1, 0.3, p_value)}
    return replace(made, results=(early, replace(late, corpus_difference=differences)))


def test_the_better_side_is_named_and_chance_is_called_chance() -> None:
    better = comparison([2, 2, 1, 4], [1, 1, 1, 2])
    assert verdict(better, 64).outcome == "late"
    assert "87.5 with 'late' and 56.2 with plain early" in verdict(better, 64).detail
    worse = comparison([1, 1, 1, 2], [2, 2, 1, 4])
    assert verdict(worse, 64).outcome == "early"
    assert "Early chunking is the better choice" in verdict(worse, 64).headline
    chance = _with_p_value(better, 0.2)
    assert verdict(chance, 64).outcome == "unclear"
    assert "chance" in verdict(chance, 64).headline


def test_of_equal_configurations_the_simpler_wins() -> None:
    made = comparison([1, 2, 1, 2], [2, 1, 2, 1])
    assert best_result(made, 64).name == "early"
    assert best_late(made, 64).name == "late"
    only_early = replace(made, results=made.results[:1])
    assert best_late(only_early, 64).name == "early"
    assert main_measure(made.results[0]) == "RR@10"


def test_queries_are_counted_without_any_measure() -> None:
    early, late = comparison([2, None, 1, 1], [1, 3, 1, 2]).results
    words = plain_words(early, late)
    assert "Of 4 questions, 2 found" in words
    assert "1 further down, and 1 at the same place" in words
    assert "for 2 questions instead of 2" in words
    assert "2.5 times the work" in words


@pytest.mark.parametrize(
    ("configuration", "words"),
    [
        (Configuration(name="a"), "each chunk read alone"),
        (
            Configuration(name="b", header="prepended"),
            "each chunk read alone, the title in front of each chunk's text",
        ),
        (
            Configuration(
                name="c",
                context_weight=0.3,
                header="attended",
                header_weight=0.1,
                preamble_tokens=48,
                overlap_tokens=32,
            ),
            (
                "30% late, 70% early, the title read along, 0.1 of the title's own vector added, "
                "the document's first 48 tokens read along, windows overlap by 32 tokens"
            ),
        ),
        (Configuration(name="d", context_weight=1.0), "chunks read within their document"),
    ],
)
def test_a_configuration_is_described(configuration: Configuration, words: str) -> None:
    assert describe(configuration) == words
