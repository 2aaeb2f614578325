"""The search for chunk texts: laws of the span, checked against splitters that know the truth."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from operator import add, eq
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from langchain_text_splitters import RecursiveCharacterTextSplitter
from llama_index.core.node_parser import SentenceSplitter

from latechunk_integrations.core.spans import LocatedBy, locate
from latechunk_integrations.errors import InputTypeError, OptionError

Bounds: TypeAlias = tuple[int, int]
EXACT, WHITESPACE, PARTIAL, MISSING = LocatedBy


def texts_of(text: str, spans: Sequence[Bounds]) -> list[str]:
    return [text[start:end] for start, end in spans]


def found(text: str, chunks: Sequence[str], overlap: int | None = None) -> list[Bounds]:
    located = locate(text, chunks, overlap=overlap)
    return [(start, end) for start, end in located.spans.tolist()]


def strip(text: str, spans: Sequence[Bounds]) -> list[Bounds]:
    """The spans without white space at their edges, without those that are nothing else."""
    stripped = []
    for start, end in spans:
        chunk = text[start:end]
        bounds = (start + len(chunk) - len(chunk.lstrip()), start + len(chunk.rstrip()))
        if bounds[0] < bounds[1]:
            stripped.append(bounds)
    return stripped


def fixed(text: str, size: int, overlap: int) -> list[Bounds]:
    """Spans of a splitter that counts characters and strips."""
    starts = range(0, max(1, len(text) - overlap), size - overlap)
    return strip(text, [(start, min(start + size, len(text))) for start in starts])


def at_words(
    text: str, sizes: Sequence[int], overlaps: Sequence[int], kept: Sequence[bool]
) -> list[Bounds]:
    """Spans of a splitter that cuts at words; sizes, overlaps and what is kept go round."""
    is_space = [c.isspace() for c in f" {text}"]
    words = [i for i in range(len(text)) if is_space[i] and not is_space[i + 1]]
    spans: list[Bounds] = []
    start, step = 0, 0
    while start < len(text):
        at = bisect_right(words, start + sizes[step % len(sizes)])
        end = words[at] if at < len(words) else len(text)
        spans.append((start, end))
        at = bisect_left(words, end - overlaps[step % len(overlaps)])
        following = words[at] if at < len(words) else end
        start = following if start < following else end
        step += 1
    return strip(text, [span for i, span in enumerate(spans) if kept[i % len(kept)]])


def all_occurrences(text: str, chunk: str) -> list[Bounds]:
    starts = [i for i in range(len(text)) if text.startswith(chunk, i)]
    return [(start, start + len(chunk)) for start in starts]


def best_assignments(text: str, chunks: Sequence[str], overlap: int) -> tuple[Bounds, int]:
    """Lowest cost over all assignments in order, and how many have it; no code of the package."""
    # start of the last chunk, end of what is read -> cost, number of ways
    states: dict[Bounds, tuple[Bounds, int]] = {(-1, 0): ((0, 0), 1)}
    for i, chunk in enumerate(chunks):
        following: dict[Bounds, tuple[Bounds, int]] = {}
        again = i > 0 and chunks[i - 1] == chunk
        for (last, reach), ((skipped, deviation), ways) in states.items():
            for start, end in all_occurrences(text, chunk):
                if start < last + again:
                    continue
                gap = sum(not c.isspace() for c in text[reach:start])
                off = abs(max(0, reach - start) - overlap) if i else 0
                cost = (skipped + gap, deviation + off)
                state = (start, max(reach, end))
                known, n = following.get(state, (cost, 0))
                if cost <= known:
                    following[state] = (cost, ways + (n if cost == known else 0))
        states = following
    best = min(cost for cost, _ in states.values())
    return best, sum(ways for cost, ways in states.values() if cost == best)


def cost_of(text: str, spans: Sequence[Bounds], overlap: int) -> Bounds:
    skipped = deviation = reach = 0
    for i, (start, end) in enumerate(spans):
        skipped += sum(not c.isspace() for c in text[reach:start])
        deviation += abs(max(0, reach - start) - overlap) if i else 0
        reach = max(reach, end)
    return skipped, deviation


def twin(text: str) -> str:
    """The text with every character but white space replaced by one that stands nowhere else.

    A splitter that looks at separators and lengths only cuts both at the same places, and in
    the twin `str.find` tells which places these are.
    """
    return "".join(c if c.isspace() else chr(0xF0000 + i) for i, c in enumerate(text))


# Laws, on generated texts and splits

SPACES = [" ", "  ", "\n", "\r\n", "\n\n", "\t", "\u00a0", "\u2028", " \n "]
WORDS = [
    "a",
    "b",
    "ab",
    "é",
    "e\u0301",
    "👩‍👩‍👧",
    "🇩🇪",
    "漢字",
    "Yes.",
    "---",
    "ﬁ",
    "İ",
    "\u200b",
    "\ud83d",
]


def texts(words: st.SearchStrategy[str], max_size: int = 60) -> st.SearchStrategy[str]:
    pairs = st.tuples(words, st.sampled_from(SPACES))
    return st.lists(pairs, min_size=1, max_size=max_size).map(
        lambda drawn: "".join(word + space for word, space in drawn)
    )


def unique_texts() -> st.SearchStrategy[str]:
    """Texts in which no word stands twice."""
    return st.lists(
        st.tuples(st.sampled_from(WORDS), st.sampled_from(SPACES)), min_size=1, max_size=60
    ).map(lambda drawn: "".join(f"<{i}{word}>{space}" for i, (word, space) in enumerate(drawn)))


SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=4)
OVERLAPS = st.lists(st.integers(0, 20), min_size=1, max_size=4)
KEPT = st.lists(st.booleans(), min_size=1, max_size=7).filter(any)


@given(text=unique_texts(), sizes=SIZES, overlaps=OVERLAPS, kept=KEPT)
def test_text_that_stands_once_is_found_whatever_the_split(
    text: str, sizes: list[int], overlaps: list[int], kept: list[bool]
) -> None:
    """Law: located text equals parent[start:end]; stripping, overlap and gaps do not matter."""
    truth = at_words(text, sizes, overlaps, kept)
    located = locate(text, texts_of(text, truth))
    assert located.spans.tolist() == [list(span) for span in truth]
    assert set(located.how) <= {EXACT}


@given(
    text=texts(st.sampled_from(["a", "b", "ab", "é"]), 25),
    sizes=SIZES,
    overlaps=OVERLAPS,
    kept=KEPT,
    overlap=st.integers(0, 12),
)
def test_repeated_text_goes_where_the_least_is_skipped(
    text: str, sizes: list[int], overlaps: list[int], kept: list[bool], overlap: int
) -> None:
    """Law: fewest skipped characters, then the usual overlap; the truth, where that decides."""
    truth = at_words(text, sizes, overlaps, kept)
    chunks = texts_of(text, truth)
    if not chunks:
        return
    overlap = min(overlap, max(map(len, chunks)))
    spans = found(text, chunks, overlap)
    best, n_best = best_assignments(text, chunks, overlap)
    assert cost_of(text, spans, overlap) == best
    assert texts_of(text, spans) == chunks
    if n_best == 1 and cost_of(text, truth, overlap) == best:
        assert spans == truth


@given(text=texts(st.sampled_from(WORDS)), sizes=SIZES, overlaps=OVERLAPS, kept=KEPT)
def test_starts_never_go_back_in_reading_order(
    text: str, sizes: list[int], overlaps: list[int], kept: list[bool]
) -> None:
    """Law: starts never go back, and stand still only between different texts."""
    chunks = texts_of(text, at_words(text, sizes, overlaps, kept))
    starts = locate(text, chunks).spans[:, 0].tolist()
    for i in range(1, len(chunks)):
        assert starts[i - 1] + (chunks[i - 1] == chunks[i]) <= starts[i]


@given(
    text=texts(st.sampled_from(WORDS)),
    chunks=st.lists(st.one_of(st.text(" \nab.", max_size=20), texts(st.sampled_from(WORDS), 8))),
    cuts=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 60)), max_size=6),
    overlap=st.none() | st.integers(0, 30),
)
@example(text="", chunks=["a", ""], cuts=[], overlap=None)
def test_any_chunks_get_true_spans_or_none(
    text: str, chunks: list[str], cuts: list[Bounds], overlap: int | None
) -> None:
    """Law: never a wrong slice, whatever is asked for, in whatever order (rule 5)."""
    chunks = chunks + [text[start : start + size] for start, size in cuts]
    located = locate(text, chunks, overlap=overlap)
    assert located.spans.shape == (len(chunks), 2)
    for chunk, (start, end), how in zip(chunks, located.spans.tolist(), located.how, strict=True):
        if how is MISSING:
            assert (start, end) == (-1, -1)
            assert not chunk.strip() or text.count(chunk) != 1
            continue
        part = text[start:end]
        assert 0 <= start < end <= len(text)
        assert (part == chunk) == (how is EXACT) == (chunk in text)
        squeezed, whole = "".join(part.split()), "".join(chunk.split())
        if how is WHITESPACE:
            assert squeezed == whole
        assert squeezed in whole
        assert 2 * len(squeezed) >= len(whole)
        assert part.strip() == part or how is EXACT


@given(text=unique_texts(), sizes=SIZES, order=st.randoms(use_true_random=False))
def test_shuffled_chunks_that_stand_once_are_all_found(
    text: str, sizes: list[int], order: st.DataObject
) -> None:
    """Law: a chunk that cannot follow its predecessor goes back to its only occurrence."""
    truth = at_words(text, sizes, [0], [True])
    order.shuffle(truth)  # type: ignore[attr-defined]  # a random.Random, which hypothesis wraps
    assert found(text, texts_of(text, truth)) == truth


@given(text=unique_texts(), sizes=SIZES, overlaps=OVERLAPS, data=st.data())
def test_changed_white_space_covers_first_to_last_character(
    text: str, sizes: list[int], overlaps: list[int], data: st.DataObject
) -> None:
    """Law: runs of white space compare equal, and the span holds none at its edges."""
    truth = at_words(text, sizes, overlaps, [True])
    chunks = []
    for chunk in texts_of(text, truth):
        words = chunk.split()
        spaces = [data.draw(st.sampled_from(SPACES)) for _ in words]
        chunks.append("\v" + "".join(map(add, words, spaces)) + "\v")  # no \v in the text
    located = locate(text, chunks)
    assert located.spans.tolist() == [list(span) for span in truth]
    assert set(located.how) <= {WHITESPACE}


# Examples from the frameworks (FRAMEWORKS.md 2.2 and 5.1)


@pytest.mark.parametrize("overlap", [7, None])
def test_periodic_text_keeps_its_step_when_chunks_overlap(overlap: int | None) -> None:
    """LangChain's own offsets stay at 4 here."""
    text = "ab. " * 200
    truth = fixed(text, 11, 7)
    assert found(text, texts_of(text, truth), overlap) == truth
    assert truth[:4] == [(0, 11), (4, 15), (8, 19), (12, 23)]


