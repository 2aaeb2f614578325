"""A comparison as one HTML file: tables, figures, and queries won and lost with their texts.

The page asks for nothing from outside and runs no script; light and dark follow the reader's
system. Both palettes of each figure stand in the page, and the style sheet shows one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from latechunk_integrations.engine import LateChunkEngine
from latechunk_integrations.evaluation.dataset import GoldenDocument, GoldenSet
from latechunk_integrations.evaluation.inspection import Inspection
from latechunk_integrations.evaluation.metrics import ChunkTable
from latechunk_integrations.evaluation.plots import chunk_bars, gains, heat_map, recall_curves
from latechunk_integrations.evaluation.rendering import picture, render
from latechunk_integrations.evaluation.results import (
    Comparison,
    ConfigurationResult,
    Hit,
    QueryResult,
    TuneResult,
)
from latechunk_integrations.evaluation.similarity import Similarities, compare_sentences
from latechunk_integrations.evaluation.splitters import Splitter, split_documents
from latechunk_integrations.evaluation.verdicts import (
    Verdict,
    best_early,
    best_late,
    describe,
    main_measure,
    plain_words,
    verdict,
)

__all__ = [
    "inspection_html",
    "report_html",
    "similarities_of",
    "write_inspection",
    "write_report",
]

_SHOWN_QUERIES = 6
_SHOWN_HITS = 2
_MAP_QUERIES = 6
_CONTEXT_CHARS = 160
_GOLD_CHARS = 400
_CHUNK_CHARS = 1_500
_QUERY_CHARS = 300
_TITLE_CHARS = 120


def write_report(
    comparison: Comparison,
    golden: GoldenSet,
    path: str | Path,
    *,
    similarities: Similarities | None = None,
    tuned: TuneResult | None = None,
) -> Path:
    """Write the report of a comparison.

    Args:
        comparison: What was measured.
        golden: The set it was measured on; the report shows its texts.
        path: The HTML file; its folder is created.
        similarities: For the heat map, as `similarities_of` gives them.
        tuned: The outcome of a tuning, shown first.

    Returns:
        The file.

    Raises:
        MissingExtraError: A package of the extra ``evaluation`` is not installed.
    """
    html = report_html(comparison, golden, similarities=similarities, tuned=tuned)
    return _write(path, html)


def report_html(
    comparison: Comparison,
    golden: GoldenSet,
    *,
    similarities: Similarities | None = None,
    tuned: TuneResult | None = None,
) -> str:
    """The page that `write_report` writes."""
    measure = main_measure(comparison.results[0]) if tuned is None else tuned.measure
    return render(
        "report.html.j2",
        comparison=comparison,
        sizes=[_make_size(comparison, golden, size, measure) for size in comparison.chunk_sizes],
        ways={name: describe(comparison.get(name).configuration) for name in comparison.names},
        tuned=tuned,
        chosen="" if tuned is None else describe(tuned.chosen),
        candidates=() if tuned is None else _list_candidates(tuned),
        similarities=similarities,
        heat_map=None if similarities is None else picture(heat_map, similarities),
    )


def write_inspection(inspection: Inspection, path: str | Path) -> Path:
    """Write an inspected document as an HTML page.

    Args:
        inspection: The document.
        path: The HTML file; its folder is created.

    Returns:
        The file.

    Raises:
        MissingExtraError: A package of the extra ``evaluation`` is not installed.
    """
    return _write(path, inspection_html(inspection))


def inspection_html(inspection: Inspection) -> str:
    """An inspected document as one HTML page.

    Raises:
        MissingExtraError: A package of the extra ``evaluation`` is not installed.
    """
    ends = [chunk.end for chunk in inspection.chunks]
    ends += [window.end for window in inspection.windows]
    asked = bool(inspection.query and inspection.chunks)
    return render(
        "inspection.html.j2",
        inspection=inspection,
        length=max([1, *ends]),
        bars=picture(chunk_bars, inspection) if asked else None,
    )


def similarities_of(
    engine: LateChunkEngine,
    comparison: Comparison,
    golden: GoldenSet,
    *,
    splitter: Splitter = "recursive",
    chunk_size: int | None = None,
) -> Similarities:
    """Queries against the chunks of the document that most of them ask about.

    Args:
        engine: The engine that was compared.
        comparison: Gives the best late configuration.
        golden: The texts.
        splitter: The splitter of the comparison.
        chunk_size: ``None``: see `Comparison.size`.

    Returns:
        Of at most six queries.
    """
    size = comparison.size(chunk_size)
    asked: dict[str, list[str]] = {}
    for query in golden.queries:
        asked.setdefault(query.doc_id, []).append(query.text)
    doc_id = max(asked, key=lambda name: len(asked[name]))
    document = next(each for each in golden.documents if each.doc_id == doc_id)
    alone = replace(
        golden,
        documents=(document,),
        queries=tuple(query for query in golden.queries if query.doc_id == doc_id),
        spans=tuple(span for span in golden.spans if span.doc_id == doc_id),
    )
    ((spans,), _) = split_documents(alone, splitter, size, engine.encoder)
    best = best_late(comparison, size).configuration
    options = replace(engine.options, enabled=True, **best.options())
    found = compare_sentences(
        LateChunkEngine(engine.encoder, options),
        document.text,
        asked[doc_id][:_MAP_QUERIES],
        spans=spans.array.tolist(),
        header=document.title if best.header == "attended" else "",
    )
    table = ChunkTable.build(alone, [spans])
    by_query = alone.by_query
    relevant = np.zeros(found.late.shape, bool)
    for row, query in zip(relevant, alone.queries, strict=False):  # the map shows the first few
        row[table.relevant(by_query[query.query_id])] = True
    return replace(found, relevant=relevant)


def _write(path: str | Path, html: str) -> Path:
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(html, encoding="utf-8")
    return target


def _list_candidates(tuned: TuneResult) -> tuple[ConfigurationResult, ...]:
    return tuple(sorted(tuned.choosing.results, key=lambda r: -r.corpus[tuned.measure]))


@dataclass(frozen=True)
class _Size:
    """Everything that the page shows of one chunk size."""

    chunk_size: int | None
    results: tuple[ConfigurationResult, ...]
    baseline: ConfigurationResult
    measure: str
    verdict: Verdict
    in_words: str
    compared: ConfigurationResult
    rival: str
    figures: Mapping[str, Mapping[str, str]]
    won: tuple[_Fate, ...]
    lost: tuple[_Fate, ...]
    n_won: int
    n_lost: int


@dataclass(frozen=True)
class _Fate:
    """A query under the best early configuration and under the late one that it meets."""

    text: str
    title: str
    gold: tuple[str, str, str]
    early: QueryResult
    late: QueryResult
    early_top: tuple[_Shown, ...]
    late_top: tuple[_Shown, ...]


@dataclass(frozen=True)
class _Shown:
    """A chunk that was found."""

    title: str
    text: str
    score: float
    relevant: bool


def _make_size(comparison: Comparison, golden: GoldenSet, size: int | None, measure: str) -> _Size:
    plain = comparison.get(comparison.baseline, size)
    late = best_late(comparison, size, measure)
    early = plain if late is plain else best_early(comparison, size, measure)
    changes = [
        late_query.scores[measure] - early_query.scores[measure]
        for early_query, late_query in zip(early.queries, late.queries, strict=True)
    ]
    order = sorted(range(len(changes)), key=lambda n: changes[n])
    lost = [n for n in order if changes[n] < 0]
    won = [n for n in reversed(order) if changes[n] > 0]

    names = comparison.names
    texts = _Texts(golden)

    def fates(numbers: Sequence[int]) -> tuple[_Fate, ...]:
        return tuple(
            texts.fate(early.queries[n], late.queries[n]) for n in numbers[:_SHOWN_QUERIES]
        )

    return _Size(
        chunk_size=size,
        results=tuple(comparison.get(name, size) for name in names),
        baseline=plain,
        measure=measure,
        verdict=verdict(comparison, size, measure),
        in_words="" if late is plain else plain_words(early, late),
        compared=late,
        rival="early chunking" if early is plain else f"‘{early.name}’",
        figures={
            "gains": picture(gains, comparison, size, measure=measure),
            "corpus": picture(recall_curves, comparison, size),
            "document": picture(recall_curves, comparison, size, where="document"),
        },
        won=fates(won),
        lost=fates(lost),
        n_won=len(won),
        n_lost=len(lost),
    )


class _Texts:
    """The texts behind ids and positions, short enough to be shown."""

    def __init__(self, golden: GoldenSet) -> None:
        self._documents = {document.doc_id: document for document in golden.documents}
        self._queries = {query.query_id: query.text for query in golden.queries}
        self._gold = golden.by_query

    def fate(self, early: QueryResult, late: QueryResult) -> _Fate:
        """How a query fared on both sides."""
        home = self._documents[early.doc_id]
        return _Fate(
            text=_cut(self._queries[early.query_id], _QUERY_CHARS),
            title=_choose_title(home),
            gold=self._cut_excerpt(early.query_id, home),
            early=early,
            late=late,
            early_top=tuple(self._show_hit(hit) for hit in early.top[:_SHOWN_HITS]),
            late_top=tuple(self._show_hit(hit) for hit in late.top[:_SHOWN_HITS]),
        )

    def _cut_excerpt(self, query_id: str, document: GoldenDocument) -> tuple[str, str, str]:
        """The first gold span of a query, with a little text before and behind it."""
        gold = next(span for span in self._gold[query_id] if span.doc_id == document.doc_id)
        text = document.text
        shown = _cut(text[gold.start : gold.end], _GOLD_CHARS)
        before = text[max(gold.start - _CONTEXT_CHARS, 0) : gold.start]
        # Behind an answer that was cut, its own rest would follow.
        whole = gold.end - gold.start <= _GOLD_CHARS
        after = _cut(text[gold.end :], _CONTEXT_CHARS) if whole else ""
        return ("… " if gold.start > _CONTEXT_CHARS else "") + before, shown, after

    def _show_hit(self, hit: Hit) -> _Shown:
        document = self._documents[hit.doc_id]
        text = _cut(document.text[hit.start : hit.end], _CHUNK_CHARS)
        return _Shown(_choose_title(document), text, hit.score, hit.relevant)


def _choose_title(document: GoldenDocument) -> str:
    return _cut(document.title.strip() or document.doc_id, _TITLE_CHARS)


def _cut(text: str, n_chars: int) -> str:
    return text if len(text) <= n_chars else text[:n_chars] + " …"
