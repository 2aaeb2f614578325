"""One bad document costs one document; a sick device ends the run and blames nobody (rule 8)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from latechunk_integrations import LateChunkEngine
from latechunk_integrations.bulk import IndexSummary, index
from latechunk_integrations.bulk.embedder import DocumentEmbedder
from latechunk_integrations.bulk.rows import CorpusDocument, DocumentRows, Failure
from latechunk_integrations.cli import app
from latechunk_integrations.engine import shared_engine
from latechunk_integrations.errors import SickDeviceError
from tests.bulk import support
from tests.bulk.support import documents, read, target

Forward = Callable[..., Any]


@pytest.fixture
def forward(tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Forward]]:
    """Put a function into the list, and it is called before each forward pass.

    The engine is not kept: once memory ran out its batches stay smaller, and the last bits of
    what it gives differ from those of another process.
    """
    encoder = shared_engine(support.options(tiny_model_path)).encoder
    passed = encoder.forward
    before: list[Forward] = []

    def hooked(batch: Any) -> Any:
        for each in before:
            each(batch)
        return passed(batch)

    monkeypatch.setattr(encoder, "forward", hooked)
    if hasattr(encoder, "sum_tokens"):
        monkeypatch.setattr(type(encoder), "sums_there", False, raising=False)
    yield before
    shared_engine.cache_clear()


def _fail_on(engine: LateChunkEngine, text: str, error: Exception) -> Forward:
    """Fail over every window that holds these tokens."""
    sought = engine.encoder.tokenize([text], "")[0].ids.tolist()

    def fail(batch: Any) -> None:
        for row in np.asarray(batch.ids).tolist():
            if any(row[at : at + len(sought)] == sought for at in range(len(row))):
                raise error

    return fail


def _index(folder: Path, model: Path, corpus: list[CorpusDocument], **more: Any) -> IndexSummary:
    return index(
        corpus,
        target("jsonl", folder),
        support.options(model),
        folder / "checkpoint",
        support.settings(**more),
    )


def _held(folder: Path) -> set[str]:
    return {row["document_id"] for row in read("jsonl", folder).values()}


class OutOfMemoryError(RuntimeError):
    """As torch's own is called."""


@pytest.mark.parametrize("reproducible", [True, False])
@pytest.mark.parametrize("error", [RuntimeError("bad kernel"), OutOfMemoryError(), MemoryError()])
def test_a_forward_pass_that_fails_over_one_document_costs_that_document(
    tmp_path: Path,
    tiny_model_path: Path,
    forward: list[Forward],
    error: Exception,
    *,
    reproducible: bool,
) -> None:
    corpus = documents(6)
    corpus[2] = CorpusDocument("poison", "otherwise otherwise")
    engine = shared_engine(support.options(tiny_model_path))
    forward.append(_fail_on(engine, "otherwise otherwise", error))
    summary = _index(tmp_path, tiny_model_path, corpus, reproducible=reproducible)
    assert (summary.n_documents, summary.n_failed, summary.n_retried) == (5, 1, 1)
    assert _held(tmp_path) == {each.id for each in corpus} - {"poison"}
    (line,) = (tmp_path / "checkpoint" / "dead-letters.jsonl").read_bytes().splitlines()
    letter = json.loads(line)
    assert (letter["id"], letter["error"]) == ("poison", "EncodingFailedError")
    forward.clear()
    assert _index(tmp_path, tiny_model_path, corpus).n_documents == 1  # tried again


def test_a_device_that_fails_over_everything_ends_the_run_and_notes_nothing(
    tmp_path: Path, tiny_model_path: Path, forward: list[Forward]
) -> None:
    n_passes = 0

    def sick(_: Any) -> None:
        nonlocal n_passes
        n_passes += 1
        if n_passes > 4:
            raise RuntimeError("the device is lost")

    corpus = [CorpusDocument(f"d-{n}", "Short text.") for n in range(30)]
    forward.append(sick)
    with pytest.raises(SickDeviceError, match=r"5 documents in a row.*the device is lost"):
        _index(tmp_path, tiny_model_path, corpus, batch_documents=2, most_failures_in_a_row=5)
    assert _held(tmp_path) == {"d-0", "d-1", "d-2", "d-3"}
    forward.clear()
    summary = _index(tmp_path, tiny_model_path, corpus)
    assert (summary.n_documents, summary.n_unchanged, summary.n_failed) == (26, 4, 0)


