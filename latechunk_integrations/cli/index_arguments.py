"""What the commands over a corpus and its index are told, and how they write results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from latechunk_integrations.cli.flags import (
    Config,
    Model,
    Options,
    make_folders,
    read_options,
    read_pairs,
)
from latechunk_integrations.core.printable import escape_controls
from latechunk_integrations.errors import OptionError

if TYPE_CHECKING:  # loaded by the command that needs it
    from latechunk_integrations.bulk.chunking import Chunking
    from latechunk_integrations.bulk.index_settings import IndexSettings
    from latechunk_integrations.options import LateChunkOptions

PRINTED = Path("-")
"""Standard output, in the place of a file."""

JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Write the report to this JSON file; -: print it.")
]
Prune = Annotated[
    bool, typer.Option("--prune", help="Remove documents that the source no longer has.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]


@dataclass(frozen=True, kw_only=True)
class IndexArguments:
    """What ``latechunk index``, ``verify`` and ``repair`` must be told alike."""

    source: Annotated[
        Path,
        typer.Argument(
            help="Folder of text, PDF, HTML, DOCX, .jsonl, .csv or .parquet files, or one of them.",
            readable=False,  # whether it can be read is for the run to say
        ),
    ]
    to: Annotated[
        str,
        typer.Option(
            help="milvus:FILE.db#NAME, qdrant:FOLDER#NAME, chroma:FOLDER#NAME, "
            "lancedb:FOLDER#NAME, pgvector:URL#TABLE, a server's URL as place, or a .parquet or "
            ".jsonl folder."
        ),
    ]
    checkpoint: Annotated[Path, typer.Option(help="Folder that keeps what is finished.")]
    config: Config = None
    model: Model = None
    options: Options = None
    splitter: Annotated[
        str | None,
        typer.Option(help="'recursive' or module:name. Without it: the file's, else recursive."),
    ] = None
    chunk_size: Annotated[
        int | None,
        typer.Option(
            help="Tokens of a chunk, at most. Without it: the file's, else the splitter's own."
        ),
    ] = None
    splitter_argument: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="An argument of the splitter; can be repeated."),
    ] = None
    text_column: Annotated[str, typer.Option(help="Column of the text.")] = "text"
    id_column: Annotated[str, typer.Option(help="Column of the id.")] = "id"
    header_column: Annotated[str | None, typer.Option(help="Column of the header.")] = None
    processes: Annotated[
        int | None,
        typer.Option(min=1, help="Processes of this machine that embed, each with its own model."),
    ] = None
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Also links that lead out of the source folder.")
    ] = False

    def read(self, **more: Any) -> tuple[Path, str, LateChunkOptions, Path, IndexSettings]:
        """Source, target, options, checkpoint and settings, as the functions of bulk take them.

        Raises:
            OptionError: An argument is wrong.
        """
        from latechunk_integrations.bulk.index_settings import IndexSettings  # noqa: PLC0415  # costs seconds
        from latechunk_integrations.bulk.rows import Columns  # noqa: PLC0415  # as above

        settings = IndexSettings(
            chunking=self._read_chunking(),
            columns=Columns(self.text_column, self.id_column, self.header_column),
            follow_links=self.follow_links,
            **more,
        )
        pairs = [*(self.options or ())]
        if self.processes is not None:
            pairs.append(f"processes={self.processes}")
        options = read_options(self.config, self.model, pairs)
        return self.source, self.to, options, self.checkpoint, settings

    def _read_chunking(self) -> Chunking:
        """The splitter that the command line names, else the file's."""
        from latechunk_integrations.bulk.chunking import Chunking  # noqa: PLC0415  # costs seconds

        known = Chunking() if self.config is None else Chunking.from_config(self.config)
        given = read_pairs(self.splitter_argument or (), "--splitter-argument")
        if self.splitter is not None and self.splitter != known.splitter:
            return Chunking(self.splitter, self.chunk_size, given)
        size = known.chunk_size if self.chunk_size is None else self.chunk_size
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


def show_result(content: Mapping[str, Any], lines: Sequence[str], file: Path | None) -> None:
    """Print a result in words, or as JSON where the file is ``-``; other files get the JSON too."""
    written = "" if file is None else json.dumps(content, indent=1)
    if file is not None and file != PRINTED:
        file.write_text(written + "\n", encoding="utf-8")
    typer.echo(written if file == PRINTED else escape_controls("\n".join(lines)))


def shorten(lines: list[str], most: int) -> list[str]:
    """The first lines, and how many more there are."""
    more = len(lines) - most
    return [*lines[:most], f"  and {more} more"] if more > 0 else lines
