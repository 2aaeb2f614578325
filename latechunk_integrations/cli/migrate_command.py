"""The command ``latechunk migrate``: parses, calls, prints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from latechunk_integrations.cli.exit_codes import ExitCode
from latechunk_integrations.cli.flags import Config, Model, Options, read_options, read_pairs
from latechunk_integrations.cli.index_arguments import Quiet
from latechunk_integrations.cli.stored_questions import read_questions, score_questions, show_scores
from latechunk_integrations.core.printable import escape_controls
from latechunk_integrations.errors import OptionError

if TYPE_CHECKING:
    from latechunk_integrations.bulk.migration.migration_settings import (
        MigrationPlan,
        MigrationSettings,
        MigrationSummary,
    )
    from latechunk_integrations.bulk.migration.stored_search import StoreQuestion
    from latechunk_integrations.options import LateChunkOptions

_FIELDS = ("id", "text", "source", "file", "start", "end", "order", "next", "header", "marks")

_Collection = Annotated[
    str, typer.Argument(help="The collection as it is, such as qdrant:FOLDER#NAME.")
]
_Checkpoint = Annotated[
    Path | None, typer.Option(help="Folder that keeps what is finished; --plan needs none.")
]
_Framework = Annotated[
    str | None,
    typer.Option(
        "--from-framework",
        help="langchain or llama-index, whose vector store class wrote it; else by hand.",
    ),
]
_Fields = Annotated[
    list[str] | None,
    typer.Option(
        "--field",
        metavar="NAME=PATH",
        help="Where a record keeps id, text, source, file, start, end, order, next, header, marks.",
    ),
]
_SourceFolder = Annotated[
    Path | None, typer.Option(help="The files that chunks were cut from; each is searched there.")
]
_Unplaced = Annotated[
    str,
    typer.Option(help="Chunks without a proved place: leave, standalone, or keep (old vector)."),
]
_Vector = Annotated[str | None, typer.Option(help="Name of the old vector, if there are several.")]
_Plan = Annotated[
    bool, typer.Option("--plan", help="Say what would be done and why not; change nothing.")
]
_Questions = Annotated[
    Path | None,
    typer.Option(
        help="Ask the store these afterwards, by old and late vectors: a .csv or .jsonl file with "
        "query and quote (and document), or query and ids."
    ),
]
_OldModel = Annotated[
    str | None, typer.Option(help="Model of the old vectors, for --questions; else the same.")
]
_Switch = Annotated[
    bool, typer.Option("--switch", help="Put late vectors where old ones are searched; keep those.")
]


def migrate_command(  # noqa: PLR0913  # every flag is an argument
    *,
    collection: _Collection,
    checkpoint: _Checkpoint = None,
    from_framework: _Framework = None,
    field: _Fields = None,
    source_folder: _SourceFolder = None,
    config: Config = None,
    model: Model = None,
    options: Options = None,
    unplaced: _Unplaced = "leave",
    vector: _Vector = None,
    late_name: Annotated[str, typer.Option(help="Name of the late vectors.")] = "late",
    batch_parents: Annotated[int, typer.Option(help="Parents written at once, at most.")] = 64,
    questions: _Questions = None,
    old_model: _OldModel = None,
    plan: _Plan = False,
    switch: _Switch = False,
    restart: Annotated[bool, typer.Option("--restart", help="Forget the checkpoint.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Give an index that you have late vectors, beside the old ones: same chunks, ids and texts.

    Ends with 0, with 1 when chunks have no late vector (the reasons are shown), 2 and 3: as
    latechunk index.
    """
    from latechunk_integrations.bulk.migration import migrating, migration_settings  # noqa: PLC0415  # costs seconds

    given: Any = {"framework": from_framework, "unplaced": unplaced}
    settings = migration_settings.MigrationSettings(
        fields=read_pairs(field or (), "--field", texts=_FIELDS),
        source_folder=source_folder,
        vector=vector,
        late_name=late_name,
        batch_parents=batch_parents,
        restart=restart,
        show_progress=not quiet,
        **given,
    )
    if plan:
        planned = migrating.plan_migration(collection, settings)
        raise typer.Exit(_show_plan(planned, as_json=as_json))
    if checkpoint is None:
        raise OptionError("name a folder that keeps what is finished: --checkpoint FOLDER")
    if switch:
        typer.echo(migrating.switch_vectors(collection, checkpoint, settings))
        return
    checked = read_options(config, model, options or ())
    asked = None if questions is None else read_questions(questions)
    summary = migrating.migrate(collection, checked, checkpoint, settings)
    report, shown = summary.to_dict(), [_describe_migration(summary)]
    if asked is not None:
        report["questions"] = _ask(collection, asked, checked, settings, old_model)
        shown.append(show_scores(report["questions"]))
    typer.echo(json.dumps(report) if as_json else "\n".join(shown))
    is_whole = not (summary.failed or (summary.plan.n_unplaced and unplaced == "leave"))
    raise typer.Exit(ExitCode.DONE if is_whole else ExitCode.FOUND)


