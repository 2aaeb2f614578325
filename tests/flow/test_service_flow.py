"""The flow over an encoder of this process: modes, fallbacks, counts, and what is refused."""

from __future__ import annotations

import contextlib
import math
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from latechunk_integrations import LateChunkEngine, LateChunkOptions, Parent
from latechunk_integrations.encoders.base import ChunkEncoder, ChunkLimits, Reading
from latechunk_integrations.errors import (
    ChunkWithoutTokenError,
    InputTypeError,
    OptionError,
    ParentTooLongError,
)
from latechunk_integrations.stats import EngineStats
from latechunk_integrations.testing.service_oracle import ServiceOracle
from tests import strategies

LIMITS = ChunkLimits(
    document_tokens=40,
    element_tokens=0,
    document_elements=100,
    request_documents=4,
    request_texts=4,
    request_elements=100,
    request_tokens=400,
)


class WordEncoder:
    """Counts words; a chunk's vector counts letters, and knows what the document holds."""

    dimensions = 27
    fingerprint = "words"
    joined = False
    max_concurrency = 2
    contract = dtype = device = None

    def __init__(self, limits: ChunkLimits = LIMITS) -> None:
        self.limits = limits
        self.usage = EngineStats()
        self.sent: list[tuple[Reading, list[list[str]]]] = []

    def close(self) -> None:
        """Nothing is open."""

    def count_tokens(self, texts: Sequence[str]) -> list[tuple[int, int]]:
        return [(len(text.split()), len(text.split())) for text in texts]

    def submit(
        self, documents: Sequence[Sequence[str]], reading: Reading, *, parent_id: str | None
    ) -> Future[list[NDArray[np.float32]]]:
        del parent_id
        self.sent.append((reading, [list(elements) for elements in documents]))
        future: Future[list[NDArray[np.float32]]] = Future()
        future.set_result([self.vectors(elements) for elements in documents])
        return future

    def vectors(self, elements: Sequence[str]) -> NDArray[np.float32]:
        rows = np.zeros((len(elements), 27), np.float32)
        for row, element in zip(rows, elements, strict=True):
            for letter in element.lower():
                if letter.isascii() and letter.isalpha():
                    row[ord(letter) - ord("a")] += 1
            row[26] = len(elements)
        return rows

    def is_too_long(self, error: Exception) -> bool:
        del error
        return False


class RefusedError(Exception):
    """What a service says of too many tokens."""


class Refusing(WordEncoder):
    """Counts words as well as it can, and refuses documents by a limit of its own.

    Args:
        most_words: Of a document that is read.
        counted: Share of the words that it counts before it is asked.
        joined: As a `ChunkEncoder` has it.
    """

    def __init__(self, most_words: int, *, counted: float = 1.0, joined: bool = False) -> None:
        super().__init__()
        self.most_words = most_words
        self.counted = counted
        self.joined = joined

    def count_tokens(self, texts: Sequence[str]) -> list[tuple[int, int]]:
        counts = [math.ceil(len(text.split()) * self.counted) for text in texts]
        return [(count, count) for count in counts]

    def submit(
        self, documents: Sequence[Sequence[str]], reading: Reading, *, parent_id: str | None
    ) -> Future[list[NDArray[np.float32]]]:
        future = super().submit(documents, reading, parent_id=parent_id)
        assert len(self.sent) < 500, "it asks for ever"
        if any(len(" ".join(one).split()) > self.most_words for one in documents):
            future = Future()
            future.set_exception(RefusedError("too many tokens"))
        return future

    def is_too_long(self, error: Exception) -> bool:
        return isinstance(error, RefusedError)


def _engine(encoder: WordEncoder | None = None, **options: Any) -> LateChunkEngine:
    return LateChunkEngine(encoder or WordEncoder(), LateChunkOptions(model="words", **options))


def _spans(text: str, n_words: int) -> list[tuple[int, int]]:
    spans, at = [], 0
    words = text.split(" ")
    for start in range(0, len(words), n_words):
        chunk = " ".join(words[start : start + n_words])
        spans.append((at, at + len(chunk)))
        at += len(chunk) + 1
    return spans


TEXT = " ".join(["alpha beta gamma delta"] * 25)


def test_any_class_with_the_members_is_a_chunk_encoder() -> None:
    assert isinstance(WordEncoder(), ChunkEncoder)


