"""The values that travel through the package: frozen, and checked when built."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.errors import (
    EmptyTextError,
    InputTypeError,
    InvalidCharacterError,
    SpanError,
    UnknownSubSpanError,
)

__all__ = [
    "CharSpans",
    "ChunkVectors",
    "Mode",
    "Parent",
    "PoolingMode",
    "Span",
    "SubSpanVectors",
    "TokenSpans",
    "check_characters",
    "check_texts",
]

Mode: TypeAlias = Literal["late", "windowed", "standalone"]
"""How a chunk vector came about: from one window, from several, or from the chunk alone."""

PoolingMode: TypeAlias = Literal["mean", "last", "cls", "weighted"]
"""How the token embeddings of a chunk become one."""

_BOUNDS = 2
_INTEGERS = (int, np.integer)
# Halves of a UTF-16 pair: no characters, and no tokenizer reads them.
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class Span(NamedTuple("_Bounds", [("start", int), ("end", int)])):
    """A half-open range ``[start, end)`` of code points in a parent's text.

    Args:
        start: First code point.
        end: One past the last code point.

    Raises:
        SpanError: ``start`` is negative or ``end`` is not greater than ``start``.
    """

    __slots__ = ()

    def __new__(cls, start: int, end: int) -> Span:  # noqa: PYI034  # Self needs Python 3.11
        """Check the bounds, then build the tuple."""
        if not all(isinstance(bound, _INTEGERS) for bound in (start, end)):
            raise SpanError(f"Span({start!r}, {end!r}): the bounds of a span are integers")
        if start < 0 or end <= start:
            raise SpanError(
                f"Span({start}, {end}) is empty, reversed or negative: "
                "a span needs 0 <= start < end, in code points",
                span=(start, end),
            )
        return super().__new__(cls, int(start), int(end))


class _SpanArray:
    """Half-open ranges as a read-only int64 array, shape ``(n, 2)``."""

    __slots__ = ("array",)

    array: NDArray[np.int64]

    def __init__(self, spans: Iterable[Sequence[int]] | NDArray[np.integer]) -> None:
        try:
            rows = spans if isinstance(spans, np.ndarray) else list(spans)
            given = np.array(rows)
        except (ValueError, TypeError) as error:
            raise SpanError(f"spans must be pairs of integers, shape (n, 2): {error}") from None
        if len(rows) and (given.shape != (len(rows), _BOUNDS) or given.dtype.kind not in "iu"):
            raise SpanError(
                f"spans must be pairs of integers, shape (n, 2), not {given.dtype} {given.shape}"
            )
        array = given.reshape(-1, _BOUNDS).astype(np.int64, copy=False)
        array.flags.writeable = False
        self.array = array

    @property
    def starts(self) -> NDArray[np.int64]:
        """First positions, int64, shape ``(n,)``."""
        return self.array[:, 0]

    @property
    def ends(self) -> NDArray[np.int64]:
        """Positions one past the last, int64, shape ``(n,)``."""
        return self.array[:, 1]

    def __len__(self) -> int:
        return len(self.array)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and np.array_equal(self.array, other.array)

    def __hash__(self) -> int:
        return hash(self.array.tobytes())

    def __repr__(self) -> str:
        return f"{type(self).__name__}(n={len(self)})"

    def __reduce__(self) -> tuple[type[_SpanArray], tuple[NDArray[np.int64]]]:
        return type(self), (self.array,)


class CharSpans(_SpanArray):
    """Chunk ranges in code points of their parent, each non-empty.

    Args:
        spans: Pairs ``(start, end)``, or an integer array of shape ``(n_chunks, 2)``.

    Raises:
        SpanError: A range is empty, reversed or negative.
    """

    __slots__ = ()

    def __init__(self, spans: Iterable[Sequence[int]] | NDArray[np.integer]) -> None:
        super().__init__(spans)
        bad = np.flatnonzero((self.starts < 0) | (self.ends <= self.starts))
        if len(bad):
            start, end = (int(bound) for bound in self.array[bad[0]])
            raise SpanError(
                f"span {bad[0]}, ({start}, {end}), is empty, reversed or negative: "
                "a span needs 0 <= start < end, in code points",
                span=(start, end),
            )


class TokenSpans(_SpanArray):
    """Chunk ranges in tokens of their parent; ``start == end`` where no token overlaps.

    Args:
        spans: Pairs ``(start, end)``, or an integer array of shape ``(n_chunks, 2)``.
    """

    __slots__ = ()

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of tokens of each chunk, int64, shape ``(n_chunks,)``."""
        return self.ends - self.starts


