"""Parents from their chunks: every place is proved, or the chunk is reported."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latechunk_integrations.bulk.migration.chunk_fields import find_fields, mark_record, read_field
from latechunk_integrations.bulk.migration.rebuilding import RebuiltParent, rebuild_parent
from latechunk_integrations.bulk.migration.stored_chunks import Record, StoredChunk, read_chunk
from latechunk_integrations.errors import OptionError

TEXT = (
    "First the order is placed. Then the goods are sent. Payment is due. Payment is due. The end."
)


def chunk(key: int, text: str, **more: Any) -> StoredChunk:
    return StoredChunk(key, text, "a", **more)


def at(start: int, end: int, key: int | None = None, text: str = TEXT) -> StoredChunk:
    return chunk(start if key is None else key, text[start:end], start=start)


def reasons(rebuilt: RebuiltParent) -> dict[Any, str]:
    return {each.chunk.key: each.reason for each in rebuilt.unplaced}


def check(rebuilt: RebuiltParent) -> None:
    """Whatever was placed is in its place."""
    for each in rebuilt.placed:
        assert rebuilt.text[each.start : each.end] == each.chunk.text


def test_offsets_give_the_text_where_chunks_cover_it() -> None:
    chunks = [at(0, 30), at(20, 60), at(60, len(TEXT))]
    rebuilt = rebuild_parent("a", chunks[::-1])
    assert (rebuilt.how, rebuilt.text, rebuilt.unplaced) == ("offset", TEXT, ())
    assert [(each.start, each.end) for each in rebuilt.placed] == [(0, 30), (20, 60), (60, 92)]


def test_a_gap_is_white_space_and_counted() -> None:
    rebuilt = rebuild_parent("a", [at(5, 10), at(11, 20), at(40, 50)])
    assert rebuilt.text == TEXT[5:10] + " " + TEXT[11:20] + "\n\n" + TEXT[40:50]
    assert rebuilt.n_gap_chars == 21
    check(rebuilt)


def test_chunks_that_contradict_each_other_have_no_place() -> None:
    """One of the two is wrong, and nothing says which."""
    wrong = chunk(7, "something else that is written", start=25)
    rebuilt = rebuild_parent("a", [at(0, 20), at(20, 40), wrong, at(60, 80)])
    assert reasons(rebuilt) == {20: "contradicts_a_neighbour", 7: "contradicts_a_neighbour"}
    assert [each.chunk.key for each in rebuilt.placed] == [0, 60]


def test_an_offset_that_a_search_found_inside_another_chunk_is_in_doubt() -> None:
    """The second "Payment is due." was found where the first one stands."""
    twice = TEXT.index("Payment")
    again = chunk(9, "Payment is due.", start=twice)
    late = at(twice + 32, len(TEXT))
    rebuilt = rebuild_parent("a", [at(0, twice + 15, key=0), again, late])
    assert reasons(rebuilt) == {9: "offset_in_doubt"}


def test_one_place_for_several_chunks_is_in_doubt_unless_all_were_indexed_twice() -> None:
    text = "ab. ab. ab. ab. ab. "
    stuck = [at(0, 8, 0, text), *(at(4, 12, key, text) for key in (1, 2, 3))]
    rebuilt = rebuild_parent("a", stuck)
    assert set(reasons(rebuilt)) == {1, 2, 3}
    doubled = [at(0, 30, 0), at(0, 30, 1), at(30, 60, 2), at(30, 60, 3)]
    assert len(rebuild_parent("a", doubled).placed) == 4


def test_chunks_of_several_levels_keep_their_places() -> None:
    levels = [at(0, 60, 0), at(0, 30, 1), at(30, 60, 2), at(60, 92, 3), at(60, 80, 4)]
    rebuilt = rebuild_parent("a", levels)
    assert (rebuilt.text, len(rebuilt.placed)) == (TEXT, 5)


def test_an_end_of_another_length_and_a_missing_offset_are_reported() -> None:
    chunks = [at(0, 30), chunk(1, TEXT[30:50], start=30, end=60), chunk(2, TEXT[60:80])]
    assert reasons(rebuild_parent("a", chunks)) == {
        1: "offsets_of_another_length",
        2: "no_offset",
    }


def test_the_order_gives_the_text_with_overlaps_once() -> None:
    spans = [(0, 40), (26, 60), (60, 92)]
    chunks = [chunk(n, TEXT[s:e], order=float(n)) for n, (s, e) in enumerate(spans)]
    rebuilt = rebuild_parent("a", chunks[::-1])
    assert rebuilt.how == "order"
    assert rebuilt.text == TEXT[:60] + TEXT[60:]
    assert [(each.start, each.end) for each in rebuilt.placed] == spans
    check(rebuilt)


def test_a_short_or_unclear_overlap_is_not_merged() -> None:
    """Both chunks are kept whole: nothing proves how much they share."""
    short = [chunk(0, "It ends with a", order=0.0), chunk(1, "a beginning", order=1.0)]
    assert rebuild_parent("a", short).text == "It ends with a a beginning"
    unclear = [chunk(0, "x " + "ab " * 8, order=0.0), chunk(1, "ab " * 8 + "y", order=1.0)]
    rebuilt = rebuild_parent("a", unclear)
    assert rebuilt.n_unmerged == 1
    assert rebuilt.text == "x " + "ab " * 16 + "y"
    check(rebuilt)


def test_links_from_chunk_to_chunk_are_an_order_where_one_chain_holds_all() -> None:
    linked = [
        chunk(0, TEXT[:30], follower="1"),
        chunk(1, TEXT[30:60], follower="2"),
        chunk(2, TEXT[60:]),
    ]
    assert [each.chunk.key for each in rebuild_parent("a", linked[::-1]).placed] == [0, 1, 2]
    broken = [linked[0], linked[2]]
    assert set(reasons(rebuild_parent("a", broken)).values()) == {"no_offset_and_no_order"}
    beside = [*linked[:2], chunk(5, "three", follower="6"), chunk(6, "four", follower="5")]
    assert set(reasons(rebuild_parent("a", beside)).values()) == {"no_offset_and_no_order"}
    circle = [chunk(0, "one", follower="1"), chunk(1, "two", follower="0")]
    assert set(reasons(rebuild_parent("a", circle)).values()) == {"no_offset_and_no_order"}


def test_numbers_that_stand_twice_are_no_order() -> None:
    chunks = [chunk(0, "one", order=1.0), chunk(1, "two", order=1.0)]
    assert set(reasons(rebuild_parent("a", chunks)).values()) == {"no_offset_and_no_order"}


def test_a_file_places_what_stands_there_once() -> None:
    chunks = [
        chunk(0, TEXT[:26]),
        chunk(1, "Payment is due."),
        chunk(2, "Nothing of this kind."),
        chunk(3, "  "),
    ]
    rebuilt = rebuild_parent("a", chunks, TEXT)
    assert rebuilt.text == TEXT
    assert reasons(rebuilt) == {
        1: "stands_at_several_places",
        2: "not_in_the_source_file",
        3: "no_text",
    }


def test_neighbours_or_an_own_offset_decide_between_places_of_a_file() -> None:
    first = TEXT.index("Payment")
    last = TEXT.index("The end")
    ordered = [
        chunk(0, TEXT[: first + 15], order=0.0),
        chunk(1, "Payment is due.", order=1.0),
        chunk(2, TEXT[last:], order=2.0),
    ]
    # Before and in the chunk in front of it, or behind: only one lies after its beginning ends.
    assert reasons(rebuild_parent("a", ordered, TEXT)) == {1: "stands_at_several_places"}
    certain = [chunk(0, TEXT[first : first + 18], order=0.0), *ordered[1:]]
    rebuilt = rebuild_parent("a", certain, TEXT)
    assert [each.start for each in rebuilt.placed] == [first, first + 16, last]
    own = [chunk(0, TEXT[:26]), chunk(1, "Payment is due.", start=first + 16)]
    assert rebuild_parent("a", own, TEXT).placed[1].start == first + 16
    inside = [chunk(0, TEXT[: first + 15]), chunk(1, "Payment is due.", start=first)]
    assert reasons(rebuild_parent("a", inside, TEXT)) == {1: "stands_at_several_places"}


def test_what_the_order_or_offsets_of_several_chunks_say_at_once_is_no_proof() -> None:
    text = "Alpha one. Due now. Beta two. Due now. Gamma three. Due now."
    due = [chunk(key, "Due now.", order=float(key)) for key in (1, 2)]
    twice = [chunk(0, "Alpha one.", order=0.0), *due, chunk(3, "Beta two.", order=3.0)]
    assert set(reasons(rebuild_parent("a", twice, text))) == {1, 2}
    another_order = [
        chunk(0, "Gamma three.", order=0.0),
        chunk(1, "Alpha one.", order=1.0),
        chunk(2, "Due now.", order=2.0),
        chunk(3, "Beta two.", order=3.0),
    ]
    assert set(reasons(rebuild_parent("a", another_order, text))) == {2}
    same = [chunk(0, "Alpha one."), *(chunk(key, "Due now.", start=11) for key in (1, 2))]
    assert set(reasons(rebuild_parent("a", same, text))) == {1, 2}


@given(
    st.text("ab ", min_size=30, max_size=80),
    st.lists(st.tuples(st.integers(0, 70), st.integers(1, 20)), min_size=1, max_size=8),
    st.sampled_from(["offset", "order", "file"]),
)
def test_whatever_is_placed_stands_there_and_nothing_is_lost(
    text: str, spans: list[tuple[int, int]], how: str
) -> None:
    chunks = [
        chunk(
            key,
            text[start : start + length],
            start=start if how == "offset" else None,
            order=float(key) if how == "order" else None,
        )
        for key, (start, length) in enumerate(sorted(spans))
    ]
    rebuilt = rebuild_parent("a", chunks, text if how == "file" else None)
    check(rebuilt)
    placed = [each.chunk.key for each in rebuilt.placed]
    assert sorted([*placed, *reasons(rebuilt)]) == list(range(len(chunks)))
    if how == "file":
        for each in rebuilt.placed:
            assert text[each.start : each.end] == chunks[each.chunk.key].text


def test_paths_lead_into_mappings_and_json() -> None:
    record = {"a": {"b": '{"c": [1], "d": {"e": 5}}'}, "a.b": 1, "x": "no json"}
    assert read_field(record, "a.b") == 1
    assert read_field({"a": record["a"]}, "a.b.d.e") == 5
    assert read_field(record, "x.y") is None
    assert read_field(record, "") is None


def test_values_that_are_no_place_are_unknown() -> None:
    fields = find_fields("qdrant", None, {"order": "n"})
    values = {"text": 5, "source": "None", "start": -1, "end": 3.5, "n": "nan"}
    read = read_chunk(Record(1, values), fields, by_file=False)
    assert (read.text, read.source, read.start, read.end, read.order) == (
        "",
        None,
        None,
        None,
        None,
    )
    read = read_chunk(Record(1, {"text": "t", "source": 3, "start": 4.0}), fields, by_file=False)
    assert (read.source, read.start) == ("3", 4)


def test_marks_replace_marks_and_nothing_else() -> None:
    fields = find_fields("qdrant", "langchain")
    record = {"page_content": "t", "metadata": {"source": "a", "late_parent": "old"}, "more": 1}
    marked = mark_record(record, fields, {"late_mode": "standalone"})
    assert marked == {
        "page_content": "t",
        "metadata": {"source": "a", "late_mode": "standalone"},
        "more": 1,
    }


def test_marks_in_a_column_of_json_text_keep_what_is_there() -> None:
    fields = find_fields("pgvector", "langchain")
    marked = mark_record({"cmetadata": '{"source": "a"}'}, fields, {"late_mode": "late"})
    assert marked == {"cmetadata": '{"source": "a", "late_mode": "late"}'}


def test_unknown_stores_and_fields_are_refused() -> None:
    with pytest.raises(OptionError, match="cannot be migrated"):
        find_fields("sqlite")
    with pytest.raises(OptionError, match="no field 'colour'"):
        find_fields("qdrant", None, {"colour": "x"})
