"""What units and focus gain over early chunking, with the package itself, over golden sets.

    python -m benchmarks.quality                            # MiniLM, chunks of 64, 128, 256
    python -m benchmarks.quality --models minilm all-mpnet-base-v2 --chars 45000 --json FILE
    python -m benchmarks.quality --window 768 --slope 2.4   # with other constants of the default

Prints the gain in nDCG@10 over plain early chunking, over the corpus / inside the gold document,
with 95 % bootstrap intervals, on the half of the queries that is reported; then what the default
is held to, line by line. The other half is the one to choose on (``--half choosing``). Vectors are
kept in ``--cache``, outside the project: a run that was stopped goes on, a second takes seconds.
"""

from __future__ import annotations

import argparse
import functools
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import md5
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import minilm
from latechunk_integrations import LateChunkEngine
from latechunk_integrations.core import windows
from latechunk_integrations.core.focus import choose_focus
from latechunk_integrations.evaluation.compare import compare
from latechunk_integrations.evaluation.configurations import BASELINE, DEFAULT, LATE
from latechunk_integrations.evaluation.dataset import GoldenDocument, GoldenSet
from latechunk_integrations.evaluation.metrics import paired_difference
from latechunk_integrations.evaluation.results import (
    Comparison,
    Configuration,
    ConfigurationResult,
    Difference,
)
from latechunk_integrations.flow import resolution

SETS = ("squad_dev_half", "xquad_en", "codebase", "chunking_evaluation_split")
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
MEASURE = "nDCG@10"
UNTITLED = replace(LATE, name="default, no header", header="none")
TITLED = replace(LATE, name="default, title", header="attended")
FOUND = replace(LATE, name="default, no metadata")
EARLY_TITLED = Configuration(name="early, title attended", header="attended")
CONFIGURATIONS = (*DEFAULT, UNTITLED, TITLED, EARLY_TITLED)
EARLY = (BASELINE, "early, title prepended", EARLY_TITLED.name)
HALVES = ("choosing", "reported", "all")
LEAST_CHARS = 4_000
"""A shortened document still holds several chunks of any size."""


class Gain(NamedTuple):
    """Over another configuration, in points: over the corpus, and inside the gold document."""

    corpus: Difference
    inside: Difference

    def __str__(self) -> str:
        """Both means, and the interval of the first."""
        means = " / ".join(f"{mean:+.1f}" for mean in self.means)
        if self.corpus.low is None or self.corpus.high is None:
            return means  # too few queries
        return f"{means} [{100 * self.corpus.low:+.1f}, {100 * self.corpus.high:+.1f}]"

    @property
    def means(self) -> tuple[float, float]:
        """The means alone."""
        return 100 * self.corpus.mean, 100 * self.inside.mean

    @property
    def worst(self) -> float:
        """The smaller mean."""
        return min(self.means)

    @property
    def is_chance(self) -> bool:
        """Whether the interval of the worse one holds 0."""
        worse = self.corpus if self.corpus.mean <= self.inside.mean else self.inside
        return worse.low is None or worse.high is None or worse.low <= 0 <= worse.high


@dataclass(frozen=True)
class Measured:
    """One model on one set."""

    model: str
    comparison: Comparison
    half: str

    def rows(self) -> NDArray[np.bool_]:
        """The queries of the half."""
        ids = [query.query_id for query in self.comparison.results[0].queries]
        odd = [int(md5(each.encode(), usedforsecurity=False).hexdigest(), 16) % 2 for each in ids]
        wanted = {"choosing": (0,), "reported": (1,), "all": (0, 1)}[self.half]
        return np.isin(odd, wanted)

    def value(self, name: str, size: int) -> tuple[float, float]:
        """nDCG@10 of a configuration in points, over the corpus and inside the document."""
        rows = self.rows()
        both = _scores(self.comparison.get(name, size))
        return 100 * float(both[0][rows].mean()), 100 * float(both[1][rows].mean())

    def gain(self, name: str, size: int, over: str = BASELINE) -> Gain:
        """Of one configuration over another."""
        rows = self.rows()
        ours = _scores(self.comparison.get(name, size))
        theirs = _scores(self.comparison.get(over, size))
        return Gain(
            *(paired_difference(a[rows], b[rows]) for a, b in zip(ours, theirs, strict=True))
        )

    def best_early(self, size: int) -> str:
        """The early configuration that is best on these very queries: the hardest opponent."""
        return max(EARLY, key=lambda name: sum(self.value(name, size)))


