"""One request of a server encoder, and how its answer is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from latechunk_integrations.errors import BrokenAnswerError, LateChunkError, ServerAnswerError

# What reading the numbers and keys of an answer raises where it is not as documented.
_OF_ANOTHER_FORM = (
    *(LookupError, TypeError, ValueError, ArithmeticError, AttributeError),
    RecursionError,
)

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Receiver(Protocol[T_co]):
    """Takes in the body of one answer, part by part."""

    def feed(self, part: bytes) -> None:
        """Take in the next bytes."""

    def close(self) -> T_co:
        """What the answer says, once it is complete.

        Raises:
            BrokenAnswerError: It breaks off; the request is sent again.
            ServerAnswerError: It is complete and wrong.
        """


class JsonReceiver(Generic[T]):
    """A JSON body that is read whole.

    Args:
        check: Makes the result of the parsed body, or raises an error of ours. A missing
            key or a value of another type in it is a `ServerAnswerError` too.
    """

    def __init__(self, check: Callable[[Any], T]) -> None:
        self._check = check
        self._parts: list[bytes] = []

    def feed(self, part: bytes) -> None:
        """Take in the next bytes."""
        self._parts.append(part)

    def close(self) -> T:
        """The checked body."""
        body = b"".join(self._parts)
        try:
            parsed = json.loads(body)
        except ValueError as error:
            raise BrokenAnswerError(f"the answer of {len(body)} bytes is no JSON") from error
        except RecursionError as error:
            raise ServerAnswerError("the answer is nested too deeply") from error
        try:
            return self._check(parsed)
        except _OF_ANOTHER_FORM as error:
            if isinstance(error, LateChunkError):
                raise
            raise ServerAnswerError(
                f"the answer is not in the documented form: {type(error).__name__} {error}"
            ) from error


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request and how its answer is read.

    Args:
        path: After the base URL.
        body: JSON body of a POST; None: a GET.
        receive: Makes a receiver for the answer; called for each attempt.
        parent_id: The parent whose text is asked about, for errors.
        row: Which of several texts or windows it is, for errors.
    """

    path: str
    body: Mapping[str, Any] | None
    receive: Callable[[], Receiver[T]]
    parent_id: str | None = None
    row: int | None = None


def json_call(
    path: str,
    body: Mapping[str, Any] | None,
    check: Callable[[Any], T],
    *,
    parent_id: str | None = None,
    row: int | None = None,
) -> Call[T]:
    """A call whose answer is JSON that is read whole; see `JsonReceiver` for ``check``."""
    return Call(path, body, lambda: JsonReceiver(check), parent_id, row)
