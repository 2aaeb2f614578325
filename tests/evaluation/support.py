"""A small golden set in each layout, and a comparison made by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from latechunk_integrations.evaluation.dataset import GoldenDocument, GoldenSet, GoldSpan, Query
from latechunk_integrations.evaluation.results import (
    Comparison,
    Configuration,
    ConfigurationResult,
    Costs,
    Difference,
    Hit,
    QueryResult,
)

BERLIN = (
    "Berlin is the capital of Germany. Its 3.85 million inhabitants are proud of the café. "
    "The city has parks. The supplier delivers every part within thirty days."
)
TOKYO = "Tokyo is a city in Japan. It has a tower. Don't stop at the tower, see the façade too."
ROWS = [
    ("q1", "berlin", "How many inhabitants does Berlin have?", "3.85 million inhabitants"),
    ("q2", "berlin", "When does the supplier deliver?", "within thirty days"),
    ("q3", "tokyo", "What does Tokyo have?", "It has a tower."),
    ("q4", "tokyo", "Where is Tokyo?", "in Japan"),
]
_TEXTS = {"berlin": BERLIN, "tokyo": TOKYO}


def small_set() -> GoldenSet:
    """Two documents, one of them with a title, and four queries."""
    return GoldenSet(
        "small",
        (GoldenDocument("berlin", BERLIN, "Berlin"), GoldenDocument("tokyo", TOKYO)),
        tuple(Query(query_id, doc_id, text) for query_id, doc_id, text, _ in ROWS),
        tuple(_gold(query_id, doc_id, quote) for query_id, doc_id, _, quote in ROWS),
    )


def repeated_set(times: int) -> GoldenSet:
    """The small set with each of its queries several times: enough to tell from chance."""
    golden = small_set()
    return replace(
        golden,
        queries=tuple(
            replace(query, query_id=f"{query.query_id}-{n}")
            for n in range(times)
            for query in golden.queries
        ),
        spans=tuple(
            replace(span, query_id=f"{span.query_id}-{n}")
            for n in range(times)
            for span in golden.spans
        ),
    )


def _gold(query_id: str, doc_id: str, quote: str) -> GoldSpan:
    start = _TEXTS[doc_id].index(quote)
    return GoldSpan(query_id, doc_id, start, start + len(quote))


def write_jsonl(path: Path, rows: Sequence[object]) -> Path:
    """Write one JSON value a line."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    return path


def write_set(folder: Path) -> Path:
    """The small set as a folder of JSON lines."""
    golden = small_set()
    write_jsonl(
        folder / "documents.jsonl",
        [{"doc_id": d.doc_id, "title": d.title, "text": d.text} for d in golden.documents],
    )
    write_jsonl(
        folder / "queries.jsonl",
        [{"query_id": q.query_id, "doc_id": q.doc_id, "query": q.text} for q in golden.queries],
    )
    write_jsonl(
        folder / "qrels.jsonl",
        [
            {"query_id": s.query_id, "doc_id": s.doc_id, "start": s.start, "end": s.end}
            for s in golden.spans
        ],
    )
    return folder


def write_quotes(folder: Path) -> Path:
    """The small set as text files and rows of query, document and quote."""
    for doc_id, text in _TEXTS.items():
        (folder / f"{doc_id}.txt").write_text(text, encoding="utf-8")
    lines = ["query,document,quote"]
    lines += [f'"{query}",{doc_id}.txt,"{quote}"' for _, doc_id, query, quote in ROWS]
    path = folder / "rows.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def result(
    configuration: Configuration,
    ranks: Sequence[int | None],
    baseline: Sequence[int | None] | None = None,
    *,
    chunk_size: int | None = 64,
    golden: GoldenSet | None = None,
    model: str = "models/tiny",
) -> ConfigurationResult:
    """A result whose queries found their answer at these ranks; RR is all that is measured.

    R@1 and R@5 stand there as well, made from it.
    """
    golden = golden or small_set()
    values = [1 / rank if rank else 0.0 for rank in ranks]
    mean = sum(values) / len(values)
    difference = {}
    if baseline is not None:
        gain = mean - sum(1 / rank if rank else 0.0 for rank in baseline) / len(values)
        made = Difference(gain, gain - 0.01, gain + 0.01, 0.01)
        if len(values) < 20:
            made = Difference(gain, None, None, None)
        difference = dict.fromkeys(("RR@10", "R@1", "R@5"), made)
    by_query = [{"RR@10": v, "R@1": v, "R@5": min(1.0, v + 0.2)} for v in values]
    scores = {name: sum(each[name] for each in by_query) / len(values) for name in by_query[0]}
    return ConfigurationResult(
        configuration=configuration,
        model=model,
        splitter="sentences",
        chunk_size=chunk_size,
        chunk_overlap=0,
        n_chunks=7,
        n_vectors=7,
        corpus=scores,
        document=scores,
        tokens={"precision": 0.1, "recall": 0.9, "iou": 0.1},
        corpus_difference=difference,
        document_difference=difference,
        costs=Costs(1.5, 250 if configuration.context_weight else 100, 512.0),
        queries=tuple(
            QueryResult(
                query.query_id,
                query.doc_id,
                rank,
                rank,
                measured,
                measured,
                (Hit(query.doc_id, 0, 20, 0.5, rank == 1),),
            )
            for query, rank, measured in zip(golden.queries, ranks, by_query, strict=True)
        ),
    )


def comparison(
    early: Sequence[int | None],
    late: Sequence[int | None],
    *,
    sizes: Sequence[int | None] = (64,),
    golden: GoldenSet | None = None,
) -> Comparison:
    """Early against late chunking, with these ranks of the four queries at every chunk size."""
    golden = golden or small_set()
    results: list[ConfigurationResult] = []
    for size in sizes:
        results += [
            result(
                Configuration(name="early"),
                early,
                early if results else None,
                chunk_size=size,
                golden=golden,
            ),
            result(
                Configuration(name="late", context_weight=1.0),
                late,
                early,
                chunk_size=size,
                golden=golden,
            ),
        ]
    return Comparison(
        dataset=golden.name,
        n_documents=len(golden.documents),
        results=tuple(results),
        questions={query.query_id: query.text for query in golden.queries},
        notes=("a note",),
    )
