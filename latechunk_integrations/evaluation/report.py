"""A comparison as one HTML file: tables, figures, and queries won and lost with their texts.

The page asks for nothing from outside and runs no script; light and dark follow the reader's
system. Both palettes of each figure stand in the page, and the style sheet shows one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from latechunk_integrations.engine import LateChunkEngine
from latechunk_integrations.evaluation.dataset import Document, GoldenSet
from latechunk_integrations.evaluation.inspection import Inspection
from latechunk_integrations.evaluation.plots import gains, heat_map, recall_curves
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
from latechunk_integrations.evaluation.verdicts import Verdict, main_measure, verdict

__all__ = ["inspection_html", "report_html", "similarities_of", "write_report"]

_SHOWN_QUERIES = 6
_SHOWN_HITS = 2
_MAP_QUERIES = 6
_CONTEXT_CHARS = 160
_GOLD_CHARS = 400


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
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    html = report_html(comparison, golden, similarities=similarities, tuned=tuned)
    target.write_text(html, encoding="utf-8")
    return target


def report_html(
    comparison: Comparison,
    golden: GoldenSet,
    *,
    similarities: Similarities | None = None,
    tuned: TuneResult | None = None,
) -> str:
    """The page that `write_report` writes."""
    return render(
        "report.html.j2",
        comparison=comparison,
        sizes=[_size(comparison, golden, size) for size in comparison.chunk_sizes],
        tuned=tuned,
        similarities=similarities,
        heat_map=None if similarities is None else picture(heat_map, similarities),
    )


def inspection_html(inspection: Inspection) -> str:
    """An inspected document as one HTML page.

    Raises:
        MissingExtraError: A package of the extra ``evaluation`` is not installed.
    """
    scores = [
        score
        for chunk in inspection.chunks
        for score in (chunk.early, chunk.late)
        if score is not None
    ]
    length = max([1, *(chunk.end for chunk in inspection.chunks)])
    return render(
        "inspection.html.j2",
        inspection=inspection,
        highest=max([*scores, 1e-6]),
        length=max([length, *(window.end for window in inspection.windows)]),
    )


def similarities_of(
    engine: LateChunkEngine,
    comparison: Comparison,
    golden: GoldenSet,
    *,
    splitter: Splitter = "recursive",
) -> Similarities:
    """Queries against the chunks of the document that most of them ask about.

    Args:
        engine: The engine that was compared.
        comparison: Gives the chunk size and the best late configuration.
        golden: The texts.
        splitter: The splitter of the comparison.

    Returns:
        Of at most six queries.
    """
    size = comparison.chunk_sizes[0]
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
    best = _best_late(comparison, size).configuration
    options = replace(engine.options, **best.options())
    return compare_sentences(
        LateChunkEngine(engine.encoder, options),
        document.text,
        asked[doc_id][:_MAP_QUERIES],
        spans=spans.array.tolist(),
        header=document.title if best.header == "attended" else "",
    )


def _best_late(comparison: Comparison, size: int | None) -> ConfigurationResult:
    late = [
        result
        for result in (comparison.get(name, size) for name in comparison.names)
        if result.configuration.context_weight
    ]
    if not late:
        return comparison.get(comparison.baseline, size)
    return max(late, key=lambda result: result.corpus[main_measure(result)])


@dataclass(frozen=True)
class _Size:
    """Everything that the page shows of one chunk size."""

    chunk_size: int | None
    results: tuple[ConfigurationResult, ...]
    baseline: ConfigurationResult
    measure: str
    verdict: Verdict
    compared: ConfigurationResult
    figures: Mapping[str, Mapping[str, str]]
    won: tuple[_Fate, ...]
    lost: tuple[_Fate, ...]
    n_won: int
    n_lost: int


@dataclass(frozen=True)
class _Fate:
    """A query under early chunking and under the configuration it is compared with."""

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


def _size(comparison: Comparison, golden: GoldenSet, size: int | None) -> _Size:
    early = comparison.get(comparison.baseline, size)
    late = _best_late(comparison, size)
    measure = main_measure(early)
    changes = [
        late_query.scores[measure] - early_query.scores[measure]
        for early_query, late_query in zip(early.queries, late.queries, strict=True)
    ]
    order = sorted(range(len(changes)), key=lambda n: changes[n])
    lost = [n for n in order if changes[n] < 0]
    won = [n for n in reversed(order) if changes[n] > 0]

    def fates(numbers: Sequence[int]) -> tuple[_Fate, ...]:
        return tuple(_fate(golden, n, early, late) for n in numbers[:_SHOWN_QUERIES])

    return _Size(
        chunk_size=size,
        results=tuple(comparison.get(name, size) for name in comparison.names),
        baseline=early,
        measure=measure,
        verdict=verdict(comparison, size),
        compared=late,
        figures={
            "gains": picture(gains, comparison, size),
            "corpus": picture(recall_curves, comparison, size),
            "document": picture(recall_curves, comparison, size, where="document"),
        },
        won=fates(won),
        lost=fates(lost),
        n_won=len(won),
        n_lost=len(lost),
    )


def _fate(
    golden: GoldenSet, n: int, early: ConfigurationResult, late: ConfigurationResult
) -> _Fate:
    query = golden.queries[n]
    documents = {document.doc_id: document for document in golden.documents}
    home = documents[query.doc_id]
    return _Fate(
        text=query.text,
        title=_title(home),
        gold=_excerpt(golden, query.query_id, home),
        early=early.queries[n],
        late=late.queries[n],
        early_top=tuple(_shown(documents, hit) for hit in early.queries[n].top[:_SHOWN_HITS]),
        late_top=tuple(_shown(documents, hit) for hit in late.queries[n].top[:_SHOWN_HITS]),
    )


def _excerpt(golden: GoldenSet, query_id: str, document: Document) -> tuple[str, str, str]:
    """The first gold span of a query with a little text around it."""
    spans = [each for each in golden.spans if each.query_id == query_id]
    gold = next((each for each in spans if each.doc_id == document.doc_id), None)
    if gold is None:
        return ("", "", "")
    end = min(gold.end, gold.start + _GOLD_CHARS)
    text = document.text
    before = text[max(gold.start - _CONTEXT_CHARS, 0) : gold.start]
    after = text[end : end + _CONTEXT_CHARS] if end == gold.end else ""
    more = "" if end == gold.end else " …"
    return (
        ("… " if gold.start > _CONTEXT_CHARS else "") + before,
        text[gold.start : end] + more,
        after + (" …" if end + len(after) < len(text) and not more else ""),
    )


def _shown(documents: Mapping[str, Document], hit: Hit) -> _Shown:
    document = documents[hit.doc_id]
    return _Shown(_title(document), document.text[hit.start : hit.end], hit.score, hit.relevant)


def _title(document: Document) -> str:
    return document.title or document.doc_id
