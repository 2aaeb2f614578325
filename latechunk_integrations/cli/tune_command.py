"""The command ``latechunk tune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latechunk_integrations.cli import arguments as given

__all__ = ["tune_command"]


def tune_command(  # noqa: PLR0913  # a command's parameters are its options
    data: given.Data,
    *,
    model: given.Model = None,
    config: given.Config = None,
    options: given.Options = None,
    documents: given.Documents = None,
    variant: given.Variant = "",
    splitter: given.Splitter = "recursive",
    chunk_sizes: given.ChunkSizes = None,
    context_weights: Annotated[
        list[float] | None, typer.Option("--context-weight", min=0.0, max=1.0, help="To try.")
    ] = None,
    overlaps: Annotated[
        list[int] | None, typer.Option("--overlap", min=0, help="Overlaps in tokens to try.")
    ] = None,
    measure: Annotated[str, typer.Option(help="What to maximise.")] = "nDCG@10",
    seed: Annotated[int, typer.Option(help="Of the two halves of the queries.")] = 0,
    cache: given.Cache = None,
    report: given.Report = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Write the winning options to this YAML file, which --config reads."),
    ] = None,
) -> None:
    """Choose options on one half of your queries, and report them on the other half."""
    # Imported here: together they cost seconds, which `latechunk --help` does not pay.
    from latechunk_integrations.evaluation import terminal  # noqa: PLC0415
    from latechunk_integrations.evaluation.dataset import GoldenSet  # noqa: PLC0415
    from latechunk_integrations.evaluation.report import (  # noqa: PLC0415
        similarities_of,
        write_report,
    )
    from latechunk_integrations.evaluation.tune import (  # noqa: PLC0415
        Choices,
        tune,
        write_options,
    )

    given.make_folders(output, report)
    golden = GoldenSet.read(data, documents, variant)
    default = Choices()
    choices = Choices(
        context_weights=context_weights or default.context_weights,
        chunk_sizes=chunk_sizes,
        overlaps=overlaps or default.overlaps,
    )
    engine = given.load_engine(model, config, options)
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