def test_periodic_text_keeps_its_step_without_overlap() -> None:
    """LlamaIndex's own offsets are 0, 4, 8, 12."""
    text = "ab. " * 200
    spans = found(text, ["ab. ab. ab."] * 66)
    assert [start for start, _ in spans[:4]] == [0, 12, 24, 36]


def test_line_that_also_stands_in_an_earlier_chunk_is_the_line() -> None:
    """LlamaIndex's own offsets are 0, 8, 26, 44."""
    lines = ["alpha beta. gamma. delta.", "beta. ga", "delta. x", "gamma."]
    text = "\n".join(lines)
    assert [start for start, _ in found(text, lines)] == [0, 26, 35, 44]


def test_repeated_boilerplate_goes_to_the_next_occurrence() -> None:
    """Law: a repeated text takes the next occurrence."""
    lines = ["Yes.", "Question 1", "Yes.", "Yes.", "Question 2", "No.", "Yes."]
    text = "\r\n".join(lines)
    assert texts_of(text, found(text, lines)) == lines
    assert [start for start, _ in found(text, lines)] == [0, 6, 18, 24, 30, 42, 47]


# White space


@pytest.mark.parametrize(
    ("text", "chunk", "span"),
    [
        ("one\r\ntwo three", "one\ntwo", (0, 8)),
        ("x\u00a0 y\n\n\nz", "x y z", (0, 8)),
        ("#\tTitle  \n\ntext", "# Title\ntext", (0, 15)),
        ("  a  b  ", "\na b\n", (2, 6)),
        ("nowhere, now  here", "now here", (9, 18)),
        (
            "漢字は中国で\n生まれた文字である。" * 2,
            ("漢字は中国で生まれた文字である。" * 2) + " ",
            (0, 34),
        ),
    ],
)
def test_white_space_runs_compare_equal(text: str, chunk: str, span: Bounds) -> None:
    """Rule 5: a chunk whose white space the splitter changed is found, and it is said how."""
    located = locate(text, [chunk])
    assert located.spans.tolist() == [list(span)]
    assert located.how == (WHITESPACE,)


