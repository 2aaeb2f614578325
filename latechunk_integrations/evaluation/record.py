"""Comparisons as files: JSON with a published schema, CSV of queries, TREC run and qrels."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from latechunk_integrations.engine import LateChunkEngine
from latechunk_integrations.errors import GoldenSetError
from latechunk_integrations.evaluation.dataset import GoldenSet
from latechunk_integrations.evaluation.metrics import ChunkTable
from latechunk_integrations.evaluation.results import Comparison
from latechunk_integrations.evaluation.splitters import Splitter, split_documents

FORMAT = "latechunk comparison 1"
"""What a record calls itself; the number grows when older readers would misread it."""

_TREC_TOP = 100  # scores fall from here: ranks, as ties of similarities have an order


def write_record(comparison: Comparison, path: str | Path) -> None:
    """Write everything that was measured as JSON, in the shape of docs/comparison.schema.json."""
    values = {"format": FORMAT, **_name_infinities(_adapter().dump_python(comparison, mode="json"))}
    text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")


def read_record(path: str | Path) -> Comparison:
    """Read what `write_record` wrote.

    Raises:
        GoldenSetError: The file cannot be read, or is no such record.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
            raise GoldenSetError(
                f"{path} is no record of this version ({FORMAT}): write it anew with --json"
            )
        return _adapter().validate_python(values)
    except (OSError, ValueError, RecursionError) as error:  # a ValidationError too
        raise GoldenSetError(f"cannot read the record {path}: {error}") from error


def record_schema() -> dict[str, Any]:
    """The JSON schema of a record."""
    schema = _adapter().json_schema(mode="serialization")
    schema["properties"] = {"format": {"const": FORMAT}, **schema["properties"]}
    schema["required"] = ["format", *schema["required"]]
    for name in ("focus", "header_focus"):
        schema["$defs"]["Configuration"]["properties"][name]["anyOf"].append({"const": "Infinity"})
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def write_queries(comparison: Comparison, path: str | Path) -> None:
    """Write a CSV file with a row for each query and result.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    comparison.queries_to_frame().to_csv(path, index=False)


def write_trec(
    comparison: Comparison,
    golden: GoldenSet,
    engines: Sequence[LateChunkEngine],
    folder: str | Path,
    splitter: Splitter = "recursive",
) -> list[Path]:
    """Write a TREC run for each result, with the best ten chunks, and qrels for each chunking.

    Chunks are named ``document:start-end``. Every chunk that overlaps a place of a label is
    relevant, so measures of queries with uncertain labels are lower than ours, which take the
    place that is found first.

    Args:
        comparison: What was measured.
        golden: The set it was measured on.
        engines: What it was measured with.
        folder: Created if missing.
        splitter: The splitter of the comparison.

    Returns:
        The files.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    files = []
    for result in comparison.results:
        name = _file_name(comparison.label(result))
        lines = [
            f"{query.query_id} Q0 {_name_chunk(hit.doc_id, hit.start, hit.end)} {place} "
            f"{_TREC_TOP - place}.0 {name}"
            for query in result.queries
            for place, hit in enumerate(query.top, 1)
        ]
        files.append(_write_lines(target / f"{name}.run", lines))
    for model, engine in zip(comparison.models, engines, strict=True):
        for size in comparison.chunk_sizes:
            spans, _ = split_documents(golden, splitter, size, engine.encoder)
            table = ChunkTable.build(golden, spans)
            lines = []
            for query_id, gold in golden.by_query.items():
                for row in table.relevant(gold).tolist():
                    document = golden.documents[int(table.document[row])].doc_id
                    chunk = _name_chunk(document, int(table.starts[row]), int(table.ends[row]))
                    lines.append(f"{query_id} 0 {chunk} 1")
            chunks = "own" if size is None else size
            files.append(_write_lines(target / f"{_file_name(f'{model} {chunks}')}.qrels", lines))
    return files


def _write_lines(path: Path, lines: Sequence[str]) -> Path:
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return path


def _name_chunk(doc_id: str, start: int, end: int) -> str:
    return f"{'_'.join(doc_id.split())}:{start}-{end}"


def _name_infinities(value: Any) -> Any:
    """The same values with infinite numbers, such as a focus, as texts: JSON has none."""
    if isinstance(value, dict):
        return {key: _name_infinities(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_name_infinities(each) for each in value]
    return "Infinity" if value == math.inf else value


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.]+", "-", text).strip("-")


@cache
def _adapter() -> TypeAdapter[Comparison]:
    return TypeAdapter(Comparison)
