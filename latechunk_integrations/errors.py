"""Typed errors; every one derives from `LateChunkError` and says what to do.

The tree::

    LateChunkError
    ├── InputError (ValueError)
    │   ├── InputTypeError (TypeError)   a value of the wrong type, such as one str for a list
    │   ├── EmptyTextError               a parent without text
    │   ├── InvalidCharacterError        a text with a lone surrogate, which is no character
    │   ├── SpanError                    a span that is reversed, empty or outside its parent
    │   ├── GoldenSetError               a golden set that cannot be read, with file and line
    │   └── ChunkNotFoundError           a chunk's text is not in its parent
    ├── AlignmentError
    │   ├── OffsetsError                 the tokenizer gives no usable offset mapping
    │   └── ChunkWithoutTokenError       no token overlaps a chunk (strict only)
    ├── WindowError
    │   ├── ParentTooLongError           fallback="error", or a text that would be cut (strict)
    │   └── WindowBudgetError            prompt and special tokens leave too little room
    ├── OptionError (ValueError)         an unknown option or a value outside its range
    ├── ModelError
    │   ├── ModelLoadError               the model cannot be loaded
    │   ├── RemoteCodeError              the model asks for code that was not allowed to run
    │   ├── ContractError                the model's modules cannot be late-chunked
    │   ├── NotFiniteError               a vector with NaN, infinity or no length
    │   ├── EncodingFailedError          the forward pass of a parent failed
    │   │   └── WorkerDiedError          a worker process died over a parent, twice
    │   ├── MismatchedQueriesError       an encoder of queries in another space than the index
    │   ├── FingerprintMismatchError     a copy would give other vectors than its original
    │   ├── UnpicklableEncoderError      an engine that neither options nor a pickle rebuild
    │   └── WorkerStartError             worker processes cannot be started here
    ├── BulkError
    │   ├── CheckpointError              a checkpoint of another run, or one in use
    │   │   └── DamagedCheckpointError   a checkpoint that cannot be read
    │   ├── SickDeviceError              many documents in a row failed in the model itself
    │   ├── SourceError                  the source cannot be looked at
    │   ├── WorkerError                  a worker process died again and again
    │   └── WriterError                  the target does not answer, or does not take the rows
    │       └── MissingTargetError       there is no such collection or folder to read
    ├── MissingExtraError (ImportError)  an optional dependency is not installed
    ├── ServerError                      a model server or API; names parent and request
    │   ├── ServerUnavailableError       no answer after all retries
    │   ├── RateLimitError               too many requests, after all retries
    │   ├── AuthenticationError          the key is missing, wrong or not allowed to do this
    │   ├── RequestRefusedError          the server does not take the request as it is
    │   └── ServerAnswerError            an answer with a wrong count, width, number or form
    │       └── BrokenAnswerError        an answer that breaks off, after all retries
    └── OriginError
        ├── UnknownChunkError            a text whose parent is not known (strict only)
        │   ├── AlteredChunkError        a text that was changed after splitting (strict only)
        │   └── ParentNotHeldError       a parent that is named and not held here (strict only)
        ├── UnknownSubSpanError          a sub-span that these options do not cut
        ├── IncompleteParentError        what makes up a parent is missing from a call
        └── TextKeyedCacheError          a cache that knows a chunk by its text alone
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = [
    "AlignmentError",
    "AlteredChunkError",
    "AuthenticationError",
    "BrokenAnswerError",
    "BulkError",
    "CheckpointError",
    "ChunkNotFoundError",
    "ChunkWithoutTokenError",
    "ContractError",
    "DamagedCheckpointError",
    "EmptyTextError",
    "EncodingFailedError",
    "FingerprintMismatchError",
    "GoldenSetError",
    "IncompleteParentError",
    "InputError",
    "InputTypeError",
    "InvalidCharacterError",
    "LateChunkError",
    "MismatchedQueriesError",
    "MissingExtraError",
    "MissingTargetError",
    "ModelError",
    "ModelLoadError",
    "NotFiniteError",
    "OffsetsError",
    "OptionError",
    "OriginError",
    "ParentNotHeldError",
    "ParentTooLongError",
    "RateLimitError",
    "RemoteCodeError",
    "RequestRefusedError",
    "ServerAnswerError",
    "ServerError",
    "ServerUnavailableError",
    "SickDeviceError",
    "SourceError",
    "SpanError",
    "TextKeyedCacheError",
    "UnknownChunkError",
    "UnknownSubSpanError",
    "UnpicklableEncoderError",
    "WindowBudgetError",
    "WindowError",
    "WorkerDiedError",
    "WorkerError",
    "WorkerStartError",
    "WriterError",
    "hint_at",
    "naming",
]


class LateChunkError(Exception):
    """Base of every error of this package.

    Args:
        message: What is wrong and what to do about it.
        parent_id: The parent concerned, where there is one.
        span: The character span concerned, half-open, where there is one.
    """

    def __init__(
        self, message: str, *, parent_id: str | None = None, span: tuple[int, int] | None = None
    ) -> None:
        super().__init__(message)
        self.parent_id = parent_id
        self.span = span

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by what it holds: Python would call the constructor with the message alone."""
        return _rebuild_error, (type(self), self.args), self.__dict__


