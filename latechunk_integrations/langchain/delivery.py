"""Places to vectors: each parent is embedded once, and what is not asked for yet is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.engine import LateChunkEngine
from latechunk_integrations.langchain.ledger import Bounds, Ledger, Place
from latechunk_integrations.schema import CharSpans, Mode, Parent

__all__ = ["deliver", "embed_parents"]


@dataclass
class _Demand:
    """What one call wants of one parent: ``chunks[i]`` belongs into ``rows[i]``."""

    parent: Parent
    rows: list[int] = field(default_factory=list)
    chunks: list[Bounds] = field(default_factory=list)
    parents: dict[int, Parent] = field(default_factory=dict)


def deliver(
    engine: LateChunkEngine,
    ledger: Ledger,
    places: Sequence[tuple[int, Place]],
    out: NDArray[np.float32],
) -> None:
    """Write the vector of each place into its row.

    Args:
        engine: Embeds parents whose vectors are not kept.
        ledger: Keeps vectors of chunks that were not asked for.
        places: Rows and the places that they want.
        out: Float32, shape ``(n_texts, dim)``.
    """
    demands: dict[str, _Demand] = {}
    for row, place in places:
        demand = demands.setdefault(place.parent.fingerprint, _Demand(place.parent))
        demand.rows.append(row)
        demand.chunks.append(place.bounds)
        demand.parents[id(place.parent)] = place.parent
    missing = []
    for demand in demands.values():
        kept = ledger.take(demand.parent, demand.chunks)
        if kept is None:
            missing.append(demand)
        else:
            out[demand.rows] = kept
    parents = [_whole(demand, ledger) for demand in missing]
    for demand, (parent, vectors, _) in zip(missing, embed_parents(engine, parents), strict=True):
        row_of = {chunk: row for row, chunk in enumerate(_bounds(parent))}
        out[demand.rows] = vectors[[row_of[chunk] for chunk in demand.chunks]]
        ledger.keep(parent, list(row_of), vectors, demand.chunks)


def embed_parents(
    engine: LateChunkEngine, parents: Sequence[Parent]
) -> Iterator[tuple[Parent, NDArray[np.float32], tuple[Mode, ...]]]:
    """Each parent with its vectors, float32, shape ``(n_chunks, dim)``, and their modes."""
    for parent, result in zip(parents, engine.embed_iter(parents), strict=True):
        yield parent, result.vectors, result.modes


def _whole(demand: _Demand, ledger: Ledger) -> Parent:
    """The parent with every chunk that was or will be asked for, so that one pass will do."""
    chunks = ledger.pending(demand.parent)
    for parent in demand.parents.values():
        chunks.update(_bounds(parent))
    first = demand.parent
    spans = CharSpans(sorted(chunks))
    return first if spans == first.spans else Parent(first.text, spans, first.header, first.id)


def _bounds(parent: Parent) -> list[Bounds]:
    return [(start, end) for start, end in parent.spans.array.tolist()]
