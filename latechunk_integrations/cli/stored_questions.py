"""A user's questions for ``latechunk migrate``: read, scored and shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # loaded by the command that needs it: `latechunk --help` needs none
    from latechunk_integrations.bulk.migration.stored_search import AskedQuestion, StoreQuestion

_MEASURES = ("nDCG@10", "R@5", "R@10")


def read_questions(path: Path) -> list[StoreQuestion]:
    """The rows of a .csv or .jsonl file: ``query``, and ``quote`` (with ``document``) or ``ids``.

    Raises:
        GoldenSetError: The file cannot be read, or a row lacks something.
        MissingExtraError: What will score them is not installed: said before the work.
    """
    from latechunk_integrations.bulk.migration.stored_search import StoreQuestion  # noqa: PLC0415  # costs seconds
    from latechunk_integrations.errors import GoldenSetError  # noqa: PLC0415  # as above
    from latechunk_integrations.evaluation.metrics import deepest  # noqa: PLC0415  # as above
    from latechunk_integrations.evaluation.quote_rows import json_rows, table_rows  # noqa: PLC0415  # as above

    deepest(_MEASURES)
    read = json_rows if path.suffix == ".jsonl" else table_rows
    questions = []
    for row in read(path):
        ids: Any = row.values.get("ids") or ()
        keys = tuple(ids.split()) if isinstance(ids, str) else tuple(map(str, ids))
        quote = row.text("quote", optional=bool(keys))
        document = row.text("document", optional=True)
        questions.append(StoreQuestion(row.text("query"), quote, document, keys))
    if not questions:
        raise GoldenSetError(f"{path} holds no question")
    return questions


def score_questions(asked: Sequence[AskedQuestion]) -> dict[str, Any]:
    """Each measure by the old and the late vectors, over the questions that have an answer.

    Raises:
        MissingExtraError: ir-measures is not installed.
    """
    import numpy as np  # noqa: PLC0415  # `latechunk --help` needs none

    from latechunk_integrations.evaluation.metrics import paired_difference, score_rankings  # noqa: PLC0415  # as above

    known = [question for question in asked if question.relevant]
    names = sorted({key for each in known for key in (*each.relevant, *each.old, *each.late)})
    number = {key: row for row, key in enumerate(names)}

    def rows(lists: Sequence[Sequence[str]]) -> list[Any]:
        return [np.array([number[key] for key in keys], np.int64) for keys in lists]

    relevant = rows([sorted(set(each.relevant)) for each in known])
    old = score_rankings(rows([each.old for each in known]), relevant, _MEASURES)
    late = score_rankings(rows([each.late for each in known]), relevant, _MEASURES)
    measures = {}
    for name in _MEASURES if known else ():
        found = paired_difference(late[name], old[name])
        measures[name] = {
            "old": float(old[name].mean()),
            "late": float(late[name].mean()),
            "difference": found.mean,
            "low": found.low,
            "high": found.high,
        }
    lost = [each.query for each in asked if not each.relevant]
    return {"n_questions": len(known), "without_answer": lost, "measures": measures}


def show_scores(scores: dict[str, Any]) -> str:
    """A small table."""
    lines = [f"{scores['n_questions']} questions asked of the store; 95 % intervals in brackets"]
    for name, found in scores["measures"].items():
        change = f"{100 * found['difference']:+.1f}"
        bounds = "(too few questions for an interval)"
        if found["low"] is not None and found["high"] is not None:
            bounds = f"[{100 * found['low']:+.1f}, {100 * found['high']:+.1f}]"
        lines.append(
            f"{name:8} old {100 * found['old']:5.1f}  late {100 * found['late']:5.1f}  "
            f"{change} {bounds}"
        )
    lost = scores["without_answer"]
    if lost:
        lines.append(f"{len(lost)} left out, their quotes are in no parent, such as {lost[0]!r}")
    return "\n".join(lines)