def _rebuild_error(kind: type[LateChunkError], arguments: tuple[Any, ...]) -> LateChunkError:
    error = kind.__new__(kind, *arguments)
    super(LateChunkError, error).__init__(*arguments)  # what is Python's own in it
    return error


class InputError(LateChunkError, ValueError):
    """What was given to embed cannot be embedded."""


class InputTypeError(InputError, TypeError):
    """A value of the wrong type, such as one str where a list of texts is wanted."""


class EmptyTextError(InputError):
    """A parent has no text."""


class InvalidCharacterError(InputError):
    """A text holds half of a surrogate pair, which no tokenizer reads."""


class SpanError(InputError):
    """A span is reversed, empty or reaches outside its parent."""


class GoldenSetError(InputError):
    """Documents, queries or gold spans that cannot be measured with; names file and line."""


class ChunkNotFoundError(InputError):
    """A chunk's text could not be located in its parent."""


class AlignmentError(LateChunkError):
    """Characters and tokens cannot be brought together."""


class OffsetsError(AlignmentError):
    """The tokenizer gives no usable offset mapping."""


class ChunkWithoutTokenError(AlignmentError):
    """No token overlaps a chunk, so that nothing can be pooled late."""


class WindowError(LateChunkError):
    """A text and the model's window do not go together."""


class ParentTooLongError(WindowError):
    """A text is longer than a window and the options do not allow to divide it."""


class WindowBudgetError(WindowError):
    """Prompt and special tokens leave less than half of the window to the text.

    Args:
        message: What is wrong and what to do about it.
        max_tokens: Window length, specials included.
        special_tokens: Special tokens of each window.
        prompt_tokens: Tokens of the model's prompt.
    """

    def __init__(
        self, message: str, *, max_tokens: int, special_tokens: int, prompt_tokens: int
    ) -> None:
        super().__init__(message)
        self.max_tokens = max_tokens
        self.special_tokens = special_tokens
        self.prompt_tokens = prompt_tokens


class OptionError(LateChunkError, ValueError):
    """An option is unknown or its value is outside its range."""


class ModelError(LateChunkError):
    """The model cannot be used."""


class ModelLoadError(ModelError):
    """The model cannot be loaded."""


class RemoteCodeError(ModelError):
    """The model asks to run code from its repository, which was not allowed."""


class ContractError(ModelError):
    """The model has parts that late chunking cannot honour, or does not do what its files say."""


class NotFiniteError(ModelError):
    """A vector holds NaN or infinity, or has no length."""


class EncodingFailedError(ModelError):
    """The forward pass of a parent failed; the cause is the encoder's own error."""


class WorkerDiedError(EncodingFailedError):
    """A worker process died over a parent, and so did the fresh one that was given it again."""


class MismatchedQueriesError(ModelError):
    """An encoder of queries that gives vectors in another space than the index has."""


class FingerprintMismatchError(ModelError):
    """A copy loaded another model, or other options, than its original had.

    Args:
        message: What differs and what to do about it.
        expected: Fingerprint of the original.
        found: Fingerprint of what was loaded.
    """

    def __init__(
        self, message: str, *, expected: str | None = None, found: str | None = None
    ) -> None:
        super().__init__(message)
        self.expected = expected
        self.found = found


class UnpicklableEncoderError(ModelError):
    """An engine has an encoder of its own that cannot be pickled, and options do not name it."""