@pytest.mark.rule(5)
def test_modes_tell_how_a_vector_came_about() -> None:
    engine = _engine(min_parent_tokens=3)
    fits = Parent(TEXT[:60], _spans(TEXT[:60], 4), id="fits")
    long = Parent(TEXT, _spans(TEXT, 4), id="long")
    short = Parent("alpha beta", [(0, 5)], id="short")
    results = engine.embed([fits, long, short])
    assert [set(result.modes) for result in results] == [{"late"}, {"windowed"}, {"standalone"}]
    assert [result.n_windows for result in results][0::2] == [1, 0]
    assert results[1].n_windows > 2
    assert engine.stats["short_parents"] == 1
    assert engine.stats["standalone_chunks"] == 1


@pytest.mark.rule(2)
def test_a_chunk_in_several_documents_has_the_mean_of_them() -> None:
    encoder = WordEncoder()
    spans = _spans(TEXT, 4)
    engine = _engine(encoder, overlap_tokens=12, normalize=False)
    (result,) = engine.embed([Parent(TEXT, spans)])
    documents = [elements for _, sent in encoder.sent for elements in sent]
    assert sum(map(len, documents)) > len(spans)
    # Every chunk has the same text; the last number of a vector is the size of its document.
    assert np.array_equal(result.vectors[:, :26], np.tile(result.vectors[0, :26], (len(spans), 1)))
    held: list[list[int]] = [[] for _ in spans]
    first = 0
    for elements, following in zip(documents, [*documents[1:], []], strict=True):
        for row in range(first, first + len(elements)):
            held[row].append(len(elements))
        first += len(elements) - 3 * bool(following)  # neighbours share 12 words: three chunks
    assert np.allclose(result.vectors[:, 26], [np.mean(sizes) for sizes in held])


@pytest.mark.rule(5)
def test_white_space_is_embedded_standalone_and_refused_when_strict() -> None:
    parent = Parent("alpha   beta", [(0, 5), (5, 8), (8, 12)], id="blank")
    engine = _engine()
    (result,) = engine.embed([parent])
    assert result.modes == ("late", "standalone", "late")
    assert engine.stats["chunks_without_token"] == 1
    with pytest.raises(ChunkWithoutTokenError) as caught:
        _engine(strict=True).embed([parent])
    assert (caught.value.parent_id, caught.value.span) == ("blank", (5, 8))


def test_joined_elements_are_the_text_with_all_of_its_white_space() -> None:
    encoder = WordEncoder()
    encoder.joined = True
    text = "alpha " * 30 + " " * 2_000 + "omega" + "\n" * 2_000 + "delta " * 30
    start = text.index("omega")
    _engine(encoder).embed([Parent(text, [(start, start + 5)])])
    documents = ["".join(elements) for _, sent in encoder.sent for elements in sent]
    assert documents
    assert all(document in text for document in documents)


def test_documents_without_a_chunk_are_not_sent() -> None:
    """The far ends of a long text are context of nothing."""
    encoder = WordEncoder()
    middle = len(TEXT) // 2 + 3
    (result,) = _engine(encoder).embed([Parent(TEXT, [(middle, middle + 4)])])
    n_words = sum(len(e.split()) for _, sent in encoder.sent for d in sent for e in d)
    assert n_words < 80 < len(TEXT.split())
    assert result.modes == ("windowed",)


def test_a_header_leaves_half_of_a_document_to_the_text() -> None:
    encoder = WordEncoder()
    engine = _engine(encoder)
    engine.embed([Parent("alpha beta", [(0, 5)], header="title " * 60)])
    ((_, ((header, *_),)),) = encoder.sent
    assert len(header.split()) == 20
    assert engine.stats["headers_cut"] == 1


def test_a_whole_document_may_be_larger_than_the_requests_others_share() -> None:
    encoder = WordEncoder(replace(LIMITS, request_tokens=10))
    results = _engine(encoder).embed([Parent(TEXT[:120], id=str(i)) for i in range(3)])
    assert [len(sent) for _, sent in encoder.sent] == [1, 1, 1]
    assert [result.parent_id for result in results] == ["0", "1", "2"]


@pytest.mark.slow
def test_parents_that_wait_for_a_request_to_fill_do_not_pile_up() -> None:
    """One short parent alone in its kind of request, and thousands behind it."""
    engine = _engine(min_parent_tokens=2)
    text = "alpha beta" + " " * 200_000
    taken = 0

    def parents() -> Iterator[Parent]:
        nonlocal taken
        yield Parent("alone", id="alone")
        for number in range(100_000):
            taken += 1
            yield Parent(text, [(0, 5)], id=str(number))

    assert next(engine.embed_iter(parents())).parent_id == "alone"
    assert taken < 1_000


def test_standalone_only_sends_no_chunks_together() -> None:
    encoder = WordEncoder()
    (result,) = _engine(encoder, enabled=False).embed([Parent(TEXT, _spans(TEXT, 4))])
    assert {reading for reading, _ in encoder.sent} == {"alone"}
    assert set(result.modes) == {"standalone"}
    assert result.n_windows == 0


