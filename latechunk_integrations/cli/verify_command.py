"""The command ``latechunk verify``: parses, calls, prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from latechunk_integrations.cli import index_arguments as given
from latechunk_integrations.cli.exit_codes import ExitCode
from latechunk_integrations.cli.flags import takes_shared_arguments

if TYPE_CHECKING:
    from latechunk_integrations.bulk.verification import Damage, Verification

_SHOWN = 50


@takes_shared_arguments
def verify_command(arguments: given.IndexArguments, *, json_file: given.JsonFile = None) -> None:
    """Compare every row in the target with the checkpoint and the source; write nothing.

    Give the arguments of the latechunk index that wrote it. Ends with 0: all is sound,
    1: something is damaged or cannot be read, 2 and 3: as latechunk index.
    """
    from latechunk_integrations.bulk.verification import verify  # noqa: PLC0415  # costs seconds

    given.check_json(json_file, arguments.source)
    found = verify(*arguments.read())
    given.show_result(found.to_dict(), _describe(found), json_file)
    raise typer.Exit(ExitCode.FOUND if found.damages or found.untold else ExitCode.DONE)


def _describe(found: Verification) -> list[str]:
    lines = [f"{found.n_documents} documents, {found.n_chunks} rows in the target"]
    counts = ", ".join(f"{n} {verdict}" for verdict, n in sorted(found.source.items()))
    lines.append(f"in the source: {counts or 'nothing'}")
    lines += [f"cannot be read: {each.document_id} ({each.reason})" for each in found.untold]
    lines.append(f"{len(found.damages)} damages" if found.damages else "no damage")
    return lines + describe_damages(found.damages)


def describe_damages(damages: Sequence[Damage]) -> list[str]:
    """A line for each, the first ones."""
    return given.shorten([f"  {one.kind}: {one.name}: {one.detail}" for one in damages], _SHOWN)
