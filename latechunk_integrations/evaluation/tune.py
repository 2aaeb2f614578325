"""Options for the user's own queries: chosen on one half of them, reported on the other."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from latechunk_integrations.engine import LateChunkEngine
from latechunk_integrations.errors import GoldenSetError, OptionError
from latechunk_integrations.evaluation.compare import compare
from latechunk_integrations.evaluation.configurations import BASELINE
from latechunk_integrations.evaluation.dataset import GoldenSet
from latechunk_integrations.evaluation.metrics import paired_difference
from latechunk_integrations.evaluation.results import (
    Comparison,
    Configuration,
    ConfigurationResult,
    Difference,
    HeaderUse,
    TuneResult,
)
from latechunk_integrations.evaluation.splitters import Splitter, sizes_of

__all__ = ["Choices", "tune", "write_options"]

_SIZES = (64, 128, 256)
_FEWEST_QUERIES = 4
_FEW_QUERIES = 100


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What `tune` may choose from; each late pass costs time, further weights cost none.

    Args:
        context_weights: Weights of the late vector; early chunking (0) is always tried.
        chunk_sizes: Tokens of a chunk at most. ``None``: 64, 128 and 256 for ``"recursive"``;
            other splitters have a size of their own.
        headers: What is done with the title: ``"none"`` or ``"attended"``.
        header_weights: How much of the title's own vector is added.
        overlaps: Tokens that neighbouring windows share; ``None``: the engine's default.
        preambles: First tokens of a long document that its later windows attend to.
    """

    context_weights: Sequence[float] = (0.3, 0.5, 0.7, 1.0)
    chunk_sizes: Sequence[int | None] | None = None
    headers: Sequence[HeaderUse] = ("none", "attended")
    header_weights: Sequence[float] = (0.0, 0.1)
    overlaps: Sequence[int | None] = (None, 32)
    preambles: Sequence[int] = (48,)

    def configurations(self, *, titled: bool) -> list[Configuration]:
        """Early chunking first, then every combination; without titles, headers do nothing."""
        if "prepended" in self.headers:
            raise OptionError("headers are 'none' or 'attended', not 'prepended'")
        made = {Configuration(name=BASELINE): None}
        headers = self.headers if titled else ("none",)
        weights = {0.0, *self.context_weights}
        for weight, header in product(sorted(weights), headers):
            for header_weight in self.header_weights if header != "none" else (0.0,):
                plain = Configuration(
                    name="",
                    context_weight=weight,
                    header=header,
                    header_weight=header_weight,
                    # Behind a title, special tokens take it in: attended, not pooled, as it is.
                    pool_edges=header == "none",
                )
                for variant in self._add_windows(plain) if weight else [plain]:
                    made[replace(variant, name=_name_configuration(variant))] = None
        return list(made)

    def _add_windows(self, plain: Configuration) -> Iterator[Configuration]:
        for overlap, preamble in product(self.overlaps, self.preambles):
            yield replace(plain, overlap_tokens=overlap, preamble_tokens=preamble)


def tune(
    engine: LateChunkEngine,
    golden: GoldenSet,
    choices: Choices | None = None,
    *,
    splitter: Splitter = "recursive",
    measure: str = "nDCG@10",
    seed: int = 0,
    cache: str | Path | None = None,
    show_progress: bool = False,
) -> TuneResult:
    """Choose options on one half of the queries and report them on the other.

    On the first half, the best late and the best early candidate are sought; of candidates that
    are no worse than the best by more than one standard error, the one with the fewest encoder
    tokens is taken. Late chunking is chosen where it is ahead on both halves, on the second by
    more than chance explains; else early chunking is, which costs less.

    Args:
        engine: The model, and the options that are not tuned.
        golden: Documents, queries, gold spans.
        choices: What to choose from; ``None``: the defaults of `Choices`.
        splitter: See `split_documents`.
        measure: What is maximised over the corpus. Across chunk sizes, larger chunks have it
            easier: compare them with the token measures in mind.
        seed: Of the halves.
        cache: A folder that keeps vectors; a run that was stopped goes on from
            the last pass that it finished.
        show_progress: Show a progress bar for each pass.

    Raises:
        GoldenSetError: There are too few queries for two halves.
        OptionError: A choice is impossible.
    """
    choices = choices or Choices()
    choosing, held_out = _split_halves(golden, seed)
    sizes = sizes_of(splitter, choices.chunk_sizes, _SIZES)
    titled = any(document.title.strip() for document in golden.documents)
    with tempfile.TemporaryDirectory() as scratch:

        def run(part: GoldenSet, configurations: Sequence[Configuration]) -> Comparison:
            return compare(
                engine,
                part,
                configurations,
                splitter=splitter,
                chunk_sizes=sizes,
                cache=cache or scratch,
                show_progress=show_progress,
                measures=_list_measures(measure),
            )

        first = run(choosing, choices.configurations(titled=titled))
        late = _find_winner(first, measure, late=True)
        early = _find_winner(first, measure, late=False)
        second = run(held_out, [late.configuration, early.configuration])
    return _decide(engine, first, second, (late, early), measure)


def write_options(result: TuneResult, path: str | Path) -> None:
    """Write the winning options as YAML, which `LateChunkEngine.from_config` reads.

    What is no option of the engine, the chunk size and the use of the title, stands in comments.
    """
    import yaml  # noqa: PLC0415  # only configuration files need it

    size = "the splitter's own" if result.chunk_size is None else f"{result.chunk_size} tokens"
    title = "as the header" if result.chosen.header == "attended" else "nowhere"
    lines = [
        *(f"# {line}" for line in result.verdict.splitlines()),
        f"# Chunk size: {size}. Give the title {title}.",
        yaml.safe_dump(dict(result.options), sort_keys=False, allow_unicode=True),
    ]
    Path(path).write_text("\n".join(lines), encoding="utf-8")


