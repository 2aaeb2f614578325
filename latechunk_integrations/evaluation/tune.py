"""Options for the user's own queries: chosen on one half of them, reported on the other."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from latechunk_integrations.engine import LateChunkEngine
from latechunk_integrations.errors import GoldenSetError, OptionError
from latechunk_integrations.evaluation.advice import describe_difference, is_as_good, main_measure
from latechunk_integrations.evaluation.compare import compare
from latechunk_integrations.evaluation.configurations import (
    BASELINE,
    DEFAULT,
    TEXTBOOK,
    make_configurations,
)
from latechunk_integrations.evaluation.dataset import GoldenSet
from latechunk_integrations.evaluation.metrics import FEWEST_QUERIES, deepest, paired_difference
from latechunk_integrations.evaluation.results import (
    Comparison,
    Configuration,
    ConfigurationResult,
    HeaderUse,
    TuneResult,
)
from latechunk_integrations.evaluation.splitters import Splitter, sizes_of
from latechunk_integrations.options import Layout

__all__ = ["Choices", "tune"]

# The first is what most have now.
_SIZES = (128, 64, 256)
_FEW_QUERIES = 100


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What `tune` may choose from; each combination is a pass over the documents.

    Args:
        focuses: How much more a chunk attends to itself than to its neighbours, in nats.
        layouts: Whole chunks in a window, or running text; see `LateChunkOptions`.
        headers: What of title and headings is read along.
        context_weights: Weights of the late vector; early chunking (0) is always tried.
        sub_spans: Tokens of a sub-span; ``None``: one vector a chunk. Vectors multiply.
        chunk_sizes: Tokens of a chunk at most, the first being what you have now. ``None``: 128,
            64 and 256 for ``"recursive"``; other splitters have a size of their own.
    """

    focuses: Sequence[float | Literal["auto"]] = ("auto", 1.0, 3.0)
    layouts: Sequence[Layout] = ("auto",)
    headers: Sequence[HeaderUse] = ("none", "auto")
    context_weights: Sequence[float] = (1.0,)
    sub_spans: Sequence[int | None] = (None,)
    chunk_sizes: Sequence[int | None] | None = None

    def configurations(self, opponent: str, *, titled: bool) -> list[Configuration]:
        """Early ways first, then every combination; without titles, headers do nothing."""
        if not any(self.context_weights):
            raise OptionError("nothing to tune: give a context weight above 0")
        headers = tuple(self.headers) if titled else ("none",)
        late = make_configurations(
            self.focuses, self.layouts, headers, self.context_weights, self.sub_spans
        )
        early = make_configurations(
            headers=headers, context_weights=(0.0,), sub_spans=self.sub_spans
        )
        now = [each for each in DEFAULT if each.name == opponent]
        made = [Configuration(name=BASELINE), *now, *early, *late, TEXTBOOK]
        return list({each.name: each for each in made}.values())


def tune(  # noqa: PLR0913  # as many sides as a comparison
    engine: LateChunkEngine,
    golden: GoldenSet,
    choices: Choices | None = None,
    *,
    opponent: str = BASELINE,
    splitter: Splitter = "recursive",
    measure: str | None = None,
    seed: int = 0,
    cache: str | Path | None = None,
    show_progress: bool = False,
) -> TuneResult:
    """Choose options on one half of the queries and report them on the other.

    On the first half, the best late and the best early candidate are sought. Candidates within
    one standard error of the best count as equal, and the one with the fewest encoder tokens is
    taken. Late chunking is chosen where it is ahead on both halves, on the second by
    more than chance explains; else the early candidate where that is so against what you have
    now; else nothing changes.

    Args:
        engine: The model, and the options that are not tuned.
        golden: Documents, queries, gold spans.
        choices: What to choose from; ``None``: the defaults of `Choices`.
        opponent: What you have now; see `compare`.
        splitter: See `split_documents`.
        measure: What is maximised over the corpus; ``None``: see `main_measure`.
        seed: Another number draws other halves.
        cache: A folder that keeps vectors; a run that was stopped goes on from
            the last pass that it finished.
        show_progress: Show a progress bar for each pass.

    Raises:
        GoldenSetError: There are too few queries for two halves.
        OptionError: A choice is impossible.
    """
    choices = choices or Choices()
    deepest(_list_measures(measure))  # an unknown measure is refused before anything is computed
    choosing, held_out = _split_halves(golden, seed)
    sizes = sizes_of(splitter, choices.chunk_sizes, _SIZES)
    titled = any(document.title.strip() for document in golden.documents)
    with tempfile.TemporaryDirectory() as scratch:
        measure_half = partial(
            compare,
            engine,
            opponent=opponent,
            splitter=splitter,
            chunk_sizes=sizes,
            cache=cache or scratch,
            show_progress=show_progress,
            measures=_list_measures(measure),
        )
        first = measure_half(choosing, choices.configurations(opponent, titled=titled))
        by = measure or main_measure(first)
        late = _find_candidate(first, by, late=True)
        early = _find_candidate(first, by, late=False)
        held = [first.opponent.configuration, early.configuration, late.configuration]
        second = measure_half(held_out, list({each.name: each for each in held}.values()))
    return _decide(first, second, (late, early), by)


