"""Early and late chunking over the same chunks, models and queries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.engine import LateChunkEngine
from latechunk_integrations.errors import OptionError
from latechunk_integrations.evaluation.configurations import (
    BASELINE,
    DEFAULT,
    LATE,
    configuration_of,
)
from latechunk_integrations.evaluation.dataset import GoldenSet
from latechunk_integrations.evaluation.judging import Judge, Scored
from latechunk_integrations.evaluation.metrics import MEASURES, paired_difference
from latechunk_integrations.evaluation.pass_cache import VectorCache
from latechunk_integrations.evaluation.passes import Passes
from latechunk_integrations.evaluation.provenance import collect_provenance, name_models
from latechunk_integrations.evaluation.results import (
    Comparison,
    Configuration,
    ConfigurationResult,
    Costs,
    Difference,
    QueryResult,
)
from latechunk_integrations.evaluation.splitters import (
    Overlapping,
    Splitter,
    name_splitter,
    sizes_of,
    split_documents,
)
from latechunk_integrations.evaluation.store_rows import STORE
from latechunk_integrations.schema import CharSpans

_SIZES = (128,)


def compare(  # noqa: PLR0913  # a comparison has that many sides, and defaults for all
    engine: LateChunkEngine | Sequence[LateChunkEngine],
    golden: GoldenSet,
    configurations: Sequence[Configuration] = DEFAULT,
    *,
    opponent: str = BASELINE,
    splitter: Splitter = "recursive",
    chunk_sizes: Sequence[int | None] | None = None,
    measures: Sequence[str] = MEASURES,
    stored: NDArray[np.float32] | None = None,
    cache: str | Path | None = None,
    show_progress: bool = False,
) -> Comparison:
    """Measure configurations on a golden set.

    Args:
        engine: The model, and the options that configurations do not name; or several.
        golden: Documents, queries, gold spans.
        configurations: What to measure; plain early chunking is added if it is not among them.
        opponent: Name of the configuration that you have now. With the first model, at the first
            chunk size, it is what all others are compared with.
        splitter: See `split_documents`.
        chunk_sizes: Tokens of a chunk at most. ``None``: 128 for ``"recursive"``; other splitters
            have a size of their own.
        measures: Names of ir-measures, each with a cutoff, and ``answer@2000``, the share of the
            answer in the best chunks of 2,000 tokens, counted with the first model's tokenizer.
        stored: Unit vectors of an existing store, in the order of the set's own chunks
            (``splitter="native"``), as `place_rows` gives them; they are the opponent then.
        cache: A folder that keeps vectors; a run that was stopped goes on from
            the last pass that it finished.
        show_progress: Show a progress bar for each pass.

    Returns:
        Every configuration with every model at every chunk size.

    Raises:
        OptionError: A configuration, measure or splitter is impossible, a name occurs twice, or
            the opponent is not measured.
        MissingExtraError: A package of the extra ``evaluation`` is not installed.
    """
    engines = [engine] if isinstance(engine, LateChunkEngine) else list(engine)
    configurations, untitled = _without_titles(_order(configurations, opponent), golden)
    if opponent not in [configuration.name for configuration in configurations]:
        raise OptionError(f"the opponent {opponent!r} is not measured: {untitled[0]}")
    if stored is not None and (len(engines) > 1 or splitter != "native"):
        raise OptionError(
            "a store is compared with one model, over its own chunks: give one model, and "
            "splitter='native'"
        )
    run = _Inputs(
        golden, splitter, chunk_sizes, measures, VectorCache(cache), show_progress, stored
    )
    notes, measured = [*golden.notes, *untitled], []
    offsets = _find_tokens(engines[0], golden)
    names = name_models(engines)
    for name, each in zip(names, engines, strict=True):
        found, said = run.measure(each, name, configurations, offsets)
        measured += found
        notes += [note for note in said if note not in notes]
    against = measured[0].scored
    return Comparison(
        dataset=golden.name,
        n_documents=len(golden.documents),
        results=tuple(
            each.compare(golden, None if n == 0 else against) for n, each in enumerate(measured)
        ),
        questions={query.query_id: query.text for query in golden.queries},
        uncertain=golden.uncertain,
        notes=tuple(notes),
        provenance=collect_provenance(engines, names, golden),
    )


@dataclass(frozen=True, eq=False)
class _Measured:
    """One configuration with one model at one chunk size, scored."""

    configuration: Configuration
    model: str
    splitter: Splitter
    chunk_size: int | None
    n_chunks: int
    n_vectors: int
    scored: Scored
    costs: Costs

    def compare(self, golden: GoldenSet, opponent: Scored | None) -> ConfigurationResult:
        """Means, differences to the opponent and the fate of each query."""
        corpus, document = self.scored.corpus, self.scored.document
        old_corpus = None if opponent is None else opponent.corpus
        old_document = None if opponent is None else opponent.document
        return ConfigurationResult(
            configuration=self.configuration,
            model=self.model,
            splitter=name_splitter(self.splitter),
            chunk_size=self.chunk_size,
            chunk_overlap=(
                self.splitter.chunk_overlap if isinstance(self.splitter, Overlapping) else 0
            ),
            n_chunks=self.n_chunks,
            n_vectors=self.n_vectors,
            corpus=_average(corpus),
            document=_average(document),
            tokens=self.scored.tokens,
            corpus_difference=_compare_scores(corpus, old_corpus),
            document_difference=_compare_scores(document, old_document),
            costs=self.costs,
            queries=tuple(
                QueryResult(
                    query_id=query.query_id,
                    doc_id=query.doc_id,
                    rank=self.scored.ranks[n],
                    document_rank=self.scored.document_ranks[n],
                    scores={name: float(values[n]) for name, values in corpus.items()},
                    document_scores={name: float(values[n]) for name, values in document.items()},
                    top=self.scored.top[n],
                )
                for n, query in enumerate(golden.queries)
            ),
        )


@dataclass(frozen=True, eq=False)
class _Inputs:
    """What all models of a comparison share."""

    golden: GoldenSet
    splitter: Splitter
    chunk_sizes: Sequence[int | None] | None
    measures: Sequence[str]
    cache: VectorCache
    show_progress: bool
    stored: NDArray[np.float32] | None

    def measure(
        self,
        engine: LateChunkEngine,
        model: str,
        configurations: Sequence[Configuration],
        offsets: Mapping[str, NDArray[np.int64]],
    ) -> tuple[list[_Measured], list[str]]:
        """Every configuration at every chunk size, and what could not be done as asked."""
        spans: dict[int | None, list[CharSpans]] = {}
        kept, notes = _without_units(configurations, engine)
        for size in sizes_of(self.splitter, self.chunk_sizes, _SIZES):
            spans[size], lost = split_documents(self.golden, self.splitter, size, engine.encoder)
            notes += [note for note in lost if note not in notes]
        passes = Passes(engine, self.golden, spans, self.cache, show_progress=self.show_progress)
        notes += [*passes.notes(), *_list_unmeasured(engine, kept)]
        queries = passes.queries()
        found = []
        for size, chunks in spans.items():
            judge = Judge(self.golden, chunks, offsets, self.measures)
            notes += [note for note in judge.notes() if note not in notes]
            rows = ((each, *passes.vectors(each, size)) for each in kept)
            for configuration, vectors, costs in chain(self._list_stored(queries), rows):
                parts = passes.parts(configuration, size)
                scored = judge.score(queries, *(parts or (vectors,)))
                n_vectors = len(vectors if parts is None else parts[0])
                facts = (configuration, model, self.splitter, size, judge.n_chunks, n_vectors)
                found.append(_Measured(*facts, scored, costs))
        return found, notes

    def _list_stored(
        self, queries: NDArray[np.float32]
    ) -> Iterator[tuple[Configuration, NDArray[np.float32], Costs]]:
        """The store's own vectors, whose costs nobody knows."""
        if self.stored is None:
            return
        widths = self.stored.shape[1], queries.shape[1]
        if widths[0] != widths[1]:
            raise OptionError(
                f"the store's vectors have {widths[0]} numbers, the model's {widths[1]}: name the "
                "model that the store was made with"
            )
        yield Configuration(name=STORE), self.stored, Costs(0.0, 0)


