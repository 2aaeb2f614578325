"""Arguments of the commands over a corpus and its index."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from latechunk_integrations.cli.flags import make_folders, read_pairs
from latechunk_integrations.errors import OptionError

if TYPE_CHECKING:  # loaded by the command that needs it
    from latechunk_integrations.bulk.chunking import Chunking

__all__ = [
    "PRINTED",
    "ChunkTokens",
    "DeadLettersFile",
    "EngineOptions",
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
    "check_json",
    "make_chunking",
    "write_json",
]

PRINTED = Path("-")
"""Standard output, in the place of a file."""

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
EngineOptions = Annotated[
    list[str] | None, typer.Option("--option", "-o", help="An engine option, NAME=VALUE.")
]
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


def check_json(file: Path | None, source: Path | None = None) -> None:
    """Refuse a file for a result that is in the source or of another make, before the work.

    Raises:
        OptionError: It is.
    """
    from latechunk_integrations.bulk.corpus_walk import check_outside  # noqa: PLC0415  # costs seconds

    if file is None or file == PRINTED:
        return
    if source is not None:
        check_outside(source, file, "--json")
    make_folders(file)
    if not file.exists():
        return
    try:
        is_ours = isinstance(json.loads(file.read_bytes()), dict)
    except (ValueError, RecursionError, OSError):
        is_ours = False
    if not is_ours:
        raise OptionError(f"{file} holds no JSON object, and would be replaced: name another file")


def write_json(content: Mapping[str, Any], file: Path) -> None:
    """Write a result to a file, or to standard output for ``-``."""
    text = json.dumps(content, indent=1)
    if file == PRINTED:
        typer.echo(text)
    else:
        file.write_text(text + "\n", encoding="utf-8")
