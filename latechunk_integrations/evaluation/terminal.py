"""Comparisons, tunings, inspections and diagnoses as tables in a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from rich import box
from rich.console import Console
from rich.markup import escape as escape_markup
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from latechunk_integrations.core.printable import escape_controls
from latechunk_integrations.evaluation.diagnostics import Diagnosis
from latechunk_integrations.evaluation.inspection import ChunkView, Inspection
from latechunk_integrations.evaluation.results import Comparison, Difference, TuneResult
from latechunk_integrations.evaluation.verdicts import best_result, main_measure, verdict

__all__ = [
    "show_comparison",
    "show_diagnosis",
    "show_files",
    "show_inspection",
    "show_tuning",
]

_COLOURS = {"late": "green", "early": "yellow", "unclear": "blue"}
_LEGEND = (
    "gain: points over plain early chunking, coloured where chance does not explain it; in doc: "
    "only chunks of the document that holds the answer compete; IoU: tokens of the first five "
    "chunks against those of the answer; tokens, time: of indexing, relative to early"
)
_BAR_CELLS = 40
_SHOWN_CHARS = 160
_SHOWN_DOCUMENTS = 20
_SHOWN_WINDOWS = 12


def show_comparison(comparison: Comparison, console: Console | None = None) -> None:
    """Print a table for each chunk size, and what it says in words.

    Args:
        comparison: What was measured.
        console: Where to print; ``None``: standard output.
    """
    console = console or Console()
    for size in comparison.chunk_sizes:
        console.print(Text(_format_heading(comparison, size), "bold"))
        console.print(_comparison_table(comparison, size))
        said = verdict(comparison, size)
        text = Text.assemble((said.headline, "bold"), "\n", said.detail)
        console.print(Panel(text, border_style=_COLOURS[said.outcome]))
    console.print(_LEGEND, style="dim", highlight=False)
    _print_notes(console, comparison.notes)


def show_tuning(tuned: TuneResult, console: Console | None = None) -> None:
    """Print what was chosen, how it fares on the other half, and its options.

    Args:
        tuned: The outcome.
        console: Where to print; ``None``: standard output.
    """
    console = console or Console()
    headline, _, detail = tuned.verdict.partition("\n")
    colour = _COLOURS["early" if tuned.early_is_better else "late"]
    text = Text.assemble((headline, "bold"), "\n", detail)
    console.print(Panel(text, title="on the held-out half", border_style=colour))
    table = Table("option", "value", title="The winning options", title_justify="left")
    size = "the splitter's own" if tuned.chunk_size is None else f"{tuned.chunk_size} tokens"
    title = "as the header" if tuned.chosen.header == "attended" else "not used"
    for name, value in {"chunk size": size, "title": title, **tuned.chosen.options()}.items():
        table.add_row(name, escape(_format_value(value)))
    console.print(table)
    _print_notes(console, tuned.notes)


def show_inspection(inspection: Inspection, console: Console | None = None) -> None:
    """Print a document's windows and chunks.

    Args:
        inspection: The document.
        console: Where to print; ``None``: standard output.
    """
    console = console or Console()
    facts = Table.grid(padding=(0, 2))
    facts.add_row("document", escape(inspection.parent_id))
    facts.add_row("tokens", f"{inspection.n_tokens:,}, window {inspection.max_tokens:,}")
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
    # One chunk has no pairs and its NaN no place in an order: such documents stand last.
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
    """Say which files were written.

    Args:
        *paths: The files; ``None`` was not asked for.
        console: Where to print; ``None``: standard output.
    """
    for path in paths:
        if path is not None:
            (console or Console()).print(f"written: {escape(str(path))}", soft_wrap=True)


def _format_heading(comparison: Comparison, size: int | None) -> str:
    n_chunks = comparison.get(comparison.baseline, size).n_chunks
    chunks = f"{n_chunks:,} chunks" + ("" if size is None else f" of at most {size} tokens")
    return (
        f"{comparison.dataset}: {comparison.n_documents:,} documents, {chunks}, "
        f"{comparison.n_queries:,} queries"
    )


def _comparison_table(comparison: Comparison, size: int | None) -> Table:
    results = [comparison.get(name, size) for name in comparison.names]
    early, best = comparison.get(comparison.baseline, size), best_result(comparison, size)
    measure = main_measure(early)
    shown = [name for name in ("R@5", "RR@10") if name in early.corpus and name != measure]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("configuration")
    for name in (measure, "gain", "in doc", "gain", *shown, "IoU", "tokens", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    for result in results:
        table.add_row(
            escape(result.name),
            f"{100 * result.corpus[measure]:.1f}",
            _format_change(result.corpus_difference.get(measure)),
            f"{100 * result.document[measure]:.1f}",
            _format_change(result.document_difference.get(measure)),
            *(f"{100 * result.corpus[name]:.1f}" for name in shown),
            f"{100 * result.tokens['iou']:.1f}",
            _format_ratio(result.costs.encoder_tokens, early.costs.encoder_tokens),
            _format_ratio(result.costs.seconds, early.costs.seconds),
            style="bold" if result is best else "",
        )
    return table


def _windows_table(inspection: Inspection) -> Table:
    table = Table(title="Windows: what the model reads in one go", title_justify="left")
    for name in ("window", "characters", "tokens", "preamble"):
        table.add_column(name, justify="right")
    for number, window in enumerate(inspection.windows[:_SHOWN_WINDOWS]):
        table.add_row(
            str(number),
            f"{window.start}-{window.end}",
            str(window.n_tokens),
            str(window.preamble_tokens),
        )
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


def _format_value(value: object) -> str:
    return str(yaml.safe_dump(value)).removesuffix("...\n").strip()


def escape(text: str) -> str:
    """A text that is neither markup of rich nor an order to the terminal."""
    return escape_markup(escape_controls(text))


def _print_notes(console: Console, notes: Sequence[str]) -> None:
    for note in notes:
        console.print(f"note: {escape(note)}", style="yellow", highlight=False)
