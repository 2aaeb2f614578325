"""The ledger: against a brute-force oracle, in bounded memory, each parent embedded once."""

from __future__ import annotations

import itertools
import logging
import random
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from numpy.typing import NDArray

from latechunk_integrations.langchain.ledger import Bounds, Ledger, Place
from latechunk_integrations.schema import Parent
from latechunk_integrations.stats import EngineStats

_MANY_BYTES = 1 << 30
# More than these, and trying every way takes too long.
_MAX_PARENTS = 4


def parent_of(texts: Sequence[str], name: str = "") -> Parent:
    """A parent whose chunks are these texts, one behind the other."""
    spans, start = [], 0
    for text in texts:
        spans.append((start, start + len(text)))
        start += len(text) + 1
    return Parent(" ".join(texts), spans, id=name)


def record(ledger: Ledger, texts: Sequence[str], name: str = "") -> Parent:
    parent = parent_of(texts, name)
    ledger.record(parent, texts)
    return parent


def keys(ledger: Ledger, texts: Sequence[str]) -> list[tuple[str, int] | None]:
    return [
        (held.place.parent.id, held.place.row) if held.place else None
        for held in ledger.resolve(texts)
    ]


def ambiguous(ledger: Ledger, texts: Sequence[str]) -> list[bool]:
    return [held.ambiguous for held in ledger.resolve(texts)]


Guess = tuple[int, int] | None
"""Number of the recorded parent and row, in the oracle."""


@dataclass
class Oracle:
    """The rule of `RunIndex`, by trying every way to assign places. Slow, lists only."""

    parents: list[list[str]] = field(default_factory=list)
    next_rows: dict[int, int] = field(default_factory=dict)

    def record(self, texts: list[str]) -> None:
        if texts not in self.parents:
            self.parents.append(texts)

    def resolve(self, texts: list[str]) -> tuple[list[Guess], list[bool]]:
        """The first of the best ways, and where the best ways differ."""
        choices = [self._choices(text) for text in texts]
        best: list[tuple[Guess, ...]] = []
        most = -1
        for way in itertools.product(*choices):
            n_links = self._n_links(way)
            if n_links > most:
                best, most = [way], n_links
            elif n_links == most:
                best.append(way)
        chosen = list(best[0])
        differs = [len({way[i] for way in best}) > 1 for i in range(len(texts))]
        self._leave(chosen, differs)
        return chosen, differs

    def _choices(self, text: str) -> list[Guess]:
        found: list[Guess] = [
            (number, row)
            for number, parent in enumerate(self.parents)
            for row, own in enumerate(parent)
            if own == text
        ]
        return found or [None]

    def _n_links(self, way: Sequence[Guess]) -> int:
        n_links = 0
        for i, guess in enumerate(way):
            if guess is None:
                continue
            number, row = guess
            if i == 0:
                n_links += self.next_rows.get(number) == row
            else:
                n_links += way[i - 1] == (number, row - 1)
        return n_links

    def _leave(self, chosen: Sequence[Guess], differs: Sequence[bool]) -> None:
        for guess in chosen:
            if guess is not None:
                self.next_rows.pop(guess[0], None)
        last = chosen[-1]
        if last is not None and not differs[-1] and last[1] + 1 < len(self.parents[last[0]]):
            self.next_rows[last[0]] = last[1] + 1


_WORDS = st.sampled_from(["a", "b", "c", "d", "e", "f"])


class LedgerMachine(RuleBasedStateMachine):
    """Parents with repeated texts; calls that cut them, mix them, probe and repeat."""

    @initialize()
    def start(self) -> None:
        self.ledger = Ledger(_MANY_BYTES)
        self.oracle = Oracle()
        self.last: list[str] = []

    @precondition(lambda self: len(self.oracle.parents) < _MAX_PARENTS)
    @rule(texts=st.lists(_WORDS, min_size=1, max_size=4))
    def split(self, texts: list[str]) -> None:
        self.oracle.record(texts)
        record(self.ledger, texts, name=str(self.oracle.parents.index(texts)))

    @rule(texts=st.lists(st.one_of(_WORDS, st.just("unknown")), min_size=1, max_size=3))
    def ask_anything(self, texts: list[str]) -> None:
        self._ask(texts)

    @precondition(lambda self: self.oracle.parents)
    @rule(data=st.data())
    def ask_whole_parents_in_batches(self, data: st.DataObject) -> None:
        """What a store does: whole parents one behind the other, cut by the batch size."""
        texts: list[str] = []
        for parent in data.draw(st.lists(st.sampled_from(self.oracle.parents), max_size=2)):
            texts.extend(parent)
        size = data.draw(st.integers(1, 3))
        for start in range(0, len(texts), size):
            self._ask(texts[start : start + size])

    @precondition(lambda self: self.last)
    @rule()
    def retry(self) -> None:
        self._ask(self.last)

    def _ask(self, texts: list[str]) -> None:
        self.last = texts
        guesses, differs = self.oracle.resolve(texts)
        held = self.ledger.resolve(texts)
        found = [(int(h.place.parent.id), h.place.row) if h.place else None for h in held]
        assert found == guesses
        assert [h.ambiguous for h in held] == differs
        for text, own in zip(texts, held, strict=True):
            assert own.place is None or own.place.parent.chunk_text(own.place.row) == text


