"""What names a splitter: the same in every process, and another for other settings."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from langchain_text_splitters import RecursiveCharacterTextSplitter

from latechunk_integrations.bulk.chunking import Chunking


def n_words(text: str, factor: int = 1) -> int:
    return len(text.split()) * factor


class Cutter:
    """A splitter of anybody's own, with settings of several kinds."""

    def __init__(self, size: int, marks: Any = ()) -> None:
        self.size, self.marks = size, marks
        self.lock = object()
        self.again = self.split_text

    def split_text(self, text: str) -> list[str]:
        return [text[start : start + self.size] for start in range(0, len(text), self.size)]


def _langchain(function: Callable[[str], int]) -> Chunking:
    return Chunking(RecursiveCharacterTextSplitter(length_function=function))


def _measured(function: object) -> Chunking:
    return Chunking(arguments={"length_function": function})


_MAKERS: dict[str, list[Callable[[], Chunking]]] = {
    "argument": [
        lambda: _measured(n_words),
        lambda: _measured(len),
        lambda: _measured(partial(n_words, factor=2)),
        lambda: _measured(partial(n_words, factor=3)),
        lambda: _measured(Cutter(3)),
        lambda: _measured(Cutter(4)),
    ],
    "partial": [
        lambda: Chunking(partial(Cutter, 3)),
        lambda: Chunking(partial(Cutter, 4)),
        lambda: Chunking(partial(Cutter, 3, marks=n_words)),
        lambda: Chunking(partial(Cutter, 3, marks=Cutter(1))),
    ],
    "method": [
        lambda: Chunking(Cutter(3).split_text),
        lambda: Chunking(Cutter(4).split_text),
        lambda: Chunking(re.compile("a+").split),
        lambda: Chunking(re.compile("b+").split),
    ],
    "object": [
        lambda: Chunking(Cutter(3)),
        lambda: Chunking(Cutter(3, {".": 1})),
        lambda: Chunking(Cutter(3, {(".", 1): 1})),
        lambda: Chunking(Cutter(3, re.compile("[.]"))),
        lambda: Chunking(Cutter(3, [Cutter])),
        lambda: _langchain(n_words),
        lambda: _langchain(partial(n_words, factor=2)),
    ],
}


@pytest.mark.parametrize("kind", _MAKERS)
def test_a_splitter_made_again_has_its_name_and_another_one_has_not(kind: str) -> None:
    first, second = ([make() for make in _MAKERS[kind]] for _ in range(2))  # all alive at once
    names = [chunking.fingerprint for chunking in first]
    assert names == [chunking.fingerprint for chunking in second]
    assert len(set(names)) == len(names)


def test_the_order_of_a_set_is_no_setting() -> None:
    one, other = {0, 8}, {8, 0}
    assert repr(one) != repr(other)  # as it is for strings in another process
    assert Chunking(Cutter(3, one)).fingerprint == Chunking(Cutter(3, other)).fingerprint
    assert _measured(one).fingerprint == _measured(other).fingerprint
    assert _measured(one).fingerprint != _measured({0, 9}).fingerprint
