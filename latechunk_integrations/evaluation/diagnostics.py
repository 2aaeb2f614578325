"""What can be said about late chunking of a corpus without any query."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from latechunk_integrations.engine import LateChunkEngine
from latechunk_integrations.errors import InputTypeError
from latechunk_integrations.evaluation.results import make_frame
from latechunk_integrations.evaluation.similarity import early_engine, late_engine
from latechunk_integrations.schema import ChunkVectors, Parent

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

COLLAPSED = 0.95
"""Mean pairwise similarity from which late vectors of a document count as nearly the same."""

# Two chunks may well be about the same; a document of several is not.
_FEWEST_CHUNKS = 3
# Counts of the engine that mean: something was cut or could not be done late.
_CUTS = {
    "headers_cut": "headers shortened, so that half of each window is left to the text",
    "overlaps_cut": "overlaps shortened, so that windows advance",
    "chunks_without_token": "chunks without a token of their document, embedded alone",
    "short_parents": "documents below min_parent_tokens, embedded chunk by chunk",
    "long_parents_standalone": "documents longer than a window, embedded chunk by chunk",
    "truncated_texts": "texts cut at the model's window",
}


@dataclass(frozen=True)
class DocumentDiagnosis:
    """One document.

    Args:
        parent_id: Its id.
        n_chunks: Its chunks.
        n_windows: Windows of its late pass.
        modes: Mode to number of chunks.
        early_similarity: Mean pairwise cosine of its chunks embedded alone; NaN below two chunks.
        late_similarity: The same of its late vectors.
        collapsed: Its late vectors are nearly the same; never where none of them is late.
    """

    parent_id: str
    n_chunks: int
    n_windows: int
    modes: Mapping[str, int]
    early_similarity: float
    late_similarity: float
    collapsed: bool


@dataclass(frozen=True)
class Diagnosis:
    """A corpus.

    Args:
        documents: Each document, in order.
        cuts: What was cut or not done late, by the engine's names, and how often.
        threshold: Mean pairwise similarity from which a document counts as collapsed.
    """

    documents: tuple[DocumentDiagnosis, ...]
    cuts: Mapping[str, int]
    threshold: float

    @property
    def shares(self) -> dict[str, float]:
        """Share of all chunks by mode."""
        counts: Counter[str] = Counter()
        for document in self.documents:
            counts.update(document.modes)
        total = sum(counts.values())
        return {mode: counts[mode] / total for mode in ("late", "windowed", "standalone")}

    @property
    def early_similarity(self) -> float:
        """Mean of the documents' pairwise similarity, chunks embedded alone."""
        return _average([document.early_similarity for document in self.documents])

    @property
    def late_similarity(self) -> float:
        """Mean of the documents' pairwise similarity, late vectors."""
        return _average([document.late_similarity for document in self.documents])

    @property
    def warnings(self) -> tuple[str, ...]:
        """What deserves attention, in plain words."""
        found = [document.parent_id for document in self.documents if document.collapsed]
        warnings = []
        if found:
            warnings.append(
                f"late vectors of {len(found)} of {len(self.documents)} documents are nearly the "
                f"same (mean pairwise similarity of {self.threshold:g} or more), such as "
                f"{found[0]!r}: a query cannot tell their chunks apart. Lower context_weight, or "
                "make the parents smaller (sections)"
            )
        return (*warnings, *plain_cuts(self.cuts))

    def to_frame(self) -> pd.DataFrame:
        """One row for each document, as a pandas data frame.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return make_frame([asdict(document) for document in self.documents])


def diagnose(
    engine: LateChunkEngine,
    parents: Sequence[Parent],
    *,
    threshold: float = COLLAPSED,
    show_progress: bool = False,
) -> Diagnosis:
    """Embed a corpus early and late, and look at the vectors of each document.

    Args:
        engine: The model and the options of the late side.
        parents: The documents with their chunks.
        threshold: Mean pairwise similarity from which a document counts as collapsed.
        show_progress: Show a progress bar over documents.

    Returns:
        The diagnosis; each of its warnings is logged too.

    Raises:
        InputTypeError: No parent was given.
    """
    if not parents:
        raise InputTypeError("diagnose needs at least one parent")
    late = late_engine(engine)
    pairs = zip(late.embed_iter(parents), early_engine(engine).embed_iter(parents), strict=True)
    bar = tqdm(pairs, total=len(parents), unit="document", disable=not show_progress)
    documents = tuple(_diagnose_documents(bar, threshold))
    cuts = {name: late.stats.get(name, 0) for name in _CUTS}
    diagnosis = Diagnosis(documents, cuts, threshold)
    for warning in diagnosis.warnings:
        logger.warning("%s", warning)
    return diagnosis


def plain_cuts(counts: Mapping[str, int]) -> tuple[str, ...]:
    """What an engine's counts say was cut or not done late, in plain words."""
    return tuple(f"{counts[name]} {what}" for name, what in _CUTS.items() if counts.get(name))


def mean_similarity(vectors: NDArray[np.float32]) -> float:
    """Mean pairwise cosine of unit vectors; NaN below two.

    Args:
        vectors: Unit rows, float32, shape ``(n, dim)``.

    Returns:
        ``(|sum of rows|² - n) / (n (n - 1))``: the pairs are never formed.
    """
    n = len(vectors)
    if n < 2:  # noqa: PLR2004  # a pair
        return float("nan")
    rows = vectors.astype(np.float64)
    total = rows.sum(axis=0)
    return float((total @ total - (rows * rows).sum()) / (n * (n - 1)))


def _diagnose_documents(
    pairs: Iterator[tuple[ChunkVectors, ChunkVectors]], threshold: float
) -> Iterator[DocumentDiagnosis]:
    for late, early in pairs:
        similarity = mean_similarity(late.vectors)
        yield DocumentDiagnosis(
            parent_id=late.parent_id,
            n_chunks=len(late),
            n_windows=late.n_windows,
            modes=dict(Counter(late.modes)),
            early_similarity=mean_similarity(early.vectors),
            late_similarity=similarity,
            collapsed=(
                len(late) >= _FEWEST_CHUNKS
                and similarity >= threshold
                and any(mode != "standalone" for mode in late.modes)
            ),
        )


def _average(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