TestLedgerAgainstEveryWay = LedgerMachine.TestCase
# More than 5,000 calls are compared in the profile `ci`.
TestLedgerAgainstEveryWay.settings = settings(
    max_examples=4 * settings().max_examples, stateful_step_count=30
)


def test_five_thousand_corpora_of_whole_documents_are_resolved_or_reported() -> None:
    """Complete documents in any order and batch: each text is right, or reported as ambiguous.

    Documents begin with a line of their own, as most do, so that a call of whole documents
    leaves nothing to guess.
    """
    rng = random.Random(1)
    for _ in range(5_000):
        ledger = Ledger(_MANY_BYTES)
        documents = [
            [f"title {number}", *rng.choices("abc", k=rng.randint(0, 5))] for number in range(4)
        ]
        for number, texts in enumerate(documents):
            record(ledger, texts, name=str(number))
        order = rng.sample(range(4), k=rng.randint(1, 4))
        expected = [(str(n), row) for n in order for row in range(len(documents[n]))]
        asked = [documents[int(name)][row] for name, row in expected]
        assert keys(ledger, asked) == expected
        size = rng.choice([1, 2, 3, 7])
        held = [
            one
            for start in range(0, len(asked), size)
            for one in ledger.resolve(asked[start : start + size])
        ]
        for one, (name, row) in zip(held, expected, strict=True):
            assert one.place is not None
            assert (one.place.parent.id, one.place.row) == (name, row) or one.ambiguous


def test_a_repeated_text_is_told_apart_by_its_run() -> None:
    ledger = Ledger(_MANY_BYTES)
    record(ledger, ["one", "same", "two", "same", "three"], "p")
    record(ledger, ["four", "same", "five"], "q")
    assert keys(ledger, ["two", "same", "three"]) == [("p", 2), ("p", 3), ("p", 4)]
    assert keys(ledger, ["four", "same"]) == [("q", 0), ("q", 1)]
    assert keys(ledger, ["same", "three"]) == [("p", 3), ("p", 4)]


def test_a_batch_that_cuts_a_parent_goes_on_in_the_next_call() -> None:
    ledger = Ledger(_MANY_BYTES)
    record(ledger, ["one", "same", "two"], "p")
    record(ledger, ["four", "same", "five"], "q")
    assert keys(ledger, ["four"]) == [("q", 0)]
    assert keys(ledger, ["same"]) == [("q", 1)]
    assert keys(ledger, ["five"]) == [("q", 2)]


def test_a_repeated_text_asked_for_alone_is_reported_and_goes_to_the_first() -> None:
    """The rule where texts alone cannot decide: the place recorded first, and a report."""
    ledger = Ledger(_MANY_BYTES)
    record(ledger, ["one", "same"], "p")
    record(ledger, ["same", "two"], "q")
    (held,) = ledger.resolve(["same"])
    assert held.ambiguous
    assert held.place is not None
    assert held.place.parent.id == "p"
    # A guess is no place to go on from: what follows is as open as before.
    assert ambiguous(ledger, ["same"]) == [True]


def test_boilerplate_of_a_thousand_documents_is_told_apart_by_its_neighbours() -> None:
    """Two lines that end every document; alone they are reported, and cost no search."""
    ledger = Ledger(_MANY_BYTES)
    footer = ["All rights reserved.", "Contact us."]
    documents = [[f"title {n}", *footer] for n in range(1_000)]
    for number, texts in enumerate(documents):
        record(ledger, texts, str(number))
    order = [700, 3, 999, 0]
    asked = [text for number in order for text in documents[number]]
    assert keys(ledger, asked) == [(str(n), row) for n in order for row in range(3)]
    assert not any(ambiguous(ledger, asked))
    assert ambiguous(ledger, footer) == [True, True]
    # A batch that cuts a document before its footer goes on with that footer.
    assert keys(ledger, ["title 8"]) == [("8", 0)]
    assert keys(ledger, footer) == [("8", 1), ("8", 2)]