def test_verbatim_text_is_preferred_to_text_that_looks_alike() -> None:
    """Law: text[start:end] == chunk whenever the chunk stands there verbatim."""
    assert found("a  b\na b", ["a b"]) == [(5, 8)]


def test_words_are_not_joined_or_divided_to_match() -> None:
    """Rule 5: "now here" is not "nowhere"."""
    assert locate("It was nowhere.", ["now here"]).missing == [0]
    assert locate("Plan a best case", ["ab"]).missing == [0]


# Parts

BODY = ["The lease ends in May unless renewed.", "Rent is due on the first of the month."]
LEASE = "Contract 12\n\n" + "\n".join(BODY) + "\nSigned by both."


@pytest.mark.parametrize(
    "chunk",
    [
        "Contract > Duration\n" + BODY[0],
        BODY[0] + " [page 3]",
        "## " + BODY[0].replace(" ", "\n") + "\n(end)",
        BODY[0] + " All of this was added.",
    ],
)
def test_longest_faithful_part_is_located(chunk: str) -> None:
    """Rule 5: a chunk with text added before or after is located by what is the parent's."""
    located = locate(LEASE, [chunk, BODY[1]])
    assert texts_of(LEASE, [tuple(span) for span in located.spans.tolist()]) == BODY
    assert located.how == (PARTIAL, EXACT)


