"""The command ``latechunk``: parses, calls, prints."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from transformers.utils.logging import disable_progress_bar
from typer.core import TyperGroup

from latechunk_integrations.bulk.command import index_command
from latechunk_integrations.engine import LateChunkEngine
from latechunk_integrations.errors import GoldenSetError, LateChunkError, OptionError
from latechunk_integrations.evaluation import terminal
from latechunk_integrations.evaluation.compare import compare
from latechunk_integrations.evaluation.configurations import ALL, DEFAULT
from latechunk_integrations.evaluation.dataset import Document, GoldenSet, read_documents
from latechunk_integrations.evaluation.diagnostics import diagnose
from latechunk_integrations.evaluation.inspection import inspect_parent
from latechunk_integrations.evaluation.plots import save_plots
from latechunk_integrations.evaluation.report import (
    similarities_of,
    write_inspection,
    write_report,
)
from latechunk_integrations.evaluation.splitters import sizes_of, split_text
from latechunk_integrations.evaluation.tune import Choices, tune, write_options
from latechunk_integrations.flags import read_options
from latechunk_integrations.schema import Parent

__all__ = ["app"]

_FAILED = 2
_CHUNK_TOKENS = 128
_HELP = "Measure, tune, inspect and index with late chunking."


class _PlainErrors(TyperGroup):
    """Ends in one line and exit code 2 where the user can mend what went wrong."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except (LateChunkError, OSError) as error:
            typer.echo(f"error: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(_FAILED) from None


app = typer.Typer(
    name="latechunk",
    cls=_PlainErrors,
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # a local may hold a text or a key
)

_Data = Annotated[
    Path,
    typer.Argument(
        help="A golden set: a folder (JSON lines or BEIR), or a .csv or .jsonl file of rows with "
        "query, document and quote."
    ),
]
_Documents = Annotated[
    Path | None,
    typer.Option(
        help="With a file of rows: the folder of text files, or the .jsonl file, that holds the "
        "documents. Without it: the folder of the rows."
    ),
]
_Variant = Annotated[str, typer.Option(help="Read documents.VARIANT.jsonl and its siblings.")]
_Model = Annotated[str | None, typer.Option(help="Hub name or local path of the model.")]
_Config = Annotated[
    Path | None, typer.Option(help="YAML file with the engine's options, such as latechunk.yaml.")
]
_Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option", "-o", metavar="NAME=VALUE", help="An engine option; can be given repeatedly."
    ),
]
_Splitter = Annotated[
    str,
    typer.Option(
        help="recursive, sentences, native (chunks of the golden set) or module:name of your own."
    ),
]
_Sizes = Annotated[
    list[int] | None,
    typer.Option("--chunk-size", min=1, help="Tokens of a chunk at most; can be repeated."),
]
_Cache = Annotated[
    Path | None,
    typer.Option(
        help="Folder that keeps vectors: a stopped run goes on from the last pass that it finished."
    ),
]
_Report = Annotated[Path | None, typer.Option(help="Write an HTML page that needs nothing else.")]
_Plots = Annotated[Path | None, typer.Option(help="Write the plots as PNG files to this folder.")]
_Json = Annotated[Path | None, typer.Option("--json", help="Write every figure to a JSON file.")]
_Title = Annotated[str, typer.Option(help="Title that the whole document attends to.")]


@app.callback()
def _main() -> None:
    """Measure, tune, inspect and index with late chunking."""


@app.command("compare")
def compare_command(  # noqa: PLR0913  # a command's parameters are its options
    data: _Data,
    *,
    model: _Model = None,
    config: _Config = None,
    options: _Options = None,
    documents: _Documents = None,
    variant: _Variant = "",
    splitter: _Splitter = "recursive",
    chunk_sizes: _Sizes = None,
    all_configurations: Annotated[
        bool,
        typer.Option("--all", help="Also without the title, and with the title prepended."),
    ] = False,
    cache: _Cache = None,
    report: _Report = None,
    plots: _Plots = None,
    json_file: _Json = None,
) -> None:
    """Compare early chunking, late chunking and blends of both on your own queries."""
    _make_folders(json_file, report, folder=plots)
    golden = GoldenSet.read(data, documents, variant)
    engine = _engine(model, config, options)
    comparison = compare(
        engine,
        golden,
        ALL if all_configurations else DEFAULT,
        splitter=splitter,
        chunk_sizes=chunk_sizes,
        cache=cache,
        show_progress=True,
    )
    terminal.show_comparison(comparison)
    if json_file is not None:
        comparison.to_json(json_file)
    if report is not None:
        similarities = similarities_of(engine, comparison, golden, splitter=splitter)
        write_report(comparison, golden, report, similarities=similarities)
    if plots is not None:
        save_plots(comparison, plots)
    terminal.show_files(json_file, report, plots)


