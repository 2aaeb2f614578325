"""A review is kept in the file, decision by decision, and only its own page can make one."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from latechunk_integrations.errors import GoldenSetError
from latechunk_integrations.evaluation.dataset import GoldenDocument, GoldenSet
from latechunk_integrations.evaluation.questions import Proposal, append_questions
from latechunk_integrations.evaluation.review import ReviewFile, make_server
from tests.evaluation.test_browser import CHROMIUM, browser  # noqa: F401  # a fixture

TEXT = "The fee is ten euros </script><b>. The seat is in Lindenau."
DOCUMENTS = [GoldenDocument("a.md", TEXT)]
PROPOSALS = [
    Proposal("What does it cost?", "a.md", "ten euros", 11),
    Proposal("Where is the seat?", "a.md", "in Lindenau", 47),
]


@pytest.fixture(params=["q.csv", "q.jsonl"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    file = tmp_path / str(request.param)
    append_questions(file, PROPOSALS)
    return file


@pytest.fixture
def address(path: Path) -> Iterator[str]:
    server, address = make_server(ReviewFile(path, DOCUMENTS))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield address
    server.shutdown()
    server.server_close()
    thread.join()


def _send(address: str, values: Any, **headers: str) -> int:
    url, _, key = address.partition("?key=")
    sent = {"X-Key": key, **headers}
    request = urllib.request.Request(url, json.dumps(values).encode(), sent)  # noqa: S310  # ours
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310  # as above
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_decisions_are_in_the_file_at_once_and_rejected_rows_are_left_out(
    path: Path, address: str
) -> None:
    assert _send(address, {"row": 0, "status": "rejected", "query": "What does it cost?"}) == 200
    golden = GoldenSet.from_quotes(path, DOCUMENTS)
    assert [query.text for query in golden.queries] == ["Where is the seat?"]
    assert golden.notes == ("1 rejected rows are left out",)
    assert _send(address, {"row": 1, "status": "accepted", "query": " Which town? "}) == 200
    again = ReviewFile(path, DOCUMENTS).shown()
    assert [(each["status"], each["query"]) for each in again] == [
        ("rejected", "What does it cost?"),
        ("accepted", "Which town?"),
    ]
    assert again[1]["quote"] == "in Lindenau"
    assert _send(address, {"row": 1, "status": "rejected", "query": "x"}) == 200
    with pytest.raises(GoldenSetError, match="no rows that were not rejected"):
        GoldenSet.from_quotes(path, DOCUMENTS)


@pytest.mark.parametrize(
    "values",
    [
        [],
        {"row": 9, "status": "accepted", "query": "x"},
        {"row": 0, "status": "maybe", "query": "x"},
        {"row": 0, "status": "accepted", "query": " "},
        {"row": "x", "status": "", "query": "x"},
    ],
)
def test_what_is_no_decision_is_refused(path: Path, address: str, values: Any) -> None:
    before = path.read_bytes()
    assert _send(address, values) == 400
    assert path.read_bytes() == before


def test_other_pages_and_names_are_refused(path: Path, address: str) -> None:
    before = path.read_bytes()
    decision = {"row": 0, "status": "rejected", "query": "x"}
    assert _send(address, decision, **{"X-Key": "guess"}) == 403
    assert _send(address, decision, Host="evil.example:80") == 403
    assert path.read_bytes() == before
    assert address.startswith("http://127.0.0.1:")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_keyboard_decides_everything(
    browser: Any,  # noqa: F811  # the fixture
    path: Path,
    address: str,
    width: int,
    scheme: str,
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(address)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert "</script><b>" in page.locator("#text").inner_text()
    assert page.locator("#text mark").inner_text() == "ten euros"
    page.keyboard.press("r")
    page.wait_for_function("document.getElementById('state').textContent.startsWith('Question 2')")
    page.keyboard.press("e")
    page.locator("#query").fill("Which town?")
    page.keyboard.press("Control+Enter")
    page.wait_for_function("document.getElementById('state').textContent.includes('0 left')")
    page.keyboard.press("k")
    assert page.locator("#query").input_value() == "What does it cost?"
    context.close()
    assert said == []
    shown = ReviewFile(path, DOCUMENTS).shown()
    assert [(each["status"], each["query"]) for each in shown] == [
        ("rejected", "What does it cost?"),
        ("accepted", "Which town?"),
    ]
