"""The command ``latechunk compare``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from latechunk_integrations.cli import flags
from latechunk_integrations.cli.evaluation_arguments import EvaluationArguments
from latechunk_integrations.cli.exit_codes import ExitCode
from latechunk_integrations.cli.flags import takes_shared_arguments

if TYPE_CHECKING:
    from latechunk_integrations.engine import LateChunkEngine
    from latechunk_integrations.evaluation.dataset import GoldenSet
    from latechunk_integrations.evaluation.results import Comparison, Configuration, HeaderUse
    from latechunk_integrations.evaluation.splitters import Splitter as AnySplitter

_Models = Annotated[
    list[str] | None,
    typer.Option("--model", help="Hub name or local path of a model; can be repeated."),
]
_All = Annotated[
    bool,
    typer.Option(
        "--all", help="Try more ways: other focuses and titles, running text, sub-spans, a blend."
    ),
]
_Plots = Annotated[Path | None, typer.Option(help="Write the plots as PNG files to this folder.")]
_Json = Annotated[
    Path | None, typer.Option("--json", help="Write a record of everything: --baseline reads it.")
]
_Csv = Annotated[Path | None, typer.Option("--csv", help="Write a row for each query.")]
_Trec = Annotated[Path | None, typer.Option(help="Write TREC runs and qrels to this folder.")]
_Baseline = Annotated[
    Path | None, typer.Option(help="A record of --json: end with 1 if quality fell since.")
]
_MaxDrop = Annotated[
    float, typer.Option(min=0, help="Points of 100 that may be lost since the --baseline.")
]
_Store = Annotated[
    str | None,
    typer.Option(
        metavar="qdrant:PLACE#NAME",
        help="An existing collection: its chunks and vectors are what you have now. PLACE is a "
        "folder or a URL.",
    ),
]
_FailUnder = Annotated[
    list[str] | None,
    typer.Option(metavar="MEASURE=VALUE", help="End with 1 below this, such as nDCG@10=0.85."),
]


@takes_shared_arguments
def compare_command(  # noqa: PLR0913  # every flag is an argument
    given: EvaluationArguments,
    *,
    models: _Models = None,
    store: _Store = None,
    all_configurations: _All = False,
    plots: _Plots = None,
    json_file: _Json = None,
    csv_file: _Csv = None,
    trec: _Trec = None,
    baseline: _Baseline = None,
    max_drop: _MaxDrop = 1.0,
    fail_under: _FailUnder = None,
) -> None:
    """Compare early and late chunking on your own questions, and say what to do.

    Ends with 0, with 1 when --baseline or --fail-under failed, with 2 or 3 when it could not go on.
    """
    # Imported here: together they cost seconds, which `latechunk --help` does not pay.
    from latechunk_integrations.evaluation import compare as comparing  # noqa: PLC0415
    from latechunk_integrations.evaluation import metrics, record, terminal  # noqa: PLC0415

    flags.make_folders(json_file, csv_file, given.report, folder=plots)
    flags.make_folders(folder=trec)
    old = None if baseline is None else record.read_record(baseline)
    floors = flags.read_pairs(fail_under or (), "--fail-under")
    golden = given.read_golden_set()
    cut, sizes, header = given.read_chunking()
    stored = None
    if store is not None:
        from latechunk_integrations.evaluation import store_rows  # noqa: PLC0415  # as above

        golden, stored = store_rows.place_rows(golden, store_rows.read_store(store))
        cut, sizes = "native", None
    named: list[str | None] = [*(models or [])] or [None]
    engines = [flags.load_engine(model, given.config, given.options) for model in named]
    of_file = engines[0] if given.config or given.options else None
    chosen = _choose(given, of_file, header, all_configurations=all_configurations)
    compared = comparing.compare(
        engines,
        golden,
        chosen,
        opponent=given.now,
        splitter=cut,
        chunk_sizes=sizes,
        measures=list(dict.fromkeys(filter(None, [*metrics.MEASURES, given.measure, *floors]))),
        stored=stored,
        cache=given.cache,
        show_progress=True,
    )
    terminal.show_comparison(compared, measure=given.measure)
    _write_files(
        _CompareResult(compared, golden, engines, cut),
        _Files(json_file, csv_file, trec, given.report, plots),
    )
    _check(compared, old, max_drop, floors, given.measure)


class _Files(NamedTuple):
    """Where results are written."""

    record: Path | None
    csv: Path | None
    trec: Path | None
    report: Path | None
    plots: Path | None


class _CompareResult(NamedTuple):
    """What was compared, with what and on what."""

    comparison: Comparison
    golden: GoldenSet
    engines: list[LateChunkEngine]
    splitter: AnySplitter


def _choose(
    given: EvaluationArguments,
    of_file: LateChunkEngine | None,
    header: HeaderUse,
    *,
    all_configurations: bool,
) -> list[Configuration]:
    """The default set, what the flags add, and the options of a file."""
    from latechunk_integrations.evaluation import configurations as known  # noqa: PLC0415

    chosen = list(known.ALL if all_configurations else known.DEFAULT)
    asked: tuple[Any, ...] = (
        given.read_focuses() or ["auto"],
        given.layouts or ("auto",),
        given.headers or ("auto",),
        given.context_weights or (1.0,),
        given.sub_spans or (None,),
    )
    if any((given.focuses, given.layouts, given.headers, given.context_weights, given.sub_spans)):
        chosen += known.make_configurations(*asked)
    if of_file is not None:
        chosen.append(known.configuration_of(of_file.options, header))
    return known.drop_repeated(chosen)


def _write_files(made: _CompareResult, files: _Files) -> None:
    from latechunk_integrations.evaluation import plots, record, report, terminal  # noqa: PLC0415

    compared, golden, engines, splitter = made
    if files.record is not None:
        record.write_record(compared, files.record)
    if files.csv is not None:
        record.write_queries(compared, files.csv)
    if files.trec is not None:
        record.write_trec(compared, golden, engines, files.trec, splitter)
    if files.report is not None:
        similarities = report.similarities_of(engines[0], compared, golden, splitter=splitter)
        report.write_report(compared, golden, files.report, similarities=similarities)
    if files.plots is not None:
        plots.save_plots(compared, files.plots)
    terminal.show_files(*files)


def _check(
    compared: Comparison,
    old: Comparison | None,
    max_drop: float,
    floors: dict[str, float],
    measure: str | None,
) -> None:
    """End with 1 where a gate is not passed."""
    from latechunk_integrations.evaluation import gate  # noqa: PLC0415

    found: Sequence[gate.Finding] = gate.check_floors(compared, floors)
    if old is not None:
        found = [*found, gate.check_drop(compared, old, max_drop, measure)]
    for each in found:
        typer.echo(f"{'passed' if each.passed else 'FAILED'}: {each.text}")
    if not all(each.passed for each in found):
        raise typer.Exit(ExitCode.FOUND)