def _decide(
    engine: LateChunkEngine,
    first: Comparison,
    second: Comparison,
    candidates: tuple[ConfigurationResult, ConfigurationResult],
    measure: str,
) -> TuneResult:
    late, early = candidates
    held = [second.get(each.name, each.chunk_size) for each in candidates]
    difference = paired_difference(held[0].scores(measure), held[1].scores(measure))
    behind = late.corpus[measure] <= early.corpus[measure] or difference.mean <= 0
    unclear = not behind and not difference.clear
    winner = early if behind or unclear else late
    notes = list(first.notes)
    notes += [f"held-out half: {note}" for note in second.notes if note not in notes]
    if second.n_queries < _FEW_QUERIES:
        notes.append(
            f"{second.n_queries} queries decide: differences of a few points may be chance"
        )
    if late.chunk_size != early.chunk_size or len(first.chunk_sizes) > 1:
        notes.append(
            f"{measure} is higher for larger chunks of equal worth; {_describe_retrieved(held)}: "
            "compare chunk sizes by that too"
        )
    headline = _write_headline(behind=behind, unclear=unclear)
    options = engine.options.to_dict() | winner.configuration.options() | {"enabled": True}
    return TuneResult(
        chosen=winner.configuration,
        chunk_size=winner.chunk_size,
        early_is_better=winner is early,
        verdict=f"{headline}\n{_write_figures(held, difference, measure)}",
        measure=measure,
        choosing=first,
        held_out=second,
        options=options,
        notes=tuple(notes),
    )


def _write_headline(*, behind: bool, unclear: bool) -> str:
    if behind:
        return "Early chunking is the better choice for these queries."
    if unclear:
        return (
            "Early chunking is the better choice for these queries: late chunking costs more and "
            "is ahead by no more than chance explains."
        )
    return "Late chunking is the better choice for these queries."


def _write_figures(
    held: Sequence[ConfigurationResult], difference: Difference, measure: str
) -> str:
    late, early = held
    cost = late.costs.encoder_tokens / max(1, early.costs.encoder_tokens)
    return (
        f"{measure} on the half that was not used for choosing: "
        f"{100 * late.corpus[measure]:.1f} with {_describe_result(late)}, "
        f"{100 * early.corpus[measure]:.1f} with {_describe_result(early)} "
        f"(difference {100 * difference.mean:+.1f}, 95 % interval {100 * difference.low:+.1f} to "
        f"{100 * difference.high:+.1f}, p = {difference.p_value:.3f}), "
        f"for {cost:.1f} times as many encoder tokens."
    )


def _describe_retrieved(held: Sequence[ConfigurationResult]) -> str:
    shares = " and ".join(
        f"{100 * each.tokens['precision']:.1f} % with {_describe_result(each)}" for each in held
    )
    return f"of the tokens in the best five chunks, the queries asked for {shares}"


def _describe_result(result: ConfigurationResult) -> str:
    size = "" if result.chunk_size is None else f" at {result.chunk_size} tokens"
    return f"'{result.name}'{size}"


def _find_winner(comparison: Comparison, measure: str, *, late: bool) -> ConfigurationResult:
    """The cheapest late or early result among those that cannot be told from the best one.

    That is: behind it by no more than one standard error of the paired difference. With few
    queries the best of many candidates is so by luck, and the luck does not come back.
    """
    candidates = [
        result for result in comparison.results if (result.configuration.context_weight > 0) is late
    ]
    if not candidates:
        raise OptionError("nothing to tune: give a context weight above 0")
    best = max(candidates, key=lambda result: result.corpus[measure])
    near = [each for each in candidates if _as_good(each, best, measure)]
    return min(near, key=lambda result: result.costs.encoder_tokens)


def _as_good(result: ConfigurationResult, best: ConfigurationResult, measure: str) -> bool:
    behind = best.scores(measure) - result.scores(measure)
    return bool(behind.mean() <= behind.std(ddof=1) / np.sqrt(len(behind)))


def _split_halves(golden: GoldenSet, seed: int) -> tuple[GoldenSet, GoldenSet]:
    ids = [query.query_id for query in golden.queries]
    if len(ids) < _FEWEST_QUERIES:
        raise GoldenSetError(
            f"{golden.name}: {len(ids)} queries are too few to choose on one half and report on "
            f"the other; give at least {_FEWEST_QUERIES}, better {2 * _FEW_QUERIES}"
        )
    random.Random(seed).shuffle(ids)  # noqa: S311  # halves, not secrets
    middle = len(ids) // 2
    return golden.subset(ids[:middle]), golden.subset(ids[middle:])


def _list_measures(measure: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((measure, "nDCG@10", "RR@10", "R@5", "R@10")))


def _name_configuration(configuration: Configuration) -> str:
    if configuration == Configuration(name=""):
        return BASELINE
    parts = ["early" if not configuration.context_weight else f"w{configuration.context_weight:g}"]
    if configuration.header == "attended":
        parts.append("title")
    if configuration.header_weight:
        parts.append(f"title vector {configuration.header_weight:g}")
    if configuration.preamble_tokens:
        parts.append(f"preamble {configuration.preamble_tokens}")
    if configuration.overlap_tokens is not None:
        parts.append(f"overlap {configuration.overlap_tokens}")
    return ", ".join(parts)
