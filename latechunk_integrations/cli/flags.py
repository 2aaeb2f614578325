"""The flags that several commands take, and what each command makes of them."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Container, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, TypeVar, get_type_hints

import typer

from latechunk_integrations.errors import OptionError

if TYPE_CHECKING:  # loaded by the command that needs it: `latechunk --help` needs none
    from latechunk_integrations.engine import LateChunkEngine
    from latechunk_integrations.evaluation.dataset import GoldenDocument
    from latechunk_integrations.evaluation.results import HeaderUse
    from latechunk_integrations.evaluation.splitters import Splitter as AnySplitter
    from latechunk_integrations.options import LateChunkOptions
    from latechunk_integrations.schema import Parent

P = ParamSpec("P")
T = TypeVar("T")

Model = Annotated[str | None, typer.Option(help="Hub name or local path of the model.")]
Config = Annotated[
    Path | None,
    typer.Option(help="YAML file with the options of engine and chunking, such as latechunk.yaml."),
]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option", "-o", metavar="NAME=VALUE", help="An engine option; can be given repeatedly."
    ),
]
SplitterName = Annotated[
    str | None,
    typer.Option(
        "--splitter",
        help="recursive, sentences, native (chunks of the golden set) or module:name of your own. "
        "Without it: the file's, else recursive.",
    ),
]
ChunkSize = Annotated[int | None, typer.Option(min=1, help="Tokens of a chunk at most.")]
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


def read_chunking(
    config: Path | None, splitter: str | None, sizes: Sequence[int] | None
) -> tuple[AnySplitter, list[int] | None, HeaderUse]:
    """Splitter, chunk sizes and header: the flags', else the file's."""
    from latechunk_integrations.chunking_options import ChunkingOptions  # noqa: PLC0415  # as above
    from latechunk_integrations.evaluation.splitters import Overlapping  # noqa: PLC0415  # as above

    options = ChunkingOptions() if config is None else ChunkingOptions.from_config(config)
    header: HeaderUse = "auto" if options.header == "auto" else "attended"
    if options.header is None:
        header = "none"
    if splitter is not None:
        return splitter, list(sizes) if sizes else None, header
    chosen: AnySplitter = options.splitter
    if options.chunk_overlap:
        chosen = Overlapping(options.splitter, options.chunk_overlap)
    own = [options.chunk_size] if options.chunk_size else None
    return chosen, list(sizes) if sizes else own, header


def split_documents(
    engine: LateChunkEngine,
    documents: Sequence[GoldenDocument],
    config: Path | None,
    splitter: str | None,
    chunk_size: int | None,
) -> tuple[list[Parent], list[str]]:
    """Documents with their chunks and titles, and notes on chunks that were not found."""
    from latechunk_integrations.evaluation.splitters import sizes_of, split_text  # noqa: PLC0415
    from latechunk_integrations.schema import Parent  # noqa: PLC0415  # as in load_engine

    cut, sizes, _ = read_chunking(config, splitter, [chunk_size] if chunk_size else None)
    size = sizes_of(cut, sizes, [_CHUNK_TOKENS])[0]
    parents, notes = [], []
    for each in documents:
        spans, n_lost = split_text(each.text, cut, size, engine.encoder)
        if n_lost:
            notes.append(f"{n_lost} chunks of {each.doc_id!r} are not in its text")
        parents.append(Parent(each.text, spans, header=each.title, id=each.doc_id))
    return parents, notes


def read_options(config: Path | None, model: str | None, pairs: Sequence[str]) -> LateChunkOptions:
    """Options of a file, changed by the model and the pairs of the command line.

    Args:
        config: A YAML file; see `LateChunkOptions.from_config`. What the command line changes
            counts as if it stood there.
        model: Hub name or local path; ``None``: the file's.
        pairs: Options as ``NAME=VALUE``.

    Raises:
        OptionError: A pair or an option is wrong, or no model is named.
    """
    from latechunk_integrations.options import LateChunkOptions  # noqa: PLC0415  # as above
    from latechunk_integrations.options_file import read_engine_section  # noqa: PLC0415  # as above

    # Their values are texts as they are: "" is no prompt, and a space at the end belongs to one.
    texts = {
        option.name
        for option in fields(LateChunkOptions)
        if option.type in ("str", "str | None", "SecretStr | None")
    }
    given: dict[str, Any] = {}
    if config is not None:
        # As written there: of checked options with `enabled: false` the weight is gone.
        given |= read_engine_section(config)
    if model is not None:
        given["model"] = model
    given |= read_pairs(pairs, "--option", texts=texts)
    if "model" not in given and config is None:
        raise OptionError("no model: give --model NAME or --config latechunk.yaml")
    return LateChunkOptions.from_mapping(given)


def read_pairs(pairs: Sequence[str], flag: str, *, texts: Container[str] = ()) -> dict[str, Any]:
    """``NAME=VALUE`` pairs; a value is read as YAML reads it.

    Args:
        pairs: The pairs.
        flag: The flag they came with, for the error.
        texts: Names whose values are taken as they are, but for ``null``.

    Raises:
        OptionError: One of them is not such a pair.
    """
    read = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name.strip() and equals):
            raise OptionError(f"{flag} wants NAME=VALUE, not {pair!r}")
        as_it_is = name.strip() in texts and value.strip() != "null"
        read[name.strip()] = value if as_it_is else _read_value(value)
    return read


def _read_value(text: str) -> Any:
    import yaml  # noqa: PLC0415  # as in options.py

    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError):
        return text
    # A prompt such as "query: " is a mapping to YAML, and no option is one.
    return text if isinstance(value, dict) else value


def takes_shared_arguments(command: Callable[Concatenate[T, P], None]) -> Callable[..., None]:
    """Give a command the fields of its first parameter's class as flags."""
    first, *own = inspect.signature(command, eval_str=True).parameters.values()
    kind: Any = first.annotation
    hints = get_type_hints(kind, include_extras=True)
    shared = [
        first.replace(name=each.name, default=each.default, annotation=hints[each.name])
        for each in inspect.signature(kind).parameters.values()
    ]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        common = {each.name: given.pop(each.name) for each in fields(kind)}
        command(kind(**common), **given)  # type: ignore[call-arg]  # of P: typer has checked them

    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*shared, *own)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run
