"""The pages: complete, self-contained, and harmless whatever the texts hold."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.evaluation.compare import compare
from latechunk_integrations.evaluation.configurations import LATE
from latechunk_integrations.evaluation.dataset import GoldenDocument, GoldenSet, GoldSpan, Query
from latechunk_integrations.evaluation.inspection import inspect_parent
from latechunk_integrations.evaluation.report import (
    inspection_html,
    report_html,
    similarities_of,
    write_inspection,
    write_report,
)
from latechunk_integrations.evaluation.results import Configuration, TuneResult
from latechunk_integrations.evaluation.similarity import sentence_spans
from tests.evaluation.support import BERLIN, comparison, repeated_set, result, small_set
from tests.evaluation.test_plots import similarities

pytestmark = pytest.mark.slow  # each measures before it writes

_VOID = {"meta", "link", "img", "br", "input"}


class _Page(HTMLParser):
    """Checks that elements close in order, and keeps what a page loads and says."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data if self.open and self.open[-1] not in ("style", "script") else ""


def _checked(html: str) -> _Page:
    page = _Page(html)
    assert page.open == []
    assert all(address.startswith(("data:", "#chunk-")) for address in page.loads)
    assert "url(" not in html
    assert "@import" not in html
    assert not {"iframe", "object"} & set(page.tags)
    assert page.tags.count("script") <= 1
    assert page.handlers == []
    assert page.tags.count("table") == page.tags.count("caption")
    return page


def _hostile() -> GoldenSet:
    text = '<script>alert(1)</script> & "quotes" 🎉. The fee is <b>300</b>. ' + "مرحبا. " * 300
    start = text.index("The fee")
    query = "What's the <img src=x onerror=alert(1)> fee & {{ 7 * 7 }}? " + "x" * 2_000
    return GoldenSet(
        "a <b>set</b>",
        (GoldenDocument("d", text),),
        (Query("q", "d", query),),
        (GoldSpan("q", "d", start, len(text)),),
    )


def test_a_report_says_first_what_to_do() -> None:
    golden = repeated_set(5)
    made = comparison([2, 2, 1, 4] * 5, [1, 1, 1, 2] * 5, golden=golden)
    page = _checked(report_html(made, golden))
    words = " ".join(page.text.split())
    order = ["Change to late chunking: ‘late’.", "What it gains", "What it costs", "How sure"]
    order += ["What would change this", "What was asked", "Results", "Every question"]
    order += ["Glossary", "a note"]
    places = [words.index(each) for each in order]
    assert places == sorted(places)
    assert "Better" not in words
    assert "15 did better, 0 did worse, 5 did as before" in words


def test_a_report_names_no_path_of_this_machine() -> None:
    html = report_html(comparison([2, 2, 1, 4], [1, 1, 1, 2]), small_set())
    assert "models/tiny" in html


def test_uncertain_labels_are_said_above_the_advice() -> None:
    made = comparison([2, 2, 1, 4], [1, 1, 1, 2])
    html = report_html(replace(made, uncertain=("q1", "q3")), small_set())
    assert html.index("2 of 4 labels are uncertain") < html.index('id="advice"')
    assert "labels are uncertain" not in report_html(made, small_set())


def test_every_question_comes_with_its_texts() -> None:
    golden = small_set()
    page = _checked(report_html(comparison([2, 1, 1, None], [1, 3, 1, None]), golden))
    words = " ".join(page.text.split())
    assert "1 did better, 1 did worse, 2 did as before" in words
    assert golden.queries[0].text in words
    assert golden.queries[1].text in words
    assert golden.queries[2].text in words
    assert "3.85 million inhabitants" in words
    assert "now: place 2, ‘late’: place 1" in words


@pytest.mark.parametrize(
    ("early", "late"),
    [
        ([1, 1, 1, 1], [1, 1, 1, 1]),
        ([None] * 4, [None] * 4),
        ([None] * 4, [1] * 4),
    ],
)
@pytest.mark.parametrize("sizes", [(None,), (64, 128)])
def test_no_wins_no_losses_nothing_found(
    early: list[int | None], late: list[int | None], sizes: tuple[int | None, ...]
) -> None:
    page = _checked(report_html(comparison(early, late, sizes=sizes), small_set()))
    assert page.tags.count("blockquote") >= 4


def test_hostile_texts_stay_texts() -> None:
    golden = _hostile()
    made = comparison([2], [1], golden=golden)
    page = _checked(report_html(made, golden, similarities=similarities(golden.queries[0].text)))
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "<img src=x onerror=alert(1)>" in page.text


def test_early_chunking_alone_can_be_reported() -> None:
    made = comparison([2, 1, 1, 1], [1, 1, 1, 1])
    page = _checked(report_html(replace(made, results=made.results[:1]), small_set()))
    assert "Do not decide yet" in page.text
    assert "Nothing else was measured." in page.text


