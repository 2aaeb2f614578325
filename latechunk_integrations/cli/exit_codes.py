"""How a command ends: one number for each way out, the same for all commands."""

from __future__ import annotations

from enum import IntEnum

from latechunk_integrations.errors import (
    AuthenticationError,
    BulkError,
    LateChunkError,
    NotFiniteError,
    ServerError,
)

# A file or folder that the command line names wrongly.
_MISNAMED = (FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError)


class ExitCode(IntEnum):
    """The exit codes; docs/bulk.md explains each."""

    DONE = 0
    """All that was asked for is done."""
    FOUND = 1
    """Done, and there is something to look at: documents that failed, damage that was found."""
    USAGE = 2
    """The command, the configuration, the model or a key is wrong: change it."""
    STOPPED = 3
    """Source, target, checkpoint, device, server or disk did not go along: start again."""
    REMOVAL_REFUSED = 4
    """All is done but the removal of documents that seem to be gone."""
    FAULT = 70
    """A fault in this program: report it, with what ``--debug`` shows."""
    INTERRUPTED = 130
    """Stopped with Ctrl-C, or told to end (SIGTERM)."""


def exit_code_of(error: BaseException) -> ExitCode:
    """The exit code of what ended a command."""
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    if isinstance(error, (AuthenticationError, *_MISNAMED)):
        return ExitCode.USAGE
    if isinstance(error, (BulkError, ServerError, NotFiniteError, OSError, MemoryError)):
        return ExitCode.STOPPED
    return ExitCode.USAGE if isinstance(error, LateChunkError) else ExitCode.FAULT