class WorkerStartError(ModelError):
    """Worker processes cannot be started here, or end before their engine is ready."""


class BulkError(LateChunkError):
    """A bulk run cannot go on; started again, it continues where it stopped."""


class CheckpointError(BulkError):
    """A checkpoint belongs to another run, is damaged or in use."""


class DamagedCheckpointError(CheckpointError):
    """A checkpoint that cannot be read; it can be made anew from the rows of the target."""


class SickDeviceError(BulkError):
    """Documents in a row failed in the model or its server: the device is to blame, not they."""


class SourceError(BulkError):
    """The source of documents cannot be read: no permission, or a share that is gone."""


class WorkerError(BulkError):
    """A worker process died again and again."""


class WriterError(BulkError):
    """A target does not answer, or does not take the rows."""


class MissingTargetError(WriterError):
    """There is no such collection or folder, where one was to be read."""


class MissingExtraError(LateChunkError, ImportError):
    """An optional dependency is not installed.

    Args:
        module: The module that could not be imported.
        extra: The extra of this package that brings it.
    """

    def __init__(self, module: str, *, extra: str) -> None:
        super().__init__(
            f"{module} is not installed; it comes with the extra {extra!r}: "
            f"pip install 'latechunk-integrations[{extra}]'"
        )
        self.module = module
        self.extra = extra


class ServerError(LateChunkError):
    """A model server or API did not give what was asked of it.

    Args:
        message: What is wrong and what to do about it.
        parent_id: The parent whose text was asked about, where there is one.
        request_id: The service's own id of the request, else ours (``X-Request-ID``).
        row: Which of the texts or windows of the call it was, where several were given; the first
            of the request, where that held several.
        retry_after_seconds: How long the server asks to wait, where it does.
    """

    def __init__(
        self,
        message: str,
        *,
        parent_id: str | None = None,
        request_id: str | None = None,
        row: int | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message, parent_id=parent_id)
        self.request_id = request_id
        self.row = row
        self.retry_after_seconds = retry_after_seconds

    def __str__(self) -> str:
        """The message, then parent and request."""
        where = [("parent", self.parent_id), ("request", self.request_id)]
        known = ", ".join(f"{name} {value!r}" for name, value in where if value is not None)
        return super().__str__() + (f" ({known})" if known else "")


class ServerUnavailableError(ServerError):
    """No answer after all retries: no connection, a time-out, a failure inside the server."""


class RateLimitError(ServerError):
    """The server still refused, after all retries, because of too many requests."""


class AuthenticationError(ServerError):
    """The key is missing or wrong, or is not allowed to do this."""


class RequestRefusedError(ServerError):
    """The server does not take the request as it is; sending it again would not help."""

    status: int | None = None
    """Status of its answer; None where the request could not be sent at all."""


class ServerAnswerError(ServerError):
    """An answer with a wrong count, a wrong width, no number, or not in the documented form."""


class BrokenAnswerError(ServerAnswerError):
    """An answer that breaks off or is no JSON, after all retries."""


class OriginError(LateChunkError):
    """Nothing says for certain which parent a chunk belongs to."""


class UnknownChunkError(OriginError):
    """A text whose parent is not known, under ``strict=True``."""


class AlteredChunkError(UnknownChunkError):
    """A text that is not at the place that its metadata name, under ``strict=True``."""


class ParentNotHeldError(UnknownChunkError):
    """A chunk names a parent that nothing here holds, under ``strict=True``."""


class UnknownSubSpanError(OriginError):
    """A part of a chunk that the engine does not cut: its options are not those of the index."""


class IncompleteParentError(OriginError):
    """A part of a parent was not given, so that the others cannot see all of it."""


class TextKeyedCacheError(OriginError):
    """A cache knows a chunk by its text alone, while its vector depends on its parent."""


def hint_at(name: str, known: Collection[str]) -> str:
    """What to add to an error about an unknown name: the known one that is most like it."""
    near = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


@contextmanager
def naming(parent_ids: Sequence[str]) -> Iterator[None]:
    """Let a server error that knows its row in a call name the parent of that row.

    Args:
        parent_ids: The parent of each row.
    """
    try:
        yield
    except ServerError as error:
        if error.parent_id is None and error.row is not None:
            error.parent_id = parent_ids[error.row]
        raise