def test_failures_count_in_a_row_only(
    tmp_path: Path, tiny_model_path: Path, forward: list[Forward]
) -> None:
    engine = shared_engine(support.options(tiny_model_path))
    forward.append(_fail_on(engine, "otherwise otherwise", RuntimeError("no")))
    bad, good = "otherwise otherwise otherwise", "A good text."
    texts = [bad, bad, good, bad, "", bad, good, bad]
    corpus = [CorpusDocument(f"d-{n}", text) for n, text in enumerate(texts)]
    summary = _index(tmp_path, tiny_model_path, corpus, most_failures_in_a_row=3)
    assert (summary.n_documents, summary.n_failed, summary.n_retried) == (2, 6, 5)


def test_a_changed_document_that_the_device_fails_over_keeps_its_rows(
    tmp_path: Path, tiny_model_path: Path, forward: list[Forward]
) -> None:
    corpus = documents(4)
    _index(tmp_path, tiny_model_path, corpus)
    engine = shared_engine(support.options(tiny_model_path))
    forward.append(_fail_on(engine, "otherwise otherwise", RuntimeError("no")))
    corpus[1] = CorpusDocument("doc-1", "otherwise otherwise")
    _index(tmp_path, tiny_model_path, corpus)
    assert _held(tmp_path) == {each.id for each in corpus}


def test_an_embedder_gives_failures_in_their_place(
    tiny_model_path: Path, forward: list[Forward]
) -> None:
    engine = shared_engine(support.options(tiny_model_path))
    forward.append(_fail_on(engine, "otherwise otherwise", RuntimeError("no")))
    embedder = DocumentEmbedder(engine, support.settings().chunking, reproducible=False)
    texts = ["One.", "otherwise otherwise", "Two.", "", "Three."]
    corpus = [CorpusDocument(str(n), text) for n, text in enumerate(texts)]
    outcomes = embedder.embed(corpus)
    assert [each.document_id for each in outcomes] == ["0", "1", "2", "3", "4"]
    assert [type(each) for each in outcomes] == [
        *(DocumentRows, Failure, DocumentRows, Failure, DocumentRows)
    ]
    retried = [each.retry for each in outcomes if isinstance(each, Failure)]
    assert retried == [True, False]


@pytest.mark.slow
def test_poison_among_a_thousand_documents(
    tmp_path: Path, tiny_model_path: Path, forward: list[Forward]
) -> None:
    """One of 1,000 raises in the forward pass: 999 indexed, one dead letter, exit code 1."""
    lines = [json.dumps({"id": n, "text": f"Text number {n}."}) for n in range(1_000)]
    lines[617] = json.dumps({"id": 617, "text": "otherwise otherwise"})
    source = tmp_path / "corpus.jsonl"
    source.write_text("\n".join(lines), encoding="utf-8")
    engine = shared_engine(support.options(tiny_model_path))
    forward.append(_fail_on(engine, "otherwise otherwise", RuntimeError("no")))
    arguments = [
        *("index", str(source), "--to", target("jsonl", tmp_path), "--quiet"),
        *("--checkpoint", str(tmp_path / "checkpoint"), "--model", str(tiny_model_path)),
        *("-o", "dtype=float32", "-o", "device=cpu", "--splitter", support.SPLITTER),
    ]
    finished = CliRunner().invoke(app, arguments)
    assert finished.exit_code == 1, finished.output
    assert _held(tmp_path) == {str(n) for n in range(1_000)} - {"617"}
    letters = (tmp_path / "checkpoint" / "dead-letters.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["id"] for line in letters] == ["617"]