def _find_tokens(engine: LateChunkEngine, golden: GoldenSet) -> dict[str, NDArray[np.int64]]:
    """Start and end of each token of each document, in characters."""
    tokens = engine.encoder.tokenize([document.text for document in golden.documents], "")
    return {
        document.doc_id: np.asarray(found.offsets).astype(np.int64)
        for document, found in zip(golden.documents, tokens, strict=True)
    }


def _order(configurations: Sequence[Configuration], opponent: str) -> list[Configuration]:
    """The opponent first, then plain early chunking, which is added where it is missing."""
    early = Configuration(name=BASELINE)
    names = [configuration.name for configuration in configurations]
    if len(set(names)) < len(names):
        raise OptionError(f"configurations need different names: {names}")
    if any(c.name == BASELINE and c != early for c in configurations):
        raise OptionError(f"the name {BASELINE!r} belongs to plain early chunking")
    ordered = [early, *(c for c in configurations if c != early)]
    first = [c for c in ordered if c.name == opponent]
    if not first:
        raise OptionError(
            f"no configuration is called {opponent!r}; there are {[c.name for c in ordered]}"
        )
    return [*first, *(c for c in ordered if c.name != opponent)]


def _without_units(
    configurations: Sequence[Configuration], engine: LateChunkEngine
) -> tuple[list[Configuration], list[str]]:
    """Leave out what an encoder that reads running text cannot do, and say so."""
    if engine.encoder.takes_units:
        return list(configurations), []
    kept = [c for c in configurations if c.layout != "units" and c.focus in (0.0, "auto")]
    kept = [c for c in kept if not c.sub_span_tokens]
    left_out = ", ".join(repr(c.name) for c in configurations if c not in kept)
    note = f"this encoder reads running text and takes no focus; left out: {left_out}"
    return kept, [note] if left_out else []


