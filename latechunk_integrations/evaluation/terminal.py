"""Comparisons, tunings, inspections and diagnoses as tables in a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape as escape_markup
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from latechunk_integrations.core.printable import escape_controls
from latechunk_integrations.evaluation.advice import Advice, advise, best_result
from latechunk_integrations.evaluation.configurations import describe
from latechunk_integrations.evaluation.diagnostics import Diagnosis
from latechunk_integrations.evaluation.inspection import ChunkView, Inspection
from latechunk_integrations.evaluation.results import (
    Comparison,
    ConfigurationResult,
    Difference,
    TuneResult,
)

_COLOURS = {"change": "green", "keep": "yellow", "unclear": "blue", "too few": "red"}
_BAR_CELLS = 40
_SHOWN_CHARS = 160
_SHOWN_DOCUMENTS = 20
_SHOWN_WINDOWS = 12


def show_comparison(
    comparison: Comparison, console: Console | None = None, *, measure: str | None = None
) -> None:
    """Print what to do, and a table of everything that was measured."""
    console = console or Console()
    said = advise(comparison, measure)
    console.print(Text(_format_heading(comparison), "bold"))
    console.print(_comparison_table(comparison, said.measure))
    console.print(
        _format_legend(comparison, said.measure), style="dim", highlight=False, markup=False
    )
    if n := len(comparison.uncertain):
        console.print(f"{n} of {comparison.n_queries} labels are uncertain", style="yellow")
    console.print(_advice_panel(said))
    _print_notes(console, comparison.notes)


def show_tuning(tuned: TuneResult, console: Console | None = None) -> None:
    """Print what was chosen, and how it fares on the other half."""
    console = console or Console()
    console.print(_comparison_table(tuned.held_out, tuned.measure))
    console.print(
        _format_legend(tuned.held_out, tuned.measure), style="dim", highlight=False, markup=False
    )
    headline, _, detail = tuned.verdict.partition("\n")
    changed = tuned.chosen.name != tuned.held_out.opponent.name
    size = tuned.chosen.chunk_size
    chunks = "the splitter's own chunks" if size is None else f"chunks of at most {size} tokens"
    text = Text.assemble(
        (headline, "bold"),
        f"\n{detail}\nIt means: {describe(tuned.chosen.configuration)}; {chunks}.",
    )
    colour = _COLOURS["change" if changed else "keep"]
    console.print(Panel(text, title="on the held-out half", border_style=colour))
    _print_notes(console, tuned.notes)


def show_inspection(inspection: Inspection, console: Console | None = None) -> None:
    """Print a document's windows and chunks."""
    console = console or Console()
    facts = Table.grid(padding=(0, 2))
    facts.add_row("document", escape(inspection.parent_id))
    facts.add_row("tokens", f"{inspection.n_tokens:,}; the model reads {inspection.max_tokens:,}")
    if inspection.header:
        facts.add_row("header", f"{escape(inspection.header)} ({inspection.header_tokens} tokens)")
    if inspection.prompt:
        facts.add_row("prompt", escape(repr(inspection.prompt)))
    if inspection.query:
        facts.add_row("query", escape(inspection.query))
    console.print(facts)
    console.print(_windows_table(inspection))
    for number, chunk in enumerate(inspection.chunks):
        _print_chunk(console, number, chunk, inspection.highest)
    if inspection.query:
        for side in ("early", "late"):
            best = ", ".join(map(str, inspection.best(side)))
            console.print(f"most similar chunks, {side}: {best}", highlight=False)
    _print_notes(console, inspection.notes)


def show_diagnosis(
    diagnosis: Diagnosis, console: Console | None = None, *, notes: Sequence[str] = ()
) -> None:
    """Print how alike the chunks of each document are, the most alike first.

    Args:
        diagnosis: The corpus. Its warnings are logged when it is made, and not printed again.
        console: Where to print; ``None``: standard output.
        notes: What could not be done as asked before it was made.
    """
    console = console or Console()
    # One chunk has no pairs and its NaN no place in an order: such documents come last.
    ordered = sorted(
        diagnosis.documents,
        key=lambda each: -each.late_similarity if each.n_chunks > 1 else math.inf,
    )
    table = Table(title="How alike the chunks of one document are (mean cosine of all pairs)")
    table.add_column("document", overflow="fold")
    for name in ("chunks", "windows", "early", "late", ""):
        table.add_column(name, justify="right")
    for each in ordered[:_SHOWN_DOCUMENTS]:
        table.add_row(
            escape(each.parent_id),
            str(each.n_chunks),
            str(each.n_windows),
            _format_cosine(each.early_similarity),
            _format_cosine(each.late_similarity),
            "[red]nearly the same[/red]" if each.collapsed else "",
        )
    console.print(table)
    if len(ordered) > _SHOWN_DOCUMENTS:
        console.print(f"… and {len(ordered) - _SHOWN_DOCUMENTS} documents with less", style="dim")
    console.print(
        f"mean over documents: early {_format_cosine(diagnosis.early_similarity)}, "
        f"late {_format_cosine(diagnosis.late_similarity)}"
    )
    shares = ", ".join(f"{share:.0%} {mode}" for mode, share in diagnosis.shares.items())
    console.print(f"chunks: {shares}")
    collapsed = sum(each.collapsed for each in diagnosis.documents)
    console.print(f"documents whose late vectors are nearly the same: {collapsed}")
    _print_notes(console, notes)