def test_a_tuning_is_shown_with_its_candidates() -> None:
    made = comparison([2, 1, 1, 1], [1, 1, 1, 1])
    choosing = comparison([2, 1, 1, 1], [1, 1, 1, 1], sizes=(64, 128))
    early, late, *others = choosing.results
    corpus = {**late.corpus, "R@5": 0.3}  # the last by the measure that was maximised
    tuned = TuneResult(
        chosen=made.results[1],
        verdict="Late chunking is the better choice.\nThe figures.",
        measure="R@5",
        choosing=replace(choosing, results=(early, replace(late, corpus=corpus), *others)),
        held_out=made,
    )
    html = report_html(made, small_set(), tuned=tuned)
    words = " ".join(_checked(html).text.split())
    assert "Late chunking is the better choice." in words
    assert "4 candidates on the half that was used for choosing" in words
    rows = html.partition("<caption>Candidates</caption>")[2]
    cells = r"<td>(64|128)</td><td>[\d.]+</td><td>[\d.]+</td><td>([\d.]+)</td>"
    assert re.findall(rf'<th scope="row">(\w+)</th>{cells}', rows) == [
        ("late", "128", "100.0"),
        ("early", "64", "92.5"),
        ("early", "128", "92.5"),
        ("late", "64", "30.0"),
    ]
    # One verdict: that of the tuning.
    assert "Do not decide yet" not in words
    assert "R@5 goes from 0 to 100" in words
    assert "says how far" not in words


def test_one_opponent_is_named_in_advice_plot_table_and_questions() -> None:
    made = comparison([2, 2, 1, 4], [1, 2, 1, 2])
    third = result(
        Configuration(name="early, titled", header="attended"), [1, 1, 1, 4], [2, 2, 1, 4]
    )
    html = report_html(replace(made, results=(*made.results, third)), small_set())
    words = " ".join(_checked(html).text.split())
    assert "Everything is compared with ‘early’" in words
    assert "Gain or loss of each way against ‘early’." in words
    assert "A gain is the difference to ‘early’ in points" in words
    assert "Every question: ‘early’ and ‘early, titled’" in words


def test_a_half_of_the_queries_is_matched_with_its_own_texts() -> None:
    half = small_set().subset(["q3", "q4"])
    page = _checked(report_html(comparison([2, 1], [1, 2], golden=half), small_set()))
    assert "What does Tokyo have?" in page.text
    assert "How many inhabitants" not in page.text


def test_a_measured_comparison_is_written_with_a_heat_map(
    tmp_path: Path, tiny_engine: LateChunkEngine
) -> None:
    golden = small_set()
    made = compare(tiny_engine, golden, [LATE], splitter="sentences", chunk_sizes=[None])
    found = similarities_of(tiny_engine, made, golden, splitter="sentences")
    assert found.queries == tuple(query.text for query in golden.queries[:2])
    assert found.relevant is not None
    assert found.relevant.tolist() == [[False, True, False, False], [False, False, False, True]]
    path = write_report(made, golden, tmp_path / "new" / "report.html", similarities=found)
    page = _checked(path.read_text(encoding="utf-8"))
    assert "Questions against the chunks of one document" in page.text
    assert report_html(made, golden, similarities=found) == path.read_text(encoding="utf-8")
    words = " ".join(page.text.split())
    assert "How this was measured" in words
    assert str(tiny_engine.options.model) not in words
    assert tiny_engine.fingerprint in words
    assert "Options to paste" not in words  # four questions decide nothing


def test_options_to_paste_are_those_of_the_advice(tiny_engine: LateChunkEngine) -> None:
    golden = repeated_set(5)
    made = compare(tiny_engine, golden, [LATE], splitter="sentences", chunk_sizes=[None])
    words = " ".join(_checked(report_html(made, golden)).text.split())
    for pasted in ("engine:", "chunking:", "llama_index import late_chunking", "langchain import"):
        assert pasted in words


@pytest.mark.parametrize("query", ["", "How many <b>inhabitants</b>?"])
@pytest.mark.parametrize("text", [BERLIN, " ".join([BERLIN] * 4), "Ein <i>Wort</i> 🎉."])
def test_an_inspected_document_is_a_page(
    tmp_path: Path, tiny_engine: LateChunkEngine, text: str, query: str
) -> None:
    parent = Parent(text, sentence_spans(text), header="A & <b>header</b>", id="<doc>")
    seen = inspect_parent(tiny_engine, parent, query)
    page = _checked(write_inspection(seen, tmp_path / "page.html").read_text(encoding="utf-8"))
    assert page.text.count("<doc>") == 2
    for chunk in seen.chunks:
        assert chunk.text in page.text
    assert ("The question against the chunks" in page.text) is bool(query)


def test_a_page_leads_to_the_best_chunks_of_each_side(tiny_engine: LateChunkEngine) -> None:
    seen = inspect_parent(tiny_engine, Parent(BERLIN, sentence_spans(BERLIN)), "inhabitants")
    html = inspection_html(seen)
    for side in ("early", "late"):
        scores = [getattr(chunk, side) for chunk in seen.chunks]
        order = sorted(range(4), key=lambda n: -scores[n])
        listed = html.partition(f"({side})</dt>")[2].partition("</dd>")[0]
        assert re.findall(r'href="#chunk-(\d+)"', listed) == [str(n) for n in order]
    assert set(re.findall(r'id="(chunk-\d+)"', html)) == {f"chunk-{n}" for n in range(4)}