def test_a_chunk_that_is_the_whole_text_is_sent_once() -> None:
    encoder = WordEncoder()
    (whole, parts) = _engine(encoder, context_weight=0.5).embed(
        [Parent(" alpha beta ", [(1, 11)]), Parent("alpha beta", [(0, 10), (0, 5)])]
    )
    assert whole.modes == ("late",)
    assert [documents for reading, documents in encoder.sent if reading == "alone"] == [[["alpha"]]]
    assert np.allclose(whole.vectors[0], _engine().embed([Parent("alpha beta")])[0].vectors[0])
    assert parts.modes == ("late", "late")


def test_a_whole_text_that_just_fits_is_sent_once() -> None:
    encoder = WordEncoder()
    text = " ".join(["alpha"] * LIMITS.document_tokens)
    (result,) = _engine(encoder, context_weight=0.5).embed([Parent(text)])
    assert result.modes == ("late",)
    assert [documents for _, documents in encoder.sent] == [[[text]]]


@pytest.mark.parametrize(("most_words", "is_served"), [(10, True), (4, False)])
def test_a_service_is_asked_for_shorter_documents_down_to_a_few_tokens(
    most_words: int, is_served: bool
) -> None:
    engine = _engine(Refusing(most_words), overlap_tokens=0)
    text = " ".join(TEXT.split()[:41])
    parent = Parent(text, _spans(text, 4), id="one")
    with contextlib.nullcontext() if is_served else pytest.raises(ParentTooLongError):
        (result,) = engine.embed([parent])
        assert set(result.modes) == {"windowed"}


def test_more_tokens_than_the_model_reads_are_refused_at_once() -> None:
    with pytest.raises(OptionError, match="max_tokens=41"):
        _engine(max_tokens=41)


def test_a_long_chunk_is_cut_into_parts_or_refused() -> None:
    engine = _engine()
    (result,) = engine.embed([Parent(TEXT)])
    assert result.modes == ("windowed",)
    assert engine.stats["chunks_cut"] == 1
    vector = engine.embed_texts([TEXT])[0]
    assert np.isfinite(vector).all()
    for options in ({"strict": True}, {"fallback": "error"}):
        with pytest.raises(ParentTooLongError):
            _engine(**options).embed([Parent(TEXT, id="one")])
    with pytest.raises(ParentTooLongError, match="text 0"):
        _engine(strict=True).embed_texts([TEXT])


def test_one_text_is_no_list_of_texts() -> None:
    with pytest.raises(InputTypeError):
        _engine().embed_texts("text")
    with pytest.raises(InputTypeError):
        _engine().embed([Parent(TEXT), "text"])  # type: ignore[list-item]  # on purpose


@pytest.mark.parametrize("options", [{}, {"context_weight": 0.5}, {"context_weight": 0.0}], ids=str)
@pytest.mark.parametrize("header", ["", "title " * 9, "title " * 60], ids=["none", "short", "long"])
@pytest.mark.parametrize("counted", [0.4, 1.0])
@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("most_words", [0, 1, 5, 12, 25, 30])
def test_a_service_that_refuses_is_asked_until_it_takes_it_or_there_is_a_typed_error(
    most_words: int, joined: bool, counted: float, header: str, options: dict[str, Any]
) -> None:
    encoder = Refusing(most_words, counted=counted, joined=joined)
    engine = _engine(encoder, **options)
    parents = [Parent(TEXT[:120], _spans(TEXT[:120], 4), id="one", header=header)]
    may_fail = most_words < 25 or header
    with contextlib.suppress(*[ParentTooLongError] * bool(may_fail)):
        (result,) = engine.embed(parents)
        assert np.linalg.norm(result.vectors, axis=1) == pytest.approx(1)
        assert np.all(np.abs(result.vectors[:, :26]).sum(axis=1) > 0)


