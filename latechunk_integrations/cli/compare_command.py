"""The command ``latechunk compare``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from latechunk_integrations.cli import flags as given
from latechunk_integrations.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from latechunk_integrations.engine import LateChunkEngine
    from latechunk_integrations.evaluation.dataset import GoldenSet
    from latechunk_integrations.evaluation.results import Comparison, Configuration, HeaderUse
    from latechunk_integrations.evaluation.splitters import Splitter as AnySplitter

__all__ = ["compare_command"]

_All = Annotated[
    bool, typer.Option("--all", help="Also single options changed: focus, title, running text.")
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


def compare_command(  # noqa: PLR0913  # a command's parameters are its options
    data: given.Data,
    *,
    models: given.Models = None,
    config: given.Config = None,
    options: given.Options = None,
    documents: given.Documents = None,
    columns: given.Columns = None,
    variant: given.Variant = "",
    splitter: given.SplitterName = None,
    chunk_sizes: given.ChunkSizes = None,
    now: given.Now = "early",
    store: _Store = None,
    measure: given.Measure = None,
    all_configurations: _All = False,
    focuses: given.Focuses = None,
    layouts: given.Layouts = None,
    headers: given.Headers = None,
    context_weights: given.ContextWeights = None,
    sub_spans: given.SubSpans = None,
    cache: given.Cache = None,
    report: given.Report = None,
    plots: _Plots = None,
    json_file: _Json = None,
    csv_file: _Csv = None,
    trec: _Trec = None,
    baseline: _Baseline = None,
    max_drop: _MaxDrop = 1.0,
    fail_under: _FailUnder = None,
) -> None:
    """Compare early and late chunking on your own questions, and say what to do.

    Ends with 0, with 1 when --baseline or --fail-under failed, with 2 when it could not go on.
    """
    # Imported here: together they cost seconds, which `latechunk --help` does not pay.
    from latechunk_integrations.evaluation import compare as comparing  # noqa: PLC0415
    from latechunk_integrations.evaluation import metrics, record, terminal  # noqa: PLC0415

    given.make_folders(json_file, csv_file, report, folder=plots)
    given.make_folders(folder=trec)
    old = None if baseline is None else record.read_record(baseline)
    floors = given.read_pairs(fail_under or (), "--fail-under")
    golden = given.read_golden_set(data, documents, variant, columns)
    cut, sizes, header = given.read_chunking(config, splitter, chunk_sizes)
    stored = None
    if store is not None:
        from latechunk_integrations.evaluation import store_rows  # noqa: PLC0415  # as above

        golden, stored = store_rows.place_rows(golden, store_rows.read_store(store))
        cut, sizes = "native", None
    named: list[str | None] = [*(models or [])] or [None]
    engines = [given.load_engine(model, config, options) for model in named]
    chosen = _choose(
        engines[0] if config or options else None,
        header,
        all_configurations=all_configurations,
        focuses=focuses,
        layouts=layouts,
        headers=headers,
        context_weights=context_weights,
        sub_spans=sub_spans,
    )
    compared = comparing.compare(
        engines,
        golden,
        chosen,
        opponent=now,
        splitter=cut,
        chunk_sizes=sizes,
        measures=list(dict.fromkeys(filter(None, [*metrics.MEASURES, measure, *floors]))),
        stored=stored,
        cache=cache,
        show_progress=True,
    )
    terminal.show_comparison(compared, measure=measure)
    _write_files(
        _CompareResult(compared, golden, engines, cut),
        _Files(json_file, csv_file, trec, report, plots),
    )
    _check(compared, old, max_drop, floors, measure)


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
    engine: LateChunkEngine | None, header: HeaderUse, *, all_configurations: bool, **asked: Any
) -> list[Configuration]:
    """The default set, what the flags add, and the options of a file."""
    from latechunk_integrations.evaluation import configurations as known  # noqa: PLC0415

    chosen = list(known.ALL if all_configurations else known.DEFAULT)
    if any(asked.values()):
        chosen += known.make_configurations(
            given.read_focuses(asked["focuses"] or ["auto"]),
            asked["layouts"] or ("auto",),
            asked["headers"] or ("auto",),
            asked["context_weights"] or (1.0,),
            asked["sub_spans"] or (None,),
        )
    if engine is not None:
        chosen.append(known.configuration_of(engine.options, header))
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
