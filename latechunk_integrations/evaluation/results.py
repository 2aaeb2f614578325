"""What a comparison and a tuning give back: frozen values, and data frames of them.

Measures are named as in ir-measures (``nDCG@10``, ``RR@10``, ``R@5``, ``Success@5``) and lie
between 0 and 1; ``answer@2000`` is ours: how much of the answer the best chunks of 2,000 tokens
together hold. Each is there twice: over the corpus, where a query is matched against the chunks of
all documents, and inside the document that holds its answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.evaluation.notebook import NotebookView
from latechunk_integrations.options import Layout
from latechunk_integrations.plugins import import_extra

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "CHANCE",
    "Comparison",
    "Configuration",
    "ConfigurationResult",
    "Costs",
    "Difference",
    "HeaderUse",
    "Hit",
    "ModelFacts",
    "Provenance",
    "QueryResult",
    "TuneResult",
]

CHANCE = 0.05

ENGINE_OPTIONS = (
    *("context_weight", "header_weight", "overlap_tokens", "pool_edges", "layout", "focus"),
    *("header_focus", "sub_span_tokens"),
)
"""The engine options that a configuration names, as `LateChunkOptions` does."""

HeaderUse: TypeAlias = Literal["none", "prepended", "attended", "auto"]
"""No title; the title in front of each chunk's text, and pooled; the title attended to; the title
and the headings above each chunk attended to, as the adapters do."""


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """One way to embed chunks.

    Args:
        name: How tables and plots call it.
        context_weight: w in ``normalize(w * late + (1 - w) * standalone)``; 0 is early chunking.
        header: What is done with the document's title.
        header_weight: How much of the title's own vector is added to each chunk's.
        overlap_tokens: Tokens that neighbouring windows share; ``None``: the engine's default.
        pool_edges: Pool special tokens and prompt at both ends of a text.
        layout: Whole chunks in a window (``units``), or the running text.
        focus: Nats toward the own chunk; ``auto``: by the rule.
        header_focus: The same toward the title.
        sub_span_tokens: Each chunk has vectors of its parts of about so many tokens, and counts as
            its best part; ``None``: one vector a chunk.
    """

    name: str
    context_weight: float = 0.0
    header: HeaderUse = "none"
    header_weight: float = 0.0
    overlap_tokens: int | None = None
    pool_edges: bool = True
    layout: Layout = "text"
    focus: float | Literal["auto"] = 0.0
    header_focus: float | Literal["auto"] = "auto"
    sub_span_tokens: int | None = None

    def options(self) -> dict[str, Any]:
        """The engine options of this configuration, by the names of `LateChunkOptions`."""
        return {name: getattr(self, name) for name in ENGINE_OPTIONS}


@dataclass(frozen=True)
class Costs:
    """What indexing took, as if this configuration had run alone.

    Args:
        seconds: Time in the engine, without the loading of the model. Vectors read from a cache
            keep the time that computing them took.
        encoder_tokens: Tokens that went through the model, padding not counted.
        peak_memory_mb: Largest resident memory of the process, MiB; ``None``: not known.
    """

    seconds: float
    encoder_tokens: int
    peak_memory_mb: float | None = None


@dataclass(frozen=True)
class Hit:
    """A chunk that a query found.

    Args:
        doc_id: The document.
        start: First character of the chunk in its document.
        end: One past its last character.
        score: Similarity to the query.
        relevant: Whether it overlaps a gold span of the query.
    """

    doc_id: str
    start: int
    end: int
    score: float
    relevant: bool


@dataclass(frozen=True)
class QueryResult:
    """How one query fared.

    Args:
        query_id: The query.
        doc_id: The document that holds its answer.
        rank: Rank of the first relevant chunk over the corpus, from 1; ``None``: no chunk
            overlaps a gold span.
        document_rank: The same among the chunks of the gold document.
        scores: Measure to value, over the corpus.
        document_scores: Measure to value, inside the gold document.
        top: The best chunks over the corpus, best first.
    """

    query_id: str
    doc_id: str
    rank: int | None
    document_rank: int | None
    scores: Mapping[str, float]
    document_scores: Mapping[str, float]
    top: tuple[Hit, ...] = ()


@dataclass(frozen=True)
class Difference:
    """A measure's difference to the opponent, paired over the queries.

    Args:
        mean: Configuration minus opponent.
        low: Lower bound of the 95 % bootstrap confidence interval; ``None``: too few queries.
        high: Upper bound.
        p_value: Of a two-sided paired permutation test; small: unlikely to be chance.
    """

    mean: float
    low: float | None
    high: float | None
    p_value: float | None

    @property
    def clear(self) -> bool:
        """Whether chance hardly explains it: p below 0.05, and the interval apart from zero."""
        if self.low is None or self.high is None or self.p_value is None:
            return False
        return self.p_value < CHANCE and not self.low <= 0 <= self.high


@dataclass(frozen=True)
class ModelFacts:
    """A model as it was loaded.

    Args:
        name: Of the model; of a path, the last two parts.
        fingerprint: Of the engine.
        dtype: The precision; ``""``: not known, as with a server.
        device: Where it ran; ``""``: not known.
        dimensions: Length of a vector.
        max_tokens: Length of a window.
        options: The engine's options, without keys and paths.
    """

    name: str
    fingerprint: str
    dtype: str
    device: str
    dimensions: int
    max_tokens: int
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Provenance:
    """How figures came about.

    Args:
        version: Of this package.
        date: Of the run, UTC.
        command: What was run; ``""``: called from Python.
        hardware: Processor and cores, or the GPU.
        software: Versions of Python and what computes.
        dataset: Hash of texts, questions and labels: equal ones can be compared.
        models: The models, as they were loaded.
    """

    version: str
    date: str
    command: str
    hardware: str
    software: str
    dataset: str
    models: tuple[ModelFacts, ...]


@dataclass(frozen=True)
class ConfigurationResult:
    """One configuration, with one model at one chunk size.

    Args:
        configuration: What was measured.
        model: Name of the model.
        splitter: Name or import path of the splitter.
        chunk_size: Tokens of a chunk at most; ``None``: the splitter has no size.
        chunk_overlap: Tokens that neighbouring chunks share at most.
        n_chunks: Chunks of all documents.
        n_vectors: Vectors that a store would hold.
        corpus: Measure to mean over the queries, against the chunks of all documents.
        document: The same inside the gold document.
        tokens: ``precision``, ``recall`` and ``iou`` of the tokens of the best five chunks
            against the tokens of the gold spans.
        corpus_difference: Measure to difference to the opponent; empty for the opponent itself.
        document_difference: The same inside the gold document.
        costs: What indexing took.
        queries: How each query fared.
    """

    configuration: Configuration
    model: str
    splitter: str
    chunk_size: int | None
    chunk_overlap: int
    n_chunks: int
    n_vectors: int
    corpus: Mapping[str, float]
    document: Mapping[str, float]
    tokens: Mapping[str, float]
    corpus_difference: Mapping[str, Difference]
    document_difference: Mapping[str, Difference]
    costs: Costs
    queries: tuple[QueryResult, ...] = ()

    @property
    def name(self) -> str:
        """Name of the configuration."""
        return self.configuration.name

    def scores(self, measure: str) -> NDArray[np.float64]:
        """A measure over the corpus for each query, float64, shape ``(n_queries,)``."""
        return np.array([query.scores[measure] for query in self.queries])


@dataclass(frozen=True)
class Comparison(NotebookView):
    """Every configuration, with every model at every chunk size, over one golden set.

    Args:
        dataset: Name of the golden set.
        n_documents: Documents of the set.
        results: The opponent first; then in the order of models, chunk sizes, configurations.
        questions: Query id to text.
        uncertain: Ids of the queries whose label may be wrong.
        notes: What could not be done as asked, in plain words.
        provenance: How the figures came about. It does not count when comparisons are compared.
    """

    dataset: str
    n_documents: int
    results: tuple[ConfigurationResult, ...]
    questions: Mapping[str, str]
    uncertain: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    provenance: Provenance | None = field(default=None, compare=False)

    @property
    def opponent(self) -> ConfigurationResult:
        """What all others are compared with: what the user has now."""
        return self.results[0]

    @property
    def n_queries(self) -> int:
        """Queries that were measured."""
        return len(self.opponent.queries)

    @property
    def models(self) -> tuple[str, ...]:
        """The models, in the order of the run."""
        return tuple(dict.fromkeys(result.model for result in self.results))

    @property
    def chunk_sizes(self) -> tuple[int | None, ...]:
        """The chunk sizes, in the order of the run."""
        return tuple(dict.fromkeys(result.chunk_size for result in self.results))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the configurations, in the order of the run."""
        return tuple(dict.fromkeys(result.name for result in self.results))

    def label(self, result: ConfigurationResult) -> str:
        """The name of a result, with model and chunk size where the comparison has several."""
        parts = [result.name]
        if len(self.chunk_sizes) > 1 and result.chunk_size is not None:
            parts.append(f"{result.chunk_size} tokens")
        if len(self.models) > 1:
            parts.append(result.model)
        return ", ".join(parts)

    def get(
        self, name: str, chunk_size: int | None = None, model: str | None = None
    ) -> ConfigurationResult:
        """The result of a configuration.

        Args:
            name: Of the configuration.
            chunk_size: ``None``, unless it is one itself: the first.
            model: ``None``: the first.

        Raises:
            KeyError: There is no such result.
        """
        sizes = self.chunk_sizes
        size = sizes[0] if chunk_size is None and None not in sizes else chunk_size
        wanted = (name, size, self.models[0] if model is None else model)
        for result in self.results:
            if (result.name, result.chunk_size, result.model) == wanted:
                return result
        raise KeyError(f"no result for {name!r} at chunk size {chunk_size}; have {self.names}")

    def to_frame(self) -> pd.DataFrame:
        """One row for each configuration and chunk size, as a pandas data frame.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return make_frame([_make_row(result) for result in self.results])

    def queries_to_frame(self) -> pd.DataFrame:
        """One row for each query, configuration and chunk size, as a pandas data frame."""
        return make_frame(
            [
                {
                    "model": result.model,
                    "configuration": result.name,
                    "chunk_size": result.chunk_size,
                    "question": self.questions.get(query.query_id, ""),
                    "uncertain": query.query_id in self.uncertain,
                }
                | _query_row(query)
                for result in self.results
                for query in result.queries
            ]
        )


@dataclass(frozen=True)
class TuneResult:
    """What was chosen on one half of the queries, and how it fares on the other.

    Args:
        chosen: What to use, as it fared on the other half.
        verdict: The outcome in plain words.
        measure: What was maximised over the corpus.
        choosing: All candidates, on the half they were chosen on.
        held_out: The opponent and the best candidates, on the other half.
        notes: What could not be done as asked, in plain words.
    """

    chosen: ConfigurationResult
    verdict: str
    measure: str
    choosing: Comparison
    held_out: Comparison
    notes: tuple[str, ...] = field(default=())


def _make_row(result: ConfigurationResult) -> dict[str, Any]:
    row: dict[str, Any] = {
        "model": result.model,
        "configuration": result.name,
        "splitter": result.splitter,
        "chunk_size": result.chunk_size,
        "n_chunks": result.n_chunks,
        "n_vectors": result.n_vectors,
    }
    row |= dict(result.corpus)
    row |= {f"document {measure}": value for measure, value in result.document.items()}
    row |= {f"token {measure}": value for measure, value in result.tokens.items()}
    for where, differences in (
        ("", result.corpus_difference),
        ("document ", result.document_difference),
    ):
        for measure, difference in differences.items():
            for name, value in asdict(difference).items():
                row[f"{where}{measure} difference {name}"] = value
    return row | asdict(result.costs)


def _query_row(query: QueryResult) -> dict[str, Any]:
    row: dict[str, Any] = {
        "query_id": query.query_id,
        "doc_id": query.doc_id,
        "rank": query.rank,
        "document_rank": query.document_rank,
    }
    row |= dict(query.scores)
    return row | {f"document {name}": value for name, value in query.document_scores.items()}


def make_frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a pandas data frame.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    frame: pd.DataFrame = import_extra("pandas", extra="evaluation").DataFrame(rows)
    return frame