def main() -> None:
    """Measure, print, write."""
    given = _arguments()
    if not given.data.is_dir():
        print(f"skipped: no golden sets in {given.data.name}; name their folder with --data")
        return
    change_rule(given)
    measured = [each for model in given.models for each in measure(model, given)]
    sizes = given.sizes
    for half in HALVES if given.half == "every" else (given.half,):
        halves = [replace(each, half=half) for each in measured]
        for model in dict.fromkeys(each.model for each in halves):
            own = [each for each in halves if each.model == model]
            for size in sizes:
                print_table(own, size)
        print_acceptance(halves, sizes)
    if given.json is not None:
        given.json.write_text(json.dumps(list(records(measured, sizes)), indent=1))


def change_rule(given: argparse.Namespace) -> None:
    """Other constants of the default, for this process; their vectors are kept apart."""
    if given.window is not None:
        windows.COMMON_WINDOW = given.window
        windows.bound_unit_window = lambda _: given.window
    if given.slope is not None:
        resolution.choose_focus = functools.partial(choose_focus, slope=given.slope)
    if given.header_step is not None:
        resolution.HEADER_STEP = given.header_step
    changed = [given.window, given.slope, given.header_step]
    if changed != [None, None, None]:
        given.cache /= "-".join(map(str, changed))


def measure(model: str, given: argparse.Namespace) -> Iterator[Measured]:
    """Every configuration of a model, set by set."""
    path = minilm() if model == "minilm" else model
    engine = LateChunkEngine.from_pretrained(path, dtype=given.dtype, device="cpu")
    for name in given.sets:
        golden = shorten(GoldenSet.load(given.data / name, given.variant), given.chars)
        arguments: dict[str, Any] = {
            "chunk_sizes": given.sizes,
            "cache": given.cache,
            "show_progress": given.progress,
            "measures": (MEASURE,),
        }
        known = compare(engine, golden, CONFIGURATIONS, **arguments)
        bare = replace(golden, documents=tuple(replace(d, title="") for d in golden.documents))
        found = compare(engine, bare, [FOUND], **arguments)
        added = [found.get(FOUND.name, size) for size in given.sizes]
        yield Measured(Path(model).name, replace(known, results=(*known.results, *added)), "all")


def shorten(golden: GoldenSet, chars: int) -> GoldenSet:
    """About so many characters: every document cut at one length, then as many as fit.

    Queries go whose answer is cut off; 0: the whole set.
    """
    if not chars:
        return golden
    lengths = np.sort([len(document.text) for document in golden.documents])
    limits = list(range(LEAST_CHARS, lengths[-1] + 1, 500)) or [LEAST_CHARS]
    fits = [n for n in limits if np.minimum(lengths, n).sum() <= chars]
    kept: list[GoldenDocument] = []
    left = chars
    for document in sorted(golden.documents, key=lambda d: _digest(d.doc_id)):
        text = _cut(document.text, max(fits, default=LEAST_CHARS))
        if len(text) <= left:
            kept.append(replace(document, text=text))
            left -= len(text)
    ends = {document.doc_id: len(document.text) for document in kept}
    lost = {span.query_id for span in golden.spans if span.end > ends.get(span.doc_id, 0)}
    asked = [query.query_id for query in golden.queries if query.query_id not in lost]
    fewer = golden.subset(asked)
    return GoldenSet(golden.name, tuple(kept), fewer.queries, fewer.spans)


def print_table(measured: Sequence[Measured], size: int) -> None:
    """A row for each configuration, a column for each set."""
    first = measured[0]
    print(f"\n### {first.model}, chunks of {size} tokens, {first.half} queries\n")
    sets = [f"{m.comparison.dataset} ({m.rows().sum()})" for m in measured]
    head = ["configuration", *sets, "mean gain", "tokens"]
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    base = ["{:.1f} / {:.1f}".format(*m.value(BASELINE, size)) for m in measured]
    print("| " + " | ".join([BASELINE, *base, "", "1.00x"]) + " |")
    for name in first.comparison.names:
        if name != BASELINE:
            gains = [m.gain(name, size) for m in measured]
            mean = np.mean([gain.means for gain in gains], axis=0)
            cells = [name, *map(str, gains), "{:+.1f} / {:+.1f}".format(*mean)]
            print("| " + " | ".join([*cells, _tokens(measured, name, size, BASELINE)]) + " |")
    gains = [m.gain(TITLED.name, size, EARLY_TITLED.name) for m in measured]
    mean = np.mean([gain.means for gain in gains], axis=0)
    cells = ["default over early, title attended", *map(str, gains)]
    cells += ["{:+.1f} / {:+.1f}".format(*mean), _tokens(measured, TITLED.name, size, EARLY[2])]
    print("| " + " | ".join(cells) + " |")