@dataclass(frozen=True, init=False)
class Parent:
    """The text that its chunks may attend to: a document or a section.

    Args:
        text: The text. White space counts; it is never altered.
        spans: The chunks, in any order; they may overlap or nest. ``None``: one chunk over
            the whole text.
        header: Text that the parent's tokens attend to, such as a title.
        id: What names the parent in logs, errors and results; ``""``: the fingerprint.
        headers: A header for each chunk instead, such as the title and the heading path of its
            place. Layout ``text`` reads `header`, layout ``units`` reads these. ``None``:
            `header` for every chunk.

    Raises:
        EmptyTextError: ``text`` is empty or white space.
        InputTypeError: ``text``, ``header``, ``id`` or one of ``headers`` is no ``str``, or there
            are not as many headers as chunks.
        InvalidCharacterError: ``text`` or a header holds a lone surrogate.
        SpanError: A span is empty, reversed or reaches outside the text.
    """

    text: str
    spans: CharSpans
    header: str
    id: str
    headers: tuple[str, ...] | None

    def __init__(
        self,
        text: str,
        spans: CharSpans | Iterable[Sequence[int]] | NDArray[np.integer] | None = None,
        header: str = "",
        id: str = "",  # noqa: A002  # the framework's word for it, and keyword in practice
        headers: Sequence[str] | None = None,
    ) -> None:
        """Check everything once, so that nothing downstream checks again."""
        for name, value in (("text", text), ("header", header), ("id", id)):
            if not isinstance(value, str):
                raise InputTypeError(f"Parent.{name} must be a str, not {type(value).__name__}")
        for name, value in (("text", text), ("header", header)):
            check_characters(value, f"the {name} of parent {id!r}", parent_id=id)
        if not text or text.isspace():
            raise EmptyTextError(
                f"parent {id!r} has no text; leave out empty documents", parent_id=id
            )
        if not isinstance(spans, CharSpans):
            spans = CharSpans([(0, len(text))] if spans is None else spans)
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "spans", spans)
        object.__setattr__(self, "header", header)
        object.__setattr__(self, "headers", _check_headers(headers, len(spans), id))
        object.__setattr__(self, "id", id or self.fingerprint)
        self._check_bounds()

    def _check_bounds(self) -> None:
        outside = np.flatnonzero(self.spans.ends > len(self.text))
        if len(outside):
            start, end = (int(bound) for bound in self.spans.array[outside[0]])
            raise SpanError(
                f"span {outside[0]}, ({start}, {end}), of parent {self.id!r} reaches outside its "
                f"text of {len(self.text)} code points",
                parent_id=self.id,
                span=(start, end),
            )

    @cached_property
    def fingerprint(self) -> str:
        """Hash (hex) of text, spans and headers: every chunk vector of this parent depends on them.

        Spans too: in layout ``units`` a chunk attends to its neighbours as they were cut.
        """
        digest, headers = hashlib.sha256(), (self.header, *(self.headers or ()))
        if any("\x00" in part for part in (self.text, *headers)):  # it could look like a border
            digest.update(f"\x00{[len(self.text), *map(len, headers)]}".encode())
        digest.update(self.text.encode("utf-8", "surrogatepass"))
        for header in headers:
            digest.update(b"\x00header\x00" + header.encode("utf-8", "surrogatepass"))
        digest.update(b"\x00spans\x00" + self.spans.array.astype("<i8").tobytes())
        return digest.hexdigest()[:32]

    def chunk_header(self, index: int) -> str:
        """The header of one chunk: its own, or the parent's."""
        return self.header if self.headers is None else self.headers[index]

    def chunk_span(self, index: int) -> Span:
        """Where one chunk is in the text."""
        return Span(*self.spans.array[index].tolist())

    def chunk_text(self, index: int) -> str:
        """The text of one chunk."""
        start, end = self.spans.array[index]
        return self.text[start:end]


@dataclass(frozen=True, eq=False)
class SubSpanVectors:
    """Vectors of parts of chunks, chunk after chunk, in text order inside each.

    The sub-spans of a chunk cover it without a gap, and each belongs to one chunk.

    Args:
        vectors: Float32, shape ``(n_sub_spans, dim)``, read-only; unit length as those of chunks.
        chunks: Number of the chunk that each is a part of, ascending, int64, read-only, shape
            ``(n_sub_spans,)``.
        spans: Where each is in the parent's text.

    Raises:
        InputTypeError: The fields are not of one length, or `chunks` descends.
    """

    vectors: NDArray[np.float32]
    chunks: NDArray[np.int64]
    spans: CharSpans

    def __post_init__(self) -> None:
        """Check the lengths, and make the arrays read-only."""
        if not len(self.vectors) == len(self.chunks) == len(self.spans):
            raise InputTypeError(
                f"{len(self.vectors)} vectors, {len(self.chunks)} chunks and {len(self.spans)} "
                "spans: give one of each for each sub-span"
            )
        if (np.diff(self.chunks, prepend=0) < 0).any():
            raise InputTypeError("the chunks of sub-spans ascend from 0")
        self.vectors.flags.writeable = False
        self.chunks.flags.writeable = False

    def __len__(self) -> int:
        return len(self.vectors)

    def of_chunk(self, chunk: int) -> slice:
        """The rows of one chunk's sub-spans."""
        first, last = np.searchsorted(self.chunks, [chunk, chunk + 1]).tolist()
        return slice(first, last)

    def __reduce__(self) -> tuple[type[SubSpanVectors], tuple[object, ...]]:
        return type(self), (self.vectors, self.chunks, self.spans)


