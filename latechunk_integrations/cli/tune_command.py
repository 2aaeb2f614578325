"""The command ``latechunk tune``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from latechunk_integrations.cli import flags as given

if TYPE_CHECKING:
    from latechunk_integrations.engine import LateChunkEngine
    from latechunk_integrations.evaluation.dataset import GoldenSet
    from latechunk_integrations.evaluation.results import TuneResult
    from latechunk_integrations.evaluation.splitters import Splitter as AnySplitter

__all__ = ["tune_command"]


def tune_command(  # noqa: PLR0913  # a command's parameters are its options
    data: given.Data,
    *,
    model: given.Model = None,
    config: given.Config = None,
    options: given.Options = None,
    documents: given.Documents = None,
    columns: given.Columns = None,
    variant: given.Variant = "",
    splitter: given.SplitterName = None,
    chunk_sizes: given.ChunkSizes = None,
    now: given.Now = "early",
    measure: given.Measure = None,
    focuses: given.Focuses = None,
    layouts: given.Layouts = None,
    headers: given.Headers = None,
    context_weights: given.ContextWeights = None,
    sub_spans: given.SubSpans = None,
    seed: Annotated[int, typer.Option(help="Of the two halves of the queries.")] = 0,
    cache: given.Cache = None,
    report: given.Report = None,
    output: Annotated[
        Path | None, typer.Option(help="Write the choice to this YAML file, which --config reads.")
    ] = None,
) -> None:
    """Choose options on one half of your queries, and report them on the other half."""
    # Imported here: together they cost seconds, which `latechunk --help` does not pay.
    from latechunk_integrations.evaluation import terminal  # noqa: PLC0415
    from latechunk_integrations.evaluation import tune as tuning  # noqa: PLC0415
    from latechunk_integrations.evaluation.paste import write_config  # noqa: PLC0415

    given.make_folders(output, report)
    golden = given.read_golden_set(data, documents, variant, columns)
    cut, sizes, _ = given.read_chunking(config, splitter, chunk_sizes)
    default = tuning.Choices()
    choices = tuning.Choices(
        focuses=given.read_focuses(focuses) if focuses else default.focuses,
        layouts=layouts or default.layouts,  # type: ignore[arg-type]  # checked as an option
        headers=headers or default.headers,  # type: ignore[arg-type]  # as above
        context_weights=context_weights or default.context_weights,
        sub_spans=[None, *sub_spans] if sub_spans else default.sub_spans,
        chunk_sizes=sizes,
    )
    engine = given.load_engine(model, config, options)
    tuned = tuning.tune(
        engine,
        golden,
        choices,
        opponent=now,
        splitter=cut,
        measure=measure,
        seed=seed,
        cache=cache,
        show_progress=True,
    )
    terminal.show_tuning(tuned)
    if output is not None:
        write_config(tuned.chosen, engine.options.to_dict(), output, tuned.verdict)
    if report is not None:
        _write_report(report, tuned, golden, engine, cut)
    terminal.show_files(output, report)


def _write_report(
    file: Path, tuned: TuneResult, golden: GoldenSet, engine: LateChunkEngine, splitter: AnySplitter
) -> None:
    from latechunk_integrations.evaluation import report  # noqa: PLC0415  # costs seconds

    held_out = golden.subset(tuned.held_out.questions)
    similarities = report.similarities_of(engine, tuned.held_out, held_out, splitter=splitter)
    report.write_report(tuned.held_out, golden, file, similarities=similarities, tuned=tuned)
