"""Queries against the chunks of one text, early and late: what late chunking changes, visibly."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.core.blending import make_unit
from latechunk_integrations.engine import LateChunkEngine
from latechunk_integrations.errors import InputTypeError
from latechunk_integrations.evaluation.results import make_frame
from latechunk_integrations.options import LateChunkOptions
from latechunk_integrations.schema import Mode, Parent, Span

if TYPE_CHECKING:
    import pandas as pd

# A sentence ends at its stop, with the quotes or brackets that close after it, or at a blank
# line. "2.4.13" and "e.g." in mid-sentence stay whole: a capital or a digit must follow a space.
_SENTENCE_END = re.compile(
    r"""[.!?…]["'”’)\]]*\s+(?=["'“‘(\[]*[A-ZÀ-ÞА-Я0-9])|[。！？]\s*|\n\s*\n"""
)


@dataclass(frozen=True, eq=False)
class Similarities:
    """Cosine similarity of each query with each chunk of one text.

    Args:
        queries: The queries.
        chunks: The chunks' texts, in the order of the text.
        early: Chunks embedded alone, float32, shape ``(n_queries, n_chunks)``.
        late: Chunks embedded with their text around them, same shape.
        modes: How each late vector came about.
        relevant: Which chunk holds a query's answer, bool, same shape; ``None``: not known.
    """

    queries: tuple[str, ...]
    chunks: tuple[str, ...]
    early: NDArray[np.float32]
    late: NDArray[np.float32]
    modes: tuple[Mode, ...]
    relevant: NDArray[np.bool_] | None = None

    def to_frame(self) -> pd.DataFrame:
        """One row for each query and chunk, as a pandas data frame.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return make_frame(
            [
                {
                    "query": query,
                    "chunk": chunk,
                    "early": float(self.early[row, column]),
                    "late": float(self.late[row, column]),
                    "mode": self.modes[column],
                }
                for row, query in enumerate(self.queries)
                for column, chunk in enumerate(self.chunks)
            ]
        )


def compare_sentences(
    engine: LateChunkEngine,
    text: str,
    queries: str | Sequence[str],
    *,
    spans: Sequence[Sequence[int]] | None = None,
    header: str = "",
) -> Similarities:
    """Similarity of queries with each sentence of a text, early and late.

    Args:
        engine: The model and the options of the late side.
        text: The whole text.
        queries: One query or several.
        spans: Chunks as ``(start, end)``; ``None``: the sentences of the text.
        header: Title that both sides attend to.

    Returns:
        The similarities; both sides have unit vectors, so these are cosines.

    Raises:
        InputTypeError: No query was given.
    """
    asked = (queries,) if isinstance(queries, str) else tuple(queries)
    if not asked:
        raise InputTypeError("compare_sentences needs at least one query")
    parent = Parent(text, sentence_spans(text) if spans is None else spans, header=header)
    (late,) = late_engine(engine).embed([parent])
    (early,) = early_engine(engine).embed([parent])
    vectors = make_unit(engine.embed_queries(list(asked)).copy())
    return Similarities(
        queries=asked,
        chunks=tuple(parent.chunk_text(row) for row in range(len(parent.spans))),
        early=vectors @ early.vectors.T,
        late=vectors @ late.vectors.T,
        modes=late.modes,
    )


def sentence_spans(text: str) -> list[Span]:
    """The sentences of a text, by their punctuation, without the white space around them."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    spans = []
    for start, end in zip([0, *ends], [*ends, len(text)], strict=True):
        sentence = text[start:end]
        if sentence.strip():
            first = start + len(sentence) - len(sentence.lstrip())
            spans.append(Span(first, start + len(sentence.rstrip())))
    return spans


def late_engine(engine: LateChunkEngine) -> LateChunkEngine:
    """The same engine, with unit vectors, nothing left out, and late chunking on."""
    options = comparable(engine.options)
    weighted = replace(options, context_weight=options.context_weight or 1.0)
    return LateChunkEngine(engine.encoder, weighted)


def early_engine(engine: LateChunkEngine) -> LateChunkEngine:
    """The same engine with every chunk embedded alone, as unit vectors."""
    one = engine.options.for_one_process()
    options = replace(one, normalize=True, context_weight=0.0, header_weight=0.0)
    return LateChunkEngine(engine.encoder, options)


def comparable(options: LateChunkOptions) -> LateChunkOptions:
    """The same options, with unit vectors and nothing left out."""
    left_out = options.fallback in ("skip", "error")
    fallback = "window" if left_out else options.fallback
    one = options.for_one_process()  # a pool for each variant would load as many models
    return replace(one, normalize=True, fallback=fallback, enabled=True)