@pytest.mark.rule(5)
@pytest.mark.parametrize("context_weight", [0.5, 1.0])
@pytest.mark.parametrize(
    "spans", [[(0, 10)], [(0, 10), (0, 5)], [(0, 10), (5, 6), (6, 10)]], ids=str
)
def test_chunks_of_a_parent_that_is_refused_are_embedded_standalone(
    context_weight: float, spans: list[tuple[int, int]]
) -> None:
    class RefusesTogether(Refusing):
        def submit(
            self, documents: Sequence[Sequence[str]], reading: Reading, *, parent_id: str | None
        ) -> Future[list[NDArray[np.float32]]]:
            self.most_words = 0 if reading == "chunks" else 100
            return super().submit(documents, reading, parent_id=parent_id)

    text = "alpha beta"
    engine = _engine(RefusesTogether(0), fallback="standard", context_weight=context_weight)
    (result,) = engine.embed([Parent(text, spans, id="one")])
    assert set(result.modes) == {"standalone"}
    assert result.n_windows == 0
    wanted = _engine().embed_texts(
        [text[start:end] for start, end in spans if text[start:end].strip()]
    )
    got = [
        row
        for row, (start, end) in zip(result.vectors, spans, strict=True)
        if text[start:end].strip()
    ]
    assert np.allclose(got, wanted)
    assert engine.stats["long_parents_standalone"] == 1


def test_nothing_more_is_sent_of_layers_behind_one_that_was_refused() -> None:
    encoder = Refusing(3)
    encoder.max_concurrency = 1
    encoder.limits = replace(LIMITS, request_documents=1)
    engine = _engine(encoder, fallback="standard")
    text = "alpha beta gamma delta"
    spans = [(0, 10 + n) for n in range(8)]
    (result,) = engine.embed([Parent(text, spans)])
    assert set(result.modes) == {"standalone"}
    assert result.n_windows == 0
    assert [reading for reading, _ in encoder.sent].count("chunks") < len(spans)


@pytest.mark.parametrize(
    "options",
    [
        *({"layout": "units"}, {"focus": 2.0}, {"header_focus": 1.0}, {"header_pooling": 1.0}),
        *({"window_cache": ":memory:"}, {"stable_windows": True}),
    ],
)
def test_what_a_service_cannot_do_is_refused_instead_of_ignored(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="leave"):
        _engine(**options)
    assert _engine(layout="text", focus=0.0).describe().use.layout == "text"


# --- against the oracle -----------------------------------------------------------------------


class Reader(WordEncoder):
    """An element's vector depends on each element of its document, and on their order.

    It counts the words of a text; a long one may be two tokens.
    """

    dimensions = 8

    def __init__(self, limits: ChunkLimits, *, joined: bool) -> None:
        super().__init__(limits)
        self.joined = joined

    def count_tokens(self, texts: Sequence[str]) -> list[tuple[int, int]]:
        return [count_words(text) for text in texts]

    def submit(
        self, documents: Sequence[Sequence[str]], reading: Reading, *, parent_id: str | None
    ) -> Future[list[NDArray[np.float32]]]:
        limits = self.limits
        assert len(documents) <= (
            limits.request_documents if reading == "chunks" else limits.request_texts
        )
        elements = [element for document in documents for element in document]
        if len(documents) > 1:  # one alone may be larger
            assert len(elements) <= limits.request_elements
            counts = [count_words(one)[1] + limits.element_tokens for one in elements]
            assert sum(counts) <= limits.request_tokens
        return super().submit(documents, reading, parent_id=parent_id)

    def vectors(self, elements: Sequence[str]) -> NDArray[np.float32]:
        assert all(elements)
        assert len(elements) <= self.limits.document_elements
        if self.joined:  # else a word that a chunk cuts in two is more tokens than was counted
            assert count_words("".join(elements))[0] <= self.limits.document_tokens
        return np.array(read_together(elements), np.float32)


def count_words(text: str) -> tuple[int, int]:
    words = text.split()
    return len(words), len(words) + sum(len(word) > 6 for word in words)


def read_together(elements: Sequence[str]) -> list[NDArray[np.float64]]:
    own = [
        np.random.default_rng(zlib.crc32(one.encode())).standard_normal(8) + 1 for one in elements
    ]
    return [
        vector + sum(other * 0.3 ** abs(at - place) for place, other in enumerate(own))
        for at, vector in enumerate(own)
    ]


_long_texts = st.lists(
    st.tuples(
        st.sampled_from(["a", "city", "Berlin", "suppliers", "東京", "delivers every part within"]),
        st.sampled_from([" ", " ", " ", "  ", "\n\n", ". ", "\t"]),
    ),
    min_size=1,
    max_size=150,
).map(lambda parts: "".join(word + gap for word, gap in parts))


@st.composite
def _parents(draw: st.DrawFn) -> tuple[str, list[tuple[int, int]], str]:
    text = draw(_long_texts)
    spans = draw(strategies.spans_of(text))
    if draw(st.booleans()):  # as a splitter cuts it
        cuts = sorted({0, len(text), *draw(st.lists(st.integers(0, len(text)), max_size=12))})
        spans += list(pairwise(cuts))
    header = draw(st.sampled_from(["", "", "Title", "Handbook of suppliers 1.3 東京 " * 6]))
    return text, spans, header


