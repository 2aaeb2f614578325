"""Labels are true: where a quote occurs several times, no place is taken without a word."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from latechunk_integrations.errors import GoldenSetError, OptionError
from latechunk_integrations.evaluation.dataset import GoldenDocument, GoldenSet, read_documents
from tests.evaluation.support import write_jsonl

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data" / "xquad_en"
TEXT = "The fee is ten. Later the\n fee is due. A coffee and a fee."
DOCUMENT = GoldenDocument("d", TEXT)


def _read(tmp_path: Path, *rows: dict[str, Any], **options: Any) -> GoldenSet:
    return GoldenSet.from_quotes(write_jsonl(tmp_path / "rows.jsonl", rows), [DOCUMENT], **options)


def _found(golden: GoldenSet) -> list[list[str]]:
    texts = {document.doc_id: document.text for document in golden.documents}
    return [
        [texts[span.doc_id][place.start : place.end] for place in span.places]
        for span in golden.spans
    ]


def test_every_place_of_a_repeated_quote_is_an_alternative_and_that_is_said(
    tmp_path: Path,
) -> None:
    golden = _read(
        tmp_path,
        {"query": "a", "document": "d", "quote": "fee is"},
        {"query": "b", "document": "d", "quote": "a fee"},
    )
    assert [place.start for place in golden.spans[0].places] == [4, 27]
    assert golden.uncertain == ("q1",)
    (note,) = golden.notes
    assert note.startswith("1 quotes occur several times")
    assert "rows.jsonl, line 1" in note


def test_a_place_inside_a_longer_word_is_no_alternative(tmp_path: Path) -> None:
    golden = _read(tmp_path, {"query": "a", "document": "d", "quote": "fee"})
    assert [place.start for place in golden.spans[0].places] == [4, 27, 54]
    inner = _read(tmp_path, {"query": "a", "document": "d", "quote": "offe"})
    assert _found(inner) == [["offe"]]


@pytest.mark.parametrize(
    ("columns", "start"),
    [
        ({"context": "Later the fee is due."}, 27),
        ({"start": 27}, 27),
        ({"start": "4"}, 4),
        ({"context": "The fee is ten.", "start": 4}, 4),
    ],
)
def test_a_context_or_a_start_says_which_place_is_meant(
    tmp_path: Path, columns: dict[str, Any], start: int
) -> None:
    row = {"query": "a", "document": "d", "quote": "fee is", **columns}
    golden = _read(tmp_path, row)
    assert [place.start for place in golden.spans[0].places] == [start]
    assert golden.uncertain == golden.notes == ()


def test_a_start_that_fits_no_place_decides_nothing(tmp_path: Path) -> None:
    golden = _read(tmp_path, {"query": "a", "document": "d", "quote": "fee is", "start": 5})
    assert len(golden.spans[0].places) == 2


def test_a_quote_of_which_a_part_occurs_is_uncertain(tmp_path: Path) -> None:
    golden = _read(tmp_path, {"query": "a", "document": "d", "quote": "A coffee and a fee. Gone"})
    assert golden.uncertain == ("q1",)
    assert "1 quotes occur only in part" in golden.notes[0]


@pytest.mark.parametrize(
    "row",
    [
        {"question": "a", "context": "The fee is ten.", "answer": "ten"},
        {"question": "a", "answer": "ten", "source": "d"},
        {"user_input": "a", "reference_contexts": ["fee is ten"], "reference": "It is ten."},
        {"question": "a", "contexts": "['The fee is ten.']", "answer": "Ten euros."},
    ],
)
def test_the_columns_of_other_tools_are_known(tmp_path: Path, row: dict[str, Any]) -> None:
    golden = _read(tmp_path, row)
    assert (golden.queries[0].text, golden.queries[0].doc_id) == ("a", "d")
    assert "ten" in _found(golden)[0][0]


def test_columns_can_be_named(tmp_path: Path) -> None:
    row = {"Frage": "a", "Beleg": "ten", "document": "d", "id": 7}
    golden = _read(tmp_path, row, columns={"query": "Frage", "quote": "Beleg"})
    assert (golden.queries[0].query_id, golden.queries[0].text) == ("7", "a")
    with pytest.raises(OptionError, match="no column means"):
        _read(tmp_path, row, columns={"color": "Frage"})


def test_a_text_of_several_documents_needs_a_name(tmp_path: Path) -> None:
    rows = write_jsonl(
        tmp_path / "rows.jsonl",
        [{"question": "a", "context": "same"}, {"question": "b", "context": "only here"}],
    )
    documents = [GoldenDocument("a", "same text"), GoldenDocument("b", "same, only here")]
    golden = GoldenSet.from_quotes(rows, documents)
    assert [query.text for query in golden.queries] == ["b"]
    assert "occurs in 2 documents; name one in a column 'document'" in golden.notes[0]
    with pytest.raises(GoldenSetError, match="name the documents to search with --documents"):
        GoldenSet.from_quotes(rows)


def test_only_the_files_that_rows_name_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# The fee\n\nIt is ten.\n", encoding="utf-8")
    (tmp_path / "run.log.txt").write_text("It is ten. It is ten.", encoding="utf-8")
    rows = tmp_path / "rows.csv"
    rows.write_text("query,document,quote\nWhat fee?,a.md,ten\n", encoding="utf-8")
    golden = GoldenSet.read(rows)
    assert [document.doc_id for document in golden.documents] == ["a.md"]
    assert golden.documents[0].title == "The fee"
    listed = GoldenSet.read(rows, [tmp_path / "a.md", tmp_path / "run.log.txt"])
    assert [document.doc_id for document in listed.documents] == ["a.md", "run.log.txt"]
    rows.write_text("query,document,quote\nWhat?,../secret.md,ten\n", encoding="utf-8")
    (tmp_path.parent / "secret.md").write_text("ten", encoding="utf-8")
    with pytest.raises(GoldenSetError, match=r"'\.\./secret\.md' is no file in the folder"):
        GoldenSet.read(rows)


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("---\ntitle: From the front\n---\n\nText.", "From the front"),
        ("# A heading\n\nText.", "A heading"),
        ("some text that has no title at all, and goes on for a while in small letters.", "Fees"),
    ],
)
def test_a_title_is_the_texts_own_before_it_is_the_files_name(
    tmp_path: Path, text: str, title: str
) -> None:
    (tmp_path / "fees.md").write_text(text, encoding="utf-8")
    assert read_documents(tmp_path / "fees.md")[0].title.lower() == title.lower()


def test_a_column_gives_titles(tmp_path: Path) -> None:
    golden = _read(tmp_path, {"query": "a", "document": "d", "quote": "ten", "title": "Fees"})
    assert golden.documents[0].title == "Fees"


def test_sheets_and_test_sets_are_read(tmp_path: Path) -> None:
    frame = pd.DataFrame([{"question": "a", "document": "d", "answer": "ten", "start": None}])
    frame.to_excel(tmp_path / "rows.xlsx", index=False)
    assert _found(GoldenSet.from_quotes(tmp_path / "rows.xlsx", [DOCUMENT])) == [["ten"]]
    finetuning = {
        "queries": {"x": "a"},
        "corpus": {"n": "The fee is ten."},
        "relevant_docs": {"x": ["n"]},
        "mode": "text",
    }
    rag = {"examples": [{"query": "a", "reference_contexts": ["The fee is ten."]}]}
    for content in (finetuning, rag, rag["examples"]):
        path = tmp_path / "set.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        assert _found(GoldenSet.from_quotes(path, [DOCUMENT])) == [["The fee is ten."]]
    path.write_text('{"other": 1}', encoding="utf-8")
    with pytest.raises(GoldenSetError, match="no list of rows"):
        GoldenSet.from_quotes(path, [DOCUMENT])


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real golden sets are not beside the checkout")
def test_none_of_the_answers_of_xquad_is_labelled_wrong_without_a_word(tmp_path: Path) -> None:
    true = GoldenSet.load(SHARED, "small")
    texts = {document.doc_id: document.text for document in true.documents}
    path = tmp_path / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "document", "answer"])
        for query in true.queries:
            (gold, *_) = true.by_query[query.query_id]
            writer.writerow([query.text, gold.doc_id, texts[gold.doc_id][gold.start : gold.end]])
    read = GoldenSet.from_quotes(path, true.documents)
    by_text = {(query.doc_id, query.text): query.query_id for query in read.queries}
    wrong = said = 0
    for query in true.queries:
        (gold, *_) = true.by_query[query.query_id]
        labels = read.by_query[by_text[query.doc_id, query.text]]
        places = {(place.start, place.end) for label in labels for place in label.places}
        wrong += (gold.start, gold.end) not in places
        said += any(label.uncertain for label in labels)
    assert wrong == 0
    assert said == len(read.uncertain) > 42
