"""Documents from records, ids of chunks, rows as a table."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latechunk_integrations.bulk.rows import (
    COLUMNS,
    Columns,
    CorpusDocument,
    DocumentRows,
    Failure,
    chunk_id,
    read_document,
    to_table,
)
from latechunk_integrations.errors import InvalidCharacterError

_NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@given(_NAMES, _NAMES, st.integers(0, 99), st.integers(100, 200))
def test_a_chunk_id_is_a_uuid_of_document_and_span_alone(
    one: str, other: str, start: int, end: int
) -> None:
    first = chunk_id(one, start, end)
    assert str(uuid.UUID(first)) == first == chunk_id(one, start, end)
    others = [chunk_id(one, start + 1, end), chunk_id(one, start, end + 1)]
    others += [chunk_id(other, start, end)] if other != one else []
    assert first not in others


def test_chunk_ids_never_change_between_releases() -> None:
    assert chunk_id("handbook/leave.md", 0, 120) == "f71cb2cc-b95a-5457-b162-71d8a214203c"


def test_a_version_depends_on_every_part_and_on_their_borders() -> None:
    documents = [
        CorpusDocument("a", "b", "c"),
        CorpusDocument("ab", "", "c"),
        CorpusDocument("a", "bc", ""),
        CorpusDocument("a", "b", "d"),
    ]
    versions = {document.version("key") for document in documents}
    assert len(versions | {documents[0].version("other key")}) == 5


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"id": 7, "text": "x"}, CorpusDocument("7", "x")),
        ({"id": "a", "text": "x", "head": "T"}, CorpusDocument("a", "x", "T")),
        ({"id": "a", "text": "x", "head": None}, CorpusDocument("a", "x")),
    ],
)
def test_a_record_becomes_a_document(record: dict[str, Any], expected: CorpusDocument) -> None:
    assert read_document(record, Columns(header="head"), "here:1") == expected


@pytest.mark.parametrize(
    ("record", "name", "error"),
    [
        ({"text": "x"}, "here:1", "InputTypeError"),
        ({"id": "", "text": "x"}, "here:1", "InputTypeError"),
        ({"id": True, "text": "x"}, "here:1", "InputTypeError"),
        ({"id": 1.5, "text": "x"}, "here:1", "InputTypeError"),
        ({"id": "a"}, "a", "InputTypeError"),
        ({"id": "a", "text": ["x"]}, "a", "InputTypeError"),
        ({"id": "a", "text": "x", "head": 3}, "a", "InputTypeError"),
        ({"id": "a\ud800", "text": "x"}, "a\\ud800", "InvalidCharacterError"),
    ],
)
def test_a_record_that_holds_no_document_fails_with_a_name(
    record: dict[str, Any], name: str, error: str
) -> None:
    failure = read_document(record, Columns(header="head"), "here:1")
    assert isinstance(failure, Failure)
    assert (failure.document_id, failure.error) == (name, error)


def test_an_id_that_no_target_can_store_is_refused() -> None:
    with pytest.raises(InvalidCharacterError, match="the id of a document"):
        CorpusDocument("a\ud800", "x")


def test_pages_are_those_of_a_chunk_without_the_white_space_at_its_ends() -> None:
    text = "one\ftwo\n\f\nthree four\f\ffive"
    chunks = {
        "one": (1, 1),
        "\ftwo\n\f": (2, 2),
        "two\n\f\nthree": (2, 3),
        "four\f\ffive": (3, 5),
        "\f\f": (3, 3),
        "five": (5, 5),
        text: (1, 5),
    }
    spans = np.array([[text.index(chunk), text.index(chunk) + len(chunk)] for chunk in chunks])
    found = CorpusDocument("d", text, has_pages=True).find_pages(spans)
    assert found.tolist() == [list(pages) for pages in chunks.values()]
    assert CorpusDocument("d", text).find_pages(spans).tolist() == [[0, 0]] * len(chunks)


def test_a_table_holds_the_rows_bit_for_bit() -> None:
    vectors = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    spans = np.array([[0, 2], [2, 4], [4, 5]])
    rows = DocumentRows("d", "v", "p", spans, ("ab", "cd", "e"), vectors, ("late",) * 3)
    table = to_table([DocumentRows("none", "v"), rows], 4)
    assert table.column_names == list(COLUMNS)
    assert np.array_equal(np.array(table["vector"].to_pylist(), np.float32), vectors)
    assert table["end"].to_pylist() == [2, 4, 5]
    assert to_table([], 4).schema == table.schema