def test_probes_and_retries_change_nothing() -> None:
    ledger = Ledger(_MANY_BYTES)
    whole = ["one", "same", "two", "same"]
    record(ledger, whole, "p")
    places = [("p", row) for row in range(4)]
    for n_texts in (1, 4, 4, 2, 4):
        assert keys(ledger, whole[:n_texts]) == places[:n_texts]
        assert keys(ledger, ["dummy_text"]) == [None]


def test_equal_places_are_not_ambiguous() -> None:
    """The same document split twice: wherever the text is taken from, the vector is the same."""
    ledger = Ledger(_MANY_BYTES)
    text = "one same two"
    ledger.record(Parent(text, [(0, 3), (4, 8), (9, 12)]), ["one", "same", "two"])
    ledger.record(Parent(text, [(0, 8), (4, 8)]), ["one same", "same"])
    ledger.record(Parent(text, [(0, 3), (4, 8), (9, 12)]), ["one", "same", "two"])
    assert ambiguous(ledger, ["same"]) == [False]


def test_vectors_are_kept_until_each_was_delivered() -> None:
    ledger = Ledger(_MANY_BYTES)
    parent = record(ledger, ["one", "two", "three"])
    chunks = [Place(parent, row).bounds for row in range(3)]
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    before = ledger.n_bytes
    ledger.keep(parent, chunks, vectors, chunks[:1])
    assert ledger.n_bytes == before + vectors.nbytes
    np.testing.assert_array_equal(_taken(ledger, parent, chunks[:2]), vectors[:2])
    np.testing.assert_array_equal(_taken(ledger, parent, chunks[2:]), vectors[2:])
    assert ledger.take(parent, chunks[2:]) is None
    assert ledger.n_bytes == before
    assert ledger.pending(parent) == set()


def _taken(ledger: Ledger, parent: Parent, chunks: list[Bounds]) -> NDArray[np.float32]:
    vectors = ledger.take(parent, chunks)
    assert vectors is not None
    return vectors


def test_memory_is_bounded_when_chunks_are_split_and_never_embedded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The least recently used go first, with a log line that names parent and remedy."""
    stats = EngineStats()
    ledger = Ledger(100_000, stats)
    with caplog.at_level(logging.INFO):
        for number in range(1_000):
            record(ledger, [f"{number} line {i}" for i in range(10)], f"document {number}")
            assert ledger.n_bytes <= 100_000
    n_evicted = stats.to_dict()["evicted"]
    assert n_evicted > 900
    assert "document 0" in caplog.records[0].message
    assert "ledger_bytes" in caplog.records[0].message
    assert [record.levelno for record in caplog.records[:2]] == [logging.WARNING, logging.INFO]
    assert len(caplog.records) == n_evicted
    assert keys(ledger, ["0 line 1", "999 line 1"]) == [None, ("document 999", 1)]


def test_the_bound_counts_what_python_really_holds() -> None:
    """The ledger's own account against the interpreter's, within a third."""
    ledger = Ledger(_MANY_BYTES)
    texts = [[f"document {n}, line {i}, of some length" for i in range(20)] for n in range(300)]
    tracemalloc.start()
    for own in texts:
        record(ledger, own)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held / 1.33 < ledger.n_bytes < held * 1.33


def test_what_was_delivered_goes_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    stats = EngineStats()
    ledger = Ledger(20_000, stats)
    for number in range(100):
        parent = record(ledger, [f"{number} line {i}" for i in range(5)])
        chunks = [Place(parent, row).bounds for row in range(5)]
        ledger.keep(parent, chunks, np.zeros((5, 4), np.float32), chunks)
    assert keys(ledger, ["0 line 1"]) == [None]
    assert stats.to_dict() == {}
    assert not caplog.records


def test_the_newest_parent_stays_even_if_it_is_larger_than_the_bound() -> None:
    ledger = Ledger(10)
    record(ledger, ["one", "two"], "p")
    record(ledger, ["three", "four"], "q")
    assert keys(ledger, ["one", "four"]) == [None, ("q", 1)]


def test_an_evicted_parent_is_found_while_the_callers_chunks_hold_it() -> None:
    ledger = Ledger(10)
    parent = record(ledger, ["one", "two"])
    record(ledger, ["three"])
    place = ledger.find(parent.fingerprint, 4, None, "two")
    assert place is not None
    assert place.key == (parent.fingerprint, (4, 7))
    fingerprint = parent.fingerprint
    del parent, place
    assert ledger.find(fingerprint, 4, None, "two") is None
