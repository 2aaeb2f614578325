"""What can be said without queries: collapse, modes, and what was cut."""

from __future__ import annotations

import io
import logging
import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from latechunk_integrations import LateChunkEngine, Parent
from latechunk_integrations.errors import InputTypeError
from latechunk_integrations.evaluation.diagnostics import diagnose, mean_similarity
from latechunk_integrations.evaluation.similarity import sentence_spans
from latechunk_integrations.evaluation.terminal import show_diagnosis
from tests.evaluation.support import BERLIN, TOKYO


def _parents() -> list[Parent]:
    long = " ".join([BERLIN] * 4)
    return [
        Parent(BERLIN, sentence_spans(BERLIN), id="berlin"),
        Parent(TOKYO, id="tokyo"),
        Parent(long, sentence_spans(long), id="long"),
    ]


@given(st.integers(2, 8), st.integers(0, 1_000))
def test_mean_similarity_is_that_of_all_pairs(n: int, seed: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(n, 5))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    slow = [sum(a * b for a, b in zip(x, y, strict=True)) for x, y in combinations(rows, 2)]
    assert mean_similarity(rows.astype(np.float32)) == pytest.approx(np.mean(slow), abs=1e-5)


def test_a_document_of_one_chunk_has_no_pairs(tiny_engine: LateChunkEngine) -> None:
    diagnosis = diagnose(tiny_engine, _parents())
    _, tokyo, _ = diagnosis.documents
    assert math.isnan(tokyo.late_similarity)
    assert not tokyo.collapsed
    assert not math.isnan(diagnosis.late_similarity)


def test_documents_are_printed_from_the_most_alike_to_those_without_pairs(
    tiny_engine: LateChunkEngine,
) -> None:
    berlin, tokyo, long = _parents()
    parents = [replace(tokyo, id="alone-1"), berlin, replace(tokyo, id="alone-2"), long]
    diagnosis = diagnose(tiny_engine, parents)
    console = Console(file=io.StringIO(), width=100)
    show_diagnosis(diagnosis, console, notes=["2 chunks [lost]"])
    printed = console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    similar = {each.parent_id: each.late_similarity for each in diagnosis.documents}
    order = [*sorted(("berlin", "long"), key=lambda name: -similar[name]), "alone-1", "alone-2"]
    assert sorted(order, key=printed.index) == order
    assert "nan" not in printed
    assert "note: 2 chunks [lost]" in printed


def test_modes_windows_and_shares_are_those_of_the_engine(tiny_engine: LateChunkEngine) -> None:
    parents = _parents()
    diagnosis = diagnose(tiny_engine, parents)
    results = tiny_engine.embed(parents)
    modes = [mode for result in results for mode in result.modes]
    for mode in ("late", "windowed", "standalone"):
        assert diagnosis.shares[mode] == pytest.approx(modes.count(mode) / len(modes))
    assert [d.n_windows for d in diagnosis.documents] == [result.n_windows for result in results]
    assert diagnosis.to_frame().shape[0] == 3


def test_nearly_equal_late_vectors_are_warned_about(
    tiny_engine: LateChunkEngine, caplog: pytest.LogCaptureFixture
) -> None:
    same = Parent("The same words. " * 8, sentence_spans("The same words. " * 8), id="echo")
    with caplog.at_level(logging.WARNING):
        diagnosis = diagnose(tiny_engine, [same, *_parents()], threshold=0.9)
    assert diagnosis.documents[0].collapsed
    assert "nearly the same" in diagnosis.warnings[0]
    assert "'echo'" in caplog.text
    calm = diagnose(tiny_engine, _parents(), threshold=1.1)
    assert not any("nearly the same" in warning for warning in calm.warnings)


def test_chunks_embedded_alone_are_no_late_vectors_that_collapsed(
    tiny_engine: LateChunkEngine,
) -> None:
    text = "The same words. " * 8
    same = Parent(text, sentence_spans(text), id="echo")
    alone = replace(tiny_engine.options, min_parent_tokens=1_000)
    diagnosis = diagnose(LateChunkEngine(tiny_engine.encoder, alone), [same], threshold=0.9)
    assert diagnosis.shares["standalone"] == 1
    assert diagnosis.documents[0].late_similarity >= 0.9
    assert not diagnosis.documents[0].collapsed
    assert not any("nearly the same" in warning for warning in diagnosis.warnings)


def test_what_was_cut_is_counted(tiny_engine: LateChunkEngine) -> None:
    options = replace(tiny_engine.options, min_parent_tokens=80)
    engine = LateChunkEngine(tiny_engine.encoder, options)
    diagnosis = diagnose(engine, _parents())
    assert diagnosis.cuts["short_parents"] == 2
    assert any("2 documents below min_parent" in warning for warning in diagnosis.warnings)
    header = " ".join(["heading"] * 80)
    cut = diagnose(tiny_engine, [Parent(BERLIN, sentence_spans(BERLIN), header=header)])
    assert cut.cuts["headers_cut"] == 1


def test_nothing_to_diagnose_is_an_error(tiny_engine: LateChunkEngine) -> None:
    with pytest.raises(InputTypeError, match="at least one parent"):
        diagnose(tiny_engine, [])
