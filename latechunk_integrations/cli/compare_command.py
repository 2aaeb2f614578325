"""The command ``latechunk compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latechunk_integrations.cli import arguments as given

__all__ = ["compare_command"]


def compare_command(  # noqa: PLR0913  # a command's parameters are its options
    data: given.Data,
    *,
    model: given.Model = None,
    config: given.Config = None,
    options: given.Options = None,
    documents: given.Documents = None,
    variant: given.Variant = "",
    splitter: given.Splitter = "recursive",
    chunk_sizes: given.ChunkSizes = None,
    all_configurations: Annotated[
        bool,
        typer.Option("--all", help="Also without the title, and with the title prepended."),
    ] = False,
    cache: given.Cache = None,
    report: given.Report = None,
    plots: Annotated[
        Path | None, typer.Option(help="Write the plots as PNG files to this folder.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write every figure to a JSON file.")
    ] = None,
) -> None:
    """Compare early chunking, late chunking and blends of both on your own queries."""
    # Imported here: together they cost seconds, which `latechunk --help` does not pay.
    from latechunk_integrations.evaluation import terminal  # noqa: PLC0415
    from latechunk_integrations.evaluation.compare import compare  # noqa: PLC0415
    from latechunk_integrations.evaluation.configurations import ALL, DEFAULT  # noqa: PLC0415
    from latechunk_integrations.evaluation.dataset import GoldenSet  # noqa: PLC0415
    from latechunk_integrations.evaluation.plots import save_plots  # noqa: PLC0415
    from latechunk_integrations.evaluation.report import (  # noqa: PLC0415
        similarities_of,
        write_report,
    )

    given.make_folders(json_file, report, folder=plots)
    golden = GoldenSet.read(data, documents, variant)
    engine = given.load_engine(model, config, options)
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
