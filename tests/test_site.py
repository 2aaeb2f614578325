"""The documentation site in a real browser: it fits, searches, and asks no other host.

Skipped where there is no Chromium or no MkDocs; `CHROMIUM` names one that is not on the path.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
PAGES = ("", "tutorial/", "focus/", "results/", "reference/engine/", "reference/bulk/")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
        pass


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("mkdocs")
    site = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--quiet",
        "--strict",
        "--site-dir",
        str(site),
    ]
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    subprocess.run(command, cwd=ROOT, env=env, check=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_pages_fit_say_nothing_in_the_console_and_are_searched(address: str) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    said: list[str] = []
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for width, scheme in [(w, s) for w in (1280, 390) for s in ("light", "dark")]:
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("request", lambda request: said.append(request.url))
            for path in PAGES:
                page.goto(address + path)
                assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
            box = page.locator("input.md-search__input")
            page.locator(
                "label[for=__search]:visible"
            ).first.click() if width < 800 else box.click()
            page.wait_for_function("navigator.serviceWorker !== undefined")
            box.press_sequentially("header focus", delay=50)
            page.wait_for_selector(".md-search-result__item", state="attached", timeout=60_000)
            page.close()
        browser.close()
    assert [line for line in said if not line.startswith(address)] == []
