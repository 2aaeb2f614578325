"""What ``latechunk compare`` and ``tune`` must be told alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from latechunk_integrations.cli import flags
from latechunk_integrations.errors import OptionError

if TYPE_CHECKING:  # loaded by the command that needs it
    from latechunk_integrations.evaluation.dataset import GoldenSet
    from latechunk_integrations.evaluation.results import HeaderUse
    from latechunk_integrations.evaluation.splitters import Splitter as AnySplitter


@dataclass(frozen=True, kw_only=True)
class EvaluationArguments:
    """The golden set, its chunks, what to try, and where to write."""

    data: Annotated[
        Path,
        typer.Argument(
            help="A golden set: a folder (JSON lines or BEIR), or a file of rows with query, "
            "document and quote (.csv, .tsv, .xlsx, .jsonl, .json; test sets of ragas and "
            "LlamaIndex too)."
        ),
    ]
    config: flags.Config = None
    options: flags.Options = None
    documents: Annotated[
        list[Path] | None,
        typer.Option(
            help="With a file of rows: a text file, a folder of them or a .jsonl file of "
            "documents; can be repeated. Without it: the files that the rows name, beside the rows."
        ),
    ] = None
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            metavar="MEANING=NAME",
            help="What a column of the rows is called: id, query, document, quote, context, "
            "start or title. Usual names are known.",
        ),
    ] = None
    variant: Annotated[str, typer.Option(help="Read documents.VARIANT.jsonl and its siblings.")] = (
        ""
    )
    splitter: flags.SplitterName = None
    chunk_sizes: Annotated[
        list[int] | None,
        typer.Option(
            "--chunk-size",
            min=1,
            help="Tokens of a chunk at most; can be repeated, the first being what you have now.",
        ),
    ] = None
    now: Annotated[
        str, typer.Option(help="What you have now: the way that all others are compared with.")
    ] = "early"
    measure: Annotated[
        str | None,
        typer.Option(help="What decides. Without it: nDCG@10; between chunk sizes, answer@2000."),
    ] = None
    focuses: Annotated[
        list[str] | None,
        typer.Option("--focus", help="To try: auto, inf or a number of nats; can be repeated."),
    ] = None
    layouts: Annotated[
        list[str] | None, typer.Option("--layout", help="To try: units or text; can be repeated.")
    ] = None
    headers: Annotated[
        list[str] | None,
        typer.Option(
            "--header", help="To try: none, prepended, attended or auto; can be repeated."
        ),
    ] = None
    context_weights: Annotated[
        list[float] | None,
        typer.Option(
            "--context-weight",
            min=0.0,
            max=1.0,
            help="Share of the late vector to try; can be repeated.",
        ),
    ] = None
    sub_spans: Annotated[
        list[int] | None,
        typer.Option(
            "--sub-span-tokens",
            min=1,
            help="To try: a vector for each part of a chunk of about so many tokens, such as 32.",
        ),
    ] = None
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder that keeps vectors: a stopped run goes on from the last pass that it "
            "finished."
        ),
    ] = None
    report: flags.Report = None

    def read_golden_set(self) -> GoldenSet:
        """The golden set that the flags name."""
        from latechunk_integrations.evaluation.dataset import GoldenSet  # noqa: PLC0415  # costs seconds

        pairs = flags.read_pairs(self.columns or (), "--column")
        names = {key: str(value) for key, value in pairs.items()}
        return GoldenSet.read(self.data, self.documents or None, self.variant, columns=names)

    def read_chunking(self) -> tuple[AnySplitter, list[int] | None, HeaderUse]:
        """Splitter, chunk sizes and header: the flags', else the file's."""
        return flags.read_chunking(self.config, self.splitter, self.chunk_sizes)

    def read_focuses(self) -> list[Any]:
        """Numbers, or ``"auto"``; none where none was given.

        Raises:
            OptionError: One is neither.
        """
        try:
            return [each if each == "auto" else float(each) for each in self.focuses or ()]
        except ValueError as error:
            raise OptionError(f"--focus wants auto, inf or a number: {error}") from None
