"""The command ``latechunk tune``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from latechunk_integrations.cli import flags
from latechunk_integrations.cli.evaluation_arguments import EvaluationArguments
from latechunk_integrations.cli.flags import takes_shared_arguments

if TYPE_CHECKING:
    from latechunk_integrations.engine import LateChunkEngine
    from latechunk_integrations.evaluation.dataset import GoldenSet
    from latechunk_integrations.evaluation.results import TuneResult
    from latechunk_integrations.evaluation.splitters import Splitter as AnySplitter


@takes_shared_arguments
def tune_command(
    given: EvaluationArguments,
    *,
    model: flags.Model = None,
    seed: Annotated[
        int, typer.Option(help="Another number draws other halves of the questions.")
    ] = 0,
    output: Annotated[
        Path | None, typer.Option(help="Write the choice to this YAML file, which --config reads.")
    ] = None,
) -> None:
    """Choose options on one half of your questions, and report them on the other half."""
    # Imported here: together they cost seconds, which `latechunk --help` does not pay.
    from latechunk_integrations.evaluation import terminal  # noqa: PLC0415
    from latechunk_integrations.evaluation import tune as tuning  # noqa: PLC0415
    from latechunk_integrations.evaluation.paste import write_config  # noqa: PLC0415

    flags.make_folders(output, given.report)
    golden = given.read_golden_set()
    cut, sizes, _ = given.read_chunking()
    default = tuning.Choices()
    choices = tuning.Choices(
        focuses=given.read_focuses() or default.focuses,
        layouts=given.layouts or default.layouts,  # type: ignore[arg-type]  # checked as an option
        headers=given.headers or default.headers,  # type: ignore[arg-type]  # as above
        context_weights=given.context_weights or default.context_weights,
        sub_spans=[None, *given.sub_spans] if given.sub_spans else default.sub_spans,
        chunk_sizes=sizes,
    )
    engine = flags.load_engine(model, given.config, given.options)
    tuned = tuning.tune(
        engine,
        golden,
        choices,
        opponent=given.now,
        splitter=cut,
        measure=given.measure,
        seed=seed,
        cache=given.cache,
        show_progress=True,
    )
    terminal.show_tuning(tuned)
    if output is not None:
        write_config(tuned.chosen, engine.options.to_dict(), output, tuned.verdict)
    if given.report is not None:
        _write_report(given.report, tuned, golden, engine, cut)
    terminal.show_files(output, given.report)


def _write_report(
    file: Path, tuned: TuneResult, golden: GoldenSet, engine: LateChunkEngine, splitter: AnySplitter
) -> None:
    from latechunk_integrations.evaluation import report  # noqa: PLC0415  # costs seconds

    held_out = golden.subset(tuned.held_out.questions)
    similarities = report.similarities_of(engine, tuned.held_out, held_out, splitter=splitter)
    report.write_report(tuned.held_out, golden, file, similarities=similarities, tuned=tuned)
