"""The command ``latechunk verify``: parses, calls, prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from latechunk_integrations.cli import flags as common
from latechunk_integrations.cli import index_arguments as given
from latechunk_integrations.cli.exit_codes import ExitCode
from latechunk_integrations.cli.flags import read_options
from latechunk_integrations.core.printable import escape_controls

if TYPE_CHECKING:
    from latechunk_integrations.bulk.verification import Damage, Verification

__all__ = ["describe_damages", "verify_command"]

_SHOWN = 50


def verify_command(  # noqa: PLR0913  # every flag is an argument
    *,
    source: given.Source,
    to: given.TargetName,
    checkpoint: given.StateFolder,
    config: common.Config = None,
    model: common.Model = None,
    option: given.EngineOptions = None,
    splitter: given.SplitterName = None,
    chunk_size: given.ChunkTokens = None,
    splitter_argument: given.SplitterArguments = None,
    text_column: given.TextColumn = "text",
    id_column: given.IdColumn = "id",
    header_column: given.HeaderColumn = None,
    follow_links: given.FollowLinks = False,
    json_file: given.JsonFile = None,
) -> None:
    """Compare every row in the target with the checkpoint and the source; write nothing.

    Give the arguments of the ``latechunk index`` that wrote it. Ends with 0: all is sound,
    1: something is damaged or cannot be read, 2 and 3: as ``latechunk index``.
    """
    from latechunk_integrations.bulk.index_settings import IndexSettings  # noqa: PLC0415  # costs seconds
    from latechunk_integrations.bulk.rows import Columns  # noqa: PLC0415  # as above
    from latechunk_integrations.bulk.verification import verify  # noqa: PLC0415  # as above

    given.check_json(json_file, source)
    settings = IndexSettings(
        chunking=given.make_chunking(config, splitter, chunk_size, splitter_argument),
        columns=Columns(text_column, id_column, header_column),
        follow_links=follow_links,
    )
    options = read_options(config, model, option or ())
    found = verify(source, to, options, checkpoint, settings)
    if json_file is not None:
        given.write_json(found.to_dict(), json_file)
    if json_file != given.PRINTED:
        typer.echo(_describe(found))
    raise typer.Exit(ExitCode.FOUND if found.damages or found.untold else ExitCode.DONE)


def _describe(found: Verification) -> str:
    lines = [f"{found.n_documents} documents, {found.n_chunks} rows in the target"]
    counts = ", ".join(f"{n} {verdict}" for verdict, n in sorted(found.source.items()))
    lines.append(f"in the source: {counts or 'nothing'}")
    lines += [f"cannot be read: {each.document_id} ({each.reason})" for each in found.untold]
    lines.append(f"{len(found.damages)} damages" if found.damages else "no damage")
    lines += describe_damages(found.damages)
    return "\n".join(escape_controls(line) for line in lines)


def describe_damages(damages: Sequence[Damage]) -> list[str]:
    """A line for each, the first ones."""
    lines = [f"  {each.kind}: {each.name}: {each.detail}" for each in damages[:_SHOWN]]
    more = len(damages) - _SHOWN
    return [*lines, *([f"  and {more} more"] if more > 0 else [])]
