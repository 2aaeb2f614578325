"""The command ``latechunk`` and what all of its commands share: errors in one line, version."""

from __future__ import annotations

import logging
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from latechunk_integrations import __version__
from latechunk_integrations.cli.audit_command import audit_command
from latechunk_integrations.cli.compare_command import compare_command
from latechunk_integrations.cli.diagnose_command import diagnose_command
from latechunk_integrations.cli.exit_codes import ExitCode, exit_code_of
from latechunk_integrations.cli.index_command import index_command
from latechunk_integrations.cli.inspect_command import inspect_command
from latechunk_integrations.cli.migrate_command import migrate_command
from latechunk_integrations.cli.questions_command import questions_command
from latechunk_integrations.cli.repair_command import repair_command
from latechunk_integrations.cli.review_command import review_command
from latechunk_integrations.cli.tune_command import tune_command
from latechunk_integrations.cli.verify_command import verify_command
from latechunk_integrations.core.printable import escape_controls

_DEBUG = "--debug"


class _PlainErrors(TyperGroup):
    """Ends every error in one line and its exit code; ``--debug`` shows the traceback."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take ``--debug`` out, which may come anywhere."""
        ctx.meta[_DEBUG] = _DEBUG in args
        return super().parse_args(ctx, [each for each in args if each != _DEBUG])

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        if not ctx.meta[_DEBUG]:
            _silence_clients()
        try:
            with _ending_as_interrupted():
                return super().invoke(ctx)
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(error, typer.Abort) or hasattr(error, "exit_code"):
                raise  # typer's own
            if ctx.meta[_DEBUG]:
                traceback.print_exc()
            code = exit_code_of(error)
            typer.echo(f"error: {_describe(error, code)}", err=True)
            raise typer.Exit(code) from None


def _describe(error: BaseException, code: ExitCode) -> str:
    """One line, without anything that a terminal would act on."""
    if code is ExitCode.INTERRUPTED:
        return "interrupted; what is finished is kept"
    said = escape_controls(" ".join(str(error).split()))
    if code is not ExitCode.FAULT:
        return said or type(error).__name__
    return f"{type(error).__name__}: {said} (a fault of latechunk; {_DEBUG} shows where)"


@contextmanager
def _ending_as_interrupted() -> Iterator[None]:
    """What ends a process politely (a service manager, ``docker stop``) ends it as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _silence_clients() -> None:
    """Clients of stores log what they raise, with a traceback; we say it in one line."""
    for name in ("pymilvus", "milvus_lite"):
        client = logging.getLogger(name)
        client.addHandler(logging.NullHandler())
        client.propagate = False


app = typer.Typer(
    name="latechunk",
    cls=_PlainErrors,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # a local may hold a text or a key
    epilog="Start here: latechunk compare questions.csv --documents docs/ --model NAME",
)


def _print_version(wanted: bool) -> None:  # noqa: FBT001  # typer hands over the flag
    if wanted:
        typer.echo(f"latechunk {__version__}")
        raise typer.Exit


@app.callback()
def _begin(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option(_DEBUG, help="Show the traceback of an error; goes anywhere.")
    ] = False,
) -> None:
    """Measure, tune, inspect and index with late chunking."""


_EXAMPLES: dict[Callable[..., None], str] = {
    questions_command: "docs/ --output questions.csv --llm-url http://localhost:8000/v1 "
    "--llm-model NAME",
    review_command: "questions.csv --documents docs/",
    compare_command: "questions.csv --documents docs/ "
    "--model sentence-transformers/all-MiniLM-L6-v2 --report report.html",
    tune_command: "questions.csv --documents docs/ --config latechunk.yaml "
    "--chunk-size 64 --chunk-size 128 --output tuned.yaml",
    inspect_command: 'handbook.md --config latechunk.yaml --query "Who approves leave?"',
    diagnose_command: "docs/ --model sentence-transformers/all-MiniLM-L6-v2",
    **dict.fromkeys(
        (index_command, verify_command, repair_command),
        "docs/ --to milvus:corpus.db#docs --checkpoint state/ --config latechunk.yaml "
        "--chunk-size 128",
    ),
    audit_command: "qdrant:./store#chunks --json -",
    migrate_command: "qdrant:./store#docs --from-framework langchain "
    "--source-folder docs/ --config latechunk.yaml --checkpoint state/",
}
for _command, _example in _EXAMPLES.items():
    _name = _command.__name__.removesuffix("_command")
    app.command(_name, epilog=f"Example: latechunk {_name} {_example}")(_command)