def _decide(
    first: Comparison,
    second: Comparison,
    candidates: tuple[ConfigurationResult, ConfigurationResult],
    measure: str,
) -> TuneResult:
    late, early = (second.get(each.name, each.chunk_size) for each in candidates)
    now = second.opponent
    ahead = candidates[0].corpus[measure] > candidates[1].corpus[measure]
    of_late = paired_difference(late.scores(measure), early.scores(measure))
    of_early = paired_difference(early.scores(measure), now.scores(measure))
    behind = not ahead or of_late.mean <= 0
    if not behind and of_late.clear:
        chosen = late
    else:
        chosen = early if of_early.clear and of_early.mean > 0 else now
    values = [f"{100 * each.corpus[measure]:.1f}" for each in (late, early, now)]
    times = late.costs.encoder_tokens / max(1, early.costs.encoder_tokens)
    figures = [
        f"{measure} on the half that was not used for choosing:",
        f"{values[0]} with ‘{second.label(late)}’,",
        f"{values[1]} with ‘{second.label(early)}’,",
        f"{values[2]} with what you have now (‘{second.label(now)}’).",
        f"Late against early: {describe_difference(of_late)}, for {times:.1f} times the tokens.",
    ]
    if early is not now:
        figures.append(f"Early against what you have now: {describe_difference(of_early)}.")
    headline = _write_headline(
        second, chosen, behind=behind, is_early=chosen.configuration.context_weight == 0
    )
    shown = _keep_results(second, [now, early, late])
    return TuneResult(
        chosen=chosen,
        verdict=f"{headline}\n{' '.join(figures)}",
        measure=measure,
        choosing=first,
        held_out=shown,
        notes=tuple(_list_notes(first, second)),
    )


def _keep_results(comparison: Comparison, results: Sequence[ConfigurationResult]) -> Comparison:
    unique = {id(each): each for each in results}
    return replace(comparison, results=tuple(unique.values()))


def _write_headline(
    comparison: Comparison, chosen: ConfigurationResult, *, behind: bool, is_early: bool
) -> str:
    if not is_early:
        return (
            f"Late chunking is the better choice for these queries: ‘{comparison.label(chosen)}’."
        )
    why = "" if behind else ": late chunking is ahead by no more than chance explains"
    kept = "keep" if chosen is comparison.opponent else "take"
    return (
        f"Early chunking is the better choice for these queries{why}; {kept} "
        f"‘{comparison.label(chosen)}’."
    )


def _list_notes(first: Comparison, second: Comparison) -> list[str]:
    notes = list(first.notes)
    notes += [f"held-out half: {note}" for note in second.notes if note not in notes]
    if second.n_queries < FEWEST_QUERIES:
        notes.append(
            f"{second.n_queries} queries decide: fewer than {FEWEST_QUERIES} tell nothing from "
            "chance, so that nothing can win"
        )
    elif second.n_queries < _FEW_QUERIES:
        notes.append(
            f"{second.n_queries} queries decide: differences of a few points may be chance"
        )
    return notes


def _find_candidate(comparison: Comparison, measure: str, *, late: bool) -> ConfigurationResult:
    """The cheapest late or early result among those that cannot be told from the best one."""
    candidates = [
        result for result in comparison.results if (result.configuration.context_weight > 0) is late
    ]
    best = max(candidates, key=lambda result: result.corpus[measure])
    near = [each for each in candidates if is_as_good(each, best, measure)]
    return min(near, key=lambda result: result.costs.encoder_tokens)


def _split_halves(golden: GoldenSet, seed: int) -> tuple[GoldenSet, GoldenSet]:
    ids = [query.query_id for query in golden.queries]
    if len(ids) < 2 * FEWEST_QUERIES:
        raise GoldenSetError(
            f"{golden.name}: {len(ids)} queries are too few to choose on one half and report on "
            f"the other; give at least {2 * FEWEST_QUERIES}, better {2 * _FEW_QUERIES}"
        )
    random.Random(seed).shuffle(ids)  # noqa: S311  # halves, not secrets
    middle = len(ids) // 2
    return golden.subset(ids[:middle]), golden.subset(ids[middle:])


def _list_measures(measure: str | None) -> tuple[str, ...]:
    usual = ("nDCG@10", "RR@10", "R@1", "R@5", "R@10", "answer@2000")
    return tuple(dict.fromkeys((measure, *usual) if measure else usual))