@app.command("tune")
def tune_command(  # noqa: PLR0913  # a command's parameters are its options
    data: _Data,
    *,
    model: _Model = None,
    config: _Config = None,
    options: _Options = None,
    documents: _Documents = None,
    variant: _Variant = "",
    splitter: _Splitter = "recursive",
    chunk_sizes: _Sizes = None,
    context_weights: Annotated[
        list[float] | None, typer.Option("--context-weight", min=0.0, max=1.0, help="To try.")
    ] = None,
    overlaps: Annotated[
        list[int] | None, typer.Option("--overlap", min=0, help="Overlaps in tokens to try.")
    ] = None,
    measure: Annotated[str, typer.Option(help="What to maximise.")] = "nDCG@10",
    seed: Annotated[int, typer.Option(help="Of the two halves of the queries.")] = 0,
    cache: _Cache = None,
    report: _Report = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Write the winning options to this YAML file, which --config reads."),
    ] = None,
) -> None:
    """Choose options on one half of your queries, and report them on the other half."""
    _make_folders(output, report)
    golden = GoldenSet.read(data, documents, variant)
    default = Choices()
    choices = Choices(
        context_weights=context_weights or default.context_weights,
        chunk_sizes=chunk_sizes,
        overlaps=overlaps or default.overlaps,
    )
    engine = _engine(model, config, options)
    tuned = tune(
        engine,
        golden,
        choices,
        splitter=splitter,
        measure=measure,
        seed=seed,
        cache=cache,
        show_progress=True,
    )
    terminal.show_tuning(tuned)
    if output is not None:
        write_options(tuned, output)
    if report is not None:
        held_out = golden.subset(query.query_id for query in tuned.held_out.results[0].queries)
        similarities = similarities_of(
            engine, tuned.held_out, held_out, splitter=splitter, chunk_size=tuned.chunk_size
        )
        write_report(tuned.held_out, golden, report, similarities=similarities, tuned=tuned)
    terminal.show_files(output, report)


@app.command("inspect")
def inspect_command(  # noqa: PLR0913  # a command's parameters are its options
    file: Annotated[Path, typer.Argument(help="A text file.")],
    *,
    query: Annotated[str, typer.Option(help="Compared with each chunk, early and late.")] = "",
    title: _Title = "",
    model: _Model = None,
    config: _Config = None,
    options: _Options = None,
    splitter: _Splitter = "recursive",
    chunk_size: Annotated[
        int | None, typer.Option(min=1, help="Tokens of a chunk at most.")
    ] = None,
    report: _Report = None,
) -> None:
    """Show a document as the engine sees it: windows, chunks, tokens, modes, similarities."""
    _make_folders(report)
    documents = read_documents(file)
    if len(documents) != 1:
        raise GoldenSetError(f"{file} holds {len(documents)} documents: name a file with one")
    engine = _engine(model, config, options)
    ((parent,), notes) = _split(engine, documents, splitter, chunk_size)
    inspection = inspect_parent(engine, replace(parent, header=title), query)
    inspection = replace(inspection, notes=(*notes, *inspection.notes))
    terminal.show_inspection(inspection)
    if report is not None:
        write_inspection(inspection, report)
    terminal.show_files(report)


@app.command("diagnose")
def diagnose_command(
    data: Annotated[
        Path,
        typer.Argument(help="A text file, a folder of them, a .jsonl file or a golden set."),
    ],
    *,
    model: _Model = None,
    config: _Config = None,
    options: _Options = None,
    splitter: _Splitter = "recursive",
    chunk_size: Annotated[
        int | None, typer.Option(min=1, help="Tokens of a chunk at most.")
    ] = None,
) -> None:
    """Look at late vectors without any query: do chunks collapse, what was not done late?"""
    documents = read_documents(data)
    engine = _engine(model, config, options)
    parents, notes = _split(engine, documents, splitter, chunk_size)
    terminal.show_diagnosis(diagnose(engine, parents, show_progress=True), notes=notes)


def _make_folders(*files: Path | None, folder: Path | None = None) -> None:
    """Make the folders that will be written to, before the run that would be lost without them."""
    for file in filter(None, files):
        if file.is_dir():
            raise OptionError(f"cannot write to {file}: it is a directory")
    for needed in (*(file.parent for file in filter(None, files)), folder):
        if needed is None:
            continue
        try:
            needed.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OptionError(f"cannot write to the folder {needed}: {error.strerror}") from error
        if not os.access(needed, os.W_OK):
            raise OptionError(f"cannot write to the folder {needed}: no permission")


def _engine(model: str | None, config: Path | None, options: list[str] | None) -> LateChunkEngine:
    """The engine of a file, changed by what the command line says."""
    disable_progress_bar()  # type: ignore[no-untyped-call]  # of weights, loaded in a second
    return LateChunkEngine.from_options(read_options(config, model, options or ()))


def _split(
    engine: LateChunkEngine, documents: Sequence[Document], splitter: str, chunk_size: int | None
) -> tuple[list[Parent], list[str]]:
    """Documents with their chunks and titles, and notes on chunks that were not found."""
    (size,) = sizes_of(splitter, [chunk_size] if chunk_size else None, [_CHUNK_TOKENS])
    parents, notes = [], []
    for each in documents:
        spans, n_lost = split_text(each.text, splitter, size, engine.encoder)
        if n_lost:
            notes.append(f"{n_lost} chunks of {each.doc_id!r} do not stand in its text")
        parents.append(Parent(each.text, spans, header=each.title, id=each.doc_id))
    return parents, notes


app.command("index")(index_command)