def test_chunk_cut_in_the_middle_keeps_its_longer_run() -> None:
    """Rule 5: the span covers the longest run of consecutive words."""
    words = LEASE.split()
    chunk = " ".join(words[2:12] + words[15:18])
    located = locate(LEASE, [chunk])
    assert located.how == (PARTIAL,)
    assert LEASE[slice(*located.spans[0])].split() == words[2:12]


def test_part_begins_and_ends_with_whole_words_of_the_chunk() -> None:
    """A letter that agrees by chance is not part of the run."""
    text = "Tax: the rent is due on the first of each month."
    chunk = "Relax: the rent is due on the first of each mo"
    assert texts_of(text, found(text, [chunk])) == ["the rent is due on the first of each mo"]


def test_part_below_half_of_the_chunk_is_missing() -> None:
    """Rule 5: below half, the vector would be of some other text."""
    chunk = BODY[0] + " " + "Nothing of this was ever in the parent, not one word." * 2
    located = locate(LEASE, [chunk])
    assert located.missing == [0]
    assert located.spans.tolist() == [[-1, -1]]


def test_short_agreement_is_missing() -> None:
    """Rule 5: a turn of phrase is no evidence."""
    assert locate(LEASE, ["in May?"]).missing == [0]


def test_ambiguous_part_is_missing() -> None:
    """Rule 5: a part that stands twice is never guessed."""
    text = f"Intro.\n{BODY[0]}\nBetween.\n{BODY[0]}\nEnd."
    assert locate(text, ["Title\n" + BODY[0]]).missing == [0]


def test_neighbours_decide_about_an_ambiguous_part() -> None:
    """Law: a part stands between its neighbours, or goes on where the one before ends."""
    text = f"Intro.\n{BODY[0]}\nBetween.\n{BODY[0]}\nEnd."
    second = (54, 54 + len(BODY[0]))
    assert text[slice(*second)] == BODY[0]
    assert found(text, ["Intro.", "T\n" + BODY[0], "Between.", "T\n" + BODY[0], "End."])[1::2] == [
        (7, 7 + len(BODY[0])),
        second,
    ]
    assert found(text, ["T\n" + BODY[0], "Between."])[0] == (7, 7 + len(BODY[0]))
    assert found(text, ["Between.", "T\n" + BODY[0]])[1] == second


def test_heading_before_every_chunk_is_left_out_of_every_span() -> None:
    """Rule 5: parts are found in sequence, with repeated lines among them."""
    rows = [f"Item {i // 2} of this list is due." for i in range(30)]
    text = "\n".join(rows)
    chunks = ["My document | My section\n" + row for row in rows]
    located = locate(text, chunks)
    assert set(located.how) == {PARTIAL}
    assert [start for start, _ in located.spans.tolist()] == [
        sum(len(row) + 1 for row in rows[:i]) for i in range(len(rows))
    ]


def test_part_in_a_script_without_spaces_may_end_at_any_character() -> None:
    """There each character counts as a word."""
    text = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。"
    located = locate(text, ["題名 名前はまだ無い。どこで生れたかとんと"])
    assert located.how == (PARTIAL,)
    assert located.spans.tolist() == [[8, 26]]


# Order, and what is reported