def show_files(*paths: Path | None, console: Console | None = None) -> None:
    """Say which files were written."""
    for path in paths:
        if path is not None:
            (console or Console()).print(f"written: {escape(str(path))}", soft_wrap=True)


def _format_heading(comparison: Comparison) -> str:
    return (
        f"{comparison.dataset}: {comparison.n_documents:,} documents, "
        f"{comparison.n_queries:,} questions"
    )


def _format_legend(comparison: Comparison, measure: str) -> str:
    return (
        f"gain: points of {measure} over ‘{comparison.label(comparison.opponent)}’, what you have "
        "now; coloured where chance hardly explains it; in doc: only chunks of the document with "
        "the answer compete; answer@2000: how much of the answer the best chunks of 2,000 tokens "
        "hold, fair between chunk sizes; tokens: what indexing sends through the model"
    )


def _advice_panel(said: Advice) -> Panel:
    changes = "".join(f"\n  - {each}" for each in said.changes)
    text = Text.assemble(
        (said.headline, "bold"),
        ("\nGain: ", "bold"),
        said.gain,
        ("\nCost: ", "bold"),
        said.costs,
        ("\nHow sure: ", "bold"),
        said.certainty,
        ("\nWhat would change this:", "bold"),
        changes,
    )
    return Panel(text, title="What to do", border_style=_COLOURS[said.outcome])


def _comparison_table(comparison: Comparison, measure: str) -> Table:
    now, best = comparison.opponent, best_result(comparison, measure)
    shown = [name for name in ("nDCG@10", "R@5", "answer@2000") if name in now.corpus]
    shown = [name for name in shown if name != measure]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    several = (len(comparison.models) > 1, len(comparison.chunk_sizes) > 1)
    if several[0]:
        table.add_column("model", overflow="fold")
    if several[1]:
        table.add_column("chunk", justify="right")
    table.add_column("configuration")
    for name in (measure, "gain", "in doc", "gain", *shown, "tokens"):
        table.add_column(name, justify="right", no_wrap=True)
    for result in comparison.results:
        places = (escape(result.model), str(result.chunk_size or "own"))
        table.add_row(
            *(place for place, wanted in zip(places, several, strict=True) if wanted),
            escape(result.name) + (" (now)" if result is now else ""),
            *_format_scores(result, measure, shown),
            _format_ratio(result.costs.encoder_tokens, now.costs.encoder_tokens),
            style="bold" if result is best else "",
        )
    return table


def _format_scores(
    result: ConfigurationResult, measure: str, others: Sequence[str]
) -> Iterator[str]:
    for scores, changes in (
        (result.corpus, result.corpus_difference),
        (result.document, result.document_difference),
    ):
        yield f"{100 * scores[measure]:.1f}"
        yield _format_change(changes.get(measure))
    for name in others:
        yield f"{100 * result.corpus[name]:.1f}"


def _windows_table(inspection: Inspection) -> Table:
    table = Table(title="Windows: what the model reads in one go", title_justify="left")
    for name in ("window", "characters", "tokens"):
        table.add_column(name, justify="right")
    for number, window in enumerate(inspection.windows[:_SHOWN_WINDOWS]):
        table.add_row(str(number), f"{window.start}-{window.end}", str(window.n_tokens))
    more = len(inspection.windows) - _SHOWN_WINDOWS
    if more > 0:
        table.caption = f"and {more} more of the same kind"
    return table


def _print_chunk(console: Console, number: int, chunk: ChunkView, highest: float) -> None:
    facts = f"{chunk.mode}, {chunk.n_tokens} tokens, characters {chunk.start}-{chunk.end}"
    if chunk.windows:
        facts += f", windows {', '.join(map(str, chunk.windows))}"
    console.print(Text.assemble((f"chunk {number}", "bold"), (f"  {facts}", "dim")))
    for line in _draw_bars(chunk, highest):
        console.print(line, highlight=False)
    words = escape_controls(" ".join(chunk.text[: 2 * _SHOWN_CHARS].split()))
    text = Text(words if len(words) <= _SHOWN_CHARS else words[:_SHOWN_CHARS] + "…")
    console.print(Padding(text, (0, 0, 1, 2)))


def _draw_bars(chunk: ChunkView, highest: float) -> Iterator[str]:
    """Early and late similarity as bars of one scale."""
    for name, value, colour in (
        ("early", chunk.early, "bright_black"),
        ("late ", chunk.late, "cyan"),
    ):
        if value is not None:
            cells = "█" * round(_BAR_CELLS * max(value, 0.0) / highest)
            yield f"  {name} {value:5.2f} [{colour}]{cells}[/{colour}]"


def _format_cosine(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _format_change(difference: Difference | None) -> str:
    if difference is None:
        return ""
    text = f"{100 * difference.mean:+.1f}"
    if not difference.clear:
        return text
    return f"[green]{text}[/green]" if difference.mean > 0 else f"[red]{text}[/red]"


def _format_ratio(value: float, baseline: float) -> str:
    return f"{value / baseline:.2f}×" if baseline else ""


def escape(text: str) -> str:
    """A text that is neither markup of rich nor an order to the terminal."""
    return escape_markup(escape_controls(text))


def _print_notes(console: Console, notes: Sequence[str]) -> None:
    for note in notes:
        console.print(f"note: {escape(note)}", style="yellow", highlight=False)


Comparison.print_with(show_comparison)
Inspection.print_with(show_inspection)
