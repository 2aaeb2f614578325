"""The command ``latechunk``: parses, calls, prints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latechunk_integrations.errors import LateChunkError

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


@app.command("index")
def _index(  # noqa: PLR0913  # every flag is an argument
    *,
    source: Annotated[
        Path, typer.Argument(help="Folder of .txt, .md, .jsonl or .parquet files, or one of them.")
    ],
    to: Annotated[
        str,
        typer.Option(
            help="milvus:FILE.db#NAME, qdrant:FOLDER#NAME, a URL, or a .parquet/.jsonl folder."
        ),
    ],
    checkpoint: Annotated[Path, typer.Option(help="Folder that keeps what is finished.")],
    config: Annotated[Path | None, typer.Option(help="YAML file of engine options.")] = None,
    model: Annotated[str | None, typer.Option(help="Hub name or local path.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", help="An engine option, name=value.")
    ] = None,
    splitter: Annotated[str, typer.Option(help="'recursive' or module:name.")] = "recursive",
    chunk_size: Annotated[int | None, typer.Option(help="Tokens of a chunk.")] = None,
    splitter_argument: Annotated[
        list[str] | None, typer.Option(help="An argument of the splitter, name=value.")
    ] = None,
    text_column: Annotated[str, typer.Option(help="Column of the text.")] = "text",
    id_column: Annotated[str, typer.Option(help="Column of the id.")] = "id",
    header_column: Annotated[str | None, typer.Option(help="Column of the header.")] = None,
    ray: Annotated[bool, typer.Option("--ray", help="Embed in Ray actors.")] = False,
    concurrency: Annotated[int, typer.Option(help="Number of Ray actors.")] = 1,
    num_cpus: Annotated[float, typer.Option(help="Cores of each actor.")] = 1,
    num_gpus: Annotated[float, typer.Option(help="GPUs of each actor.")] = 0,
    batch_documents: Annotated[int, typer.Option(help="Documents noted together, at most.")] = 64,
    share_batches: Annotated[
        bool,
        typer.Option("--share-batches", help="Faster on a GPU; the last bits may vary."),
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove documents that the source no longer has.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget the checkpoint, do every document again.")
    ] = False,
    dead_letters: Annotated[Path | None, typer.Option(help="File of failed documents.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Embed a corpus into a vector store or files; started again, it goes on where it stopped.

    Ends with 0, with 1 when documents failed (see the dead letters), with 2 when it could not go
    on.
    """
    from latechunk_integrations.bulk import command, run  # noqa: PLC0415  # loads the engine
    from latechunk_integrations.bulk.chunking import Chunking  # noqa: PLC0415
    from latechunk_integrations.bulk.rows import Columns  # noqa: PLC0415

    try:
        arguments = command.parse_pairs(splitter_argument or (), "--splitter-argument")
        settings = run.IndexSettings(
            chunking=Chunking(splitter, chunk_size, arguments),
            columns=Columns(text_column, id_column, header_column),
            ray=ray,
            concurrency=concurrency,
            num_cpus=num_cpus,
            num_gpus=num_gpus,
            batch_documents=batch_documents,
            reproducible=not share_batches,
            prune=prune,
            restart=restart,
            dead_letters=dead_letters,
            show_progress=not quiet,
        )
        options = command.parse_options(config, model, option or ())
        summary = run.index(source, to, options, checkpoint, settings)
    except LateChunkError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    typer.echo(command.describe(summary))
    raise typer.Exit(command.exit_code(summary))
