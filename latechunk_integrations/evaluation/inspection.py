"""One document under the lens: its windows, chunks, tokens, modes, and a query against each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.alignment import align
from latechunk_integrations.engine import LateChunkEngine
from latechunk_integrations.evaluation.diagnostics import plain_cuts
from latechunk_integrations.evaluation.notebook import NotebookView
from latechunk_integrations.evaluation.similarity import compare_sentences, late_engine
from latechunk_integrations.flow.token_plan import TokenBlock
from latechunk_integrations.schema import Mode, Parent


@dataclass(frozen=True)
class WindowView:
    """One window of a document.

    Args:
        start: First character of the document's text that it holds.
        end: One past the last.
        n_tokens: Tokens of the text in it.
        units: Numbers of the chunks that it holds as units, in their order, from 0; none in
            running text.
        focus: How much more a chunk attends to itself than to its neighbours, in nats.
        header_focus: The same toward its header.
    """

    start: int
    end: int
    n_tokens: int
    units: tuple[int, ...] = ()
    focus: float = 0.0
    header_focus: float = 0.0


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
class Inspection(NotebookView):
    """How a document is embedded.

    Args:
        parent_id: The document.
        header: What its tokens attend to besides itself.
        header_tokens: Tokens of the header that are kept.
        prompt: The model's document prompt.
        n_tokens: Tokens of the text.
        max_tokens: The model's window.
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
    before = engine.stats
    block = engine.plan([parent])
    counts = {
        name: count - before.get(name, 0)
        for name, count in engine.stats.items()
        if count > before.get(name, 0)
    }
    (text,) = engine.encoder.tokenize([parent.text], engine.encoder.document_prompt)
    late = block.passages.is_late[block.frames.texts]
    headers = block.frames.lengths[late, 2]
    return Inspection(
        parent_id=parent.id,
        header=parent.header,
        header_tokens=int(headers.max(initial=0)),
        prompt=engine.encoder.document_prompt,
        n_tokens=len(text.ids),
        max_tokens=engine.encoder.max_tokens,
        windows=tuple(_view_windows(block, parent, text.offsets)),
        chunks=_view_chunks(engine, block, parent, text.offsets, query),
        query=query,
        notes=plain_cuts(counts),
    )


def _view_windows(
    block: TokenBlock, parent: Parent, offsets: NDArray[np.int32]
) -> Iterator[WindowView]:
    frames, passages = block.frames, block.passages
    for number, (first, last) in enumerate(pairwise(block.windows.tolist())):
        texts = frames.texts[first:last]
        if not passages.is_late[texts[0]]:
            continue
        run_start, run_end = frames.runs[first].tolist()
        focus = 0.0 if block.focus is None else float(block.focus[number])
        header_focus = 0.0 if block.header_focus is None else float(block.header_focus[number])
        n_tokens = int((frames.runs[first:last, 1] - frames.runs[first:last, 0]).sum())
        if not passages.of_chunks:
            start, end = int(offsets[run_start, 0]), int(offsets[run_end - 1, 1])
            yield WindowView(start, end, n_tokens, (), focus, header_focus)
            continue
        rows = passages.pooled_rows[np.searchsorted(passages.pooled_texts, texts)]
        units = tuple(dict.fromkeys(passages.pieces.chunks[rows].tolist()))
        spans = parent.spans.array[list(units)]
        start, end = int(spans[:, 0].min()), int(spans[:, 1].max())
        yield WindowView(start, end, n_tokens, units, focus, header_focus)


def _view_chunks(
    engine: LateChunkEngine,
    block: TokenBlock,
    parent: Parent,
    offsets: NDArray[np.int32],
    query: str,
) -> tuple[ChunkView, ...]:
    spans = parent.spans.array
    first, last = align(parent.spans, offsets).array.T
    is_late = block.passages.is_late[block.frames.texts[block.windows[:-1]]]
    # Windows of the late pass are numbered as they are shown.
    numbers = np.cumsum(is_late) - 1
    windows: list[list[int]] = [[] for _ in spans]
    of_windows = np.repeat(np.arange(len(is_late)), np.diff(block.bag_bounds))
    pieces = block.passages.pieces
    for row, window in zip(block.bags.rows.tolist(), of_windows.tolist(), strict=True):
        if is_late[window] and row < len(pieces):
            windows[pieces.chunks[row]].append(int(numbers[window]))
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
            windows=tuple(dict.fromkeys(windows[row])),
            mode=modes[row],
            early=early[row],
            late=late[row],
        )
        for row, (start, end) in enumerate(spans.tolist())
    )
