"""A comparison as one HTML file: what to do, tables, figures, and every question with its texts.

The page asks for nothing from outside. Its script only searches and sorts what is there; light and
dark follow the reader's system.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from latechunk_integrations.engine import LateChunkEngine
from latechunk_integrations.evaluation.advice import Advice, advise, best_result
from latechunk_integrations.evaluation.configurations import describe
from latechunk_integrations.evaluation.dataset import GoldenDocument, GoldenSet
from latechunk_integrations.evaluation.inspection import Inspection
from latechunk_integrations.evaluation.metrics import ChunkTable
from latechunk_integrations.evaluation.passes import make_parent
from latechunk_integrations.evaluation.paste import LANGCHAIN, LLAMA_INDEX, config_text
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
from latechunk_integrations.evaluation.store_rows import STORE

_SHOWN_HITS = 3
_MAP_QUERIES = 6
_CONTEXT_CHARS = 160
_GOLD_CHARS = 400
_CHUNK_CHARS = 600
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
    said = advise(comparison, None if tuned is None else tuned.measure)
    rival = _choose_rival(comparison, said, tuned)
    now = comparison.opponent
    texts = _Texts(golden)
    fates = [
        texts.fate(old, new, said.measure, uncertain=old.query_id in comparison.uncertain)
        for old, new in zip(now.queries, rival.queries, strict=True)
    ]
    chosen = said.chosen if tuned is None else tuned.chosen
    return render(
        "report.html.j2",
        comparison=comparison,
        advice=said,
        measure=said.measure,
        now=now,
        rival=rival,
        best=best_result(comparison, said.measure),
        fates=fates,
        figures={
            "gains": picture(gains, comparison, measure=said.measure),
            "corpus": picture(recall_curves, comparison),
            "document": picture(recall_curves, comparison, where="document"),
        },
        ways={each.name: describe(each.configuration) for each in comparison.results},
        config="" if said.outcome == "too few" else _write_config(comparison, chosen),
        llama_index=LLAMA_INDEX,
        langchain=LANGCHAIN,
        tuned=tuned,
        candidates=() if tuned is None else _list_candidates(tuned),
        similarities=similarities,
        heat_map=None if similarities is None else picture(heat_map, similarities),
    )


def _choose_rival(
    comparison: Comparison, said: Advice, tuned: TuneResult | None
) -> ConfigurationResult:
    """What the questions are shown with, beside what the user has now."""
    chosen = said.chosen if tuned is None else tuned.chosen
    others = [each for each in comparison.results if each is not comparison.opponent]
    if chosen is not comparison.opponent or not others:
        return chosen
    return max(others, key=lambda each: each.corpus[said.measure])


def _write_config(comparison: Comparison, chosen: ConfigurationResult) -> str:
    """The file to paste; empty where no model is known, or a store is to stay as it is."""
    if comparison.provenance is None or chosen.name == STORE:
        return ""
    models = {each.name: each for each in comparison.provenance.models}
    return config_text(chosen, models[chosen.model].options)


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
) -> Similarities:
    """Queries against the chunks of the document that most of them ask about.

    Args:
        engine: The first engine that was compared.
        comparison: Gives the best late configuration.
        golden: The texts.
        splitter: The splitter of the comparison.

    Returns:
        Of at most six queries.
    """
    size = comparison.opponent.chunk_size
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
    late = [each for each in comparison.results if each.configuration.context_weight]
    best = max(late or [comparison.opponent], key=lambda each: next(iter(each.corpus.values())))
    options = replace(
        engine.options.for_one_process(), enabled=True, **best.configuration.options()
    )
    header = best.configuration.header
    found = compare_sentences(
        LateChunkEngine(engine.encoder, options),
        document.text,
        asked[doc_id][:_MAP_QUERIES],
        spans=spans.array.tolist(),
        header=make_parent(document, spans, "none" if header == "prepended" else header).header,
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
class _Fate:
    """A query as it fares now, and with the other configuration."""

    text: str
    title: str
    gold: tuple[str, str, str]
    old: QueryResult
    new: QueryResult
    gain: float
    uncertain: bool
    old_top: tuple[_Shown, ...]
    new_top: tuple[_Shown, ...]


@dataclass(frozen=True)
class _Shown:
    """A chunk that was found."""

    title: str
    text: str
    score: float
    relevant: bool


class _Texts:
    """The texts behind ids and positions, short enough to be shown."""

    def __init__(self, golden: GoldenSet) -> None:
        self._documents = {document.doc_id: document for document in golden.documents}
        self._queries = {query.query_id: query.text for query in golden.queries}
        self._gold = golden.by_query

    def fate(self, old: QueryResult, new: QueryResult, measure: str, *, uncertain: bool) -> _Fate:
        """How a query fared on both sides."""
        home = self._documents[old.doc_id]
        return _Fate(
            text=_cut(self._queries[old.query_id], _QUERY_CHARS),
            title=_choose_title(home),
            gold=self._cut_excerpt(old.query_id, home),
            old=old,
            new=new,
            gain=new.scores[measure] - old.scores[measure],
            uncertain=uncertain,
            old_top=tuple(self._show_hit(hit) for hit in old.top[:_SHOWN_HITS]),
            new_top=tuple(self._show_hit(hit) for hit in new.top[:_SHOWN_HITS]),
        )

    def _cut_excerpt(self, query_id: str, document: GoldenDocument) -> tuple[str, str, str]:
        """The first gold span of a query, with a little text before and after it."""
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