_limits = st.builds(
    ChunkLimits,
    document_tokens=st.sampled_from([12, 20, 31, 48, 90, 300]),
    element_tokens=st.sampled_from([0, 0, 1]),
    document_elements=st.sampled_from([4, 7, 100]),
    request_documents=st.sampled_from([1, 4]),
    request_texts=st.sampled_from([1, 5]),
    request_elements=st.sampled_from([8, 100]),
    request_tokens=st.sampled_from([10, 60, 400]),
)
_options = st.fixed_dictionaries(
    {
        "overlap_tokens": strategies.overlaps,
        "context_weight": st.sampled_from([0.0, 0.6, 1.0, 1.0]),
        "header_weight": st.sampled_from([0.0, 0.0, 0.2]),
        "fallback": st.sampled_from(["window", "window", "standard", "skip"]),
        "min_parent_tokens": st.sampled_from([0, 0, 9]),
    }
)


def _oracle(limits: ChunkLimits, options: dict[str, Any], *, joined: bool) -> ServiceOracle:
    return ServiceOracle(
        read_together,
        count_words,
        limits.document_tokens,
        limits.document_elements,
        limits.element_tokens,
        joined,
        overlap=options["overlap_tokens"],
        **{name: value for name, value in options.items() if name != "overlap_tokens"},
    )


# Long enough for text between chunks to be divided as finely as it ever is; more white space than
# a token has characters.
_LONG = (" " * 5).join(f"word{n}" for n in range(900))
_LONG_PARENT = (_LONG, [(2_000, 2_040), (4_600, 4_640), (8_000, 8_100)], "Title")
# Cut at the white space nearest to the middle, it has a part of one token.
_UNEVEN = "y" + " " * 200 + " ".join(["one two three four five six"] * 3)
_LARGE = ChunkLimits(300, 0, 100, 4, 4, 100, 400)
_SMALL = replace(_LARGE, document_tokens=12)
_PLAIN = {"overlap_tokens": None}
_EARLY = {**_PLAIN, "context_weight": 0.0}


_NEVER_STRICT = {
    "chunks_without_token": ChunkWithoutTokenError,
    "chunks_cut": ParentTooLongError,
    "skipped_parents": ParentTooLongError,
    "long_parents_standalone": ParentTooLongError,
}


@pytest.mark.rule(2)
@pytest.mark.rule(5)
@given(_parents(), _limits, _options, st.booleans())
@example(parent=_LONG_PARENT, limits=_LARGE, options=_PLAIN, joined=False)
@example(parent=_LONG_PARENT, limits=_LARGE, options=_PLAIN, joined=True)
@example(parent=(_UNEVEN, [(0, len(_UNEVEN))], ""), limits=_SMALL, options=_EARLY, joined=False)
def test_vectors_modes_and_counts_are_those_of_the_oracle(
    parent: tuple[str, list[tuple[int, int]], str],
    limits: ChunkLimits,
    options: dict[str, Any],
    joined: bool,
) -> None:
    text, spans, header = parent
    oracle = _oracle(limits, options, joined=joined)
    wanted = oracle.rows(text, spans, header)
    engine = _engine(Reader(limits, joined=joined), **options)
    parents = [Parent(text, spans, header, id="one"), Parent(text, spans, header, id="two")]
    for result in engine.embed(parents):
        assert result.skipped is (wanted is None)
        if wanted is not None:
            np.testing.assert_allclose(result.vectors, wanted.vectors, atol=2e-5)
            assert result.modes == wanted.modes
            assert result.n_windows == wanted.n_windows
    counted = {name: engine.stats.get(name, 0) for name in oracle.notes}
    assert counted == {name: 2 * n for name, n in oracle.notes.items()}


@pytest.mark.rule(5)
@given(_parents(), _limits, _options, st.booleans())
def test_strict_refuses_exactly_what_would_be_counted(
    parent: tuple[str, list[tuple[int, int]], str],
    limits: ChunkLimits,
    options: dict[str, Any],
    joined: bool,
) -> None:
    text, spans, header = parent
    oracle = _oracle(limits, options, joined=joined)
    wanted = oracle.rows(text, spans, header)
    engine = _engine(Reader(limits, joined=joined), strict=True, **options)
    refused = tuple({_NEVER_STRICT[name] for name in _NEVER_STRICT if oracle.notes[name]})
    with pytest.raises(refused) if refused else contextlib.nullcontext():
        (result,) = engine.embed([Parent(text, spans, header, id="one")])
        assert wanted is not None
        np.testing.assert_allclose(result.vectors, wanted.vectors, atol=2e-5)
