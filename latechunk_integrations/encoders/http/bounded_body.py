"""The body of an answer, unpacked piece by piece and never larger than the request explains."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from latechunk_integrations.errors import BrokenAnswerError, ServerAnswerError

ACCEPTED_ENCODINGS = "gzip, deflate"
"""How an answer may be packed."""

# A token is sent as a byte or more, and comes back as some thousand numbers, 20 bytes or so each,
# in one list.
_BASE_BYTES = 1 << 21
_BYTES_PER_BYTE = 24_000
_MOST_BYTES = 1 << 30
_BASE_LISTS = 10_000
_LISTS_PER_BYTE = 64
# As objects of Python, short numbers take many times the bytes that they came as.
_BASE_NUMBERS = 1 << 17
_NUMBERS_PER_BYTE = 1_500

_PIECE_BYTES = 1 << 18
_ANY_HEADER = 32 + zlib.MAX_WBITS


class BoundedBody:
    """Unpacks the body of one answer.

    Args:
        encoding: The answer's ``Content-Encoding``; ``""``: it is not packed.
        request_bytes: Size of the request's body, which bounds what can be an answer to it.

    Raises:
        ServerAnswerError: It is packed in a way that was not asked for.
    """

    def __init__(self, encoding: str, request_bytes: int) -> None:
        self._most_bytes = min(_BASE_BYTES + _BYTES_PER_BYTE * request_bytes, _MOST_BYTES)
        self._most_lists = _BASE_LISTS + _LISTS_PER_BYTE * request_bytes
        self._most_numbers = _BASE_NUMBERS + _NUMBERS_PER_BYTE * request_bytes
        self._n_bytes = self._n_lists = self._n_numbers = 0
        self._unpack = None
        name = encoding.strip().lower()
        if name in ("gzip", "x-gzip", "deflate"):
            self._unpack = zlib.decompressobj(_ANY_HEADER)
        elif name not in ("", "identity"):
            raise ServerAnswerError(
                f"the answer is packed as {encoding[:40]!r}, which was not asked for"
            )

    def feed(self, raw: bytes) -> Iterator[bytes]:
        """Take in bytes as they came, and give what they hold, in small pieces.

        Raises:
            BrokenAnswerError: They cannot be unpacked.
            ServerAnswerError: The answer is larger than any answer to this request can be.
        """
        if self._unpack is None:
            yield self._count(raw)
            return
        try:
            while raw:
                piece = self._unpack.decompress(raw, _PIECE_BYTES)
                raw = self._unpack.unconsumed_tail
                yield self._count(piece)
        except zlib.error as error:
            raise BrokenAnswerError(f"the answer cannot be unpacked: {error}") from error

    def close(self) -> None:
        """Check that nothing is missing.

        Raises:
            BrokenAnswerError: It was packed and breaks off.
        """
        if self._unpack is not None and not self._unpack.eof:
            raise BrokenAnswerError("the answer breaks off before it is unpacked")

    def _count(self, piece: bytes) -> bytes:
        self._n_bytes += len(piece)
        self._n_lists += piece.count(b"[") + piece.count(b"{")
        self._n_numbers += piece.count(b",")
        if (
            self._n_bytes > self._most_bytes
            or self._n_lists > self._most_lists
            or self._n_numbers > self._most_numbers
        ):
            raise ServerAnswerError(
                f"the answer has more than {self._n_bytes - 1:,} bytes, {self._most_lists:,} lists "
                f"or {self._most_numbers:,} numbers, which no answer to this request has"
            )
        return piece
