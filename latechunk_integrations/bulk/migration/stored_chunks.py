"""What a collection holds and takes, whichever store it is in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.bulk.migration.chunk_fields import ChunkFields, read_field
from latechunk_integrations.errors import OptionError


class Record(NamedTuple):
    """What a store holds under one id, vectors aside."""

    key: Any
    """The id, as the store's client gives it."""
    values: Mapping[str, Any]


@dataclass(frozen=True)
class StoredChunk:
    """A chunk as its collection has it.

    Args:
        key: The store's id.
        text: Its text; ``""`` where the record has none.
        source: What it shares with the chunks of its parent; None: it names nothing.
        start: Where it begins in its parent; None: not known.
        end: One past its end; None: not known.
        order: Its place among its parent's chunks; None: not known.
        follower: Id of the next chunk; None: not known.
        header: Its header.
        values: The whole record.
    """

    key: Any
    text: str
    source: str | None = None
    start: int | None = None
    end: int | None = None
    order: float | None = None
    follower: str | None = None
    header: str = ""
    values: Mapping[str, Any] | None = None


class LateRow(NamedTuple):
    """A vector to write beside the old one."""

    record: Record
    """The record with its marks."""
    vector: NDArray[np.float32] | None
    """Shape ``(dim,)``; None: the old vector stays the chunk's only one and is copied."""


class StoredCollection(Protocol):
    """A collection with an old vector for each chunk, and room for a late one beside it.

    Every call may be made twice without harm.
    """

    @property
    def identity(self) -> str:
        """Names the collection in a checkpoint; holds no secret."""

    @property
    def place_of_late(self) -> str:
        """Where late vectors are, in words."""

    def dimensions(self) -> int:
        """Width of the old vectors."""

    def scan(self) -> Iterator[Record]:
        """Every record, in any order, a few at a time."""

    def fetch(self, keys: Sequence[Any]) -> list[Record]:
        """The records of these ids, in any order; those that are gone are left out."""

    def prepare(self, dimensions: int) -> None:
        """Make room for late vectors.

        Raises:
            WriterError: The target is there and has another width.
        """

    def write(self, rows: Sequence[LateRow]) -> None:
        """Put late vectors and marked records beside the old ones."""

    def count(self) -> int:
        """Chunks in the collection."""

    def count_late(self) -> int:
        """Chunks that have a vector beside the old one; 0 where there is no room yet."""

    def search(self, vector: NDArray[np.float32], limit: int, *, late: bool) -> list[Any]:
        """Ids of the nearest chunks by the store's own search, the best first."""

    def switch(self) -> str:
        """Let applications find the late vectors where they found the old ones, which stay.

        Returns:
            What was done, and where the old vectors are now.

        Raises:
            WriterError: The store cannot do that; the message says what can be done.
        """

    def close(self) -> None:
        """Let go of files and connections."""


def choose_vector(place: str, own: Sequence[str], wanted: str | None) -> str:
    """The old vector: the wanted one, or the only one.

    Raises:
        OptionError: There is no such vector, or there are several.
    """
    chosen = own if wanted is None else [wanted]
    if len(chosen) != 1 or chosen[0] not in own:
        asked = "" if wanted is None else f", not {wanted!r}"
        raise OptionError(
            f"{place} has the vectors {own}: name the one in use with --vector{asked}"
        )
    return chosen[0]


def read_chunk(record: Record, chunk_fields: ChunkFields, *, by_file: bool) -> StoredChunk:
    """The chunk of a record; what cannot be read is left unknown.

    Args:
        record: As the store gave it.
        chunk_fields: Where it keeps things.
        by_file: Its parent is the file that it names.
    """

    def get(path: str) -> Any:
        return read_field(record.values, path)

    text = get(chunk_fields.text)
    header = get(chunk_fields.header)
    source = _name(get(chunk_fields.source))
    if by_file:
        source = _name(get(chunk_fields.file)) or source
    return StoredChunk(
        record.key,
        text if isinstance(text, str) else "",
        source,
        _position(get(chunk_fields.start)),
        _position(get(chunk_fields.end)),
        _number(get(chunk_fields.order)),
        _name(get(chunk_fields.next)),
        header if isinstance(header, str) else "",
        record.values,
    )


def _name(value: Any) -> str | None:
    """An id; LlamaIndex writes the text ``None`` where there is none."""
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value in ("", "None"):
        return None
    return str(value)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if np.isfinite(number) else None


def _position(value: Any) -> int | None:
    """A place in a text; some stores make floats of integers, and -1 means nothing."""
    number = _number(value)
    return int(number) if number is not None and number >= 0 and number.is_integer() else None
