"""The command ``latechunk review``."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer


def review_command(
    questions: Annotated[Path, typer.Argument(help="The file that questions wrote.")],
    *,
    documents: Annotated[
        list[Path], typer.Option(help="The documents it asks about; can be repeated.")
    ],
    port: Annotated[int, typer.Option(min=0, help="0: any that is free.")] = 0,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the browser.")] = True,
) -> None:
    """Accept, edit or reject proposed questions in the browser; stop with Ctrl+C, go on later.

    compare and tune leave out what was rejected.
    """
    from latechunk_integrations.evaluation.document_files import read_documents  # noqa: PLC0415
    from latechunk_integrations.evaluation.review import ReviewFile, make_server  # noqa: PLC0415

    server, address = make_server(ReviewFile(questions, read_documents(documents)), port)
    typer.echo(f"open {address}")
    if show:
        webbrowser.open(address)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        typer.echo("stopped; every decision is in the file")
    finally:
        server.server_close()