def _ask(
    collection: str,
    questions: Sequence[StoreQuestion],
    options: LateChunkOptions,
    settings: MigrationSettings,
    old_model: str | None,
) -> dict[str, Any]:
    """How well old and late vectors answer."""
    from latechunk_integrations.bulk.migration.stored_search import ask_both  # noqa: PLC0415  # costs seconds

    old = read_options(None, old_model, ()) if old_model else None
    return score_questions(ask_both(collection, questions, options, settings, old_options=old))


def _show_plan(plan: MigrationPlan, *, as_json: bool) -> ExitCode:
    typer.echo(json.dumps(plan.to_dict()) if as_json else _describe_plan(plan))
    return ExitCode.FOUND if plan.n_unplaced else ExitCode.DONE


def _describe_plan(plan: MigrationPlan) -> str:
    """What was found, in a few lines."""
    built = ", ".join(f"{n} by {how}" for how, n in sorted(plan.built_from.items()))
    lines = [
        f"{plan.n_chunks} chunks; {plan.n_placed} have a place in {plan.n_parents} parents"
        + (f" ({built})" if built else "")
    ]
    if plan.n_gap_chars:
        lines.append(f"{plan.n_gap_chars} characters between them are in no chunk")
    if plan.n_unmerged:
        lines.append(f"{plan.n_unmerged} overlaps could not be told: both chunks are kept whole")
    for reason, number in plan.unplaced.most_common():
        examples = escape_controls(", ".join(plan.examples[reason]))
        lines.append(f"{number} have no place: {reason} ({_ADVICE.get(reason, '')}; {examples})")
    return "\n".join(lines)


def _describe_migration(summary: MigrationSummary) -> str:
    """A run in a few lines."""
    written = f"{summary.n_written} vectors of {summary.n_parents} parents written"
    place = f"to {summary.place_of_late} in {summary.seconds:.1f} s"
    known = f"{summary.n_unchanged} parents were finished before"
    lines = [_describe_plan(summary.plan), f"{written} {place}; {known}"]
    lines += [
        escape_controls(f"{source!r} failed: {reason}") for source, reason in summary.failed.items()
    ]
    return "\n".join(lines)


_ADVICE = {
    "no_text": "empty, or name the field: --field text=PATH",
    "no_source": "name the field that tells parents apart: --field source=PATH",
    "no_offset": "give the files: --source-folder",
    "no_offset_and_no_order": "give the files: --source-folder, or an order: --field order=PATH",
    "offsets_of_another_length": "give the files: --source-folder",
    "contradicts_a_neighbour": "give the files: --source-folder",
    "offset_in_doubt": "an equal text is elsewhere too; give the files: --source-folder",
    "no_source_file": "the folder has no such file",
    "source_file_too_large": "beyond 64 MiB",
    "source_file_unreadable": "no permission, or no UTF-8",
    "not_in_the_source_file": "the file or the chunk was changed",
    "stands_at_several_places": "give an order: --field order=PATH",
}
"""What may help a chunk to a place."""