@dataclass(frozen=True, eq=False)
class ChunkVectors:
    """The chunk vectors of one parent, in the order of its spans.

    Args:
        parent_id: `Parent.id`.
        vectors: Float32, shape ``(n_chunks, dim)``, read-only; unit length unless the engine
            has ``normalize=False``. No rows when `skipped`.
        modes: One of ``late``, ``windowed``, ``standalone`` for each row.
        n_windows: Windows that the parent's late pass took; 0 where there was none.
        skipped: The parent was left out under ``fallback="skip"``.
        sub_spans: Vectors of parts of the chunks; None without ``sub_span_tokens``.
    """

    parent_id: str
    vectors: NDArray[np.float32]
    modes: tuple[Mode, ...]
    n_windows: int = 0
    skipped: bool = False
    sub_spans: SubSpanVectors | None = None

    def __post_init__(self) -> None:
        """Make the rows read-only."""
        if len(self.vectors) != len(self.modes):
            raise InputTypeError(
                f"{len(self.vectors)} vectors and {len(self.modes)} modes for one parent"
            )
        self.vectors.flags.writeable = False

    def __len__(self) -> int:
        return len(self.vectors)

    def sub_spans_of(self, chunk: int) -> list[Span]:
        """Where the sub-spans of one chunk are in the parent; none without ``sub_span_tokens``."""
        parts = self.sub_spans
        rows = [] if parts is None else parts.spans.array[parts.of_chunk(chunk)].tolist()
        return [Span(*row) for row in rows]

    def sub_span_vector(self, chunk: int, span: tuple[int, int]) -> NDArray[np.float32]:
        """The vector of the part of a chunk at a range of the parent, float32, shape ``(dim,)``.

        Raises:
            UnknownSubSpanError: The chunk was not cut there.
        """
        parts = self.sub_spans
        if parts is None:
            reason = "this model cut no sub-spans: build it with the sub_span_tokens of the index"
            raise UnknownSubSpanError(reason, parent_id=self.parent_id, span=span)
        own = parts.of_chunk(chunk)
        cut = parts.spans.array[own]
        for row in np.flatnonzero((cut == span).all(axis=1)):
            return np.asarray(parts.vectors[own.start + row])
        raise UnknownSubSpanError(
            f"{tuple(span)} is no sub-span of chunk {chunk}: these options cut {cut.tolist()}. "
            "Take the model and the sub_span_tokens that they were cut with, or index the "
            "documents anew, with split_sub_spans or SubSpanNodeParser",
            parent_id=self.parent_id,
            span=span,
        )

    def __reduce__(self) -> tuple[type[ChunkVectors], tuple[object, ...]]:
        # NumPy forgets that an array was read-only; building the value anew makes it so again.
        own = (self.parent_id, self.vectors, self.modes, self.n_windows, self.skipped)
        return type(self), (*own, self.sub_spans)


def _check_headers(
    headers: Sequence[str] | None, n_chunks: int, parent_id: str
) -> tuple[str, ...] | None:
    if headers is None:
        return None
    given: object = headers
    # A set has no order, and of an iterator nothing would be left.
    unlisted = isinstance(given, (str, set, frozenset)) or not hasattr(given, "__len__")
    if unlisted or not all(isinstance(header, str) for header in headers):
        raise InputTypeError(f"Parent.headers of {parent_id!r} must be a list of str, one a chunk")
    if len(headers) != n_chunks:
        raise InputTypeError(
            f"parent {parent_id!r} has {n_chunks} chunks and {len(headers)} headers: give one for "
            "each chunk, or one for all with header="
        )
    for header in set(headers):
        check_characters(header, f"a header of parent {parent_id!r}", parent_id=parent_id)
    return tuple(headers)


def check_characters(text: str, what: str, *, parent_id: str | None = None) -> None:
    """Refuse a text that no tokenizer can read.

    Args:
        text: The text.
        what: How to name it in the error.
        parent_id: The parent concerned, where there is one.

    Raises:
        InvalidCharacterError: The text holds a lone surrogate.
    """
    found = None if text.isascii() else _LONE_SURROGATE.search(text)
    if found:
        raise InvalidCharacterError(
            f"{what} holds the lone surrogate {found[0]!a} at {found.start()}, which is no "
            "character; text.encode('utf-8', 'replace').decode() puts question marks there",
            parent_id=parent_id,
            span=found.span(),
        )


def check_texts(texts: Sequence[str]) -> None:
    """Refuse what is no list of texts.

    Raises:
        InputTypeError: It is one str, or holds something else.
        InvalidCharacterError: A text holds a lone surrogate.
    """
    if isinstance(texts, str):
        raise InputTypeError("a list of texts is wanted, not one str: pass [text]")
    if not hasattr(texts, "__len__"):  # what reads an iterator here leaves nothing of it
        raise InputTypeError(f"a list of texts is wanted, not {type(texts).__name__}")
    for text in texts:
        if not isinstance(text, str):
            raise InputTypeError(f"a list of texts is wanted; it holds {type(text).__name__}")
        check_characters(text, "a text")
