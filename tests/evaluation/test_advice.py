"""The advice is what the figures say, with one opponent, and no more than they say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from latechunk_integrations.evaluation.advice import (
    advise,
    best_result,
    choose_result,
    main_measure,
    plain_words,
)
from latechunk_integrations.evaluation.results import Comparison, Configuration
from tests.evaluation.support import comparison, repeated_set, result

_TITLED = Configuration(name="early, title read along", header="attended")


def _repeated(early: list[int], late: list[int], titled: list[int] | None = None) -> Comparison:
    """Ranks of the four queries, each asked ten times."""
    golden = repeated_set(10)
    made = comparison(10 * early, 10 * late, golden=golden)
    if titled is None:
        return made
    third = result(_TITLED, 10 * titled, 10 * early, golden=golden)
    return replace(made, results=(*made.results, third))


def test_a_clear_gain_is_a_change_with_its_interval_and_its_cost() -> None:
    said = advise(_repeated([2, 2, 1, 4], [1, 1, 1, 2]))
    assert (said.outcome, said.chosen.name) == ("change", "late")
    assert said.headline == "Change to late chunking: ‘late’."
    assert "RR@10 goes from 56.2 with what you have now (‘early’) to 87.5 with ‘late’" in said.gain
    assert "+31.2 points, with 95 % confidence between +30.2 and +32.2" in said.gain
    assert "2.50 times the tokens" in said.costs
    assert "(250 instead of 100)" in said.costs
    assert any("against the best early way" in each and "+31.2" in each for each in said.changes)


def test_nothing_better_means_keep() -> None:
    said = advise(_repeated([1, 1, 1, 2], [2, 2, 1, 4]))
    assert (said.outcome, said.chosen.name) == ("keep", "early")
    assert said.headline == "Keep what you have: nothing that was measured is better."
    assert "The best of the others, ‘late’, has 56.2: -31.2 points" in said.gain
    assert "Nothing changes" in said.costs


@pytest.mark.parametrize("n", [1, 4])
def test_too_few_questions_are_no_decision_and_it_says_how_many_are_needed(n: int) -> None:
    golden = repeated_set(1).subset([f"q{k}-0" for k in range(1, n + 1)])
    said = advise(comparison([2, 2, 1, 4][:n], [1, 1, 1, 2][:n], golden=golden))
    assert said.outcome == "too few"
    assert said.headline.startswith("Do not decide yet")
    assert "confidence" not in said.gain
    assert "No interval is shown for fewer than 20 questions." in said.certainty
    assert "Questions needed to tell it from chance: about" in said.certainty


def test_where_the_title_alone_does_as_well_late_chunking_is_not_advised() -> None:
    """What a title gains in early chunking is no merit of late chunking, and costs less."""
    said = advise(_repeated([2, 2, 1, 4], [1, 1, 1, 2], [1, 1, 1, 2]))
    assert said.headline == "Stay with early chunking, and change it to ‘early, title read along’."
    assert said.chosen.name == "early, title read along"
    ahead = advise(_repeated([2, 2, 1, 4], [1, 1, 1, 2], [2, 2, 1, 3]))
    assert ahead.chosen.name == "late"
    (own,) = (each for each in ahead.changes if "needs late chunking" in each)
    assert "‘early, title read along’, +29.2 points" in own


def test_a_lead_that_chance_explains_is_called_chance() -> None:
    made = _repeated([1, 2, 1, 2], [2, 1, 1, 2])
    early, late = made.results
    # One query of forty more than the others makes late chunking the best by a hair.
    outcome, chosen = choose_result(made)
    assert (outcome, chosen) == ("keep", early)
    assert late.corpus["RR@10"] == early.corpus["RR@10"]


def test_uncertain_labels_are_counted_in_how_sure_it_is() -> None:
    made = _repeated([2, 2, 1, 4], [1, 1, 1, 2])
    said = advise(replace(made, uncertain=("q1-0", "q2-0")))
    assert "2 of 40 labels are uncertain" in said.certainty
    many = advise(replace(made, uncertain=tuple(made.questions)[:9]))
    assert any("Labels that are certain" in each for each in many.changes)


def test_between_chunk_sizes_the_answer_in_equal_tokens_decides() -> None:
    made = comparison([1, 2, 1, 2], [2, 1, 2, 1], sizes=(64, 128))
    assert main_measure(made) == "RR@10"
    fair = tuple(
        replace(each, corpus={**each.corpus, "answer@2000": 0.5, "nDCG@10": 0.5})
        for each in made.results
    )
    assert main_measure(replace(made, results=fair)) == "answer@2000"
    assert main_measure(replace(made, results=fair[:2])) == "nDCG@10"


def test_a_measure_can_be_named() -> None:
    made = comparison([1, 2, 1, 2], [2, 1, 2, 1])
    early, late = made.results
    made = replace(made, results=(early, replace(late, corpus={**late.corpus, "R@1": 1.0})))
    assert best_result(made).name == "early"
    assert best_result(made, "R@1").name == "late"


def test_no_size_means_the_first_unless_it_is_one() -> None:
    made = comparison([1, 2, 1, 2], [2, 1, 2, 1], sizes=(64, None))
    assert made.get("late", None).chunk_size is None
    assert made.get("late", 64).chunk_size == 64
    assert comparison([1] * 4, [1] * 4, sizes=(64, 128)).get("late").chunk_size == 64
    with pytest.raises(KeyError, match="no result for 'late' at chunk size 32"):
        made.get("late", 32)


def test_queries_are_counted_by_the_measure_that_decides() -> None:
    early, late = comparison([2, None, 1, 1], [1, 3, 1, 2]).results
    words = plain_words(early, late, "RR@10")
    assert "By RR@10, 2 of 4 questions did better, 1 worse, 1 as before." in words
    assert "The first chunk held an answer for 2 questions instead of 2" in words
    worse = plain_words(early, comparison([2, None, 1, 1], [2, 2, 2, 2]).results[1], "RR@10")
    assert "But the first chunk alone held an answer for 0 questions instead of 2" in worse


def test_a_gain_that_many_tried_ways_explain_is_no_change() -> None:
    """The best of many ways is ahead by luck; the p-value counts them."""
    made = _repeated([2, 2, 1, 4], [1, 1, 1, 2])
    early, late = made.results
    gain = late.corpus_difference["RR@10"]
    late = replace(
        late, corpus_difference={"RR@10": replace(gain, low=0.0002, high=0.9, p_value=0.03)}
    )
    alone = advise(replace(made, results=(early, late)))
    assert (alone.outcome, alone.chosen.name) == ("change", "late")
    assert "about 30 in 1,000 cases." in alone.certainty
    assert "between +0.02 and +90.0" in alone.gain
    worse = result(_TITLED, 10 * [2, 2, 2, 4], 10 * [2, 2, 1, 4], golden=repeated_set(10))
    tried = advise(replace(made, results=(early, late, worse)))
    assert tried.outcome == "unclear"
    assert tried.headline.startswith("Keep what you have for now")
    assert "When 2 ways are tried, chance alone" in tried.certainty


def test_a_rival_that_gains_nothing_is_not_advised() -> None:
    said = advise(_repeated([2, 2, 1, 4], [1, 1, 1, 2], [2, 2, 1, 4]))
    (own,) = (each for each in said.changes if "needs late chunking" in each)
    assert own.endswith("keep what you have.")
