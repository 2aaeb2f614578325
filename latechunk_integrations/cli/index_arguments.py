"""Arguments of the commands over a corpus and its index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from latechunk_integrations.cli.flags import read_pairs

if TYPE_CHECKING:  # loaded by the command that needs it
    from latechunk_integrations.bulk.chunking import Chunking

__all__ = [
    "ChunkTokens",
    "DeadLettersFile",
    "FollowLinks",
    "HeaderColumn",
    "IdColumn",
    "JsonFile",
    "Source",
    "SplitterArguments",
    "SplitterName",
    "StateFolder",
    "TargetName",
    "TextColumn",
    "make_chunking",
]

Source = Annotated[
    Path,
    typer.Argument(
        help="Folder of .txt, .md, .jsonl or .parquet files, or one of them.",
        readable=False,  # whether it can be read is for the run to say
    ),
]
TargetName = Annotated[
    str,
    typer.Option(
        help="milvus:FILE.db#NAME, qdrant:FOLDER#NAME, a URL, or a .parquet/.jsonl folder."
    ),
]
StateFolder = Annotated[Path, typer.Option(help="Folder that keeps what is finished.")]
SplitterName = Annotated[
    str | None,
    typer.Option(help="'recursive' or module:name. Without it: the file's, else recursive."),
]
ChunkTokens = Annotated[int | None, typer.Option(help="Tokens of a chunk. Without it: the file's.")]
SplitterArguments = Annotated[
    list[str] | None, typer.Option(help="An argument of the splitter, NAME=VALUE.")
]
TextColumn = Annotated[str, typer.Option(help="Column of the text.")]
IdColumn = Annotated[str, typer.Option(help="Column of the id.")]
HeaderColumn = Annotated[str | None, typer.Option(help="Column of the header.")]
FollowLinks = Annotated[
    bool, typer.Option("--follow-links", help="Also links that lead out of the source folder.")
]
DeadLettersFile = Annotated[Path | None, typer.Option(help="File of failed documents.")]
JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Write the report to this JSON file; -: print it.")
]


def make_chunking(
    config: Path | None,
    splitter: str | None,
    chunk_size: int | None,
    arguments: Sequence[str] | None,
) -> Chunking:
    """The splitter that the command line names, else the file's."""
    from latechunk_integrations.bulk.chunking import Chunking  # noqa: PLC0415  # costs seconds

    known = Chunking() if config is None else Chunking.from_config(config)
    given = read_pairs(arguments or (), "--splitter-argument")
    if splitter is not None and splitter != known.splitter:
        return Chunking(splitter, chunk_size, given)
    size = known.chunk_size if chunk_size is None else chunk_size
    return Chunking(known.splitter, size, {**known.arguments, **given})
