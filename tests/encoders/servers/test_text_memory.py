"""Token ids are written as the texts that they were read from."""

from __future__ import annotations

import pickle

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.encoders.servers.text_memory import TextMemory

_WORDS: dict[str, int] = {}


def _read(text: str) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """One token for each word, with its place."""
    ids, offsets, at = [], [], 0
    for word in text.split(" "):
        if word:
            ids.append(_WORDS.setdefault(word, len(_WORDS)))
            offsets.append((at, at + len(word)))
        at += len(word) + 1
    return np.array(ids, np.int32), np.array(offsets, np.int32)


def _memory(*texts: str, max_chars: int = 1_000) -> TextMemory:
    memory = TextMemory(max_chars)
    for text in texts:
        memory.add(text, *_read(text))
    return memory


def test_windows_are_written_with_the_white_space_of_their_text() -> None:
    text = "a b  c d e f g h i j k l"
    memory = _memory("passage:", "Title\n\n", text, "a b x")
    assert memory.parts_of(_read("passage: Title\n\n a b c")[0]) == [
        "passage:",
        "Title\n\n",
        "a b  c",
    ]
    assert memory.parts_of(_read("passage: a b i j k")[0]) == ["passage:", "a b", " i j k"]
    assert memory.parts_of(_read("e f g")[0]) == [" e f g"]
    assert memory.parts_of(_read("a b x")[0]) == ["a b x"]


def test_what_was_never_read_is_not_made_up() -> None:
    assert _memory("a b c").parts_of(_read("a b unknown")[0]) == []
    assert _memory().parts_of(_read("a")[0]) == []
    assert _memory("a b c").parts_of(np.zeros(0, np.int32)) == []


def test_the_oldest_texts_go_when_it_is_full_and_a_copy_starts_empty() -> None:
    memory = _memory("a b c", "d e f", "a b c", "g h i", max_chars=10)
    assert memory.parts_of(_read("d e f")[0]) == []
    assert memory.parts_of(_read("a b c")[0]) == ["a b c"]
    assert memory.parts_of(_read("g h i")[0]) == ["g h i"]
    assert pickle.loads(pickle.dumps(memory)).parts_of(_read("a b c")[0]) == []


def test_texts_that_are_used_outlive_others() -> None:
    memory = _memory("a b c", "d e f", max_chars=10)
    assert memory.parts_of(_read("a b")[0]) == ["a b"]
    memory.add("g h i", *_read("g h i"))
    assert memory.parts_of(_read("a b c")[0]) == ["a b c"]
    assert not memory.touch("d e f")
    assert memory.touch("g h i")
    memory.add("j k l", *_read("j k l"))
    assert [memory.touch(text) for text in ("a b c", "g h i", "j k l")] == [False, True, True]


def test_a_text_larger_than_the_memory_leaves_what_was_read_just_before() -> None:
    memory = _memory("a b c", "d e f g h i j k l m n", max_chars=10)
    assert memory.parts_of(_read("a b c")[0]) == ["a b c"]
    assert memory.parts_of(_read("d e f g")[0]) == ["d e f g"]


def test_among_many_texts_with_one_beginning_a_whole_text_is_found() -> None:
    """Parts of several would read as these tokens here; a server may join them into others."""
    alike = "a b c d e f g h i"
    memory = _memory(f"{alike} x y", *(f"{alike} x {n}" for n in range(200)), max_chars=10_000)
    assert memory.parts_of(_read(f"{alike} x y")[0]) == [f"{alike} x y"]


def test_among_many_texts_with_one_beginning_the_one_in_use_is_looked_at() -> None:
    alike = "a b c d e f g h i"
    memory = _memory(f"{alike} x y z", *(f"{alike} x {n}" for n in range(200)), max_chars=10_000)
    assert memory.touch(f"{alike} x y z")
    assert memory.parts_of(_read(f"{alike} x y")[0]) == [f"{alike} x y"]
