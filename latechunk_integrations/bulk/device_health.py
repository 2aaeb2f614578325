"""Whether a failure is a document's own, or that of the model or its server."""

from __future__ import annotations

from latechunk_integrations.errors import (
    AuthenticationError,
    EncodingFailedError,
    LateChunkError,
    MissingExtraError,
    ModelError,
    NotFiniteError,
    OptionError,
    ServerError,
    SickDeviceError,
)

MOST_FAILURES_IN_A_ROW = 10
"""Documents in a row that the model or its server fails over; then it is sick."""

# The forward pass or the server failed: perhaps over this document, perhaps over every one.
_OF_DEVICE = (EncodingFailedError, NotFiniteError, ServerError)
# What no other document would survive either.
_FATAL = (MissingExtraError, ModelError, OptionError, AuthenticationError)


def is_fatal(error: Exception) -> bool:
    """Whether no other document would survive this."""
    return isinstance(error, _FATAL) and not isinstance(
        error, (EncodingFailedError, NotFiniteError)
    )


class DeviceHealth:
    """Counts documents in a row that the model or its server failed over.

    Args:
        most_failures: So many are too many.
    """

    def __init__(self, most_failures: int = MOST_FAILURES_IN_A_ROW) -> None:
        self._most_failures = most_failures
        self._n_failures = 0

    def note_success(self) -> None:
        """A document was embedded."""
        self._n_failures = 0

    def note_failure(self, document_id: str, error: LateChunkError) -> bool:
        """A document was not embedded.

        Returns:
            Whether it is to be tried again: the fault may be the device's.

        Raises:
            LateChunkError: The error itself, where no other document would survive it.
            SickDeviceError: So many in a row failed that the device is to blame.
        """
        if is_fatal(error):
            raise error
        if not isinstance(error, _OF_DEVICE):
            return False
        self._n_failures += 1
        if self._n_failures >= self._most_failures:
            raise SickDeviceError(
                f"{self._n_failures} documents in a row failed in the model or its server, the "
                f"last one {document_id!r}: {error}. What is finished is in the checkpoint: see "
                "to the device or the server and start the same command again, or raise "
                "most_failures_in_a_row (--most-failures-in-a-row) if it is the documents"
            ) from error
        return True
