"""Proposed questions in the browser: accept, edit or reject each, with the keyboard alone.

A server on this machine serves one page and writes each decision into the file at once, so that
whoever stops goes on later. Other machines, and pages of other sites, are refused.
"""

from __future__ import annotations

import csv
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any

from latechunk_integrations.errors import GoldenSetError
from latechunk_integrations.evaluation.dataset import GoldenDocument
from latechunk_integrations.evaluation.labels import REJECTED, STATUS, find_places
from latechunk_integrations.evaluation.quote_rows import question_rows
from latechunk_integrations.evaluation.rendering import render

_HOST = "127.0.0.1"
_STATES = ("accepted", REJECTED, "")
_CONTEXT_CHARS = 500
_MOST_BYTES = 100_000


class ReviewFile:
    """The questions of a file, and what was decided about each.

    Args:
        path: A ``.csv`` or ``.jsonl`` file as `append_questions` writes it.
        documents: What the quotes are from.

    Raises:
        GoldenSetError: The file cannot be read, or ends otherwise.
    """

    def __init__(self, path: str | Path, documents: Sequence[GoldenDocument]) -> None:
        self._path = Path(path)
        if self._path.suffix.lower() not in (".csv", ".jsonl"):
            raise GoldenSetError(f"a review is kept in a .csv or .jsonl file, not {path}")
        self._rows = [dict(row.values) for row in question_rows(self._path)]
        self._texts = {document.doc_id: document.text for document in documents}
        self._lock = Lock()

    def shown(self) -> list[dict[str, Any]]:
        """What the page shows of each row: question, state, quote and the text around it."""
        return [self._show(row) for row in self._rows]

    def change(self, values: Mapping[str, Any]) -> None:
        """Take a decision over, and write the file.

        Raises:
            GoldenSetError: It names no row, no state or no question.
        """
        try:
            row, status = int(values["row"]), str(values["status"])
            query = str(values["query"]).strip()
        except (KeyError, TypeError, ValueError) as error:
            raise GoldenSetError(f"no decision: {error}") from error
        if not 0 <= row < len(self._rows) or status not in _STATES or not query:
            raise GoldenSetError("a decision names a row, a state and a question")
        with self._lock:
            self._rows[row] |= {STATUS: status, "query": query}
            self._write()

    def _show(self, row: Mapping[str, Any]) -> dict[str, Any]:
        text, quote = self._texts.get(str(row.get("document")), ""), str(row.get("quote") or "")
        places = find_places(text, quote)
        start, end = (places[0].start, places[0].end) if places else (0, 0)
        return {
            "query": row.get("query", ""),
            "status": row.get(STATUS) or "",
            "document": row.get("document", ""),
            "before": text[max(0, start - _CONTEXT_CHARS) : start],
            "quote": text[start:end] or quote,
            "after": text[end : end + _CONTEXT_CHARS],
        }

    def _write(self) -> None:
        # Beside it first: a run that is stopped while writing must not lose the questions.
        partial = self._path.with_suffix(f".{os.getpid()}.partial")
        with partial.open("w", encoding="utf-8", newline="") as file:
            if self._path.suffix.lower() == ".jsonl":
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in self._rows)
            else:
                names = list(dict.fromkeys(name for row in self._rows for name in row))
                writer = csv.DictWriter(file, names)
                writer.writeheader()
                writer.writerows(self._rows)
        partial.replace(self._path)


def make_server(file: ReviewFile, port: int = 0) -> tuple[ThreadingHTTPServer, str]:
    """A server for the page, on this machine alone, and the address to open.

    Args:
        file: The questions.
        port: 0: any that is free.
    """
    token = secrets.token_urlsafe(16)

    class Handler(BaseHTTPRequestHandler):
        """Serves the page to whoever has its address, and takes its decisions."""

        def do_GET(self) -> None:
            """The page."""
            if self._is_allowed(self.path == f"/?key={token}"):
                # Inside of a script element, nothing may look like its end.
                questions = json.dumps(file.shown()).replace("<", "\\u003c")
                page = render("review.html.j2", questions=questions, key=token)
                self._answer(200, page, "text/html; charset=utf-8")

        def do_POST(self) -> None:
            """A decision."""
            length = int(self.headers.get("Content-Length") or 0)
            if not self._is_allowed(self.headers.get("X-Key") == token and length < _MOST_BYTES):
                return
            try:
                file.change(json.loads(self.rfile.read(length)))
            except (GoldenSetError, ValueError, TypeError) as error:
                self._answer(400, str(error))
                return
            self._answer(200, "saved")

        def _is_allowed(self, has_key: bool) -> bool:  # noqa: FBT001  # a condition, not an option
            # The name that was asked for: a foreign page that resolves to this machine is refused.
            name = (self.headers.get("Host") or "").rpartition(":")[0]
            if has_key and name in (_HOST, "localhost"):
                return True
            self._answer(403, "open the address that the command printed")
            return False

        def _answer(self, status: int, text: str, kind: str = "text/plain; charset=utf-8") -> None:
            content = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Frame-Options", "DENY")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's
            """Print nothing."""

    server = ThreadingHTTPServer((_HOST, port), Handler)
    return server, f"http://{_HOST}:{server.server_address[1]}/?key={token}"
