"""Snippets: the best runs of consecutive chunks of long texts, for one question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from latechunk_integrations.engine import LateChunkEngine
from latechunk_integrations.errors import InputTypeError, OptionError
from latechunk_integrations.schema import CharSpans, Parent, Span

__all__ = ["Snippet", "SnippetOptions", "select_snippets"]


@dataclass(frozen=True, kw_only=True)
class SnippetOptions:
    """How long and how many snippets are.

    Args:
        length: Length of a snippet, in ``unit``, rounded down to whole chunks; neighbours
            that are both chosen are merged into a longer one.
        n_snippets: How many are chosen, over all texts together.
        chunk_size: Length of the chunks that are scored, in ``unit``.
        unit: ``"tokens"`` of the model or ``"characters"``.

    Raises:
        OptionError: A value is outside its range.
    """

    length: int = 512
    n_snippets: int = 5
    chunk_size: int = 64
    unit: Literal["tokens", "characters"] = "tokens"

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("length", "n_snippets", "chunk_size"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise OptionError(f"{name} must be an integer of at least 1, not {value!r}")
        if self.chunk_size > self.length:
            raise OptionError(
                f"chunk_size={self.chunk_size} is more than the length={self.length} of a snippet"
            )
        if self.unit not in ("tokens", "characters"):
            raise OptionError(f"unit={self.unit!r} is not one of 'tokens', 'characters'")


@dataclass(frozen=True)
class Snippet:
    """A run of consecutive chunks.

    Args:
        index: Which of the texts it is cut from.
        span: Where it stands in that text, in code points.
        text: The text of the span, verbatim.
        score: Mean similarity of its chunks with the question, -1 to 1.
    """

    index: int
    span: Span
    text: str
    score: float


def select_snippets(
    engine: LateChunkEngine,
    question: str,
    texts: Sequence[str],
    *,
    options: SnippetOptions | None = None,
) -> list[Snippet]:
    """The runs of chunks that answer a question best.

    Every text is late-chunked with spans of equal length. Similarities with the question are
    averaged over a sliding window as long as a snippet; the best window is taken and masked,
    and so on. Where there is less text than was asked for, all of it comes back.

    Args:
        engine: Embeds the chunks and the question.
        question: What is looked for.
        texts: Long texts; those without text are left out, and those that the engine skips
            (``fallback="skip"``), which it logs.
        options: Lengths and number; ``None``: the defaults.

    Returns:
        Snippets in the order of the texts, and inside a text from its start to its end;
        none overlaps another.

    Raises:
        InputTypeError: ``texts`` is one ``str``.
    """
    if isinstance(texts, str):
        raise InputTypeError("select_snippets wants a list of texts, not one str: pass [text]")
    chosen = options or SnippetOptions()
    filled = [index for index, text in enumerate(texts) if text.strip()]
    if not filled:
        return []
    cuts = {index: _equal_spans(engine, texts[index], chosen) for index in filled}
    spans = {index: CharSpans(pairs) for index, (pairs, _) in cuts.items()}
    query = engine.embed_query(question)
    parents = (Parent(texts[index], spans[index], id=str(index)) for index in filled)
    scores = {
        index: result.vectors @ query
        for index, result in zip(filled, engine.embed_iter(parents), strict=True)
        if not result.skipped
    }
    if sum(cuts[index][1] for index in scores) <= chosen.length * chosen.n_snippets:
        taken = {index: np.ones(len(one), dtype=bool) for index, one in scores.items()}
    else:
        taken = _take_best(scores, chosen.length // chosen.chunk_size, chosen.n_snippets)
    return [
        _snippet(index, texts[index], spans[index], scores[index], run)
        for index in scores
        for run in _runs(taken[index])
    ]


def _equal_spans(
    engine: LateChunkEngine, text: str, options: SnippetOptions
) -> tuple[list[tuple[int, int]], int]:
    """Spans of equal length that cover a text without gaps, and the text's length in the unit."""
    if options.unit == "characters":
        starts, length = list(range(0, len(text), options.chunk_size)), len(text)
    else:
        starts, length = _token_starts(engine, text, options.chunk_size)
    return list(zip(starts, [*starts[1:], len(text)], strict=True)), length


def _token_starts(engine: LateChunkEngine, text: str, size: int) -> tuple[list[int], int]:
    """Where every ``size``-th token starts, and the number of tokens.

    The first chunk starts with the text. Tokens that share a character, as the bytes of an
    emoji do, stay in one chunk; tokens that hold no text, as some tokenizers make of a space,
    do not count, so that no chunk is without a token.
    """
    starts, n_tokens = [0], 0
    for piece in engine.encoder.tokenize_pieces(text, ""):
        begins = piece.offsets[piece.offsets[:, 1] > piece.offsets[:, 0], 0]
        first = (-n_tokens) % size if n_tokens else size
        for start in begins[first::size].tolist():
            if start > starts[-1]:
                starts.append(start)
        n_tokens += len(begins)
    return starts, n_tokens


def _take_best(
    scores: dict[int, NDArray[np.float32]], n_chunks: int, n_snippets: int
) -> dict[int, NDArray[np.bool_]]:
    """Which chunks are taken: the best windows, one after the other, none on another."""
    taken = {index: np.zeros(len(one), dtype=bool) for index, one in scores.items()}
    means = {index: _window_means(one, n_chunks) for index, one in scores.items()}
    for _ in range(n_snippets):
        if not means:
            break
        best = max(means, key=lambda index: float(means[index].max()))
        at = int(means[best].argmax())
        if not np.isfinite(means[best][at]):
            break
        taken[best][at : at + n_chunks] = True
        means[best][max(0, at - n_chunks + 1) : at + n_chunks] = -np.inf
    return taken


def _window_means(scores: NDArray[np.float32], n_chunks: int) -> NDArray[np.float64]:
    """Mean score of every window of ``n_chunks``, a 1-D convolution; of all if there are fewer."""
    width = min(n_chunks, len(scores))
    return np.convolve(scores, np.full(width, 1 / width), mode="valid")


def _runs(taken: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Half-open runs of taken chunks; neighbours are merged."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], taken.astype(np.int8), [0]])))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _snippet(
    index: int,
    text: str,
    spans: CharSpans,
    scores: NDArray[np.float32],
    run: tuple[int, int],
) -> Snippet:
    first, end = run
    span = Span(int(spans.starts[first]), int(spans.ends[end - 1]))
    return Snippet(index, span, text[span.start : span.end], float(scores[first:end].mean()))
