"""The command ``latechunk`` and what all of its commands share: errors in one line, version."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from latechunk_integrations import __version__
from latechunk_integrations.cli.compare_command import compare_command
from latechunk_integrations.cli.diagnose_command import diagnose_command
from latechunk_integrations.cli.index_command import index_command
from latechunk_integrations.cli.inspect_command import inspect_command
from latechunk_integrations.cli.tune_command import tune_command
from latechunk_integrations.errors import LateChunkError

__all__ = ["app"]

_FAILED = 2


class _PlainErrors(TyperGroup):
    """Ends in one line and exit code 2 where the user can mend what went wrong."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except (LateChunkError, OSError) as error:
            typer.echo(f"error: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(_FAILED) from None


app = typer.Typer(
    name="latechunk",
    cls=_PlainErrors,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # a local may hold a text or a key
    epilog="Start here: latechunk compare questions.csv --documents docs/ --model NAME",
)


def _print_version(wanted: bool) -> None:  # noqa: FBT001  # typer hands over the flag
    if wanted:
        typer.echo(f"latechunk {__version__}")
        raise typer.Exit


@app.callback()
def _begin(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Measure, tune, inspect and index with late chunking."""


app.command(
    "compare",
    epilog="Example: latechunk compare questions.csv --documents docs/ "
    "--model sentence-transformers/all-MiniLM-L6-v2 --report report.html",
)(compare_command)
app.command(
    "tune",
    epilog="Example: latechunk tune questions.csv --documents docs/ --config latechunk.yaml "
    "--chunk-size 64 --chunk-size 128 --output tuned.yaml",
)(tune_command)
app.command(
    "inspect",
    epilog="Example: latechunk inspect handbook.md --config latechunk.yaml "
    '--query "Who approves leave?"',
)(inspect_command)
app.command(
    "diagnose",
    epilog="Example: latechunk diagnose docs/ --model sentence-transformers/all-MiniLM-L6-v2",
)(diagnose_command)
app.command(
    "index",
    epilog="Example: latechunk index docs/ --to milvus:corpus.db#docs --checkpoint state/ "
    "--config latechunk.yaml --chunk-size 128",
)(index_command)
