"""Token matrices from the answers of servers, read row by row and checked."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.errors import BrokenAnswerError, MissingExtraError, ServerAnswerError

try:
    import orjson
except ImportError as error:
    raise MissingExtraError("orjson", extra="servers") from error

# An array without arrays or objects in it: one token embedding.
_ROW = re.compile(rb"\[[^\[\]{}]*\]")
_OPEN = re.compile(rb"\[[^\[\]{}]*$")
_FLOAT32_BYTES = 4


class RowReceiver:
    """A JSON body that holds one token matrix, which is never whole in memory as text.

    Each row is parsed as soon as it is there. What is around the rows is kept, with
    ``null`` for each of them, and must have the documented form.

    Args:
        n_tokens: Rows that there must be.
        dim: Columns that there must be; None: at least one.
        rows: Finds the list of rows in the parsed surroundings.
    """

    def __init__(self, n_tokens: int, dim: int | None, rows: Callable[[Any], Any]) -> None:
        self._n_tokens = n_tokens
        self._dim = dim
        self._rows = rows
        self._matrix: NDArray[np.float32] | None = None
        self._n_done = 0
        self._around: list[bytes] = []
        self._left = b""

    def feed(self, part: bytes) -> None:
        """Take in the next bytes, and let go of the rows that are complete."""
        body = self._left + part
        at = 0
        for found in _ROW.finditer(body):
            self._around += [body[at : found.start()], b"null"]
            self._add(found.group())
            at = found.end()
        row = _OPEN.search(body, at)
        keep = row.start() if row else len(body)
        self._around.append(body[at:keep])
        self._left = body[keep:]

    def close(self) -> NDArray[np.float32]:
        """The matrix, float32, shape ``(n_tokens, dim)``.

        Raises:
            BrokenAnswerError: The body breaks off.
            ServerAnswerError: It has another form, count or width, or holds what is no number.
        """
        try:
            around = orjson.loads(b"".join(self._around) + self._left)
        except orjson.JSONDecodeError as error:
            raise BrokenAnswerError(f"the answer is no JSON: {error}") from error
        try:
            rows = self._rows(around)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ServerAnswerError("the answer is not in the documented form") from error
        if not isinstance(rows, list) or any(row is not None for row in rows):
            raise ServerAnswerError("the answer is not in the documented form")
        if len(rows) != self._n_done:
            raise ServerAnswerError("the answer holds more than one matrix")
        if self._matrix is None:
            raise ServerAnswerError("the answer holds no token embeddings")
        return check_matrix(self._matrix[: self._n_done], self._n_tokens, self._dim, self._n_done)

    def _add(self, text: bytes) -> None:
        try:
            values = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise BrokenAnswerError(f"a token embedding is no list of numbers: {error}") from error
        row = _read_numbers(values)
        if self._matrix is None:
            self._matrix = np.empty((self._n_tokens, len(row)), np.float32)
        if len(row) != self._matrix.shape[1]:
            raise ServerAnswerError(
                f"token embeddings of {self._matrix.shape[1]} and of {len(row)} numbers in one "
                "answer"
            )
        if self._n_done < self._n_tokens:
            self._matrix[self._n_done] = row
        self._n_done += 1


def check_matrix(
    matrix: NDArray[np.float32], n_tokens: int, dim: int | None, n_rows: int | None = None
) -> NDArray[np.float32]:
    """The matrix, if it is one row for each token, of the right width, and all numbers.

    Args:
        matrix: Shape ``(n_rows, width)``.
        n_tokens: Rows that there must be.
        dim: Width that it must have; None: any but zero.
        n_rows: Rows that were sent, where the matrix holds fewer.

    Raises:
        ServerAnswerError: It is not.
    """
    sent = len(matrix) if n_rows is None else n_rows
    if sent != n_tokens:
        raise ServerAnswerError(f"{sent} token embeddings came for {n_tokens} tokens")
    if matrix.ndim != 2 or not matrix.shape[1] or (dim is not None and matrix.shape[1] != dim):  # noqa: PLR2004  # rows and columns
        wanted = "at least one" if dim is None else str(dim)
        raise ServerAnswerError(f"embeddings of shape {matrix.shape} came, with {wanted} columns")
    if not np.isfinite(matrix).all():
        raise ServerAnswerError("an embedding holds what is no number (NaN, infinity or null)")
    return matrix


def matrix_of(data: Any, n_tokens: int, dim: int | None) -> NDArray[np.float32]:
    """A matrix from base64 of little-endian float32, or from nested lists.

    Args:
        data: The field of the answer.
        n_tokens: Rows that there must be.
        dim: Columns that there must be; None: any.

    Raises:
        BrokenAnswerError: It is no base64.
        ServerAnswerError: It has another size, or holds what is no number.
    """
    if not isinstance(data, str):
        return check_matrix(_read_numbers(data, ndmin=2), n_tokens, dim)
    try:
        content = base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise BrokenAnswerError("the embeddings are no base64") from error
    if not content or len(content) % (_FLOAT32_BYTES * n_tokens):
        raise ServerAnswerError(f"{len(content)} bytes came for {n_tokens} token embeddings")
    flat = np.frombuffer(content, dtype="<f4").astype(np.float32)
    return check_matrix(flat.reshape(n_tokens, -1), n_tokens, dim)


def vectors_of(data: Any, n_texts: int, dim: int | None) -> NDArray[np.float32]:
    """Vectors of texts from nested lists, shape ``(n_texts, dim)``.

    Raises:
        ServerAnswerError: Another count or width, or what is no number.
    """
    if not isinstance(data, list) or len(data) != n_texts:
        n_got = len(data) if isinstance(data, list) else "no list of"
        raise ServerAnswerError(f"{n_got} vectors came for {n_texts} texts")
    return check_matrix(_read_numbers(data, ndmin=2), n_texts, dim)


def _read_numbers(values: Any, ndmin: int = 1) -> NDArray[np.float32]:
    """Nested lists as an array; null is what servers send for what is no number."""
    try:
        array = np.array(values, ndmin=ndmin)
    except ValueError as error:  # lists of different lengths
        raise ServerAnswerError(f"embeddings of different widths came: {error}") from error
    if array.dtype.kind not in "fiu":
        raise ServerAnswerError("an embedding holds what is no number")
    with np.errstate(over="ignore"):  # what is beyond float32 is infinite, and refused as such
        return array.astype(np.float32)
