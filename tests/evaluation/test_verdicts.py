"""What a comparison says in words is what its figures say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from latechunk_integrations.evaluation.results import Comparison, Configuration
from latechunk_integrations.evaluation.verdicts import (
    best_early,
    best_late,
    best_result,
    describe,
    main_measure,
    plain_words,
    verdict,
)
from tests.evaluation.support import comparison, repeated_set, result

_TITLED = Configuration(name="early, title", header="attended")


def _repeated(early: list[int], late: list[int], titled: list[int] | None = None) -> Comparison:
    """Ranks of the four queries, each asked five times."""
    golden = repeated_set(5)
    made = comparison(5 * early, 5 * late, golden=golden)
    if titled is None:
        return made
    third = result(_TITLED, 5 * titled, 5 * early, golden=golden)
    return replace(made, results=(*made.results, third))


def test_the_better_side_is_named_and_chance_is_called_chance() -> None:
    better = _repeated([2, 2, 1, 4], [1, 1, 1, 2])
    assert verdict(better, 64).outcome == "late"
    assert "87.5 with 'late' and 56.2 with plain early" in verdict(better, 64).detail
    worse = comparison([1, 1, 1, 2], [2, 2, 1, 4])
    assert verdict(worse, 64).outcome == "early"
    assert "Early chunking is the better choice" in verdict(worse, 64).headline
    chance = comparison([2, 2, 1, 4], [1, 1, 1, 2])  # too few queries
    assert verdict(chance, 64).outcome == "unclear"
    assert "chance" in verdict(chance, 64).headline


@pytest.mark.parametrize(
    ("titled", "outcome"),
    [([2, 2, 1, 3], "late"), ([1, 1, 1, 2], "early"), ([1, 1, 1, 1], "early")],
)
def test_late_chunking_is_not_credited_with_what_the_title_gains(
    titled: list[int], outcome: str
) -> None:
    made = _repeated([2, 2, 1, 4], [1, 1, 1, 2], titled)
    said = verdict(made, 64)
    assert said.outcome == outcome
    early = 100 * np.mean([1 / rank for rank in titled])
    assert "RR@10 is 87.5 with 'late'" in said.detail
    assert f"and {early:.1f} with 'early, title'" in said.detail
    assert "(plain early chunking: 56.2)" in said.detail
    assert f"a difference of {87.5 - early:+.1f} points" in said.detail
    assert best_early(made, 64).name == "early, title"
    assert "than with ‘early, title’" in plain_words(best_early(made, 64), best_late(made, 64))


def test_a_measure_can_be_named() -> None:
    made = comparison([1, 2, 1, 2], [2, 1, 2, 1])
    early, late = made.results
    late = replace(late, corpus={**late.corpus, "R@1": 1.0})
    made = replace(made, results=(early, late))
    assert best_result(made, 64).name == "early"
    assert best_result(made, 64, "R@1").name == "late"


def test_no_size_means_the_first_unless_it_is_one() -> None:
    made = comparison([1, 2, 1, 2], [2, 1, 2, 1], sizes=(64, None))
    assert made.get("late", None).chunk_size is None
    assert made.get("late", 64).chunk_size == 64
    assert comparison([1] * 4, [1] * 4, sizes=(64, 128)).get("late").chunk_size == 64
    with pytest.raises(KeyError, match="no result for 'late' at chunk size 32"):
        made.get("late", 32)


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
