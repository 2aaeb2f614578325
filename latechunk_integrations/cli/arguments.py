"""Arguments that several commands take, and what each of them makes of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from latechunk_integrations.cli.flags import read_options
from latechunk_integrations.errors import OptionError

if TYPE_CHECKING:  # loaded by the command that needs it: `latechunk --help` needs none
    from latechunk_integrations.engine import LateChunkEngine
    from latechunk_integrations.evaluation.dataset import GoldenDocument
    from latechunk_integrations.schema import Parent

__all__ = [
    "Cache",
    "ChunkSize",
    "ChunkSizes",
    "Config",
    "Data",
    "Documents",
    "Model",
    "Options",
    "Report",
    "Splitter",
    "Variant",
    "load_engine",
    "make_folders",
    "split_documents",
]

Data = Annotated[
    Path,
    typer.Argument(
        help="A golden set: a folder (JSON lines or BEIR), or a .csv or .jsonl file of rows with "
        "query, document and quote."
    ),
]
Documents = Annotated[
    Path | None,
    typer.Option(
        help="With a file of rows: the folder of text files, or the .jsonl file, that holds the "
        "documents. Without it: the folder of the rows."
    ),
]
Variant = Annotated[str, typer.Option(help="Read documents.VARIANT.jsonl and its siblings.")]
Model = Annotated[str | None, typer.Option(help="Hub name or local path of the model.")]
Config = Annotated[
    Path | None, typer.Option(help="YAML file with the engine's options, such as latechunk.yaml.")
]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option", "-o", metavar="NAME=VALUE", help="An engine option; can be given repeatedly."
    ),
]
Splitter = Annotated[
    str,
    typer.Option(
        help="recursive, sentences, native (chunks of the golden set) or module:name of your own."
    ),
]
ChunkSize = Annotated[int | None, typer.Option(min=1, help="Tokens of a chunk at most.")]
ChunkSizes = Annotated[
    list[int] | None,
    typer.Option("--chunk-size", min=1, help="Tokens of a chunk at most; can be repeated."),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        help="Folder that keeps vectors: a stopped run goes on from the last pass that it finished."
    ),
]
Report = Annotated[Path | None, typer.Option(help="Write an HTML page that needs nothing else.")]

_CHUNK_TOKENS = 128


def make_folders(*files: Path | None, folder: Path | None = None) -> None:
    """Make the folders that will be written to, before the work that would be lost without them.

    Raises:
        OptionError: A file is a folder, or a folder cannot be written to.
    """
    for file in filter(None, files):
        if file.is_dir():
            raise OptionError(f"cannot write to {file}: it is a directory")
    for needed in (*(file.parent for file in filter(None, files)), folder):
        if needed is None:
            continue
        try:
            needed.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OptionError(f"cannot write to the folder {needed}: {error.strerror}") from error
        if not os.access(needed, os.W_OK):
            raise OptionError(f"cannot write to the folder {needed}: no permission")


def load_engine(
    model: str | None, config: Path | None, options: Sequence[str] | None
) -> LateChunkEngine:
    """The engine of a file, changed by what the command line says."""
    checked = read_options(config, model, options or ())

    from latechunk_integrations.engine import LateChunkEngine  # noqa: PLC0415  # costs seconds

    if checked.encoder == "local":
        from transformers.utils.logging import disable_progress_bar  # noqa: PLC0415  # as above

        disable_progress_bar()  # type: ignore[no-untyped-call]  # of weights, loaded in a second
    return LateChunkEngine.from_options(checked)


def split_documents(
    engine: LateChunkEngine,
    documents: Sequence[GoldenDocument],
    splitter: str,
    chunk_size: int | None,
) -> tuple[list[Parent], list[str]]:
    """Documents with their chunks and titles, and notes on chunks that were not found."""
    from latechunk_integrations.evaluation.splitters import sizes_of, split_text  # noqa: PLC0415
    from latechunk_integrations.schema import Parent  # noqa: PLC0415  # as in load_engine

    (size,) = sizes_of(splitter, [chunk_size] if chunk_size else None, [_CHUNK_TOKENS])
    parents, notes = [], []
    for each in documents:
        spans, n_lost = split_text(each.text, splitter, size, engine.encoder)
        if n_lost:
            notes.append(f"{n_lost} chunks of {each.doc_id!r} do not stand in its text")
        parents.append(Parent(each.text, spans, header=each.title, id=each.doc_id))
    return parents, notes
