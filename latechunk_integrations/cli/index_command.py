"""The command ``latechunk index``: parses, calls, prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from latechunk_integrations.cli.flags import read_options, read_pairs

if TYPE_CHECKING:
    from latechunk_integrations.bulk.index_settings import IndexSummary

__all__ = ["index_command"]

_SOME_FAILED = 1

_Source = Annotated[
    Path, typer.Argument(help="Folder of .txt, .md, .jsonl or .parquet files, or one of them.")
]
_Target = Annotated[
    str,
    typer.Option(
        help="milvus:FILE.db#NAME, qdrant:FOLDER#NAME, a URL, or a .parquet/.jsonl folder."
    ),
]
_Options = Annotated[
    list[str] | None, typer.Option("--option", "-o", help="An engine option, NAME=VALUE.")
]
_Arguments = Annotated[
    list[str] | None, typer.Option(help="An argument of the splitter, NAME=VALUE.")
]
_ShareBatches = Annotated[
    bool,
    typer.Option("--share-batches", help="Faster on a GPU; the last bits may vary."),
]
_Prune = Annotated[
    bool, typer.Option("--prune", help="Remove documents that the source no longer has.")
]
_Restart = Annotated[
    bool, typer.Option("--restart", help="Forget the checkpoint, do every document again.")
]


def index_command(  # noqa: PLR0913  # every flag is an argument
    *,
    source: _Source,
    to: _Target,
    checkpoint: Annotated[Path, typer.Option(help="Folder that keeps what is finished.")],
    config: Annotated[Path | None, typer.Option(help="YAML file of engine options.")] = None,
    model: Annotated[str | None, typer.Option(help="Hub name or local path.")] = None,
    option: _Options = None,
    splitter: Annotated[str, typer.Option(help="'recursive' or module:name.")] = "recursive",
    chunk_size: Annotated[int | None, typer.Option(help="Tokens of a chunk.")] = None,
    splitter_argument: _Arguments = None,
    text_column: Annotated[str, typer.Option(help="Column of the text.")] = "text",
    id_column: Annotated[str, typer.Option(help="Column of the id.")] = "id",
    header_column: Annotated[str | None, typer.Option(help="Column of the header.")] = None,
    ray: Annotated[bool, typer.Option("--ray", help="Embed in Ray actors.")] = False,
    concurrency: Annotated[int, typer.Option(help="Number of Ray actors.")] = 1,
    num_cpus: Annotated[float, typer.Option(help="Cores of each actor.")] = 1,
    num_gpus: Annotated[float, typer.Option(help="GPUs of each actor.")] = 0,
    batch_documents: Annotated[int, typer.Option(help="Documents noted together, at most.")] = 64,
    share_batches: _ShareBatches = False,
    prune: _Prune = False,
    restart: _Restart = False,
    dead_letters: Annotated[Path | None, typer.Option(help="File of failed documents.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Embed a corpus into a vector store or files; started again, it goes on where it stopped.

    Ends with 0, with 1 when documents failed (see the dead letters), with 2 when it could not go
    on.
    """
    from latechunk_integrations.bulk.chunking import Chunking  # noqa: PLC0415  # costs seconds
    from latechunk_integrations.bulk.index_settings import IndexSettings  # noqa: PLC0415  # as above
    from latechunk_integrations.bulk.indexing import index  # noqa: PLC0415  # as above
    from latechunk_integrations.bulk.rows import Columns  # noqa: PLC0415  # as above

    arguments = read_pairs(splitter_argument or (), "--splitter-argument")
    settings = IndexSettings(
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
    options = read_options(config, model, option or ())
    summary = index(source, to, options, checkpoint, settings)
    typer.echo(_describe_summary(summary))
    raise typer.Exit(_SOME_FAILED if summary.n_failed else 0)


def _describe_summary(summary: IndexSummary) -> str:
    """A run in a few lines."""
    written = f"{summary.n_documents} documents, {summary.n_chunks} chunks written"
    lines = [f"{written} in {summary.seconds:.1f} s; {summary.n_unchanged} documents unchanged"]
    if summary.n_skipped:
        lines.append(f"{summary.n_skipped} of them skipped, too long for a window")
    if summary.n_removed:
        lines.append(f"{summary.n_removed} documents removed")
    if summary.n_failed:
        lines.append(f"{summary.n_failed} documents failed, see {summary.dead_letters}")
    return "\n".join(lines)
