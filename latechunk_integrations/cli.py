"""The command ``latechunk``: parses, calls, prints."""

from __future__ import annotations

import typer

from latechunk_integrations.bulk.command import index_command

__all__ = ["app"]

app = typer.Typer(
    name="latechunk",
    help="Measure, tune, inspect and index with late chunking.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # a local may hold a text or a key
)


@app.callback()
def _main() -> None:
    """Measure, tune, inspect and index with late chunking."""


app.command("index")(index_command)