@pytest.mark.parametrize("chunk", ["", " ", "\r\n\u00a0\t"])
def test_chunk_without_text_is_missing(chunk: str) -> None:
    """Nothing to pool is nothing to locate."""
    located = locate(f"a{chunk}b", ["a", chunk, "b"])
    assert located.how == (EXACT, MISSING, EXACT)
    assert located.missing == [1]


def test_no_chunks_give_no_spans() -> None:
    """Shape and dtype hold for nothing too."""
    located = locate("text", [])
    assert located.spans.shape == (0, 2)
    assert located.spans.dtype == np.int64
    assert (located.how, located.missing, len(located)) == ((), [], 0)


def test_chunk_that_is_not_in_the_text_leaves_the_others_alone() -> None:
    """Rule 5: what could not be found is reported, the rest is as without it."""
    text = "Yes. One. Yes. Two. Yes."
    chunks = ["Yes.", "One.", "Never said.", "Yes.", "Two.", "Yes."]
    located = locate(text, chunks)
    assert located.missing == [2]
    assert located.by(EXACT) == [0, 1, 3, 4, 5]
    assert located.spans[[0, 1, 3, 4, 5], 0].tolist() == [0, 5, 10, 15, 20]


def test_order_holds_anew_after_a_chunk_that_went_back() -> None:
    """Law: a chunk that goes back is placed where it stands, and the order goes on from there."""
    text = "One. Yes. Two. Yes. Three. Yes."
    spans = found(text, ["Three.", "Yes.", "One.", "Yes.", "Two.", "Yes."])
    assert [start for start, _ in spans] == [20, 27, 0, 5, 10, 15]


def test_repeated_chunk_that_goes_back_is_decided_by_its_followers() -> None:
    """Law: it takes the occurrence from which the chunks after it skip least."""
    text = "Yes. One. Yes. Two. Three."
    assert found(text, ["Three.", "Yes.", "Two."]) == [(20, 26), (10, 14), (15, 19)]


def test_repeated_chunk_that_goes_back_undecided_is_missing() -> None:
    """Rule 5: where nothing decides between its occurrences, it is reported."""
    text = "Yes. One. Yes. Two. Three."
    located = locate(text, ["Three.", "Yes."])
    assert located.how == (EXACT, MISSING)


def test_chunk_given_more_often_than_it_stands_keeps_its_place() -> None:
    """A copy goes back to the only occurrence."""
    assert found("One. Two.", ["One.", "One.", "Two."]) == [(0, 4), (0, 4), (5, 9)]


def test_nested_chunks_may_start_at_the_same_character() -> None:
    """Law: starts stand still only between different texts."""
    text = "One. Two. Three."
    assert found(text, ["One. Two.", "One.", "Two.", "Three."]) == [
        (0, 9),
        (0, 4),
        (5, 9),
        (10, 16),
    ]


def test_spans_are_read_only() -> None:
    """What was located cannot be altered in passing."""
    with pytest.raises(ValueError, match="read-only"):
        locate("a", ["a"]).spans[0, 0] = 5


def test_one_text_where_a_list_is_wanted_is_an_error() -> None:
    """A str where a list of texts is wanted is a typed error."""
    with pytest.raises(InputTypeError, match="not one str"):
        locate("text", "text")


def test_negative_overlap_is_an_error() -> None:
    """Chunks that are apart have no overlap."""
    with pytest.raises(OptionError, match="negative"):
        locate("text", ["text"], overlap=-1)


# Accuracy with the real splitters, on text that repeats itself


def repetitive_text(seed: int, n_lines: int = 150) -> str:
    """Lines of a log or form: few texts, most of them repeated, now and then a number."""
    rng = np.random.default_rng(seed)
    stock = ["Yes.", "No.", "See above.", "Total: 0", "---", "All rights reserved.", "a b a b."]
    lines = [
        f"row {rng.integers(20)}" if rng.random() < 0.2 else stock[rng.integers(len(stock))]
        for _ in range(n_lines)
    ]
    return "".join(line + "\n" * rng.integers(1, 3) for line in lines)


def two_words(seed: int, n_words: int = 500) -> str:
    """Text of two words."""
    rng = np.random.default_rng(seed)
    words = rng.choice(["ab", "cde"], n_words)
    return "".join(word + ("\n" if rng.random() < 0.1 else " ") for word in words)


def langchain_chunks(text: str, size: int, overlap: int) -> list[str]:
    return RecursiveCharacterTextSplitter(chunk_size=size, chunk_overlap=overlap).split_text(text)