def print_acceptance(measured: Sequence[Measured], sizes: Sequence[int]) -> None:
    """What the default is held to, and by how much each set falls short."""
    print(f"\n### What the default is held to, {measured[0].half} queries\n")
    limits = (
        ("without a header, not 0.3 below early", UNTITLED.name, BASELINE, 0.3),
        ("with the title, not 1.0 below early", TITLED.name, BASELINE, 1.0),
        ("with the title, not 0.3 below early with it", TITLED.name, EARLY_TITLED.name, 0.3),
        ("header found without metadata, not 0.3 below early", FOUND.name, BASELINE, 0.3),
    )
    for text, name, over, limit in limits:
        below = []
        for size in sizes:
            for each in measured:
                gain = each.gain(name, size, over)
                if gain.worst < -limit:
                    chance = "within chance" if gain.is_chance else "not chance"
                    below.append(f"{each.model} {size} {each.comparison.dataset} {gain}, {chance}")
        print(f"- {text}: {'held everywhere' if not below else ''}")
        print("".join(f"    - {line}\n" for line in below), end="")
    for model in dict.fromkeys(each.model for each in measured):
        for size in sizes:
            own = [each for each in measured if each.model == model]
            early = np.mean([m.gain(TITLED.name, size).means for m in own], axis=0)
            rivals = [(m, m.best_early(size)) for m in own]
            best = np.mean([m.gain(TITLED.name, size, name).means for m, name in rivals], axis=0)
            print(
                f"- {model}, {size}: mean gain {early[0]:+.2f} / {early[1]:+.2f} over early, "
                f"{best[0]:+.2f} / {best[1]:+.2f} over each set's best early configuration"
            )


def records(measured: Sequence[Measured], sizes: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Every figure as plain values."""
    for each in measured:
        for size in sizes:
            for name in each.comparison.names:
                for half in HALVES:
                    part = replace(each, half=half)
                    gain = part.gain(name, size)
                    yield {
                        "model": each.model,
                        "set": each.comparison.dataset,
                        "size": size,
                        "configuration": name,
                        "half": half,
                        "queries": int(part.rows().sum()),
                        "value": part.value(name, size),
                        "over_early": [difference.__dict__ for difference in gain],
                        "tokens": each.comparison.get(name, size).costs.encoder_tokens,
                    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--models", nargs="+", default=["minilm"], help="minilm, names, folders")
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--variant", default="", help="small: fewer documents and queries")
    parser.add_argument("--chars", type=int, default=250_000, help="of each set; 0: whole sets")
    parser.add_argument("--sizes", nargs="+", type=int, default=[64, 128, 256])
    parser.add_argument("--half", choices=(*HALVES, "every"), default="reported")
    parser.add_argument("--json", type=Path, help="where all figures are written")
    parser.add_argument("--progress", action="store_true")
    # Of the default's rule, in place of its own; see docs/focus.md.
    parser.add_argument("--window", type=int, help="tokens of a window of units")
    parser.add_argument("--slope", type=float, help="nats of focus for ln(units)")
    parser.add_argument("--header-step", type=float, help="nats of the header below that")
    # The tables' dtype; bfloat16 moves a figure by up to 0.2.
    parser.add_argument("--dtype", default="float32")
    cache = Path(tempfile.gettempdir()) / "latechunk-quality"
    parser.add_argument("--cache", type=Path, default=cache)
    return parser.parse_args()


def _scores(result: ConfigurationResult) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    inside = [query.document_scores[MEASURE] for query in result.queries]
    return result.scores(MEASURE), np.array(inside)


def _tokens(measured: Sequence[Measured], name: str, size: int, over: str) -> str:
    """Encoder tokens over all sets, relative to another configuration."""
    ours, theirs = (
        sum(m.comparison.get(each, size).costs.encoder_tokens for m in measured)
        for each in (name, over)
    )
    return f"{ours / theirs:.2f}x"


def _digest(name: str) -> str:
    return md5(name.encode(), usedforsecurity=False).hexdigest()


def _cut(text: str, length: int) -> str:
    """The beginning of a text, to the end of a line."""
    if len(text) <= length:
        return text
    return text[: max(text.rfind("\n", 0, length), length // 2)]


if __name__ == "__main__":
    main()