def _list_unmeasured(engine: LateChunkEngine, configurations: Sequence[Configuration]) -> list[str]:
    """The engine's own options, where no configuration has them: some row would be taken for it."""
    own = configuration_of(engine.options).options()
    usual = LATE.options()
    if own == usual or any(each.options() == own for each in configurations):
        return []
    if not engine.options.enabled:
        return []
    differ = ", ".join(f"{name}={value!r}" for name, value in own.items() if value != usual[name])
    said = "the engine's own, not measured; `configuration_of(engine.options)` has them"
    return [f"{differ}: {said}"]


def _without_titles(
    configurations: list[Configuration], golden: GoldenSet
) -> tuple[list[Configuration], list[str]]:
    """Leave out what adds the title's vector if no document has a title, and say so."""
    titled = any(document.title.strip() for document in golden.documents)
    if titled or all(c.header == "none" for c in configurations):
        return configurations, []
    kept = [c for c in configurations if not c.header_weight and c.header != "prepended"]
    left_out = ", ".join(repr(c.name) for c in configurations if c not in kept)
    note = "no document has a title: rows that use one are measured without it"
    return kept, [f"{note}; left out: {left_out}" if left_out else note]


def _average(values: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    return {name: float(each.mean()) for name, each in values.items()}


def _compare_scores(
    values: Mapping[str, NDArray[np.float64]], opponent: Mapping[str, NDArray[np.float64]] | None
) -> dict[str, Difference]:
    if opponent is None:
        return {}
    return {name: paired_difference(each, opponent[name]) for name, each in values.items()}
