"""What every target does, and how calls to a store are repeated."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from latechunk_integrations.bulk.rows import DocumentRows
from latechunk_integrations.errors import WriterError
from latechunk_integrations.plugins import import_extra

T = TypeVar("T")

_ATTEMPTS = 5
_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 10.0


class Writer(Protocol):
    """A target of chunk rows. Writing the same documents again changes nothing.

    A class of yours is called with place, collection and the width of a vector; without a width
    (``None``) it is to read only: a missing collection is a `WriterError`.
    """

    def recover(self, parts: Mapping[str, Collection[str]]) -> None:
        """Drop what a former run wrote and did not note in its checkpoint.

        Called once, before anything is written.

        Args:
            parts: The parts that the checkpoint knows, each with the seals that it may have.

        Raises:
            CheckpointError: A part is missing or damaged.
        """

    def check(self, document: DocumentRows) -> None:
        """Refuse a document that the target cannot hold.

        Raises:
            InputError: A value is too long for it.
        """

    def write(self, documents: Sequence[DocumentRows], number: int) -> str:
        """Write all rows of these documents; those of their former versions go.

        Args:
            documents: Documents with all of their rows; none: the document is removed.
            number: Names the part, where there are parts.

        Returns:
            The part that was written; ``""`` where the former versions are gone already.

        Raises:
            WriterError: The target does not answer or does not take the rows.
        """

    def seal(self, part: str) -> str:
        """Size and hash of a part; ``""`` where there are no parts."""

    def purge(
        self, part: str, versions: Mapping[str, str], announce: Callable[[str], object]
    ) -> str:
        """Keep only rows of these documents in these versions in a part.

        Args:
            part: The part.
            versions: The version of each document.
            announce: Called with the new seal before the part is replaced.

        Returns:
            The new seal.
        """

    def scan(self) -> Iterator[Mapping[str, Any]]:
        """Every row in the target, in any order and bounded memory.

        A row that we wrote is a mapping of `COLUMNS`, its vector float32; what another program
        wrote is given as it is there.
        """

    def count(self) -> int:
        """Rows in the target."""

    def close(self) -> None:
        """Let go of files and connections."""


class StoreWriter:
    """What writers to vector stores share: there are no parts, an upsert replaces a row."""

    def recover(self, parts: Mapping[str, Collection[str]]) -> None:
        """Nothing to drop: writing again replaces the rows."""

    def check(self, document: DocumentRows) -> None:
        """Refuse nothing: most stores have no narrow limits."""

    def seal(self, part: str) -> str:
        """There are no parts."""
        return ""

    def purge(
        self, part: str, versions: Mapping[str, str], announce: Callable[[str], object]
    ) -> str:
        """Nothing to do: former versions go when the new one is written."""
        return ""


def check_width(place: str, width: object, dimensions: int, advice: str) -> None:
    """Refuse a store whose vectors are of another width than the model's.

    Raises:
        WriterError: They are; ``advice`` says what to do.
    """
    if width != dimensions:
        raise WriterError(
            f"{place} holds vectors of {width} numbers, the model gives {dimensions}; {advice}"
        )


def repeated(
    call: Callable[[], T],
    what: str,
    *,
    errors: tuple[type[Exception], ...],
    is_transient: Callable[[BaseException], bool] = lambda _: True,
) -> T:
    """Call a store, and again after a growing pause when it does not answer.

    Args:
        call: The call, which may be made twice without harm.
        what: Names the call in the error.
        errors: What the store's client raises.
        is_transient: Which of them may pass by themselves.

    Raises:
        WriterError: The store refused, or the last attempt failed too.
        MissingExtraError: tenacity is not installed.
    """
    tenacity = import_extra("tenacity", extra="bulk")
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(_ATTEMPTS),
        wait=tenacity.wait_random_exponential(_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS),
        retry=tenacity.retry_if_exception(
            lambda error: isinstance(error, errors) and is_transient(error)
        ),
        reraise=True,
    )
    try:
        result: T = retrying(call)
    except errors as error:
        said = f"({type(error).__name__}: {error})"
        if not is_transient(error):
            raise WriterError(f"the store refuses {what} {said}") from error
        raise WriterError(
            f"{what} failed {_ATTEMPTS} times; what is finished is in the checkpoint, start the "
            f"same command again when the store answers {said}"
        ) from error
    return result
