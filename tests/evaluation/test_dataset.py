"""Golden sets: every layout is read alike, and what is wrong is named with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from latechunk_integrations.errors import GoldenSetError
from latechunk_integrations.evaluation.dataset import (
    GoldenDocument,
    GoldenSet,
    GoldSpan,
    Query,
    read_documents,
)
from latechunk_integrations.schema import Span
from tests.evaluation.support import (
    BERLIN,
    ROWS,
    small_set,
    write_jsonl,
    write_quotes,
    write_set,
)

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"


def _gold_texts(golden: GoldenSet) -> list[str]:
    texts = {document.doc_id: document.text for document in golden.documents}
    return [texts[span.doc_id][span.start : span.end] for span in golden.spans]


def test_a_folder_of_json_lines_gives_the_set_that_was_written(tmp_path: Path) -> None:
    golden = GoldenSet.read(write_set(tmp_path))
    made = small_set()
    assert (golden.documents, golden.queries) == (made.documents, made.queries)
    assert golden.spans == made.spans
    assert _gold_texts(golden) == [quote for *_, quote in ROWS]


def test_a_variant_and_the_sets_own_chunks_are_read(tmp_path: Path) -> None:
    write_set(tmp_path)
    for path in list(tmp_path.glob("*.jsonl")):
        path.rename(path.with_suffix(".small.jsonl"))
    rows = [{"doc_id": "tokyo", "start": 0, "end": 25}, {"doc_id": "tokyo", "start": 26, "end": 41}]
    write_jsonl(tmp_path / "chunks.small.jsonl", rows)
    golden = GoldenSet.load(tmp_path, "small")
    assert golden.chunks == {"tokyo": (Span(0, 25), Span(26, 41))}
    with pytest.raises(GoldenSetError, match=r"cannot read .*documents\.jsonl"):
        GoldenSet.load(tmp_path)


def test_line_separators_inside_json_do_not_end_a_line(tmp_path: Path) -> None:
    write_set(tmp_path)
    text = "one\u2028two\x85three"
    write_jsonl(
        tmp_path / "documents.jsonl",
        [{"doc_id": "berlin", "text": text}, {"doc_id": "tokyo", "text": text}],
    )
    queries = [{"query_id": "q", "doc_id": "tokyo", "query": "two?"}]
    write_jsonl(tmp_path / "queries.jsonl", queries)
    qrels = [{"query_id": "q", "doc_id": "tokyo", "start": 4, "end": 7}]
    write_jsonl(tmp_path / "qrels.jsonl", qrels)
    assert _gold_texts(GoldenSet.load(tmp_path)) == ["two"]


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("documents", '{"doc_id": "x", "text": ""}', r"documents\.jsonl, line 3: 'text' must be"),
        ("documents", '{"doc_id": "x"}', r"documents\.jsonl, line 3: no 'text'; there are"),
        ("documents", '{"doc_id": "x", "text": "a\\ud800"}', r"line 3: .*surrogate"),
        ("documents", '{"doc_id": "tokyo", "text": "a"}', r"line 3: .*already in .*line 2"),
        ("documents", "{broken", r"documents\.jsonl, line 3: no JSON"),
        ("documents", "[" * 100_000, r"documents\.jsonl, line 3: no JSON"),
        ("documents", "[1]", r"line 3: must be a JSON object, not list"),
        ("queries", '{"query_id": "q9", "doc_id": "rome", "query": "?"}', "line 5: .*'rome'"),
        ("queries", '{"query_id": "q1", "doc_id": "tokyo", "query": "?"}', "line 5: .*already"),
        ("queries", '{"query_id": "q9", "doc_id": "tokyo", "query": "?"}', "no gold span.*q9"),
        ("qrels", '{"query_id": "q1", "doc_id": "tokyo", "start": 5, "end": 5}', "line 5: .*empty"),
        ("qrels", '{"query_id": "q1", "doc_id": "tokyo", "start": 0, "end": 999}', "line 5: .*999"),
        ("qrels", '{"query_id": "q9", "doc_id": "tokyo", "start": 0, "end": 9}', "line 5: .*'q9'"),
        ("qrels", '{"query_id": "q1", "doc_id": "tokyo", "start": 0.5, "end": 9}', "an integer"),
        ("qrels", '{"query_id": "q1", "doc_id": "tokyo", "start": true, "end": 9}', "an integer"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, file: str, line: str, message: str) -> None:
    with (write_set(tmp_path) / f"{file}.jsonl").open("a", encoding="utf-8") as out:
        out.write(line + "\n")
    with pytest.raises(GoldenSetError, match=message):
        GoldenSet.load(tmp_path)


def test_a_query_needs_a_gold_span_in_the_document_it_names() -> None:
    documents = (GoldenDocument("a", "one"), GoldenDocument("b", "two"))
    with pytest.raises(GoldenSetError, match="in their document"):
        GoldenSet("set", documents, (Query("q", "a", "?"),), (GoldSpan("q", "b", 0, 3),))
    with pytest.raises(GoldenSetError, match="occurs twice"):
        GoldenSet("set", (GoldenDocument("a", "x"), GoldenDocument("a", "y")), (), ())
    with pytest.raises(GoldenSetError, match="0 of 0"):
        GoldenSet("set", documents, (), ())


def test_a_folder_in_the_layout_of_beir_makes_whole_documents_gold(tmp_path: Path) -> None:
    write_jsonl(
        tmp_path / "corpus.jsonl",
        [
            {"_id": "d1", "title": "T", "text": "first text"},
            {"_id": "d2", "text": "second"},
            {"_id": "d3", "text": ""},
        ],
    )
    write_jsonl(
        tmp_path / "queries.jsonl", [{"_id": f"q{n}", "text": f"question {n}"} for n in (1, 2, 3)]
    )
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t2\nq2\td2\t0\nq3\td3\t1\n", encoding="utf-8"
    )
    golden = GoldenSet.read(tmp_path)
    assert [query.query_id for query in golden.queries] == ["q1"]
    assert _gold_texts(golden) == ["first text", "second"]
    assert golden.notes[1:] == (
        "1 judgements name documents that are absent or empty",
        "1 queries have no other document and are left out",
    )
    assert [d.doc_id for d in read_documents(tmp_path)] == ["d1", "d2"]
    (tmp_path / "qrels" / "test.tsv").unlink()
    with pytest.raises(GoldenSetError, match=r"no qrels/test\.tsv"):
        GoldenSet.read(tmp_path)


def test_rows_of_quotes_find_their_places(tmp_path: Path) -> None:
    golden = GoldenSet.read(write_quotes(tmp_path))
    assert [query.text for query in golden.queries] == [query for _, _, query, _ in ROWS]
    assert _gold_texts(golden) == [quote for *_, quote in ROWS]
    assert golden.notes == ()


def test_rows_may_be_json_lines_with_documents_elsewhere(tmp_path: Path) -> None:
    documents = write_jsonl(tmp_path / "docs.jsonl", [{"doc_id": "berlin", "text": BERLIN}])
    rows = [{"query": "Which city?", "document": "berlin", "quote": "Berlin is\nthe  capital"}]
    rows.append({"query": "Which city?", "document": "berlin", "quote": "The city has parks."})
    golden = GoldenSet.read(write_jsonl(tmp_path / "rows.jsonl", rows), documents)
    assert len(golden.queries) == 1
    assert _gold_texts(golden) == ["Berlin is the capital", "The city has parks."]


@pytest.mark.parametrize(
    ("text", "quote", "found"),
    [
        ("He said “it’s done” – finally.", 'He said "it\'s done" - finally.', True),
        ("non\u00a0breaking space", "non breaking space", True),
        ("one two three", "four five", False),
    ],
)
def test_quotes_forgive_what_copying_changes_and_nothing_else(
    tmp_path: Path, *, text: str, quote: str, found: bool
) -> None:
    documents = [
        GoldenDocument("d", text + " And more text after it."),
        GoldenDocument("e", "plain words"),
    ]
    rows = [
        {"query": "a", "document": "d", "quote": quote},
        {"query": "b", "document": "e", "quote": "plain words"},
    ]
    golden = GoldenSet.from_quotes(write_jsonl(tmp_path / "rows.jsonl", rows), documents)
    assert _gold_texts(golden) == ([text] if found else []) + ["plain words"]
    assert len(golden.notes) == (not found)
    if not found:
        assert "rows.jsonl, line 1" in golden.notes[0]
        assert "'four five' does not occur in its document" in golden.notes[0]


def test_a_question_about_several_documents_is_one_of_each_and_that_is_said(
    tmp_path: Path,
) -> None:
    documents = [GoldenDocument("a", "The fee is ten."), GoldenDocument("b", "The fee is two.")]
    rows = [
        {"query": "What fee?", "document": d, "quote": q} for d, q in (("a", "ten"), ("b", "two"))
    ]
    golden = GoldenSet.from_quotes(write_jsonl(tmp_path / "rows.jsonl", rows), documents)
    assert [(query.doc_id, query.text) for query in golden.queries] == [
        ("a", "What fee?"),
        ("b", "What fee?"),
    ]
    (note,) = golden.notes
    assert note.startswith("1 questions are asked of several documents")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "query,document,quote\nwhy,rome.txt,x\n",
            r"rows\.csv, line 2: document 'rome\.txt' is no file in the folder",
        ),
        ("query,document\nwhy,berlin.txt\n", r"line 2: no 'quote'; there are \['query'"),
        ("query,document,quote\nwhy,berlin.txt,\n", r"line 2: 'quote' must be a text"),
        ("query,document,quote\nwhy,berlin.txt,a, b\n", r"line 2: more fields than the header"),
        ("query,document,quote\nwhy,berlin.txt,nowhere to be found\n", "no quote was found"),
        ("query,document,quote\n", r"rows\.csv holds no rows"),
        ("", r"rows\.csv holds no rows"),
        (
            'query,document,quote\nwhy,berlin.txt,"' + "x" * 200_000 + '"\n',
            r"line \d: field larger",
        ),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = write_quotes(tmp_path)
    path.write_text(content, encoding="utf-8")
    with pytest.raises(GoldenSetError, match=message):
        GoldenSet.read(path)


def test_a_spreadsheets_csv_is_read(tmp_path: Path) -> None:
    path = write_quotes(tmp_path)
    content = "\ufeffquery;document;quote\r\nWhich city, please?;berlin.txt;Berlin is\r\n"
    path.write_text(content, encoding="utf-8", newline="")
    assert _gold_texts(GoldenSet.read(path)) == ["Berlin is"]


def test_what_is_no_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GoldenSetError, match="no folder and no file"):
        GoldenSet.read(tmp_path / "absent")
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    with pytest.raises(GoldenSetError, match=r"cannot read .*latin\.txt"):
        read_documents(tmp_path / "latin.txt")


def test_documents_are_read_from_a_file_a_folder_and_a_golden_set(tmp_path: Path) -> None:
    (tmp_path / "texts" / "deep").mkdir(parents=True)
    (tmp_path / "texts" / "deep" / "b.md").write_text("Text b.", encoding="utf-8")
    (tmp_path / "texts" / "a.txt").write_text("Text a.", encoding="utf-8")
    (tmp_path / "texts" / "empty.txt").write_text(" \n", encoding="utf-8")
    assert read_documents(tmp_path / "texts") == (
        GoldenDocument("a.txt", "Text a."),
        GoldenDocument("deep/b.md", "Text b."),
    )
    assert read_documents(tmp_path / "texts" / "a.txt") == (GoldenDocument("a.txt", "Text a."),)
    (tmp_path / "set").mkdir()
    assert read_documents(write_set(tmp_path / "set")) == small_set().documents
    with pytest.raises(GoldenSetError, match="is empty"):
        read_documents(tmp_path / "texts" / "empty.txt")
    (tmp_path / "blank").mkdir()
    (tmp_path / "blank" / "a.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(GoldenSetError, match=r"every text file in .*blank is empty"):
        read_documents(tmp_path / "blank")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(GoldenSetError, match=r"no \.txt, \.md, \.rst"):
        read_documents(tmp_path / "nothing")


def test_a_subset_keeps_documents_and_drops_spans_of_other_queries() -> None:
    part = small_set().subset(["q3"], "part")
    assert (part.name, len(part.documents), len(part.queries)) == ("part", 2, 1)
    assert [span.query_id for span in part.spans] == ["q3"]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real golden sets are not beside the checkout")
@pytest.mark.parametrize("name", ["squad_dev_half", "xquad_en", "codebase"])
def test_the_real_sets_are_read_whole(name: str) -> None:
    golden = GoldenSet.load(SHARED / name, "small")
    lines = (SHARED / name / "queries.small.jsonl").read_text(encoding="utf-8").splitlines()
    assert [query.query_id for query in golden.queries] == [
        json.loads(x)["query_id"] for x in lines
    ]
    assert all(text.strip() for text in _gold_texts(golden))
