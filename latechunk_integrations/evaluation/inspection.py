"""One document under the lens: its windows, chunks, tokens, modes, and a query against each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.alignment import Aligner
from latechunk_integrations.engine import LateChunkEngine
from latechunk_integrations.evaluation.diagnostics import plain_cuts
from latechunk_integrations.evaluation.similarity import compare_sentences, late_engine
from latechunk_integrations.planning import Job, Planner
from latechunk_integrations.schema import Mode, Parent
from latechunk_integrations.stats import EngineStats

__all__ = ["ChunkView", "Inspection", "WindowView", "inspect_parent"]


@dataclass(frozen=True)
class WindowView:
    """One window of a document.

    Args:
        start: First character of the document's text that it holds.
        end: One past the last.
        n_tokens: Tokens of the text in it, preamble not counted.
        preamble_tokens: First tokens of the document in front of it.
    """

    start: int
    end: int
    n_tokens: int
    preamble_tokens: int


@dataclass(frozen=True)
class ChunkView:
    """One chunk of a document.

    Args:
        start: First character.
        end: One past the last.
        text: Its text.
        n_tokens: Its tokens, as the document is tokenized.
        windows: Numbers of the windows that hold a token of it, from 0.
        mode: How its vector came about.
        early: Similarity with the query when embedded alone; ``None`` without a query.
        late: Similarity with the query when embedded late.
    """

    start: int
    end: int
    text: str
    n_tokens: int
    windows: tuple[int, ...]
    mode: Mode
    early: float | None = None
    late: float | None = None


@dataclass(frozen=True)
class Inspection:
    """How a document is embedded.

    Args:
        parent_id: The document.
        header: What its tokens attend to besides itself.
        header_tokens: Tokens of the header that are kept.
        prompt: The model's document prompt.
        n_tokens: Tokens of the text.
        max_tokens: Length of a window.
        windows: The windows; none if nothing is done late.
        chunks: The chunks.
        query: The query, if there is one.
        notes: What was cut or could not be done late.
    """

    parent_id: str
    header: str
    header_tokens: int
    prompt: str
    n_tokens: int
    max_tokens: int
    windows: tuple[WindowView, ...]
    chunks: tuple[ChunkView, ...]
    query: str = ""
    notes: tuple[str, ...] = ()

    @property
    def highest(self) -> float:
        """The highest similarity, above 0: the scale of bars."""
        scores = [s for chunk in self.chunks for s in (chunk.early, chunk.late) if s is not None]
        return max([*scores, 1e-6])

    def best(self, side: Literal["early", "late"], n: int = 5) -> tuple[int, ...]:
        """Numbers of the chunks most similar to the query, best first; none without a query."""
        scores = {
            number: score
            for number, chunk in enumerate(self.chunks)
            if (score := getattr(chunk, side)) is not None
        }
        return tuple(sorted(scores, key=lambda number: -scores[number])[:n])


def inspect_parent(engine: LateChunkEngine, parent: Parent, query: str = "") -> Inspection:
    """Look at how an engine embeds a document, and at a query against its chunks.

    Args:
        engine: The model and the options.
        parent: The document with its chunks.
        query: Compared with each chunk, early and late; ``""``: no comparison.

    Returns:
        The windows and chunks, in order.
    """
    engine = late_engine(engine)
    stats = EngineStats()
    (job,) = Planner(engine.encoder, engine.options, stats).jobs([parent])
    (text,) = engine.encoder.tokenize([parent.text], engine.encoder.document_prompt)
    return Inspection(
        parent_id=parent.id,
        header=parent.header,
        header_tokens=0 if job.passage is None else len(job.passage.header),
        prompt=engine.encoder.document_prompt,
        n_tokens=len(text.ids),
        max_tokens=engine.encoder.max_tokens,
        windows=_windows(job, text.offsets),
        chunks=_chunks(engine, job, text.offsets, query),
        query=query,
        notes=plain_cuts(stats.to_dict()),
    )


def _windows(job: Job, offsets: NDArray[np.int32]) -> tuple[WindowView, ...]:
    if job.plan is None:
        return ()
    return tuple(
        WindowView(int(offsets[start, 0]), int(offsets[end - 1, 1]), end - start, preamble)
        for (start, end), preamble in zip(
            job.plan.runs.tolist(), job.plan.preambles.tolist(), strict=True
        )
    )


def _chunks(
    engine: LateChunkEngine, job: Job, offsets: NDArray[np.int32], query: str
) -> tuple[ChunkView, ...]:
    parent = job.parent
    runs = np.zeros((0, 2), np.int64) if job.plan is None else job.plan.runs
    spans = parent.spans.array
    aligner = Aligner(parent.spans)
    aligner.add(offsets)
    first, last = aligner.token_spans().array.T
    if query:
        found = compare_sentences(
            engine, parent.text, query, spans=parent.spans.array.tolist(), header=parent.header
        )
        modes, early, late = found.modes, found.early[0].tolist(), found.late[0].tolist()
    else:
        modes = engine.embed([parent])[0].modes
        early = late = [None] * len(spans)
    return tuple(
        ChunkView(
            start=start,
            end=end,
            text=parent.text[start:end],
            n_tokens=int(last[row] - first[row]),
            windows=tuple(
                np.flatnonzero((runs[:, 0] < last[row]) & (runs[:, 1] > first[row])).tolist()
            ),
            mode=modes[row],
            early=early[row],
            late=late[row],
        )
        for row, (start, end) in enumerate(spans.tolist())
    )
