"""The command ``latechunk index``: parses, calls, prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from latechunk_integrations.cli import index_arguments as given
from latechunk_integrations.cli.exit_codes import ExitCode
from latechunk_integrations.cli.flags import takes_shared_arguments

if TYPE_CHECKING:
    from latechunk_integrations.bulk.index_summary import IndexSummary
    from latechunk_integrations.bulk.planning import IndexPlan

_SHOWN = 20
_ShareBatches = Annotated[
    bool, typer.Option("--share-batches", help="Faster on a GPU; the last bits may vary.")
]
_PruneAtMost = Annotated[
    float,
    typer.Option(help="Share of the documents that --prune may remove at once; more is refused."),
]
_Restart = Annotated[
    bool, typer.Option("--restart", help="Forget the checkpoint, do every document again.")
]
_MostFailures = Annotated[
    int, typer.Option(help="Failures of the model or its server in a row that end the run.")
]
_Plan = Annotated[
    bool, typer.Option("--plan", help="Say what would be done, and why; write nothing.")
]
_DeadLettersFile = Annotated[Path | None, typer.Option(help="File that lists failed documents.")]
_MostBytes = Annotated[int, typer.Option(help="Bytes of a text file or of a line, at most.")]


@takes_shared_arguments
def index_command(  # noqa: PLR0913  # every flag is an argument
    arguments: given.IndexArguments,
    *,
    ray: Annotated[bool, typer.Option("--ray", help="Embed in Ray actors.")] = False,
    concurrency: Annotated[int, typer.Option(help="Number of Ray actors.")] = 1,
    num_cpus: Annotated[float, typer.Option(help="Cores of each actor.")] = 1,
    num_gpus: Annotated[float, typer.Option(help="GPUs of each actor.")] = 0,
    batch_documents: Annotated[int, typer.Option(help="Documents written at once, at most.")] = 64,
    share_batches: _ShareBatches = False,
    prune: given.Prune = False,
    prune_at_most: _PruneAtMost = 0.1,
    restart: _Restart = False,
    dead_letters: _DeadLettersFile = None,
    most_failures_in_a_row: _MostFailures = 10,
    most_document_bytes: _MostBytes = 1 << 28,
    json_file: given.JsonFile = None,
    plan: _Plan = False,
    quiet: given.Quiet = False,
) -> None:
    """Embed a corpus into a vector store or files; started again, it goes on where it stopped.

    With -o window_cache=FILE -o stable_windows=true a changed document costs what changed.

    Ends with 0: all done, 1: documents failed (see the dead letters), 2: the command is wrong,
    3: stopped on the way (start it again), 4: all done but a removal that was refused.
    """
    from latechunk_integrations.bulk.indexing import index  # noqa: PLC0415  # costs seconds
    from latechunk_integrations.bulk.planning import plan_index  # noqa: PLC0415  # as above

    job = arguments.read(
        ray=ray,
        concurrency=concurrency,
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        batch_documents=batch_documents,
        reproducible=not share_batches,
        prune=prune,
        prune_at_most=prune_at_most,
        restart=restart,
        dead_letters=dead_letters,
        report=None if plan or json_file == given.PRINTED else json_file,
        most_failures_in_a_row=most_failures_in_a_row,
        most_document_bytes=most_document_bytes,
        show_progress=not quiet,
    )
    if plan:
        given.check_json(json_file, arguments.source)
        raise typer.Exit(_show_plan(plan_index(*job), json_file))
    summary = index(*job)
    printed = json_file if json_file == given.PRINTED else None  # the run has written a file
    given.show_result(summary.to_dict(), _describe(summary), printed)
    raise typer.Exit(_exit_code(summary))


def _exit_code(summary: IndexSummary) -> ExitCode:
    if summary.removal_refused:
        return ExitCode.REMOVAL_REFUSED
    return ExitCode.FOUND if summary.n_failed else ExitCode.DONE


def _describe(summary: IndexSummary) -> list[str]:
    """A run in a few lines."""
    written = f"{summary.n_documents} documents, {summary.n_chunks} chunks written"
    lines = [f"{written} in {summary.seconds:.1f} s; {summary.n_unchanged} documents unchanged"]
    if summary.n_cached_windows:
        lines.append(
            f"{summary.n_cached_windows} windows known from the cache, {summary.n_tokens} tokens "
            "encoded"
        )
    if summary.n_skipped:
        lines.append(f"{summary.n_skipped} of them skipped, too long for a window")
    if summary.n_removed:
        lines.append(f"{summary.n_removed} documents removed")
    if summary.left_out:
        lines.append(
            f"{len(summary.left_out)} files and folders of the source left out (links out of it, "
            f"what this command writes), such as {summary.left_out[0]}"
        )
    if summary.n_failed:
        lines.append(f"{summary.n_failed} documents failed, see {summary.dead_letters}")
    if summary.n_retried:
        lines.append(f"{summary.n_retried} of them keep their rows and are tried again next time")
    if summary.removal_refused:
        lines.append(f"removal refused: {summary.removal_refused}")
    return lines


def _show_plan(plan: IndexPlan, json_file: Path | None) -> ExitCode:
    """Print a plan, or write it as JSON; returns the exit code that the run would have."""
    given.show_result(plan.to_dict(), _describe_plan(plan), json_file)
    if plan.removal_refused:
        return ExitCode.REMOVAL_REFUSED
    return ExitCode.FOUND if plan.untold or plan.failing else ExitCode.DONE


def _describe_plan(plan: IndexPlan) -> list[str]:
    groups = {
        "would be added": plan.added,
        "would be replaced": plan.replaced,
        "would be removed": plan.removed,
        "gone from the source, would stay": plan.kept,
        "cannot be read": plan.untold,
        "would be dead letters": plan.failing,
    }
    lines = [f"{plan.n_unchanged} unchanged"]
    for title, documents in groups.items():
        if documents:
            shown = [f"  {name}: {why}" for name, why in documents.items()]
            lines += [f"{len(documents)} {title}", *given.shorten(shown, _SHOWN)]
    if plan.left_out:
        lines.append(f"{len(plan.left_out)} files and folders left out")
    if plan.removal_refused:
        lines.append(f"removal would be refused: {plan.removal_refused}")
    return lines
