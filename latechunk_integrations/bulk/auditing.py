"""How the vectors of a store were made, from the marks that its rows hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from latechunk_integrations.bulk.migration.chunk_fields import read_json
from latechunk_integrations.bulk.rows import COLUMNS
from latechunk_integrations.bulk.targets import Target
from latechunk_integrations.marks import ENGINE_KEY, MODE_KEY

_MODES = ("late", "windowed", "standalone")
_SOURCE_KEYS = ("document_id", "file_path", "source", "file_name", "ref_doc_id", "doc_id")
_NO_SOURCE = "(unknown)"
# Where stores of the frameworks keep metadata.
_METADATA_KEYS = (
    *("metadata", "metadata_", "cmetadata", "langchain_metadata"),
    *("_node_content", "node"),
)


@dataclass
class StoreAudit:
    """Vectors by origin and source.

    Args:
        target: The store.
        counts: Vectors of each origin by source: ``late``, ``windowed``, ``standalone``,
            ``other engine`` or ``unknown``.
        engines: Vectors of each engine, by its fingerprint; ``""``: not marked.
    """

    target: str
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    engines: Counter[str] = field(default_factory=Counter)

    @property
    def totals(self) -> Counter[str]:
        """Vectors of each origin."""
        return sum(self.counts.values(), Counter())

    def to_dict(self) -> dict[str, Any]:
        """Counts and shares; only what JSON holds."""
        totals = self.totals
        n_vectors = totals.total()
        return {
            "target": self.target,
            "vectors": n_vectors,
            "counts": dict(totals),
            "shares": {name: n / n_vectors for name, n in totals.items()},
            "engines": dict(self.engines),
            "by_source": {name: dict(each) for name, each in sorted(self.counts.items())},
        }


def audit(target: str, engine: str | None = None) -> StoreAudit:
    """Read the marks of every row; no model is loaded and nothing written.

    It reads what `index` wrote, and what the adapters of both frameworks wrote. LangChain's
    `PGVector` keeps all of its collections in the table ``langchain_pg_embedding``.

    Args:
        target: As for `index`.
        engine: Fingerprint of the engine that counts as one's own; ``None``: the one that made
            most of the vectors.

    Raises:
        OptionError: It is no target.
        WriterError: It is not there, or does not answer.
    """
    found = StoreAudit(target)
    by_engine: Counter[tuple[str, str, str]] = Counter()
    with closing(Target.parse(target).open(None, "")) as writer:
        for row in writer.scan():
            mode, made_by, source = _read_marks(row)
            by_engine[source, made_by, mode] += 1
            found.engines[made_by] += 1
    if engine is None:
        marked = [(n, name) for name, n in found.engines.items() if name]
        engine = max(marked)[1] if marked else ""
    for (source, made_by, mode), n in by_engine.items():
        if mode not in _MODES or not made_by:
            origin = "unknown"
        else:
            origin = mode if made_by == engine else "other engine"
        found.counts.setdefault(source, Counter())[origin] += n
    return found


def _read_marks(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """Mode, engine and source of a row; ``""`` where it does not say."""
    mode = engine = source = ""
    for values in _find_mappings(row):
        mode = mode or str(values.get(MODE_KEY) or "")
        engine = engine or str(values.get(ENGINE_KEY) or "")
        named = next((values[key] for key in _SOURCE_KEYS if values.get(key)), "")
        source = source or str(named)
    if all(name in row for name in COLUMNS):  # `index` wrote it
        mode = str(row["mode"])
    return mode, engine, source or _NO_SOURCE


def _find_mappings(row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The row, and the metadata that a framework put into it."""
    yield row
    for key in _METADATA_KEYS:
        value = row.get(key)
        value = read_json(value) if isinstance(value, str) else value
        if isinstance(value, Mapping):
            yield value
            inner = value.get("metadata")
            if isinstance(inner, Mapping):
                yield inner
