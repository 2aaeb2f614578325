"""Tokenized texts in the pool of a block, and how they are gathered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.ranges import count_ranges
from latechunk_integrations.encoders.base import TokenizedTexts

# Texts are handed to the tokenizer in groups: it takes some 80 bytes for each character.
_GROUP_CHARS = 1 << 18
# What a text costs besides its characters.
_TEXT_CHARS = 32
LONG_TEXT_CHARS = 1 << 15
"""A longer text goes through the tokenizer piece by piece."""


@dataclass(frozen=True)
class PooledTexts:
    """Tokenized texts in the pool: start and length of each part, int64, ``(n, 2)``."""

    front: NDArray[np.int64]
    header: NDArray[np.int64]
    back: NDArray[np.int64]
    text: NDArray[np.int64]
    edges: list[NDArray[np.int64] | None]

    def take(self, rows: NDArray[np.int64]) -> PooledTexts:
        """Some of the texts."""
        return PooledTexts(
            self.front[rows],
            self.header[rows],
            self.back[rows],
            self.text[rows],
            [self.edges[row] for row in rows.tolist()] if self.edges else [],
        )


@dataclass
class BlockTexts:
    """Texts, and the spans in them that are pooled, on their way into a block."""

    reads: list[PooledTexts] = field(default_factory=list)
    owners: list[NDArray[np.int64]] = field(default_factory=list)
    late: list[NDArray[np.bool_]] = field(default_factory=list)
    groups: list[NDArray[np.int64]] = field(default_factory=list)
    headers: list[NDArray[np.bool_]] = field(default_factory=list)
    texts: list[NDArray[np.int64]] = field(default_factory=list)
    spans: list[NDArray[np.int64]] = field(default_factory=list)
    rows: list[NDArray[np.int64]] = field(default_factory=list)
    n_texts: int = 0

    def add(
        self,
        read: PooledTexts,
        owners: NDArray[np.int64],
        rows: NDArray[np.int64],
        *,
        late: bool = False,
        groups: NDArray[np.int64] | None = None,
        are_headers: bool = False,
    ) -> None:
        """Texts that are pooled as a whole."""
        n = len(read.text)
        spans = np.stack([np.zeros(n, np.int64), read.text[:, 1]], axis=1)
        self.add_running(read, owners, np.arange(n), spans, rows, late=late, groups=groups)
        self.headers[-1][:] = are_headers

    def add_running(
        self,
        read: PooledTexts,
        owners: NDArray[np.int64],
        texts: NDArray[np.int64],
        spans: NDArray[np.int64],
        rows: NDArray[np.int64],
        *,
        late: bool,
        groups: NDArray[np.int64] | None = None,
    ) -> None:
        """Texts with any pooled spans in them."""
        n = len(read.text)
        self.reads.append(read)
        self.owners.append(owners)
        self.late.append(np.full(n, late))
        self.groups.append(np.full(n, -1, np.int64) if groups is None else groups)
        self.headers.append(np.zeros(n, dtype=bool))
        self.texts.append(texts + self.n_texts)
        self.spans.append(spans)
        self.rows.append(rows)
        self.n_texts += n


def narrow_ids(ids: NDArray[np.int32]) -> NDArray[np.integer]:
    """A copy in two bytes each where the ids allow it: a huge parent has many."""
    return ids.astype(np.uint16 if ids.max(initial=0) <= np.iinfo(np.uint16).max else np.int32)


def drain_ids(parts: list[NDArray[np.integer]]) -> NDArray[np.integer]:
    """Token ids one after the other; the parts are let go on the way, and the list is empty."""
    is_narrow = all(part.dtype == np.uint16 for part in parts)
    joined: NDArray[np.integer] = np.empty(
        sum(map(len, parts)), np.uint16 if is_narrow else np.int32
    )
    end = len(joined)
    while parts:
        part = parts.pop()
        joined[end - len(part) : end] = part
        end -= len(part)
    return joined


def join_arrays(parts: Sequence[NDArray[Any]], dtype: type[Any]) -> NDArray[Any]:
    """Arrays one after the other; an empty one of the dtype where there is none."""
    return np.concatenate(parts) if parts else np.zeros(0, dtype)


def join_texts(parts: Sequence[PooledTexts]) -> PooledTexts:
    """Texts one after the other."""
    nothing = np.zeros((0, 2), np.int64)
    with_edges = any(part.edges for part in parts)
    front, header, back, text = (
        np.concatenate([nothing, *(getattr(part, name) for part in parts)])
        for name in ("front", "header", "back", "text")
    )
    return PooledTexts(
        front,
        header,
        back,
        text,
        [edge for part in parts for edge in (part.edges or [None] * len(part.text))]
        if with_edges
        else [],
    )


def count_title_tokens(
    tokens: TokenizedTexts, headers: Sequence[str], first: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Prompt tokens in front of each title, and those of the title itself.

    Args:
        tokens: Texts that were tokenized with their filled prompts.
        headers: The header of each text.
        first: Code points of the prompt in front of a title.

    Returns:
        Int64, shape ``(n_texts,)`` each; no title tokens where there is no header.
    """
    n_prompt = tokens.text_starts - tokens.prompt_starts
    texts = np.repeat(np.arange(len(tokens)), n_prompt)
    starts = tokens.offsets[count_ranges(tokens.prompt_starts, n_prompt), 0]
    n_chars = np.array([len(header.strip()) for header in headers], np.int64)
    in_front = starts < first
    in_title = ~in_front & (starts < first + n_chars[texts])
    front = np.bincount(texts[in_front], minlength=len(tokens))
    title = np.bincount(texts[in_title], minlength=len(tokens))
    return np.where(n_chars > 0, front, n_prompt), title


def group_texts(lengths: Sequence[int]) -> Iterator[slice]:
    """Neighbouring texts, by their code points; a long one by itself."""
    start, n_chars = 0, 0
    for at, length in enumerate(lengths):
        is_long = length > LONG_TEXT_CHARS
        if at > start and (is_long or n_chars + length > _GROUP_CHARS):
            yield slice(start, at)
            start, n_chars = at, 0
        n_chars += length + _TEXT_CHARS
        if is_long:
            yield slice(start, at + 1)
            start, n_chars = at + 1, 0
    if start < len(lengths):
        yield slice(start, len(lengths))
