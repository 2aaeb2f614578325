"""The command ``latechunk inspect``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from latechunk_integrations.cli import flags as given
from latechunk_integrations.errors import GoldenSetError


def inspect_command(  # noqa: PLR0913  # a command's parameters are its options
    file: Annotated[Path, typer.Argument(help="A text file.")],
    *,
    query: Annotated[str, typer.Option(help="A question to compare with each chunk.")] = "",
    title: Annotated[str, typer.Option(help="Title that the whole document attends to.")] = "",
    model: given.Model = None,
    config: given.Config = None,
    options: given.Options = None,
    splitter: given.SplitterName = None,
    chunk_size: given.ChunkSize = None,
    report: given.Report = None,
) -> None:
    """Show a document as the engine sees it: windows, chunks, tokens, modes, similarities."""
    # Imported here: together they cost seconds, which `latechunk --help` does not pay.
    from latechunk_integrations.evaluation import terminal  # noqa: PLC0415
    from latechunk_integrations.evaluation.dataset import read_documents  # noqa: PLC0415
    from latechunk_integrations.evaluation.inspection import inspect_parent  # noqa: PLC0415
    from latechunk_integrations.evaluation.report import write_inspection  # noqa: PLC0415

    given.make_folders(report)
    documents = read_documents(file)
    if len(documents) != 1:
        raise GoldenSetError(f"{file} holds {len(documents)} documents: name a file with one")
    engine = given.load_engine(model, config, options)
    ((parent,), notes) = given.split_documents(engine, documents, config, splitter, chunk_size)
    inspection = inspect_parent(engine, replace(parent, header=title), query)
    inspection = replace(inspection, notes=(*notes, *inspection.notes))
    terminal.show_inspection(inspection)
    if report is not None:
        write_inspection(inspection, report)
    terminal.show_files(report)