def llama_index_chunks(text: str, size: int, overlap: int) -> list[str]:
    splitter = SentenceSplitter(
        chunk_size=size,
        chunk_overlap=overlap,
        tokenizer=list,
        chunking_tokenizer_fn=lambda part: part.splitlines(keepends=True),
    )
    return splitter.split_text(text)


@pytest.mark.slow
@pytest.mark.parametrize("make_text", [repetitive_text, two_words])
@pytest.mark.parametrize("split", [langchain_chunks, llama_index_chunks])
@pytest.mark.parametrize(("size", "overlap"), [(30, 0), (60, 20), (120, 40), (300, 60)])
def test_chunks_of_real_splitters_stand_where_they_were_cut(
    make_text: Callable[[int], str],
    split: Callable[[str, int, int], list[str]],
    size: int,
    overlap: int,
) -> None:
    """At least 999 of 1,000 chunks of highly repetitive text are placed right."""
    n_chunks = n_right = 0
    for seed in range(10):
        text = make_text(seed)
        chunks, twins = split(text, size, overlap), split(twin(text), size, overlap)
        assert [len(chunk) for chunk in chunks] == [len(chunk) for chunk in twins]
        starts = [twin(text).find(chunk) for chunk in twins]
        right = locate(text, chunks).spans[:, 0] == starts
        n_chunks += len(right)
        n_right += int(right.sum())
    assert n_right >= 0.999 * n_chunks


@pytest.mark.slow
def test_decidable_chunks_of_tiny_texts_are_right() -> None:
    """Wherever the truth alone skips least, at least 999 of 1,000 chunks are placed right."""
    rng = np.random.default_rng(0)
    n_chunks = n_right = n_texts = 0
    while n_texts < 300:
        text = "".join(rng.choice(["a ", "a ", "ab ", "b.\n"], 40))
        overlap = int(rng.integers(0, 6))
        kept = (rng.random(50) < rng.choice([0.8, 1.0])).tolist()
        truth = at_words(text, rng.integers(4, 16, 5).tolist(), [overlap], kept)
        chunks = texts_of(text, truth)
        best, n_best = best_assignments(text, chunks, overlap)
        if not chunks or n_best > 1 or cost_of(text, truth, overlap) != best:
            continue
        spans = found(text, chunks, overlap)
        n_texts += 1
        n_chunks += len(truth)
        n_right += sum(map(eq, spans, truth))
    assert n_right >= 0.999 * n_chunks


# Size: what is checked here is correctness; that it ends soon is part of it


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "n_lines", "size", "overlap"),
    [
        ("ab. ", 100_000, 1000, 200),
        ("ab. ", 100_000, 211, 43),
        ("ab. ", 2_000, 11, 7),
        ("The same line again and again.\n", 33_000, 1000, 200),
        ("a", 1_000_000, 1000, 0),
    ],
)
@pytest.mark.parametrize("is_given", [True, False])
def test_periodic_text_of_a_megabyte_is_placed_right(
    line: str, n_lines: int, size: int, overlap: int, is_given: bool
) -> None:
    """Every chunk occurs tens of thousands of times; their sequence tells where each stands."""
    text = line * n_lines
    truth = fixed(text, size, overlap)
    located = locate(text, texts_of(text, truth), overlap=overlap if is_given else None)
    assert located.spans.tolist() == [list(span) for span in truth]


@pytest.mark.slow
def test_identical_lines_as_chunks_are_counted_off() -> None:
    """One chunk for each of ten thousand identical lines."""
    text = "The same line.\n" * 10_000
    starts = locate(text, ["The same line."] * 10_000).spans[:, 0]
    assert np.array_equal(starts, np.arange(10_000) * 15)


@pytest.mark.slow
def test_large_text_with_lines_that_repeat_is_placed_right() -> None:
    """Five megabytes: running text with a footer after every page."""
    pages = [f"page {i} " + f"w{i:05} " * 200 + "\nAll rights reserved." for i in range(3_400)]
    text = "\n".join(pages)
    truth = fixed(text, 1000, 100)
    chunks = texts_of(text, truth)
    for at in range(0, len(chunks), 100):  # and a footer on its own, now and then
        page = text.find("\nAll", truth[at][1] - 90) + 1
        if page and page + 20 < truth[min(at + 1, len(truth) - 1)][0] + 1000:
            truth.append((page, page + 20))
    truth.sort()
    assert found(text, texts_of(text, truth)) == truth
