"""The command ``latechunk repair``: parses, calls, prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from latechunk_integrations.cli import index_arguments as given
from latechunk_integrations.cli.exit_codes import ExitCode
from latechunk_integrations.cli.flags import takes_shared_arguments
from latechunk_integrations.cli.verify_command import describe_damages

if TYPE_CHECKING:
    from latechunk_integrations.bulk.repairing import RepairSummary


@takes_shared_arguments
def repair_command(
    arguments: given.IndexArguments,
    *,
    prune: given.Prune = False,
    json_file: given.JsonFile = None,
    quiet: given.Quiet = False,
) -> None:
    """Find what latechunk verify finds, do these documents again, and look once more.

    A lost or damaged checkpoint is made anew from the rows of the target. Ends with 0: all is
    sound, 1: something is left or failed, 2 to 4: as latechunk index.
    """
    from latechunk_integrations.bulk.repairing import repair  # noqa: PLC0415  # costs seconds

    given.check_json(json_file, arguments.source)
    summary = repair(*arguments.read(prune=prune, show_progress=not quiet))
    given.show_result(summary.to_dict(), _describe(summary), json_file)
    raise typer.Exit(_exit_code(summary))


def _exit_code(summary: RepairSummary) -> ExitCode:
    if summary.run.removal_refused:
        return ExitCode.REMOVAL_REFUSED
    return ExitCode.FOUND if summary.left or summary.run.n_failed else ExitCode.DONE


def _describe(summary: RepairSummary) -> list[str]:
    lines = [f"{len(summary.found)} damages found", *describe_damages(summary.found)]
    if summary.n_adopted:
        lines.append(f"a new checkpoint took over {summary.n_adopted} documents as they were")
    lines.append(f"{summary.run.n_documents} documents written anew")
    if summary.run.n_failed:
        lines.append(f"{summary.run.n_failed} failed, see {summary.run.dead_letters}")
    lines.append(f"{len(summary.left)} damages left" if summary.left else "no damage left")
    return lines + describe_damages(summary.left)
