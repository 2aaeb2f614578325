"""The command ``latechunk diagnose``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latechunk_integrations.cli import flags as given


def diagnose_command(
    data: Annotated[
        Path, typer.Argument(help="A text file, a folder of them, a .jsonl file or a golden set.")
    ],
    *,
    model: given.Model = None,
    config: given.Config = None,
    options: given.Options = None,
    splitter: given.SplitterName = None,
    chunk_size: given.ChunkSize = None,
) -> None:
    """Look at late vectors without any query: do chunks collapse, what was not done late?"""
    # Imported here: together they cost seconds, which `latechunk --help` does not pay.
    from latechunk_integrations.evaluation import terminal  # noqa: PLC0415
    from latechunk_integrations.evaluation.dataset import read_documents  # noqa: PLC0415
    from latechunk_integrations.evaluation.diagnostics import diagnose  # noqa: PLC0415

    documents = read_documents(data)
    engine = given.load_engine(model, config, options)
    parents, notes = given.split_documents(engine, documents, config, splitter, chunk_size)
    terminal.show_diagnosis(diagnose(engine, parents, show_progress=True), notes=notes)
