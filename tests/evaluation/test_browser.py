"""The report in a real browser: nothing fails, search and sort work, the keyboard reaches all.

Skipped where there is no Chromium; `CHROMIUM` names one that is not on the path.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latechunk_integrations.evaluation.report import write_report
from latechunk_integrations.evaluation.results import Comparison
from tests.evaluation.support import comparison, repeated_set

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
GOLDEN = repeated_set(10)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
]


def _compared() -> Comparison:
    made = comparison([2, 2, 1, 4] * 10, [1, 3, 1, 2] * 10, golden=GOLDEN)
    return replace(made, uncertain=("q1-0", "q2-3"))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(_compared(), GOLDEN, tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, report: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The report, and a check at the end that the console said nothing."""
    width, scheme = getattr(request, "param", (1280, "light"))
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
    )
    opened = context.new_page()
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.goto(report.as_uri())
    yield opened
    context.close()
    assert said == []


@pytest.mark.parametrize(
    "page", [(w, s) for w in (1280, 390) for s in ("light", "dark")], indirect=True
)
def test_the_page_fits_and_shows_its_advice(page: Any) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    advice = page.locator("#advice")
    assert advice.is_visible()
    assert advice.bounding_box()["y"] < 900
    shown = [image for image in page.locator("figure img").all() if image.is_visible()]
    assert len(shown) == 3
    for image in shown:
        assert image.evaluate("image => image.complete && image.naturalWidth > 0")


def _shown(page: Any) -> list[str]:
    summaries = page.locator("details.question:visible summary b").all()
    return [each.inner_text() for each in summaries]


def test_questions_are_searched_sorted_and_filtered(page: Any) -> None:
    assert len(_shown(page)) == 40
    page.locator("#search").fill("tokyo HAVE")
    assert set(_shown(page)) == {"What does Tokyo have?"}
    assert page.locator("#shown").inner_text() == "10 of 40 questions"
    page.locator("#search").fill("")
    page.locator("#sort").select_option("lost")
    assert _shown(page)[:10] == ["When does the supplier deliver?"] * 10
    page.locator("#sort").select_option("gained")
    assert _shown(page)[:10] == ["How many inhabitants does Berlin have?"] * 10
    page.locator("#show").select_option("down")
    assert set(_shown(page)) == {"When does the supplier deliver?"}
    page.locator("#show").select_option("uncertain")
    assert len(_shown(page)) == 2
    page.locator("#show").select_option("")
    page.locator("#sort").select_option("order")
    assert _shown(page)[:4] == [query.text for query in GOLDEN.queries[:4]]


def test_the_keyboard_reaches_everything(page: Any) -> None:
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {"search", "sort", "show", "SUMMARY", "DIV"} <= reached
    page.locator("details.question summary").first.focus()
    page.keyboard.press("Enter")
    opened = page.locator("details.question").first
    assert opened.get_attribute("open") is not None
    sides = opened.locator(".sides > div")
    assert sides.count() == 2
    assert "Found first with ‘early’" in sides.first.inner_text()
